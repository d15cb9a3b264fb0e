"""Coarse pass: index new photos as a whole before any of them is segmented.

Segmentation takes most of the time, embedding a whole photo hardly any. So a run with many new
photos processes them twice, and search is useful long before the run ends. The price is that
photos are decoded twice, since the pixels of all of them would not fit into memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

from ingest.catalog.file_facts import StatedFacts
from ingest.run import Run, mark_synced_if_current
from ingest.scanning.listing import Listing
from ingest.scanning.scan import NewFile, iter_waiting_files
from ingest.steps import DecodedFile, stated_from_decoded, whole_photo, whole_view
from search.errors import PhotoError
from search.records import Photo, RgbImage, photo_id_from_digest

WRITE_EVERY_S = 2.0  # or sooner, when the encoder's batch is full


@dataclass(frozen=True, eq=False)
class WholePhoto:
    """A photo preprocessed for the encoder; its full-size pixels are dropped."""

    file: NewFile
    photo: Photo
    view: RgbImage
    stated: StatedFacts


def index_whole_photos(listings: Sequence[Listing], run: Run) -> None:
    """Make new photos searchable as a whole.

    Files of known photos and files that can't be decoded are left to the second pass.
    """
    run.tally.is_coarse_pass = True
    files = chain.from_iterable(
        iter_waiting_files(listing, run.ledger, busy=run.busy) for listing in listings
    )
    batch: list[WholePhoto] = []
    written_at = time.monotonic()
    for whole in _whole_photos(files, run):
        batch.append(whole)
        full = len(batch) >= run.context.settings.embed_batch
        if full or time.monotonic() - written_at >= WRITE_EVERY_S:
            _write(batch, run)
            batch, written_at = [], time.monotonic()
    _write(batch, run)
    run.tally.is_coarse_pass = False


def _whole_photos(files: Iterator[NewFile], run: Run) -> Iterator[WholePhoto]:
    with closing(run.iter_decoded(files)) as photos:
        for file, decoded in photos:
            if isinstance(decoded, PhotoError):
                continue
            photo_id = photo_id_from_digest(decoded.pixel_sha256)
            if photo_id in run.in_progress or _is_known(photo_id, run):
                continue
            run.in_progress.add(photo_id)
            photo = DecodedFile(file, decoded, photo_id, stated_from_decoded(decoded))
            with run.stages.timed("whole", photos=0):
                view = whole_view(photo, run.context)
                whole = WholePhoto(file, whole_photo(photo), view, photo.stated)
            yield whole


def _is_known(photo_id: str, run: Run) -> bool:
    """Return whether a photo is finished, or another file shows it already."""
    return run.ledger.is_finished(photo_id) or bool(run.ledger.files_of(photo_id))


def _write(batch: Sequence[WholePhoto], run: Run) -> None:
    """Embed and write photos, then record them as searchable."""
    if not batch:
        return
    index, ledger = run.context.index(), run.ledger
    with run.stages.timed("whole", photos=len(batch)):
        vectors = run.context.encoder().encode_crops([whole.view for whole in batch])
        for whole, vector in zip(batch, vectors, strict=True):
            ledger.begin_photo(whole.photo)
            index.put_photo(whole.photo, vector[None])
        index.flush()
    for whole in batch:
        photo, file = whole.photo, whole.file
        ledger.show_whole_photo(photo, file.key, file.stamp, file.sha256, whole.stated)
        mark_synced_if_current(photo, ledger)
        run.in_progress.discard(photo.photo_id)
    run.tally.whole += len(batch)
    run.progress.show(run.tally)
