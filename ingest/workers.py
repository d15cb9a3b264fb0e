"""Threads that segment, embed and write photos: one pair of them for each device.

Each device has a thread that segments and one behind it that embeds and writes, with models of
their own. With a single device the calling thread segments, so that Ctrl-C interrupts a photo that
takes a minute.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Generic, TypeVar

from ingest.catalog.ledger import Ledger
from ingest.context import IngestContext
from ingest.run import Ingested, Run
from ingest.steps import DecodedFile, SegmentedPhoto, embed_photo, segment_photo, write_photo

WRITE_BEHIND = 2  # photos waiting to be embedded; each holds its pixels
FLUSH_EVERY_S = 2.0  # what is not flushed and noted yet is done again after a crash


T = TypeVar("T")


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


@contextmanager
def segmenting(run: Run) -> Iterator[Callable[[DecodedFile], None]]:
    """Yield a function that takes decoded files; on leaving, all of them are in the index."""
    contexts = (run.context, *run.context.beside)
    if len(contexts) == 1:
        with _writing(run.context, run) as writing:
            yield partial(_segment, writing=writing, context=run.context, run=run)
    else:
        steps = [partial(_segment_all, context=context, run=run) for context in contexts]
        with BackgroundStep(steps, "segment", len(steps)) as devices:
            yield devices.put


def _segment_all(files: Iterator[DecodedFile], context: IngestContext, run: Run) -> None:
    with _writing(context, run) as writing:
        for file in files:
            _segment(file, writing, context, run)


def _segment(
    file: DecodedFile, writing: BackgroundStep[SegmentedPhoto], context: IngestContext, run: Run
) -> None:
    writing.raise_error()
    with run.stages.busy("cut"):
        segmented = segment_photo(file, context)
    writing.put(segmented)


def _writing(context: IngestContext, run: Run) -> BackgroundStep[SegmentedPhoto]:
    return BackgroundStep([partial(_write_all, context=context, run=run)], "write", WRITE_BEHIND)


def _write_all(photos: Iterator[SegmentedPhoto], context: IngestContext, run: Run) -> None:
    """Embed and write photos; flush now and then, and record what is flushed as ingested."""
    written: list[Ingested] = []  # without pixels, not flushed yet
    flushed_at = time.monotonic()
    with closing(context.open_ledger()) as ledger:  # SQLite: one a thread
        for photo in photos:
            ledger.begin_photo(photo.photo)
            with run.stages.busy("embed"):
                vectors = embed_photo(photo, context)
            with run.stages.busy("write"):
                write_photo(photo, vectors, context.index())
            written.append(Ingested(photo.file, photo.photo, photo.stated))
            if time.monotonic() - flushed_at >= FLUSH_EVERY_S:
                finish_photos(written, ledger, run)
                written, flushed_at = [], time.monotonic()
        if written:
            finish_photos(written, ledger, run)


def finish_photos(written: Sequence[Ingested], ledger: Ledger, run: Run) -> None:
    """Flush the index, then record photos as ingested."""
    run.context.index().flush()
    for ingested in written:
        run.record(ingested, ledger=ledger)
        run.in_progress.discard(ingested.photo.photo_id)
