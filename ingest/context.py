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
from ingest.imaging.decode import DecodedPhoto, shown_path
from ingest.imaging.prefetch import done_ahead
from ingest.imaging.sandbox import DecodeWorkers
from ingest.scanning.scan import Again, NewFile, iter_new_files
from ingest.scanning.scan_result import Seen
from ingest.scanning.scopes import Scope
from ingest.stages import Stages
from ingest.stats import Progress, Tally
from ingest.steps import Workshop
from search.errors import PhotoError, SegsearchError, UndecodableError

T = TypeVar("T")
_logger = logging.getLogger(__name__)


@dataclass
class Run:
    """One call of `ingest`."""

    workshop: Workshop
    ledger: Ledger
    progress: Progress
    tally: Tally
    again: Again
    busy: frozenset[Path]
    stages: Stages = field(default_factory=Stages)
    in_hand: set[str] = field(default_factory=set)  # photos that are on their way

    def show_told(self, told: int, stale: int) -> None:
        """Show how many moved, re-tagged or hidden photos the index was told of."""
        self.tally.told, self.tally.stale = told, stale
        self.progress.show(self.tally)


def new_files_of(scope: Scope, seen: Seen, run: Run) -> Iterator[NewFile]:
    """Yield the files of a folder that need decoding; settle all others on the way."""
    return iter_new_files(
        scope,
        run.ledger,
        run.tally,
        seen,
        run.again,
        busy=run.busy,
        on_settled=lambda: run.progress.show(run.tally),
    )


def decoded_ahead(
    files: Iterable[NewFile], run: Run
) -> Generator[tuple[NewFile, DecodedPhoto | PhotoError]]:
    """Yield files with their pixels, in order, decoded before they are asked for.

    What nobody foresaw is said of the file that it happened with, and the run goes on.
    """

    def decode(file: NewFile, workers: DecodeWorkers) -> DecodedPhoto | PhotoError:
        path = file.key.path
        try:
            with run.stages.busy("decode"):
                return workers.decode(path)
        except SegsearchError:  # no process can be started, say: it is not the file
            raise
        except Exception as error:
            _logger.warning("%s can't be decoded", shown_path(path), exc_info=True)
            return UndecodableError(
                f"{shown_path(path)} can't be decoded: {type(error).__name__}. Restore it from a "
                "backup, convert it, or leave it out."
            )

    return done_ahead(files, decode, run.workshop.settings, run.workshop.decode)


class Behind(Generic[T]):
    """Does a step of the work in threads of its own, behind whoever hands things over.

    Leaving the `with` block waits until all is done. An error in a thread is raised there, at the
    next `put` or when asked for; what was handed over and not done by then is left.
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

    def __enter__(self) -> Behind[T]:
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
