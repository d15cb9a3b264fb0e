"""Whole photos first: before any is cut, all new ones can be found by what they show as a whole.

Cutting takes most of the time, embedding a photo as a whole next to none. So a run that has many
new photos goes over them twice, and search is useful long before it ends. The price is that they
are decoded twice: the pixels of all would not fit into memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

from ingest.catalog.file_facts import StatedFacts
from ingest.context import Run, decoded_ahead
from ingest.scanning.scan import NewFile, iter_waiting_files
from ingest.scanning.scopes import Scope
from ingest.steps import UncutPhoto, stated_from_decoded, whole_photo, whole_view
from search.errors import PhotoError
from search.records import Photo, RgbImage, photo_id_from_digest

WRITE_EVERY_S = 2.0  # or sooner, when the encoder's batch is full


@dataclass(frozen=True, eq=False)
class WholePhoto:
    """A photo as the encoder sees it, without its own pixels."""

    file: NewFile
    photo: Photo
    view: RgbImage
    stated: StatedFacts


def show_whole_photos(scopes: Sequence[Scope], run: Run) -> None:
    """Make the photos of files that were never looked at searchable, uncut.

    Only files that show a photo nobody knows yet are taken. All others, and those that can't be
    used, are left to the pass that cuts.
    """
    run.tally.is_whole_pass = True
    files = chain.from_iterable(
        iter_waiting_files(scope, run.ledger, busy=run.busy) for scope in scopes
    )
    batch: list[WholePhoto] = []
    written_at = time.monotonic()
    for whole in _whole_photos(files, run):
        batch.append(whole)
        full = len(batch) >= run.workshop.settings.embed_batch
        if full or time.monotonic() - written_at >= WRITE_EVERY_S:
            _write(batch, run)
            batch, written_at = [], time.monotonic()
    _write(batch, run)
    run.tally.is_whole_pass = False


def _whole_photos(files: Iterator[NewFile], run: Run) -> Iterator[WholePhoto]:
    with closing(decoded_ahead(files, run)) as photos:
        for file, decoded in photos:
            if isinstance(decoded, PhotoError):
                continue
            photo_id = photo_id_from_digest(decoded.pixel_sha256)
            if photo_id in run.in_hand or _is_known(photo_id, run):
                continue
            run.in_hand.add(photo_id)
            uncut = UncutPhoto(file, decoded, photo_id, stated_from_decoded(decoded))
            with run.stages.busy("whole", photos=0):
                view = whole_view(uncut, run.workshop)
                whole = WholePhoto(file, whole_photo(uncut), view, uncut.stated)
            yield whole


def _is_known(photo_id: str, run: Run) -> bool:
    """Say whether a photo is in, or is shown by another file already."""
    return run.ledger.is_finished(photo_id) or bool(run.ledger.files_of(photo_id))


def _write(batch: Sequence[WholePhoto], run: Run) -> None:
    """Embed and write photos; then note that they can be found."""
    if not batch:
        return
    index, ledger = run.workshop.index(), run.ledger
    with run.stages.busy("whole", photos=len(batch)):
        vectors = run.workshop.encoder().encode_crops([whole.view for whole in batch])
        for whole, vector in zip(batch, vectors, strict=True):
            ledger.begin_photo(whole.photo)
            index.put_photo(whole.photo, vector[None])
        index.flush()
    for whole in batch:
        photo, file = whole.photo, whole.file
        ledger.show_whole_photo(photo, file.key, file.stamp, file.sha256, whole.stated)
        if ledger.facts_now(photo.photo_id) == photo.facts:
            ledger.index_told(photo.photo_id, photo.facts)
        run.in_hand.discard(photo.photo_id)
    run.tally.whole += len(batch)
    run.progress.show(run.tally)
