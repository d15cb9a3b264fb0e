"""Copy a library's photos, segments and vectors from one index to another.

A photo is written after its segments, so an interrupted copy continues with the photos that the
target lacks.
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
MIN_COSINE = 0.9999  # engines normalize vectors, with different rounding
Show = Callable[[Iterable[str], int], Iterable[str]]


class Pushed(Record):
    """Result of a push, with the remaining differences of source and target."""

    photos: int  # copied by this run
    photos_there: int  # already in the target
    photos_deleted: int  # from the target, unknown to the library
    segments: int
    seconds: float
    interrupted: bool
    differences: tuple[str, ...]  # empty: the target matches the library


def push(
    ledger: Ledger,
    source: SegmentIndex,
    target: SegmentIndex,
    *,
    prune: bool = False,
    show: Show = lambda photos, _: photos,
) -> Pushed:
    """Copy photos that the target lacks, then compare both.

    Ctrl-C finishes the current photo and returns.

    Args:
        ledger: of the library.
        source: index to copy from.
        target: index to copy to.
        prune: delete photos of the target that the library does not know.
        show: wraps the iterable of photo ids, given their number; for a progress bar.

    Raises:
        SegsearchError: a store failed; copied photos are kept.
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
    """Yield the photos, and whether the target has the same photo with vectors."""
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
    """Copy a photo, its segments first; return the number of segments."""
    segments = source.segments_of(photo.photo_id, with_masks=True)
    ids = [segment.segment_id for segment in segments]
    vector = source.photo_vectors([photo.photo_id])
    target.put_segments(photo, segments, source.segment_vectors(ids))
    if gone := target.segment_ids_of(photo.photo_id) - set(ids):
        target.delete_segments(sorted(gone))
    target.put_photo(photo, vector)
    return len(segments)


def _prune(known: Set[str], target: SegmentIndex) -> int:
    """Delete photos that the library does not know; return their number."""
    unknown = [photo_id for photo_id, _ in target.iter_ids("photos") if photo_id not in known]
    for photo_id in unknown:
        target.delete_photo(photo_id)
    return len(unknown)


def _differences(source: SegmentIndex, target: SegmentIndex) -> Iterator[str]:
    """Describe differences of source and target, in numbers and in a sample of photos."""
    for collection in FIELDS:
        here, there = source.count(collection), target.count(collection)
        if here != there:
            yield f"the library has {here} {collection}, the server {there}"
    for photo in islice(source.iter_photos(), SAMPLE):  # ids are hashes, so this is a random sample
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
    """Return whether two sets of unit vectors (n, dim) agree up to rounding."""
    return bool(np.all((one * other).sum(axis=1) > MIN_COSINE))
