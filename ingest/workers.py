"""The threads that segment, embed and write photos.

Each device has its own models and two threads: one segments, the other embeds and writes. With a
single device the calling thread segments, so that Ctrl-C can interrupt a photo that takes a minute.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Generic, TypeVar

from ingest.catalog.ledger import Ledger
from ingest.context import IngestContext
from ingest.run import Ingested, Run
from ingest.steps import DecodedFile, SegmentedPhoto, embed_photo, segment_photo, write_photo

WRITE_QUEUE_SIZE = 2  # segmented photos waiting to be embedded; each holds its pixels

T = TypeVar("T")


class BackgroundStep(Generic[T]):
    """Runs a step of the pipeline in its own threads, fed by a bounded queue.

    Leaving the `with` block waits for the threads. The first error in a thread is raised there, by
    the next `put` or by `raise_error`; items still in the queue are dropped.
    """

    def __init__(
        self, steps: Sequence[Callable[[Iterator[T]], None]], name: str, queue_size: int
    ) -> None:
        """Create the threads; they start when the `with` block is entered.

        Args:
            steps: one per thread, each called with an iterator over the queue.
            name: of the threads.
            queue_size: `put` blocks while this many items are waiting.
        """
        self._waiting: queue.Queue[T | None] = queue.Queue(queue_size)
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

    def put(self, item: T) -> None:
        """Queue an item; blocks while the queue is full."""
        self.raise_error()
        self._waiting.put(item)

    def raise_error(self) -> None:
        """Raise the first error of a thread, once."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self, step: Callable[[Iterator[T]], None]) -> None:
        items: Iterator[T] = iter(self._waiting.get, None)
        try:
            step(items)
        except BaseException as error:
            self._error = self._error or error
            deque(items, maxlen=0)  # drain, so that put() never waits for a thread that has failed


@contextmanager
def segmenting(run: Run) -> Iterator[Callable[[DecodedFile], None]]:
    """Yield a function that accepts decoded files; on exit all of them are in the index."""
    contexts = (run.context, *run.context.other_devices)
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
    with run.stages.timed("cut"):
        segmented = segment_photo(file, context)
    writing.put(segmented)


def _writing(context: IngestContext, run: Run) -> BackgroundStep[SegmentedPhoto]:
    return BackgroundStep(
        [partial(_write_all, context=context, run=run)], "write", WRITE_QUEUE_SIZE
    )


def _write_all(photos: Iterator[SegmentedPhoto], context: IngestContext, run: Run) -> None:
    """Embed and write photos; flush regularly and record flushed photos as ingested."""
    written: list[Ingested] = []  # not flushed yet
    flushed_at = time.monotonic()
    with closing(context.open_ledger()) as ledger:  # SQLite connections belong to one thread
        for photo in photos:
            ledger.begin_photo(photo.photo)
            with run.stages.timed("embed"):
                vectors = embed_photo(photo, context)
            with run.stages.timed("write"):
                write_photo(photo, vectors, context.index())
            written.append(Ingested(photo.file, photo.photo, photo.stated))
            if time.monotonic() - flushed_at >= context.flush_every_s:
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
