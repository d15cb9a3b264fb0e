"""Is a library whole? Every finished photo is looked up in the index, record by record.

Files are looked for and never changed. What is found is mended by `ingest.maintenance.repair`.
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

PLACE_DIGITS = 6  # of degrees, a tenth of a metre: engines keep numbers as JSON

Kind = Literal["broken", "outdated", "orphan", "ledger", "index"]


class Fault(Record):
    """Something that is not as a finished run leaves it.

    broken: a photo whose segments are not all there and whole. outdated: search knows other facts
    of a photo than the ledger. orphan: the index has a photo, or segments of one, that the ledger
    does not know. ledger: the ledger's file is damaged. index: not all of the index can be read.
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


class PhotoCheck(Record):
    """What was found of one photo."""

    photo_id: str
    is_finished: bool
    in_index: bool
    segments: int
    fault: Fault | None = None


@dataclass
class _Found:
    """What was come across so far."""

    photo_ids: set[str] = field(default_factory=set)
    in_index: int = 0  # photos
    segments: int = 0
    unfinished: int = 0
    faults: list[Fault] = field(default_factory=list)

    def add(self, check: PhotoCheck) -> None:
        """Count a photo."""
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
    """Look at every photo, segment and file of a library.

    Args:
        ledger: what should be there.
        index: opens what is there; called once the photos were checked.
        checks: of all photos; None: they are checked here.
        show: is handed the checks, and hands them on; a place for a progress bar.

    Raises:
        StoreUnreachableError: no answer from the Qdrant server.
    """
    found = _Found()
    found.faults += [_fault("ledger", None, None, damage) for damage in ledger.damages()]
    for check in show(check_photos(ledger, index()) if checks is None else checks):
        found.add(check)
    try:
        found.faults += _orphans(index(), found)
    except StoreUnreachableError:
        raise
    except StoreError as error:
        found.faults.append(index_fault(f"not all of it can be gone over: {error}"))
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
    """Check the photos that the ledger knows, in the order of their ids, from `after` on.

    Raises:
        StoreUnreachableError: no answer from the Qdrant server.
    """
    stale = set(ledger.unsynced_photos())
    for row in ledger.iter_photos():
        photo_id = row.photo.photo_id
        if photo_id > after:
            told = None if photo_id in stale else ledger.facts_now(photo_id)
            yield _checked(row, told, index)


def _fault(kind: Kind, photo_id: str | None, row: PhotoRow | None, problem: str) -> Fault:
    path = path_text(row.path) if row is not None and row.path is not None else None
    return Fault(kind=kind, photo_id=photo_id, path=path, problem=problem)


def index_fault(problem: str) -> Fault:
    """Return that something is wrong with the index as a whole."""
    return _fault("index", None, None, problem)


def broken_photo(row: PhotoRow, problem: str) -> PhotoCheck:
    """Return that a photo can't be read from the index."""
    photo = row.photo
    fault = _fault("broken", photo.photo_id, row, problem)
    is_finished = photo.segmented_with is not None
    return PhotoCheck(
        photo_id=photo.photo_id, is_finished=is_finished, in_index=True, segments=0, fault=fault
    )


def _checked(row: PhotoRow, told: PhotoFacts | None, index: SegmentIndex) -> PhotoCheck:
    """Look at one photo; `told` are the facts that the index should know, if it was told."""
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
    elif is_finished and told is not None and not same_facts(told, known[0].facts):
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
        ids = (photo_id for photo_id, _ in index.iter_ids("photos"))
        strays = {photo_id: 0 for photo_id in ids if photo_id not in found.photo_ids}
    if index.count("segments") != found.segments:
        for _, photo_id in index.iter_ids("segments"):
            if photo_id not in found.photo_ids:
                strays[photo_id] = strays.get(photo_id, 0) + 1
    return [
        _fault("orphan", photo_id, None, f"the ledger does not know it ({segments} segments)")
        for photo_id, segments in sorted(strays.items())
    ]


def _files(ledger: Ledger) -> tuple[int, tuple[str, ...]]:
    """Return how many files should be there, and those that are gone; absent disks aside."""
    absent = {root.root_id: absent_folders(root, ledger) for root in ledger.roots()}
    count, gone = 0, []
    for key in ledger.present_files():
        count += 1
        if any(is_below(key.below, folder) for folder in absent[key.root.root_id]):
            continue
        if is_gone(key.path):
            gone.append(path_text(key.path))
    return count, tuple(gone)
