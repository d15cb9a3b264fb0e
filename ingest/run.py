"""One run of ingest: what it works with and what it has done, in all its threads."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from ingest.catalog.ledger import Ledger
from ingest.context import IngestContext
from ingest.imaging.decode import DecodedPhoto, shown_path
from ingest.imaging.sandbox import DecodeWorkers
from ingest.outcomes import Ingested, record
from ingest.prefetch import done_ahead
from ingest.scanning.listing import Listing
from ingest.scanning.scan import NewFile, Outcome, RescanPolicy, iter_outcomes
from ingest.stats import Progress, Stages, Tally
from search.errors import PhotoError, SegsearchError, UndecodableError

T = TypeVar("T")
_logger = logging.getLogger(__name__)


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


class BackgroundStep(Generic[T]):
    """Runs a step of the pipeline in threads of its own, behind a bounded queue.

    Leaving the `with` block waits until all is done. An error in a thread is raised there, at the
    next `put` or by `raise_error`; items that are queued by then are dropped.
    """

    def __init__(
        self, steps: Sequence[Callable[[Iterator[T]], None]], name: str, at_most: int
    ) -> None:
        """Make the threads; they start with the `with` block.

        Args:
            steps: one for each thread; each takes what arrives for it until nothing more does.
            name: of the threads.
            at_most: so many things may wait to be taken.
        """
        self._waiting: queue.Queue[T | None] = queue.Queue(at_most)
        self._error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._work, args=(step,), name=name, daemon=True)
            for step in steps
        ]

    def __enter__(self) -> BackgroundStep[T]:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        self.raise_error()

    def put(self, thing: T) -> None:
        """Hand something over; waits while as many as allowed are waiting already."""
        self.raise_error()
        self._waiting.put(thing)

    def raise_error(self) -> None:
        """Raise what went wrong in a thread, if anything did."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self, step: Callable[[Iterator[T]], None]) -> None:
        arriving: Iterator[T] = iter(self._waiting.get, None)
        try:
            step(arriving)
        except BaseException as error:
            self._error = self._error or error
            for _ in arriving:
                """Drain, so that put() never waits for a thread that has given up."""
