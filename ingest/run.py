"""The state of one ingest run, shared by its threads, and the recording of outcomes."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from ingest.catalog.file_facts import StatedFacts
from ingest.catalog.ledger import Ledger
from ingest.catalog.records import UNKNOWN_STAMP
from ingest.context import IngestContext
from ingest.imaging.decode import DecodedPhoto, shown_path
from ingest.imaging.sandbox import DecodeWorkers
from ingest.prefetch import iter_prefetched
from ingest.scanning.listing import Listing
from ingest.scanning.scan import (
    Busy,
    Gone,
    Linked,
    NewFile,
    Outcome,
    RescanPolicy,
    Skipped,
    Unchanged,
    iter_outcomes,
)
from ingest.stats import Progress, Stages, Tally
from search.errors import PhotoError, SegsearchError, UndecodableError
from search.records import Photo

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ingested:
    """A photo whose segments are in the index, flushed."""

    file: NewFile
    photo: Photo
    stated: StatedFacts


def record(
    outcome: Outcome | Ingested, ledger: Ledger, tally: Tally, listing: Listing | None = None
) -> None:
    """Write the outcome of one file to the ledger and count it.

    Args:
        outcome: of one file.
        ledger: of the calling thread.
        tally: counts of the whole run.
        listing: the listing that the file is from; a file that is gone is removed from it.
    """
    match outcome:
        case Unchanged():
            _record_unchanged(outcome, ledger, tally)
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


def _record_unchanged(unchanged: Unchanged, ledger: Ledger, tally: Tally) -> None:
    if unchanged.stamp is not None:
        ledger.restamp_file(unchanged.key, unchanged.stamp)
    if unchanged.was_unreadable:
        ledger.note_reason(unchanged.key, None)
    tally.unchanged += 1


def _record_skipped(skipped: Skipped, ledger: Ledger, tally: Tally) -> None:
    """Record a skipped file; it counts as new unless it was skipped before for the same reason."""
    key, reason = skipped.key, skipped.reason
    if skipped.is_known:
        tally.skip(key.path, reason, is_new=False)
        return
    known = ledger.file(key)
    tally.skip(key.path, reason, is_new=known is None or known.reason != reason)
    if skipped.stamp is not None or known is None or known.photo_id is None:
        ledger.skip_file(key, skipped.stamp or UNKNOWN_STAMP, reason)
    elif known.reason != reason:
        ledger.note_reason(key, reason)


def mark_synced_if_current(photo: Photo, ledger: Ledger) -> None:
    """Mark a photo as synced unless another file has changed its facts since it was written."""
    if ledger.facts_now(photo.photo_id) == photo.facts:
        ledger.mark_synced(photo.photo_id, photo.facts)


@dataclass
class Run:
    """One call of `ingest`."""

    context: IngestContext
    ledger: Ledger
    progress: Progress
    policy: RescanPolicy
    busy: frozenset[Path] = frozenset()  # files that are being written
    tally: Tally = field(default_factory=Tally)
    stages: Stages = field(default_factory=Stages)
    in_progress: set[str] = field(default_factory=set)  # ids of photos between decoder and index

    def record(
        self,
        outcome: Outcome | Ingested,
        listing: Listing | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        """Write an outcome to the ledger, count it and show the progress.

        Args:
            outcome: of one file.
            listing: the listing that the file is from.
            ledger: of the calling thread; None: the run's own.
        """
        record(outcome, ledger or self.ledger, self.tally, listing)
        self.progress.show(self.tally)

    def new_files(self, listing: Listing) -> Iterator[NewFile]:
        """Yield the files that have to be decoded; record all other outcomes."""
        for outcome in iter_outcomes(listing, self.ledger, self.policy, busy=self.busy):
            if isinstance(outcome, NewFile):
                yield outcome
            else:
                self.record(outcome, listing)

    def show_synced(self, synced: int, unsynced: int) -> None:
        """Show the progress of updating the index with changed photos."""
        self.tally.synced, self.tally.unsynced = synced, unsynced
        self.progress.show(self.tally)

    def iter_decoded(
        self, files: Iterable[NewFile]
    ) -> Generator[tuple[NewFile, DecodedPhoto | PhotoError]]:
        """Yield files with their decoded photos, in order, decoding ahead of the consumer.

        An unexpected exception is logged and becomes the file's error, and the run continues.
        """
        return iter_prefetched(files, self._decode, self.context.settings, self.context.decode)

    def _decode(self, file: NewFile, workers: DecodeWorkers) -> DecodedPhoto | PhotoError:
        path = file.key.path
        try:
            with self.stages.timed("decode"):
                return workers.decode(path)
        except SegsearchError:  # not about the file: no process could be started, for example
            raise
        except Exception as error:
            _logger.warning("%s can't be decoded", shown_path(path), exc_info=True)
            return UndecodableError(
                f"{shown_path(path)} can't be decoded: {type(error).__name__}. Restore it from a "
                "backup, convert it, or leave it out."
            )
