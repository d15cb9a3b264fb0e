"""Keep the index in sync with the ledger: changed facts, and photos that the index lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from ingest.catalog.ledger import Ledger
from search.index.base import SegmentIndex

# Photos between two flushes. The embedded index rewrites each segment with its mask: a photo of 30
# segments takes 10 ms, in a batch or alone.
SYNC_BATCH = 1000
PAGE = 100  # photos looked up at once


def sync_index(
    ledger: Ledger,
    index: Callable[[], SegmentIndex],
    show: Callable[[int, int], None] = lambda synced, unsynced: None,
) -> None:
    """Update the index with changed folders, dates and visibility from the ledger.

    Args:
        ledger: the source.
        index: opened only if there are unsynced photos.
        show: called with the number of photos updated so far and the number of all to update.
    """
    synced, unsynced = 0, ledger.count_unsynced()
    while photo_ids := ledger.unsynced_photos(SYNC_BATCH):
        facts = {photo_id: ledger.facts_now(photo_id) for photo_id in photo_ids}
        for photo_id, now in facts.items():
            index().update_facts(photo_id, now)
            synced += 1
            show(synced, unsynced)
        index().flush()
        for photo_id, now in facts.items():
            ledger.mark_synced(photo_id, now)


def mark_lost_photos(ledger: Ledger, index: Callable[[], SegmentIndex]) -> tuple[int, int]:
    """Mark photos as unfinished whose segments are missing from the index.

    Photos are compared one by one only if the index has fewer points than the ledger expects.

    Returns:
        the number of photos marked, and of finished photos before.
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
