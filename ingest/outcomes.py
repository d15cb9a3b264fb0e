"""Where every outcome of a run ends: noted in the ledger, and counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from ingest.catalog.file_facts import StatedFacts
from ingest.catalog.ledger import Ledger
from ingest.catalog.records import LOOK_AGAIN
from ingest.scanning.listing import Listing
from ingest.scanning.scan import Busy, Gone, Linked, NewFile, Outcome, Skipped, Unchanged
from ingest.stats import Tally
from search.records import Photo


@dataclass(frozen=True)
class Ingested:
    """A photo whose segments are in the index, flushed."""

    file: NewFile
    photo: Photo
    stated: StatedFacts


def record(
    outcome: Outcome | Ingested, ledger: Ledger, tally: Tally, listing: Listing | None = None
) -> None:
    """Note what became of a file in the ledger and count it.

    Args:
        outcome: of one file.
        ledger: of this thread.
        tally: counts for the whole run.
        listing: that the file is from; one that is gone leaves it.
    """
    match outcome:
        case Unchanged(key, stamp, was_unreadable):
            if stamp is not None:
                ledger.restamp_file(key, stamp)
            if was_unreadable:
                ledger.note_reason(key, None)
            tally.unchanged += 1
        case Linked(file, photo_id, stated, is_same):
            ledger.put_file(file.key, file.stamp, file.sha256, photo_id, stated)
            if is_same:
                tally.unchanged += 1
            else:
                tally.updated += 1
        case Skipped():
            _record_skipped(outcome, ledger, tally)
        case Gone(key):
            if listing is not None:
                listing.discard(key.below)
        case Busy():
            pass
        case Ingested(file, photo, stated):
            ledger.finish_photo(photo, file.key, file.stamp, file.sha256, stated)
            mark_synced_if_current(photo, ledger)
            tally.finished(photo.segment_count)
        case _:
            assert_never(outcome)


def _record_skipped(skipped: Skipped, ledger: Ledger, tally: Tally) -> None:
    """Count a skipped file; it is news if no reason was noted before, or another one."""
    key, reason = skipped.key, skipped.reason
    if skipped.is_known:
        tally.skip(key.path, reason, is_new=False)
        return
    known = ledger.file(key)
    tally.skip(key.path, reason, is_new=known is None or known.reason != reason)
    if skipped.stamp is not None or known is None or known.photo_id is None:
        ledger.skip_file(key, skipped.stamp or LOOK_AGAIN, reason)
    elif known.reason != reason:
        ledger.note_reason(key, reason)


def mark_synced_if_current(photo: Photo, ledger: Ledger) -> None:
    """Note that the index has the facts of a photo, unless another file has changed them."""
    if ledger.facts_now(photo.photo_id) == photo.facts:
        ledger.mark_synced(photo.photo_id, photo.facts)
