"""Keeping the index in step with the ledger: changed facts, and photos that it has lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from ingest.catalog.ledger import Ledger
from search.index.base import SegmentIndex

# Photos between two flushes. The embedded index writes each segment anew, with its mask: a photo of
# 30 takes 10 ms on a busy machine, told alone or with others.
SYNC_BATCH = 1000
PAGE = 100  # photos looked up at once


def sync_index(
    ledger: Ledger,
    index: Callable[[], SegmentIndex],
    show: Callable[[int, int], None] = lambda told, stale: None,
) -> None:
    """Tell the index what the ledger knows anew of folders, dates and hidden photos.

    Args:
        ledger: knows.
        index: is told; it is opened if there is anything to tell.
        show: is told of how many photos the index knows by now, and of how many in all.
    """
    told, stale = 0, ledger.count_unsynced()
    while photo_ids := ledger.unsynced_photos(SYNC_BATCH):
        facts = {photo_id: ledger.facts_now(photo_id) for photo_id in photo_ids}
        for photo_id, now in facts.items():
            index().update_facts(photo_id, now)
            told += 1
            show(told, stale)
        index().flush()
        for photo_id, now in facts.items():
            ledger.mark_synced(photo_id, now)


def mark_lost_photos(ledger: Ledger, index: Callable[[], SegmentIndex]) -> tuple[int, int]:
    """Mark photos as unfinished that the index no longer holds whole; return how many of how many.

    They are looked for only where the index holds less than the ledger knows.
    """
    photos, segments = ledger.count_finished()
    if not photos:
        return 0, 0
    held = index()
    if held.count("photos") >= photos and held.count("segments") >= segments:
        return 0, photos
    lost = list(_lost_photos(ledger, held))
    ledger.mark_unfinished(lost)
    return len(lost), photos


def _lost_photos(ledger: Ledger, index: SegmentIndex) -> Iterator[str]:
    rows = (row.photo for row in ledger.iter_photos() if row.photo.segmented_with is not None)
    while page := list(islice(rows, PAGE)):
        held = {photo.photo_id for photo in index.photos([photo.photo_id for photo in page])}
        for photo in page:
            found = index.segment_ids_of(photo.photo_id) if photo.photo_id in held else set()
            if photo.photo_id not in held or len(found) < photo.segment_count:
                yield photo.photo_id
