"""Compute vectors with another encoder or crop recipe, from stored masks and photo files.

They are written beside the vectors in use, which searches keep using. A photo's own vector is
written last, so an interrupted run continues with the photos that lack one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import FileKey, FileStamp
from ingest.imaging.decode import DecodedPhoto, decode_photo, shown_path
from ingest.imaging.sandbox import Decode, DecodeWorkers
from ingest.prefetch import iter_prefetched
from ingest.settings import IngestSettings
from search.errors import PhotoError
from search.index.base import SegmentIndex
from search.models.embedding import photo_vector, segment_vectors
from search.models.encoder import Encoder
from search.records import Photo, Record, photo_id_from_digest
from search.settings import CropRecipe

FLUSH_EVERY_S = 10.0
MAX_LACKING_FRACTION = 0.01  # of visible photos; at least one photo
Show = Callable[[Iterable[str], int], Iterable[str]]


class SkippedPhoto(Record):
    """A photo that could not be embedded, and why."""

    photo_id: str
    reason: str


class Reembedded(Record):
    """Result of a run."""

    photos: int
    segments: int
    seconds: float
    interrupted: bool
    left_out: tuple[SkippedPhoto, ...]


@dataclass(frozen=True)
class ReembedContext:
    """The dependencies of `reembed`."""

    index: SegmentIndex  # with the new vectors
    ledger: Ledger
    encoder: Encoder
    crop_recipe: CropRecipe
    settings: IngestSettings
    decode: Decode = decode_photo


@dataclass
class _Progress:
    photos: int = 0
    segments: int = 0
    left_out: list[SkippedPhoto] = field(default_factory=list)


class _File(NamedTuple):
    """A file of a photo, and its stamp when it was ingested."""

    key: FileKey
    stamp: FileStamp


def reembed(context: ReembedContext, show: Show = lambda photos, _: photos) -> Reembedded:
    """Embed all photos that lack the new vectors.

    Ctrl-C finishes the current photo and returns.

    Args:
        context: index, ledger and encoder.
        show: wraps the iterable of photo ids, given their number; for a progress bar.

    Raises:
        SegsearchError: the model or the store failed; written vectors are kept.
    """
    started, done, interrupted = time.monotonic(), _Progress(), False
    index = context.index
    total = index.count("photos") - index.count_vectors("photos")
    flushed_at = started
    remaining = (
        (photo, _files_of(photo, context.ledger))
        for photo_id in show(_photos_left(index), total)
        for photo in index.photos([photo_id])
    )
    try:
        with closing(
            iter_prefetched(remaining, _decoded, context.settings, context.decode)
        ) as photos:
            for (photo, _), decoded in photos:
                if isinstance(decoded, str):
                    done.left_out.append(SkippedPhoto(photo_id=photo.photo_id, reason=decoded))
                    continue
                _write(photo, decoded, context, done)
                if time.monotonic() - flushed_at >= FLUSH_EVERY_S:
                    index.flush()
                    flushed_at = time.monotonic()
    except KeyboardInterrupt:
        interrupted = True
    index.flush()
    return Reembedded(
        photos=done.photos,
        segments=done.segments,
        seconds=time.monotonic() - started,
        interrupted=interrupted,
        left_out=tuple(done.left_out),
    )


def may_be_used(index: SegmentIndex, ledger: Ledger, *, after_trying: bool) -> bool:
    """Return whether searches may use the vectors of this index.

    Hidden photos may lack vectors. After a run that tried all photos, a few visible ones may too,
    so that an unreadable photo does not block the switch to the new vectors.
    """
    shown = ledger.counts()["photos"]
    may_lack = max(1, int(shown * MAX_LACKING_FRACTION)) if after_trying else 0
    lacking = 0
    for photo_id in _photos_left(index):
        row = ledger.paths([photo_id]).get(photo_id)
        lacking += row is None or not row.photo.facts.hidden
        if lacking > may_lack:
            return False
    return True


def _photos_left(index: SegmentIndex) -> Iterator[str]:
    """Iterate over the photos that lack vectors, each once.

    Segments are checked too: after a power failure theirs may be lost and the photo's not.
    """
    tried = set[str]()
    for collection in ("photos", "segments"):
        for photo_id in index.iter_without_vectors(collection):
            if photo_id not in tried:
                tried.add(photo_id)
                yield photo_id


def _files_of(photo: Photo, ledger: Ledger) -> list[_File]:
    """Return the known files of a photo, excluded ones last."""
    rows = ((key, ledger.file(key)) for key in ledger.files_of(photo.photo_id, excluded=True))
    return [_File(key, row.stamp) for key, row in rows if row is not None]


def _decoded(item: tuple[Photo, list[_File]], workers: DecodeWorkers) -> DecodedPhoto | str:
    """Decode the first file that still shows the photo; else return the reason."""
    photo, files = item
    reason = f"no file of the photo {photo.photo_id} is there"
    for file in files:
        path = file.key.path
        decoded = workers.decode(path)
        if isinstance(decoded, PhotoError):
            reason = str(decoded)
        elif not _shows(decoded, photo, path, file.stamp):
            reason = f"{shown_path(path)} has changed: run `segsearch ingest` on it first"
        else:
            return decoded
    return reason


def _shows(decoded: DecodedPhoto, photo: Photo, path: Path, stamp: FileStamp) -> bool:
    """Return whether a file still shows the photo that it showed when it was ingested.

    An untouched file does, even if another version of a decoder returns different pixels.
    """
    if decoded.size_wh != photo.size_wh:
        return False
    try:
        untouched = stamp.is_unchanged(FileStamp.of(path))
    except OSError:
        untouched = False
    return untouched or photo_id_from_digest(decoded.pixel_sha256) == photo.photo_id


def _write(photo: Photo, decoded: DecodedPhoto, context: ReembedContext, done: _Progress) -> None:
    """Embed a photo and its segments and write their vectors, the photo's own last.

    A photo with a damaged mask is skipped.
    """
    index, encoder = context.index, context.encoder
    segments = index.segments_of(photo.photo_id, with_masks=True)
    masks = [(s.mask, s.bbox_xywh) for s in segments if s.mask is not None]
    try:
        vectors = segment_vectors(encoder, decoded.rgb, masks, context.crop_recipe)
    except ValueError as error:  # a mask is damaged
        reason = (
            f"a mask of the photo {photo.photo_id} can't be used: {error}. `segsearch verify "
            "--repair` lets the next ingest segment it again"
        )
        done.left_out.append(SkippedPhoto(photo_id=photo.photo_id, reason=reason))
        return
    index.put_vectors("segments", [s.segment_id for s in segments], vectors)
    index.put_vectors("photos", [photo.photo_id], photo_vector(encoder, decoded.rgb))
    done.photos += 1
    done.segments += len(segments)
