"""Is a library whole? Every finished photo is looked up in the index, and mended if asked for.

A photo that is broken is made unfinished, so that the next ingest does it again; what the index
has and the ledger does not know is deleted. Files are looked for and never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from ingest.files import PhotoRow, is_gone
from ingest.ledger import Ledger
from ingest.photos import path_text
from ingest.telling import tell_index
from search.errors import DamagedError, UnknownIdError
from search.index import SegmentIndex
from search.masks import array_from_mask, fitted_size, runs_from_counts
from search.records import (
    Box,
    Mask,
    Photo,
    PhotoFacts,
    Record,
    Segment,
    checked_vectors,
    segment_id_from_mask,
)

# Shrinking to the stored size keeps pixels that are half covered: of things as thin as a pixel it
# may keep all or none. Masks come from logits of 256 x 256, so that none is much thinner.
AREA_DIFFERS = 0.3  # part of the segment's area,
AREA_DIFFERS_PX = 100  # and pixels of the stored mask
# In photos that are this many times as long as wide (their short side has 16 logits) all things may
# be that thin: there a mask must lie within its segment's box, whatever it covers.
THIN = 16
PLACE_DIGITS = 6  # of degrees, a tenth of a metre: engines keep numbers as JSON

Kind = Literal["broken", "outdated", "orphan", "ledger"]


class Fault(Record):
    """Something that is not as a finished run leaves it.

    broken: a photo whose segments are not all there and whole. outdated: search knows other facts
    of a photo than the ledger. orphan: the index has a photo, or segments of one, that the ledger
    does not know. ledger: the ledger's file is damaged.
    """

    kind: Kind
    photo_id: str | None
    path: str | None
    problem: str


class Health(Record):
    """What was found in a library."""

    photos: int
    segments: int
    files: int
    faults: tuple[Fault, ...]
    photos_unfinished: int  # begun, not finished: the next ingest does them
    files_gone: tuple[str, ...]  # the next ingest notes it
    roots_absent: tuple[str, ...]  # their files were not looked for

    @property
    def is_whole(self) -> bool:
        """Say whether nothing is wrong."""
        return not self.faults


class Repair(Record):
    """What was mended, and what can't be."""

    photos_again: int  # made unfinished: the next ingest does them
    photos_told: int
    orphans_deleted: int
    beyond_repair: tuple[Fault, ...]


@dataclass
class _Found:
    """What was come across so far."""

    photo_ids: set[str] = field(default_factory=set)
    in_index: int = 0  # photos
    segments: int = 0
    unfinished: int = 0
    faults: list[Fault] = field(default_factory=list)


def verify(
    ledger: Ledger,
    index: SegmentIndex,
    *,
    show: Callable[[Iterable[PhotoRow]], Iterable[PhotoRow]] = iter,
) -> Health:
    """Look at every photo, segment and file of a library.

    Args:
        ledger: what should be there.
        index: what is there.
        show: is handed the photos, and hands them on; a place for a progress bar.
    """
    found = _Found()
    found.faults += [_fault("ledger", None, None, damage) for damage in ledger.damages()]
    stale = set(ledger.stale_photos())
    for row in show(ledger.iter_photos()):
        told = None if row.photo.photo_id in stale else ledger.facts_now(row.photo.photo_id)
        _look_at(row, told, index, found)
    found.faults += _orphans(index, found)
    files, gone = _files(ledger)
    return Health(
        photos=len(found.photo_ids),
        segments=found.segments,
        files=files,
        faults=tuple(found.faults),
        photos_unfinished=found.unfinished,
        files_gone=gone,
        roots_absent=tuple(path_text(root.path) for root in ledger.roots() if root.is_absent),
    )


def _fault(kind: Kind, photo_id: str | None, row: PhotoRow | None, problem: str) -> Fault:
    path = path_text(row.path) if row is not None and row.path is not None else None
    return Fault(kind=kind, photo_id=photo_id, path=path, problem=problem)


def _look_at(row: PhotoRow, told: PhotoFacts | None, index: SegmentIndex, found: _Found) -> None:
    """Look at one photo; `told` are the facts that the index should know, if it was told."""
    photo_id = row.photo.photo_id
    found.photo_ids.add(photo_id)
    found.segments += len(index.segment_ids_of(photo_id))
    try:
        known = index.photos([photo_id])
        problems = list(_problems(row.photo, known, index)) if row.photo.segmented_with else []
        found.in_index += len(known)
    except DamagedError as error:
        problems = [str(error)]
        found.in_index += 1
    if row.photo.segmented_with is None:
        found.unfinished += 1
    elif problems:
        found.faults.append(_fault("broken", photo_id, row, "; ".join(problems)))
    elif told is not None and not same_facts(told, known[0].facts):
        problem = "search knows other folders, another date or another place of it"
        found.faults.append(_fault("outdated", photo_id, row, problem))


def _problems(photo: Photo, known: list[Photo], index: SegmentIndex) -> Iterator[str]:
    """Say what is wrong with a finished photo."""
    if not known:
        yield "it is not in the index"
        return
    if (known[0].segmented_with, known[0].size_wh) != (photo.segmented_with, photo.size_wh):
        yield "the index has it as cut otherwise"
    segments = index.segments_of(photo.photo_id, with_masks=True)
    if len(segments) != photo.segment_count:
        yield f"the index has {len(segments)} segments of it, and should have {photo.segment_count}"
    elif known[0].segment_count != photo.segment_count:
        yield f"the index says it has {known[0].segment_count} segments, not {photo.segment_count}"
    broken = [wrong for each in segments if (wrong := _mask_problem(each, photo.size_wh))]
    if broken:
        yield f"{_masks(len(broken))}: {broken[0]}"
    try:
        ids = [segment.segment_id for segment in segments]
        checked_vectors(index.segment_vectors(ids), len(ids))
        checked_vectors(index.photo_vectors([photo.photo_id]), 1)
    except (ValueError, UnknownIdError) as error:
        yield f"its vectors can't be used: {error}"


