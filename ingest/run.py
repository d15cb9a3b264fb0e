"""One run of ingest: what it works with and what it has done, in all its threads."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from ingest.catalog.file_facts import StatedFacts
from ingest.catalog.ledger import Ledger
from ingest.catalog.records import LOOK_AGAIN
from ingest.context import IngestContext
from ingest.imaging.decode import DecodedPhoto, shown_path
from ingest.imaging.sandbox import DecodeWorkers
from ingest.prefetch import done_ahead
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
        """Note an outcome in the ledger, count it and show the progress.

        Args:
            outcome: of one file.
            listing: that the file is from.
            ledger: of the calling thread, if that is not the run's own.
        """
        record(outcome, ledger or self.ledger, self.tally, listing)
        self.progress.show(self.tally)

    def new_files(self, listing: Listing) -> Iterator[NewFile]:
        """Yield the files that have to be decoded; record all other outcomes on the way."""
        for outcome in iter_outcomes(listing, self.ledger, self.policy, busy=self.busy):
            if isinstance(outcome, NewFile):
                yield outcome
            else:
                self.record(outcome, listing)

    def show_synced(self, synced: int, unsynced: int) -> None:
        """Show how many changed photos the index was updated with, and of how many."""
        self.tally.synced, self.tally.unsynced = synced, unsynced
        self.progress.show(self.tally)

    def decoded_ahead(
        self, files: Iterable[NewFile]
    ) -> Generator[tuple[NewFile, DecodedPhoto | PhotoError]]:
        """Yield files with their pixels, in order, decoded before they are asked for.

        An unforeseen exception is logged and becomes the file's error; the run goes on.
        """
        return done_ahead(files, self._decode, self.context.settings, self.context.decode)

    def _decode(self, file: NewFile, workers: DecodeWorkers) -> DecodedPhoto | PhotoError:
        path = file.key.path
        try:
            with self.stages.busy("decode"):
                return workers.decode(path)
        except SegsearchError:  # no process can be started, say: it is not the file
            raise
        except Exception as error:
            _logger.warning("%s can't be decoded", shown_path(path), exc_info=True)
            return UndecodableError(
                f"{shown_path(path)} can't be decoded: {type(error).__name__}. Restore it from a "
                "backup, convert it, or leave it out."
            )
