"""Forgetting photos: in the index first, in the ledger last."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ingest.ledger import Ledger
from ingest.photos import shown_path
from search.errors import UsageError
from search.index import SegmentIndex


def forget_photos(
    photo_ids: Sequence[str], ledger: Ledger, index: Callable[[], SegmentIndex]
) -> None:
    """Delete photos with their segments; the files that show them come back with the next ingest.

    If this is cut short, the ledger still knows the photos, as unfinished ones: forgotten by doing
    it again, or done anew by the next ingest.
    """
    for photo_id in photo_ids:
        ledger.begin_photo(ledger.photo(photo_id).photo)
        index().delete_photo(photo_id)
    if photo_ids:
        index().flush()
    for photo_id in photo_ids:
        ledger.forget_photo(photo_id)


def forget_root(folder: Path, ledger: Ledger) -> list[str]:
    """Forget a folder that photos were taken from; return the photos that no other file shows.

    Raises:
        UsageError: photos were not taken from that folder as such.
    """
    path = Path(os.path.realpath(folder))
    root = next((root for root in ledger.roots() if root.path == path), None)
    if root is None:
        raise UsageError(f"{shown_path(path)} is not a root; `segsearch status` lists them")
    return ledger.forget_root(root)
