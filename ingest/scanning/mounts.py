"""Which folders of a root are on a disk that is not there now: their photos are kept.

A mount point is an empty folder once nothing is mounted there, or it holds a reminder. The numbers
of devices are no names: after a restart a disk may have another one, and another disk the same. So
a number alone decides nothing: a mount point is absent if none of the files known below it is
there, and so is any other folder that lies on another device than before.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import FileKey, Root, is_below


@dataclass
class DeviceMap:
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


def absent_folders(root: Root, ledger: Ledger, now: Iterable[bytes] = ()) -> list[bytes]:
    """Return the folders of a root whose disk is not there, outermost first; b"" is the root.

    Args:
        root: the folder that photos are taken from.
        ledger: knows on which devices its folders lay, and which files were there.
        now: the folders at which another device begins, as far as somebody looked.
    """
    if root.is_absent:
        return [b""]
    before = ledger.devices(root)
    absent: list[bytes] = []
    for below in sorted({*before, *now}):
        if any(is_below(below, folder) for folder in absent):
            continue
        if _is_other_device(root.path, below, before) and _lacks_all(root, below, ledger):
            absent.append(below)
    return absent


def _is_other_device(root: Path, below: bytes, before: Mapping[bytes, int]) -> bool:
    """Say whether a folder may lie on another device than before: a mount point always may."""
    if below or os.path.ismount(root):
        return bool(before)
    return device_of(root) != before.get(b"")


def _lacks_all(root: Root, folder: bytes, ledger: Ledger) -> bool:
    """Say whether photos are known below a folder and no file of theirs is there.

    By name and size: cards of one camera have the same names.
    """
    is_any_known = False
    for below, size in ledger.present_below(root, folder):
        is_any_known = True
        try:
            if FileKey(root, below).path.stat().st_size == size:
                return False
        except OSError:
            continue
    return is_any_known


def note_devices(root: Root, ledger: Ledger, absent: Iterable[bytes], now: Iterable[bytes]) -> None:
    """Note on which devices the folders of a root lie; what is absent is remembered as it was."""
    before = ledger.devices(root)
    begins, no_longer = dict[bytes, int](), []
    for below in {b"", *before, *now}:
        if any(is_below(below, folder) for folder in absent):
            continue
        path = FileKey(root, below).path
        device = device_of(path)
        if device is None or (below and device == device_of(path.parent)):
            no_longer.append(below)
        elif before.get(below) != device:
            begins[below] = device
    if begins or any(below in before for below in no_longer):
        ledger.note_devices(root, begins, no_longer=no_longer)
