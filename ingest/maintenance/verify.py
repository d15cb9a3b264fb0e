"""Consistency check of a library: every finished photo is compared with the index.

Nothing is changed; `ingest.maintenance.repair` repairs faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import PhotoRow, is_below, is_gone
from ingest.imaging.decode import path_text
from ingest.maintenance.mask_checks import mask_problem
from ingest.scanning.mounts import absent_folders
from search.errors import StoreError, StoreUnreachableError, UnknownIdError
from search.index.base import SegmentIndex
from search.records import (
    Photo,
    PhotoFacts,
    Record,
    checked_vectors,
)

LOCATION_DIGITS = 6  # of degrees, 0.1 m; engines store numbers as JSON

Kind = Literal["broken", "outdated", "orphan", "ledger", "index"]


class Fault(Record):
    """An inconsistency.

    broken: segments of a photo are missing or damaged. outdated: the index has other facts of a
    photo than the ledger. orphan: the index has a photo, or segments of one, that the ledger does
    not know. ledger: the ledger's file is damaged. index: the index can't be read completely.
    """

    kind: Kind
    photo_id: str | None
    path: str | None
    problem: str


class Health(Record):
    """Result of a check."""

    photos: int
    segments: int
    files: int
    faults: tuple[Fault, ...]
    photos_unfinished: int  # the next ingest segments them
    files_gone: tuple[str, ...]  # the next ingest marks them as vanished
    roots_absent: tuple[str, ...]  # their files were not checked

    @property
    def is_whole(self) -> bool:
        """Whether no faults were found."""
        return not self.faults


class PhotoCheck(Record):
    """Result of checking one photo."""

    photo_id: str
    is_finished: bool
    in_index: bool
    segments: int
    fault: Fault | None = None


@dataclass
class _Found:
    """Totals of the checks so far."""

    photo_ids: set[str] = field(default_factory=set)
    in_index: int = 0  # photos
    segments: int = 0
    unfinished: int = 0
    faults: list[Fault] = field(default_factory=list)

    def add(self, check: PhotoCheck) -> None:
        """Add the result of one photo."""
        self.photo_ids.add(check.photo_id)
        self.in_index += check.in_index
        self.segments += check.segments
        self.unfinished += not check.is_finished
        if check.fault is not None:
            self.faults.append(check.fault)


def verify(
    ledger: Ledger,
    index: Callable[[], SegmentIndex],
    checks: Iterable[PhotoCheck] | None = None,
    *,
    show: Callable[[Iterable[PhotoCheck]], Iterable[PhotoCheck]] = iter,
) -> Health:
    """Check every photo, segment and file of a library.

    Args:
        ledger: the expected content.
        index: opens the index.
        checks: results of all photos, if another process checked them; None: check them here.
        show: wraps the iterable of checks; for a progress bar.

    Raises:
        StoreUnreachableError: the Qdrant server does not answer.
    """
    found = _Found()
    found.faults += [_fault("ledger", None, None, error) for error in ledger.integrity_errors()]
    for check in show(check_photos(ledger, index()) if checks is None else checks):
        found.add(check)
    try:
        found.faults += _orphans(index(), found)
    except StoreUnreachableError:
        raise
    except StoreError as error:
        found.faults.append(index_fault(f"it can't be read completely: {error}"))
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


def check_photos(ledger: Ledger, index: SegmentIndex, *, after: str = "") -> Iterator[PhotoCheck]:
    """Check the ledger's photos with ids greater than `after`, in the order of ids.

    Raises:
        StoreUnreachableError: the Qdrant server does not answer.
    """
    unsynced = set(ledger.unsynced_photos())
    for row in ledger.iter_photos():
        photo_id = row.photo.photo_id
        if photo_id > after:
            expected = None if photo_id in unsynced else ledger.facts_now(photo_id)
            yield _checked(row, expected, index)


def _fault(kind: Kind, photo_id: str | None, row: PhotoRow | None, problem: str) -> Fault:
    path = path_text(row.path) if row is not None and row.path is not None else None
    return Fault(kind=kind, photo_id=photo_id, path=path, problem=problem)


def index_fault(problem: str) -> Fault:
    """Build a fault of the index as a whole."""
    return _fault("index", None, None, problem)


def broken_photo(row: PhotoRow, problem: str) -> PhotoCheck:
    """Build the result for a photo that can't be read from the index."""
    photo = row.photo
    fault = _fault("broken", photo.photo_id, row, problem)
    is_finished = photo.segmented_with is not None
    return PhotoCheck(
        photo_id=photo.photo_id, is_finished=is_finished, in_index=True, segments=0, fault=fault
    )


