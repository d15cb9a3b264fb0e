"""Removing photos from a library: from the index first, from the ledger last."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import FileKey, Root, is_below, is_gone
from ingest.imaging.decode import shown_path
from ingest.scanning.mounts import absent_folders
from search.errors import UsageError
from search.index.base import SegmentIndex


def forget_photos(
    photo_ids: Sequence[str], ledger: Ledger, index: Callable[[], SegmentIndex]
) -> None:
    """Delete photos and their segments; the next ingest adds photos again whose files exist.

    If this is interrupted, the ledger still has the photos as unfinished: repeat it, or let the
    next ingest segment them again.
    """
    for photo_id in photo_ids:
        ledger.begin_photo(ledger.photo(photo_id).photo)
        index().delete_photo(photo_id)
    if photo_ids:
        index().flush()
    for photo_id in photo_ids:
        ledger.forget_photo(photo_id)


@dataclass(frozen=True)
class Missing:
    """Photos without a present file."""

    photo_ids: tuple[str, ...]  # their files are certainly gone
    kept: tuple[str, ...]  # uncertain: a disk is not mounted, a file is back, or none was known


def missing_photos(ledger: Ledger) -> Missing:
    """Find photos without a present file; those that may still have one are `kept`."""
    absent = {root.root_id: absent_folders(root, ledger) for root in ledger.roots()}

    def may_exist(key: FileKey) -> bool:
        folders = absent[key.root.root_id]
        return any(is_below(key.below, each) for each in folders) or not is_gone(key.path)

    def is_uncertain(photo_id: str) -> bool:
        files = ledger.vanished_files(photo_id)
        if not files:  # none was found when the ledger was rebuilt
            return ledger.is_finished(photo_id)
        return any(map(may_exist, files))

    missing = ledger.missing_photos()
    kept = {photo_id for photo_id in missing if is_uncertain(photo_id)}
    gone = tuple(photo_id for photo_id in missing if photo_id not in kept)
    return Missing(gone, tuple(sorted(kept)))


def only_below(folder: Path, ledger: Ledger) -> list[str]:
    """Return the ids of photos whose files are all below a folder.

    Raises:
        UsageError: nothing was ingested from that folder.
    """
    root, below = known_folder(folder, ledger)

    def is_inside(key: FileKey) -> bool:
        return key.root.root_id == root.root_id and is_below(key.below, below)

    return [
        photo_id
        for photo_id in ledger.photos_below(root, below)
        if all(map(is_inside, ledger.files_of(photo_id, excluded=True)))
    ]


def known_folder(folder: Path, ledger: Ledger) -> tuple[Root, bytes]:
    """Return the root that contains a folder, and the path below it (b"": the root itself).

    Raises:
        UsageError: nothing was ingested from that folder.
    """
    path = Path(os.path.realpath(folder))
    root = ledger.root_for(path)
    below = os.fsencode(path.relative_to(root.path)) if root else b""
    if root is None or (path != root.path and not ledger.knows_of(root, below)):
        raise UsageError(
            f"no photos were ingested from {shown_path(path)}; `segsearch status` lists the "
            "folders that were"
        )
    return root, b"" if path == root.path else below
