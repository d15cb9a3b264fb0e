"""Vectors by another encoder or crop recipe, from the stored masks and the photos' files.

They are written beside those in use, which go on serving. A photo's own vector is written last, so
the photos without one are what is left to do: stop it anywhere, and the next run goes on there.
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
from ingest.prefetch import done_ahead
from ingest.settings import IngestSettings
from search.errors import PhotoError
from search.index.base import SegmentIndex
from search.models.embedding import photo_vector, segment_vectors
from search.models.encoder import Encoder
from search.records import Photo, Record, photo_id_from_digest
from search.settings import CropRecipe

FLUSH_EVERY_S = 10.0
MAY_LACK = 0.01  # part of the photos that are shown; one in any case
Show = Callable[[Iterable[str], int], Iterable[str]]


class LeftOut(Record):
    """A photo that could not be given vectors, and why."""

    photo_id: str
    reason: str


class Reembedded(Record):
    """What a run did."""

    photos: int
    segments: int
    seconds: float
    interrupted: bool
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class ReembedContext:
    """What photos get their vectors with."""

    index: SegmentIndex  # with the new vectors
    ledger: Ledger
    encoder: Encoder
    crop_recipe: CropRecipe
    settings: IngestSettings
    decode: Decode = decode_photo


@dataclass
class _Done:
    photos: int = 0
    segments: int = 0
    left_out: list[LeftOut] = field(default_factory=list)


class _File(NamedTuple):
    """A file that showed a photo, and its stamp then."""

    key: FileKey
    stamp: FileStamp


def reembed(remaking: ReembedContext, show: Show = lambda photos, _: photos) -> Reembedded:
    """Give every photo without the new vectors theirs.

    Ctrl-C finishes the photo in hand and returns what was done.

    Args:
        remaking: what it is done with.
        show: is handed the photos and how many there are, and hands them on.

    Raises:
        SegsearchError: the model or the store failed; all that was written stays.
    """
    started, done, interrupted = time.monotonic(), _Done(), False
    index = remaking.index
    total = index.count("photos") - index.count_vectors("photos")
    flushed_at = started
    left = (
        (photo, _files_of(photo, remaking.ledger))
        for photo_id in show(_photos_left(index), total)
        for photo in index.photos([photo_id])
    )
    try:
        with closing(done_ahead(left, _decoded, remaking.settings, remaking.decode)) as photos:
            for (photo, _), decoded in photos:
                if isinstance(decoded, str):
                    done.left_out.append(LeftOut(photo_id=photo.photo_id, reason=decoded))
                    continue
                _write(photo, decoded, remaking, done)
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
    """Say whether searches may use the vectors of this index.

    Hidden photos, which no search returns, may lack them. After a run that tried to make them all,
    few others may, too: an unreachable photo does not hold back all the rest.
    """
    shown = ledger.counts()["photos"]
    may_lack = max(1, int(shown * MAY_LACK)) if after_trying else 0
    lacking = 0
    for photo_id in _photos_left(index):
        row = ledger.paths([photo_id]).get(photo_id)
        lacking += row is None or not row.photo.facts.hidden
        if lacking > may_lack:
            return False
    return True


def _photos_left(index: SegmentIndex) -> Iterator[str]:
    """Go over the photos that lack vectors, each once.

    Segments are looked at last: where power was lost, theirs may be gone and the photo's not.
    """
    tried = set[str]()
    for collection in ("photos", "segments"):
        for photo_id in index.iter_without_vectors(collection):
            if photo_id not in tried:
                tried.add(photo_id)
                yield photo_id


def _files_of(photo: Photo, ledger: Ledger) -> list[_File]:
    """Return the files that show a photo, as far as is known; last those that are left out."""
    rows = ((key, ledger.file(key)) for key in ledger.files_of(photo.photo_id, excluded=True))
    return [_File(key, row.stamp) for key, row in rows if row is not None]


def _decoded(asked: tuple[Photo, list[_File]], workers: DecodeWorkers) -> DecodedPhoto | str:
    """Return a photo's pixels from the first file that still shows it, or why there are none."""
    photo, files = asked
    why = f"no file of the photo {photo.photo_id} is there"
    for file in files:
        path = file.key.path
        decoded = workers.decode(path)
        if isinstance(decoded, PhotoError):
            why = str(decoded)
        elif not _shows(decoded, photo, path, file.stamp):
            why = f"{shown_path(path)} has changed: bring it in with `segsearch ingest` first"
        else:
            return decoded
    return why


def _shows(decoded: DecodedPhoto, photo: Photo, path: Path, stamp: FileStamp) -> bool:
    """Say whether a file still shows the photo that it showed when it was brought in.

    A file that nobody touched does, also if another version of a decoder gives other pixels.
    """
    if decoded.size_wh != photo.size_wh:
        return False
    try:
        untouched = stamp.is_still(FileStamp.of(path))
    except OSError:
        untouched = False
    return untouched or photo_id_from_digest(decoded.pixel_sha256) == photo.photo_id


def _write(photo: Photo, decoded: DecodedPhoto, remaking: ReembedContext, done: _Done) -> None:
    """Embed a photo and its segments and write their vectors, the photo's own last.

    A photo with a damaged mask is left out.
    """
    index, encoder = remaking.index, remaking.encoder
    segments = index.segments_of(photo.photo_id, with_masks=True)
    masks = [(s.mask, s.bbox_xywh) for s in segments if s.mask is not None]
    try:
        vectors = segment_vectors(encoder, decoded.rgb, masks, remaking.crop_recipe)
    except ValueError as error:  # a mask is damaged
        reason = (
            f"a mask of the photo {photo.photo_id} can't be used: {error}. `segsearch verify "
            "--repair` has it cut anew by the next ingest"
        )
        done.left_out.append(LeftOut(photo_id=photo.photo_id, reason=reason))
        return
    index.put_vectors("segments", [s.segment_id for s in segments], vectors)
    index.put_vectors("photos", [photo.photo_id], photo_vector(encoder, decoded.rgb))
    done.photos += 1
    done.segments += len(segments)
