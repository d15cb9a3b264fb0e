"""On which device a folder lies: how a disk that is not mounted is told from an emptied folder.

A mount point is an empty folder once nothing is mounted there, or it holds a reminder. The numbers
of devices are no names: after a restart a disk may have another one. So a number alone decides
nothing: a folder counts as absent if it lies on another device than before and none of the files
known below it is there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class SeenDevices:
    """The folders, as paths below a root, at which another device begins; b"" is the root."""

    begins: dict[bytes, int] = field(default_factory=dict)

    def note(self, below: bytes, device: int) -> None:
        """Note the device of a folder; those around it were noted before."""
        around = below
        while around and around not in self.begins:
            around = os.path.dirname(around)  # noqa: PTH120  (bytes)
        if around == below or self.begins.get(around) != device:
            self.begins[below] = device


def device_of(path: Path) -> int | None:
    """Return the number of the device that a folder lies on; None if it can't be seen."""
    try:
        return path.stat().st_dev
    except OSError:
        return None


def is_other_device(root: Path, below: bytes, before: Mapping[bytes, int]) -> bool:
    """Say whether a folder lies on another device than before, or is no mount point any more.

    Args:
        root: the folder that `below` counts from.
        below: where a device began before, or does now.
        before: the devices that began at folders of the root; empty if nobody looked.
    """
    path = root / os.fsdecode(below)
    if below not in before:
        return bool(before)  # mounted over a folder since
    now = device_of(path)
    if now is None or now != before[below]:
        return True
    return below != b"" and now == device_of(path.parent)
