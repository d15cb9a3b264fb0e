"""Photos are cut, embedded and written: on one device here, on several each in a lane of its own.

A lane is two threads with models of their own: one cuts, the other embeds and writes behind it.
Where there is only one device, the thread that decoded is waited in cuts, so that Ctrl-C ends a
photo that takes a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import NamedTuple

from ingest.catalog.file_facts import StatedFacts
from ingest.catalog.ledger import Ledger
from ingest.context import Behind, Run
from ingest.scanning.scan import NewFile
from ingest.steps import CutPhoto, UncutPhoto, Workshop, cut_photo, embed_photo, write_photo
from search.records import Photo

WRITE_BEHIND = 2  # photos waiting to be embedded; each holds its pixels
FLUSH_EVERY_S = 2.0  # what is not flushed and noted yet is done again after a crash

Cut = Callable[[UncutPhoto], None]


class Written(NamedTuple):
    """A photo that is in the index, and what its file says of it."""

    file: NewFile
    photo: Photo
    stated: StatedFacts


@contextmanager
def cutting(run: Run) -> Iterator[Cut]:
    """Yield what photos are handed to; when the block is left, all are written and finished."""
    workshops = (run.workshop, *run.workshop.beside)
    if len(workshops) == 1:
        with _writing(run.workshop, run) as writing:
            yield partial(_cut, writing=writing, workshop=run.workshop, run=run)
    else:
        steps = [partial(_cut_all, workshop=workshop, run=run) for workshop in workshops]
        with Behind(steps, "cut", len(steps)) as lanes:
            yield lanes.put


def _cut_all(arriving: Iterator[UncutPhoto], workshop: Workshop, run: Run) -> None:
    with _writing(workshop, run) as writing:
        for uncut in arriving:
            _cut(uncut, writing, workshop, run)


def _cut(uncut: UncutPhoto, writing: Behind[CutPhoto], workshop: Workshop, run: Run) -> None:
    writing.raise_error()
    with run.stages.busy("cut"):
        cut = cut_photo(uncut, workshop)
    writing.put(cut)


def _writing(workshop: Workshop, run: Run) -> Behind[CutPhoto]:
    return Behind([partial(_write_all, workshop=workshop, run=run)], "write", WRITE_BEHIND)


def _write_all(arriving: Iterator[CutPhoto], workshop: Workshop, run: Run) -> None:
    """Embed and write what arrives; flush now and then, and note what is finished with it."""
    unfinished: list[Written] = []  # without their pixels
    flushed_at = time.monotonic()
    with closing(workshop.open_ledger()) as ledger:  # SQLite: one a thread
        for cut in arriving:
            ledger.begin_photo(cut.photo)
            with run.stages.busy("embed"):
                vectors = embed_photo(cut, workshop)
            with run.stages.busy("write"):
                write_photo(cut, vectors, workshop.index())
            unfinished.append(Written(cut.file, cut.photo, cut.stated))
            if time.monotonic() - flushed_at >= FLUSH_EVERY_S:
                finish_photos(unfinished, ledger, run)
                unfinished, flushed_at = [], time.monotonic()
        if unfinished:
            finish_photos(unfinished, ledger, run)


def finish_photos(written: Sequence[Written], ledger: Ledger, run: Run) -> None:
    """Flush, then note that these photos are finished."""
    run.workshop.index().flush()
    for file, photo, stated in written:
        ledger.finish_photo(photo, file.key, file.stamp, file.sha256, stated)
        if ledger.facts_now(photo.photo_id) == photo.facts:
            ledger.index_told(photo.photo_id, photo.facts)
        run.tally.finished(photo.segment_count)
        run.in_hand.discard(photo.photo_id)
    run.progress.show(run.tally)