def _checked(row: PhotoRow, expected: PhotoFacts | None, index: SegmentIndex) -> PhotoCheck:
    """Check one photo; `expected` are its facts in the index, None if it is unsynced."""
    photo_id, is_finished = row.photo.photo_id, row.photo.segmented_with is not None
    known: list[Photo] = []
    segments, in_index, fault = 0, True, None
    try:
        segments = len(index.segment_ids_of(photo_id))
        known = index.photos([photo_id])
        in_index = bool(known)
        problems = list(_problems(row.photo, known, index)) if is_finished else []
    except StoreUnreachableError:
        raise
    except StoreError as error:
        problems = [str(error)] if is_finished else []
    if problems:
        fault = _fault("broken", photo_id, row, "; ".join(problems))
    elif is_finished and expected is not None and not same_facts(expected, known[0].facts):
        problem = "search knows other folders, another date or another place of it"
        fault = _fault("outdated", photo_id, row, problem)
    return PhotoCheck(
        photo_id=photo_id,
        is_finished=is_finished,
        in_index=in_index,
        segments=segments,
        fault=fault,
    )


def _problems(photo: Photo, known: list[Photo], index: SegmentIndex) -> Iterator[str]:
    """Describe what is wrong with a finished photo."""
    if not known:
        yield "it is not in the index"
        return
    if (known[0].segmented_with, known[0].size_wh) != (photo.segmented_with, photo.size_wh):
        yield "the index has segments of other settings"
    segments = index.segments_of(photo.photo_id, with_masks=True)
    if len(segments) != photo.segment_count:
        yield f"the index has {len(segments)} segments of it, and should have {photo.segment_count}"
    elif known[0].segment_count != photo.segment_count:
        yield f"the index says it has {known[0].segment_count} segments, not {photo.segment_count}"
    broken = [wrong for each in segments if (wrong := mask_problem(each, photo.size_wh))]
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


def same_facts(one: PhotoFacts, other: PhotoFacts) -> bool:
    """Return whether facts are equal up to the rounding of engines."""

    def rounded(facts: PhotoFacts) -> tuple[float, ...]:
        place = facts.location
        return (
            ()
            if place is None
            else tuple(round(v, LOCATION_DIGITS) for v in (place.lat, place.lon))
        )

    nowhere = {"location": None}
    return rounded(one) == rounded(other) and one.model_copy(update=nowhere) == other.model_copy(
        update=nowhere
    )


def _orphans(index: SegmentIndex, found: _Found) -> list[Fault]:
    """Find photos and segments of the index that the ledger does not know.

    All ids are read only if the counts differ, since that is slow with a server.
    """
    orphans: dict[str, int] = {}
    if index.count("photos") != found.in_index:
        ids = (photo_id for photo_id, _ in index.iter_ids("photos"))
        orphans = {photo_id: 0 for photo_id in ids if photo_id not in found.photo_ids}
    if index.count("segments") != found.segments:
        for _, photo_id in index.iter_ids("segments"):
            if photo_id not in found.photo_ids:
                orphans[photo_id] = orphans.get(photo_id, 0) + 1
    return [
        _fault("orphan", photo_id, None, f"the ledger does not know it ({segments} segments)")
        for photo_id, segments in sorted(orphans.items())
    ]


def _files(ledger: Ledger) -> tuple[int, tuple[str, ...]]:
    """Return the number of present files, and those that are gone; unmounted disks aside."""
    absent = {root.root_id: absent_folders(root, ledger) for root in ledger.roots()}
    count, gone = 0, []
    for key in ledger.present_files():
        count += 1
        if any(is_below(key.below, folder) for folder in absent[key.root.root_id]):
            continue
        if is_gone(key.path):
            gone.append(path_text(key.path))
    return count, tuple(gone)