def _masks(count: int) -> str:
    return "a mask is broken" if count == 1 else f"{count} masks are broken"


def _mask_problem(segment: Segment, size_wh: tuple[int, int]) -> str | None:
    """Say what is wrong with a segment's mask; None if nothing is."""
    if segment.mask is None:
        return "it is missing"
    if segment.segment_id != segment_id_from_mask(segment.photo_id, segment.mask):
        return "it is another one than its id was made from"
    if segment.mask.size_wh != fitted_size(size_wh, max(segment.mask.size_wh)):
        return "it does not have the photo's shape"
    try:
        runs = runs_from_counts(segment.mask.counts)
    except ValueError as error:
        return str(error)
    pixels = segment.mask.size_wh[0] * segment.mask.size_wh[1]
    if runs.sum() != pixels:
        return "its runs do not fill its size"
    return _area_problem(segment, int(runs[1::2].sum()), pixels, size_wh)


def _area_problem(
    segment: Segment, mask_px: int, pixels: int, size_wh: tuple[int, int]
) -> str | None:
    whole = size_wh[0] * size_wh[1]
    assert segment.mask is not None  # its runs were read
    if abs(segment.area_px / whole - segment.area_fraction) > 1e-6:
        return f"{segment.area_px} pixels are not {segment.area_fraction:.4g} of the photo"
    if pixels == whole:
        agrees = mask_px == segment.area_px
    elif max(size_wh) > THIN * min(size_wh):
        return None if _is_in_box(segment.mask, segment.bbox_xywh, size_wh) else "it is elsewhere"
    else:
        should = segment.area_fraction * pixels
        agrees = abs(mask_px - should) <= max(AREA_DIFFERS_PX, AREA_DIFFERS * should)
    if agrees:
        return None
    return f"it covers {mask_px / pixels:.4g} of the photo, not {segment.area_fraction:.4g}"


def _is_in_box(mask: Mask, box: Box, size_wh: tuple[int, int]) -> bool:
    """Say whether a mask has pixels, all of which a box of the photo touches."""
    rows, columns = np.nonzero(array_from_mask(mask))
    ends = zip((columns, rows), box.xyxy[:2], box.xyxy[2:], mask.size_wh, size_wh, strict=True)
    return bool(rows.size) and all(
        int(first * stored / whole) <= at.min() and at.max() <= int((last + 1) * stored / whole)
        for at, first, last, stored, whole in ends
    )


def same_facts(one: PhotoFacts, other: PhotoFacts) -> bool:
    """Say whether facts are the same, but for what engines round."""

    def rounded(facts: PhotoFacts) -> tuple[float, ...]:
        place = facts.location
        return (
            () if place is None else tuple(round(v, PLACE_DIGITS) for v in (place.lat, place.lon))
        )

    nowhere = {"location": None}
    return rounded(one) == rounded(other) and one.model_copy(update=nowhere) == other.model_copy(
        update=nowhere
    )


def _orphans(index: SegmentIndex, found: _Found) -> list[Fault]:
    """Return what the index has of photos that the ledger does not know.

    The index is gone over only where it has more than was found: with a server that is a long way.
    """
    strays: dict[str, int] = {}
    if index.count("photos") != found.in_index:
        ids = (photo.photo_id for photo in index.iter_photos())
        strays = {photo_id: 0 for photo_id in ids if photo_id not in found.photo_ids}
    if index.count("segments") != found.segments:
        for segment in index.iter_segments():
            if segment.photo_id not in found.photo_ids:
                strays[segment.photo_id] = strays.get(segment.photo_id, 0) + 1
    return [
        _fault("orphan", photo_id, None, f"the ledger does not know it ({segments} segments)")
        for photo_id, segments in sorted(strays.items())
    ]


def _files(ledger: Ledger) -> tuple[int, tuple[str, ...]]:
    """Return how many files should be there, and those that are gone; absent roots aside."""
    absent = {root.root_id for root in ledger.roots() if root.is_absent}
    count, gone = 0, []
    for key in ledger.present_files():
        count += 1
        if key.root.root_id not in absent and is_gone(key.path):
            gone.append(path_text(key.path))
    return count, tuple(gone)


def repair(health: Health, ledger: Ledger, index: SegmentIndex) -> Repair:
    """Mend what can be mended: delete orphans, tell the index, make broken photos unfinished."""
    again, beyond = 0, []
    of_kind = {kind: [f for f in health.faults if f.kind == kind] for kind in get_args(Kind)}
    for fault in of_kind["orphan"]:
        index.delete_photo(str(fault.photo_id))
    index.flush()
    ledger.mark_stale(fault.photo_id for fault in of_kind["outdated"])
    for fault in of_kind["broken"]:
        photo = ledger.photo(str(fault.photo_id)).photo
        if all(is_gone(key.path) for key in ledger.files_of(photo.photo_id)):
            beyond.append(fault)
        else:
            ledger.begin_photo(photo)
            again += 1
    tell_index(ledger, lambda: index)
    return Repair(
        photos_again=again,
        photos_told=len(of_kind["outdated"]),
        orphans_deleted=len(of_kind["orphan"]),
        beyond_repair=(*beyond, *of_kind["ledger"]),
    )
