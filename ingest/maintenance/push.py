"""A library's photos, segments and vectors, copied from one index to another.

A photo is written after its segments, so a photo that is there is there with all of them: stop it
anywhere, and the next run goes on there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Set
from itertools import islice

import numpy as np

from ingest.catalog.ledger import Ledger
from ingest.maintenance.verify import same_facts
from search.index.base import SegmentIndex
from search.index.payload import FIELDS
from search.records import Photo, Record, Vectors

PAGE = 100  # photos looked up at once
SAMPLE = 100  # photos compared in full at the end
SAME_DIRECTION = 0.9999  # cosine: engines normalise, and may sum in another order
Show = Callable[[Iterable[str], int], Iterable[str]]


class Pushed(Record):
    """What a run did, and how source and target compare at its end."""

    photos: int  # copied in this run
    photos_there: int  # there already
    photos_deleted: int  # of the target, unknown to the library
    segments: int
    seconds: float
    interrupted: bool
    differences: tuple[str, ...]  # nothing: the target has what the library has


def push(
    ledger: Ledger,
    source: SegmentIndex,
    target: SegmentIndex,
    *,
    prune: bool = False,
    show: Show = lambda photos, _: photos,
) -> Pushed:
    """Copy what the target lacks, then compare.

    Ctrl-C finishes the photo in hand and returns what was done.

    Args:
        ledger: the photos of the library.
        source: where they are.
        target: where they go.
        prune: delete photos of the target that the library does not know.
        show: is handed the photos and how many there are, and hands them on.

    Raises:
        SegsearchError: a store failed; all that was copied stays.
    """
    started = time.monotonic()
    photos = there = segments = deleted = 0
    interrupted, differences = False, list[str]()
    known = [row.photo.photo_id for row in ledger.iter_photos()]
    try:
        bare = set(target.iter_without_vectors("photos"))
        for photo, is_there in _compared(show(known, len(known)), source, target, bare):
            if is_there:
                there += 1
            else:
                segments += _copy(photo, source, target)
                photos += 1
        if prune:
            deleted = _prune(set(known), target)
        target.flush()
        differences += _differences(source, target)
    except KeyboardInterrupt:
        interrupted = True
    return Pushed(
        photos=photos,
        photos_there=there,
        photos_deleted=deleted,
        segments=segments,
        seconds=time.monotonic() - started,
        interrupted=interrupted,
        differences=tuple(differences),
    )


def _compared(
    photo_ids: Iterable[str], source: SegmentIndex, target: SegmentIndex, bare: Set[str]
) -> Iterator[tuple[Photo, bool]]:
    """Yield the photos, and whether the target has them as they are; not those without vectors."""
    ids = iter(photo_ids)
    while page := list(islice(ids, PAGE)):
        found = {photo.photo_id: photo for photo in target.photos(page)}
        for photo in source.photos(page):
            copied = found.get(photo.photo_id)
            yield photo, photo.photo_id not in bare and copied is not None and _same(photo, copied)


def _same(one: Photo, other: Photo) -> bool:
    facts = {"facts": one.facts}
    return same_facts(one.facts, other.facts) and one == other.model_copy(update=facts)


def _copy(photo: Photo, source: SegmentIndex, target: SegmentIndex) -> int:
    """Copy a photo, itself last; return how many segments it has."""
    segments = source.segments_of(photo.photo_id, with_masks=True)
    ids = [segment.segment_id for segment in segments]
    vector = source.photo_vectors([photo.photo_id])
    target.put_segments(photo, segments, source.segment_vectors(ids))
    if gone := target.segment_ids_of(photo.photo_id) - set(ids):
        target.delete_segments(sorted(gone))
    target.put_photo(photo, vector)
    return len(segments)


def _prune(known: Set[str], target: SegmentIndex) -> int:
    """Delete the photos that the library does not know; return how many there were."""
    strays = [photo_id for photo_id, _ in target.iter_ids("photos") if photo_id not in known]
    for photo_id in strays:
        target.delete_photo(photo_id)
    return len(strays)


def _differences(source: SegmentIndex, target: SegmentIndex) -> Iterator[str]:
    """Say where source and target differ: in numbers, or in the photos of a sample."""
    for collection in FIELDS:
        here, there = source.count(collection), target.count(collection)
        if here != there:
            yield f"the library has {here} {collection}, the server {there}"
    for photo in islice(source.iter_photos(), SAMPLE):  # ids are hashes: as good as drawn by chance
        if not _is_equal(photo, source, target):
            yield f"the photo {photo.photo_id} is not the same there"


def _is_equal(photo: Photo, source: SegmentIndex, target: SegmentIndex) -> bool:
    photo_id = photo.photo_id
    here, there = (
        {
            segment.segment_id: segment.mask
            for segment in index.segments_of(photo_id, with_masks=True)
        }
        for index in (source, target)
    )
    copied = target.photos([photo_id])
    if here != there or not copied or not _same(photo, copied[0]):
        return False
    ids = sorted(here)
    return _agree(source.segment_vectors(ids), target.segment_vectors(ids)) and _agree(
        source.photo_vectors([photo_id]), target.photo_vectors([photo_id])
    )


def _agree(one: Vectors, other: Vectors) -> bool:
    """Say whether two times n unit vectors, (n, dim), point the same way."""
    return bool(np.all((one * other).sum(axis=1) > SAME_DIRECTION))
