"""The index is told what the ledger knows anew: folders, dates, hidden photos."""

from __future__ import annotations

from collections.abc import Callable

from ingest.catalog.ledger import Ledger
from search.index.base import SegmentIndex

# Photos between two flushes. The embedded index writes each segment anew, with its mask: a photo of
# 30 takes 10 ms on a busy machine, told alone or with others.
TOLD_AT_ONCE = 1000


def tell_index(
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
    told, stale = 0, ledger.count_stale()
    while photo_ids := ledger.stale_photos(TOLD_AT_ONCE):
        facts = {photo_id: ledger.facts_now(photo_id) for photo_id in photo_ids}
        for photo_id, now in facts.items():
            index().update_facts(photo_id, now)
            told += 1
            show(told, stale)
        index().flush()
        for photo_id, now in facts.items():
            ledger.index_told(photo_id, now)
