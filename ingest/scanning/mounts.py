"""Detection of unmounted disks, so that their photos are not hidden.

Without its disk a mount point is an empty folder, or contains a placeholder file. Device numbers do
not identify disks: after a restart a disk may have another number, or another disk the same. So a
mount point, or a folder whose device number changed, counts as absent only if none of the files
known below it exists.
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
    """The mount points below a root, as relative paths, with device numbers; b"" is the root."""

    begins: dict[bytes, int] = field(default_factory=dict)

    def note(self, below: bytes, device: int) -> None:
        """Add a folder if its device differs from its parent's; parents must be added first."""
        parent = below
        while parent and parent not in self.begins:
            parent = os.path.dirname(parent)  # noqa: PTH120  (bytes)
        if parent == below or self.begins.get(parent) != device:
            self.begins[below] = device


def device_of(path: Path) -> int | None:
    """Return a folder's device number; None if the folder can't be accessed."""
    try:
        return path.stat().st_dev
    except OSError:
        return None


def absent_folders(root: Root, ledger: Ledger, now: Iterable[bytes] = ()) -> list[bytes]:
    """Return the folders of a root whose disk is not mounted, outermost first; b"" is the root.

    Args:
        root: to check.
        ledger: has the previous devices and the known files.
        now: current mount points below the root, as far as known.
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
    """Return whether a folder may be on another device than before; True for mount points."""
    if below or os.path.ismount(root):
        return bool(before)
    return device_of(root) != before.get(b"")


def _lacks_all(root: Root, folder: bytes, ledger: Ledger) -> bool:
    """Return whether photos are known below a folder and none of their files exists.

    Files are compared by name and size, since memory cards of one camera repeat names.
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
    """Store the current devices of a root's folders; absent folders keep their stored ones."""
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
