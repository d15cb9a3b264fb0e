"""Threads that segment, embed and write photos: one pair of them for each device.

Each device has a thread that segments and one behind it that embeds and writes, with models of
their own. With a single device the calling thread segments, so that Ctrl-C interrupts a photo that
takes a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial

from ingest.catalog.ledger import Ledger
from ingest.context import IngestContext
from ingest.outcomes import Ingested
from ingest.run import BackgroundStep, Run
from ingest.steps import DecodedFile, SegmentedPhoto, embed_photo, segment_photo, write_photo

WRITE_BEHIND = 2  # photos waiting to be embedded; each holds its pixels
FLUSH_EVERY_S = 2.0  # what is not flushed and noted yet is done again after a crash


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
