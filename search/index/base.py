"""SegmentIndex, the protocol that both engines keep, and what they share: payloads and filters.

Two collections: `photos` (a vector of each whole photo, and its facts) and `segments` (a vector of
each segment, its mask, and what filters need of its photo). Foreign dicts stop in the engines'
files: what goes in and comes out here are records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Protocol

from search.errors import DamagedError
from search.records import (
    Box,
    DateSource,
    GeoCircle,
    Hit,
    Mask,
    Photo,
    PhotoFacts,
    PhotoHit,
    Place,
    SearchFilter,
    Segment,
    Vectors,
)

Collection = Literal["photos", "segments"]
Payload = dict[str, Any]
# 1: no key for local time. Points of an earlier format get theirs by the next ingest.
PAYLOAD_FORMAT = 2
MASK_KEYS = ("mask_rle", "mask_size_wh")  # most of a payload's bytes; left out unless asked for
# Words, not a boolean: qdrant-edge-py 0.9.0 sends MatchValue(False) as the integer 0, which matches
# no boolean, so a filter on one would find nothing.
DATED: tuple[DateSource, ...] = ("exif", "xmp", "png text", "unknown")
UNDATED: tuple[DateSource, ...] = ("file",)
SHOWN, HIDDEN = "shown", "hidden"
WHOLE, SEGMENTS = "whole", "segments"  # what a photo can be found by


class SegmentIndex(Protocol):
    """Where photos and segments are kept and found. All writes can be repeated without harm."""

    def put_segments(self, photo: Photo, segments: Sequence[Segment], vectors: Vectors) -> None:
        """Write segments (each with its mask) of a photo and their (n, dim) unit vectors."""

    def put_photo(self, photo: Photo, vector: Vectors) -> None:
        """Write a photo and its (1, dim) unit vector."""

    def delete_segments(self, segment_ids: Sequence[str]) -> None:
        """Delete these segments; ids that are not there are no error."""

    def delete_photo(self, photo_id: str) -> None:
        """Delete a photo with all its segments; an id that is not there is no error."""

    def update_facts(self, photo_id: str, facts: PhotoFacts) -> None:
        """Replace a photo's facts, there and on all its segments."""

    def photos(self, photo_ids: Sequence[str]) -> list[Photo]:
        """Return those of the photos that are there, in the order asked for."""

    def segments(self, segment_ids: Sequence[str], *, with_masks: bool = False) -> list[Segment]:
        """Return those of the segments that are there, in the order asked for."""

    def segments_of(self, photo_id: str, *, with_masks: bool = False) -> list[Segment]:
        """Return a photo's segments, largest first."""

    def segment_ids_of(self, photo_id: str) -> set[str]:
        """Return the ids of a photo's segments."""

    def segment_vectors(self, segment_ids: Sequence[str]) -> Vectors:
        """Return (n, dim) vectors.

        Raises:
            UnknownIdError: one of the segments is not there.
        """

    def photo_vectors(self, photo_ids: Sequence[str]) -> Vectors:
        """Return (n, dim) vectors.

        Raises:
            UnknownIdError: one of the photos is not there.
        """

    def sample_vectors(self, limit: int) -> Vectors:
        """Return up to `limit` segment vectors, (n, dim), the same ones as long as none is added.

        An empty library gives (0, dim).
        """

    def nearest_segments(
        self,
        vector: Vectors,
        where: SearchFilter,
        *,
        limit: int,
        offset: int = 0,
        min_score: float | None = None,
        with_masks: bool = False,
    ) -> list[Hit]:
        """Return the segments most similar to the (1, dim) vector, best first."""

    def ranked_segments(
        self,
        vector: Vectors,
        where: SearchFilter,
        *,
        limit: int,
        offset: int = 0,
        min_score: float | None = None,
    ) -> list[tuple[str, str, float]]:
        """Return (segment id, photo id, score) of the same ones, in a fraction of the time."""

    def nearest_photos(
        self,
        vector: Vectors,
        where: SearchFilter,
        *,
        limit: int,
        offset: int = 0,
        min_score: float | None = None,
        uncut: bool = False,
    ) -> list[PhotoHit]:
        """Return the whole photos most similar to the (1, dim) vector, best first.

        With `uncut` only those that have no segments yet.
        """

    def count(self, collection: Collection, where: SearchFilter | None = None) -> int:
        """Count points exactly; without a filter hidden ones too."""

    def iter_photos(self) -> Iterator[Photo]:
        """Go over all photos in the order of their ids, hidden ones too."""

    def iter_ids(self, collection: Collection) -> Iterator[tuple[str, str]]:
        """Go over the ids of all points, each with its photo's; "" where it names none."""

    def iter_segments(self, *, with_masks: bool = False) -> Iterator[Segment]:
        """Go over all segments in the order of their ids, hidden ones too."""

    def beside(self, vector_name: str, dim: int) -> SegmentIndex:
        """Return the same photos and segments with other vectors, which are kept beside these.

        What is written through it replaces these. Closing one closes both.

        Raises:
            MismatchError: vectors of that name have another length.
        """

    def put_vectors(self, collection: Collection, ids: Sequence[str], vectors: Vectors) -> None:
        """Give points that are there (n, dim) unit vectors; all else of them stays."""

    def iter_without_vectors(self, collection: Collection) -> Iterator[str]:
        """Go over the photos with a point in this collection that lacks these vectors, each once.

        They can be given theirs meanwhile.
        """

    def count_vectors(self, collection: Collection) -> int:
        """Count the points that have these vectors."""

    def drop_vectors(self, vector_name: str) -> None:
        """Delete other vectors than these; a name that is not there is no error.

        Raises:
            UsageError: these are the vectors of that name.
        """

    def add_fields(self) -> None:
        """Index the payload keys that filters use and that are not indexed yet."""

    def optimize(self) -> bool:
        """Build the nearest-neighbor graph where it pays; True if anything was done. Slow."""

    def flush(self) -> None:
        """Put everything written so far on disk."""

    def close(self) -> None:
        """Flush and let go of the store."""


class Match(NamedTuple):
    """The payload's value (or one of its values) is one of these."""

    key: str
    values: tuple[str, ...]


class NumberRange(NamedTuple):
    """The payload's number is within these bounds."""

    key: str
    gte: float | None = None
    lte: float | None = None


class TimeRange(NamedTuple):
    """The payload's moment is at `gte` or later and before `lt`."""

    key: str
    gte: datetime | None = None
    lt: datetime | None = None


class Near(NamedTuple):
    """The payload's place is within a circle."""

    key: str
    circle: GeoCircle


class Vector(NamedTuple):
    """The point has a vector of this name, or has none."""

    name: str
    is_there: bool


Condition = Match | NumberRange | TimeRange | Near | Vector


@dataclass(frozen=True)
class PayloadField:
    """A payload key that filters use, so that the engines index it."""

    key: str
    kind: Literal["keyword", "float", "datetime", "geo"]


FACT_FIELDS = (
    PayloadField("taken_at", "datetime"),
    PayloadField("local_at", "datetime"),
    PayloadField("date_source", "keyword"),
    PayloadField("camera", "keyword"),
    PayloadField("folders", "keyword"),
    PayloadField("location", "geo"),
    PayloadField("visibility", "keyword"),
    PayloadField("photo_id", "keyword"),
)
SEGMENT_FIELDS = (
    *FACT_FIELDS,
    PayloadField("area_fraction", "float"),
    PayloadField("predicted_iou", "float"),
    PayloadField("stability_score", "float"),
)
FIELDS: dict[Collection, tuple[PayloadField, ...]] = {
    "photos": (*FACT_FIELDS, PayloadField("found_by", "keyword")),
    "segments": SEGMENT_FIELDS,
}


def conditions_from_filter(
    where: SearchFilter, collection: Collection, payload_format: int = PAYLOAD_FORMAT
) -> list[Condition]:
    """Spell a filter out; all conditions must hold. What only segments have is left to segments.

    Points of format 1 know one date, with its offset, and not where it comes from.
    """
    found: list[Condition] = [Match("visibility", (SHOWN,))]
    if where.photo_ids is not None:
        found.append(Match("photo_id", where.photo_ids))
    if where.folder is not None:
        found.append(Match("folders", (where.folder,)))
    if where.camera is not None:
        found.append(Match("camera", (where.camera,)))
    if payload_format == 1:
        found += _time_ranges_of_format_1(where)
    else:
        found += _time_ranges(where)
    if where.undated or (where.undated is not None and payload_format > 1):
        found.append(Match("date_source", UNDATED if where.undated else DATED))
    if where.near is not None:
        found.append(Near("location", where.near))
    if collection == "segments":
        found += [
            NumberRange(key, low, high)
            for key, low, high in (
                ("area_fraction", where.min_area_fraction, where.max_area_fraction),
                ("predicted_iou", where.min_predicted_iou, None),
                ("stability_score", where.min_stability_score, None),
            )
            if low is not None or high is not None
        ]
    return found


def _time_ranges(where: SearchFilter) -> list[Condition]:
    """Return the ranges of wall time and of moments, as each end has no UTC offset or has one."""
    ends = (("gte", where.taken_from), ("lt", where.taken_before))
    local = {name: at.replace(tzinfo=UTC) for name, at in ends if at and at.tzinfo is None}
    moments = {name: at for name, at in ends if at and at.tzinfo is not None}
    ranges = (("local_at", local), ("taken_at", moments))
    return [TimeRange(key, **bounds) for key, bounds in ranges if bounds]


def _time_ranges_of_format_1(where: SearchFilter) -> list[Condition]:
    """Return the range of moments; an end without a UTC offset counts as UTC."""
    ends = (where.taken_from, where.taken_before)
    start, end = (at.replace(tzinfo=at.tzinfo or UTC) if at else None for at in ends)
    return [TimeRange("sort_at", start, end)] if start or end else []


def payload_from_facts(facts: PhotoFacts) -> Payload:
    """Return every fact, those not known as null: setting one to null deletes what was there."""
    return {
        "sort_at": facts.sort_at.isoformat(),
        "taken_at": facts.taken_at.isoformat() if facts.taken_at else None,
        # Engines know no wall time: it is written as if it were UTC.
        "local_at": facts.local_at.replace(tzinfo=UTC).isoformat() if facts.local_at else None,
        "date_source": facts.date_source,
        "year_month": facts.year_month,
        "camera": facts.camera,
        "location": facts.location.model_dump() if facts.location else None,
        "folders": list(facts.folders),
        "visibility": HIDDEN if facts.hidden else SHOWN,
    }


def facts_from_payload(payload: Payload) -> PhotoFacts:
    """Turn a stored payload back into facts; old ones have no source of the date."""
    place = payload.get("location")
    return PhotoFacts(
        sort_at=datetime.fromisoformat(payload["sort_at"]),
        date_source=payload.get("date_source", "unknown"),
        camera=payload.get("camera"),
        location=Place(**place) if place else None,
        folders=tuple(payload.get("folders") or ()),
        hidden=payload["visibility"] == HIDDEN,
    )


def payload_from_photo(photo: Photo) -> Payload:
    """Return what is stored beside a photo's vector."""
    return {
        "photo_id": photo.photo_id,
        "size_wh": list(photo.size_wh),
        "segmented_with": photo.segmented_with,
        "segment_count": photo.segment_count,
        "found_by": WHOLE if photo.segmented_with is None else SEGMENTS,
        **payload_from_facts(photo.facts),
    }


def photo_from_payload(payload: Payload) -> Photo:
    """Turn a stored payload back into a photo.

    Raises:
        DamagedError: it makes none.
    """
    try:
        return Photo(
            photo_id=payload["photo_id"],
            size_wh=tuple(payload["size_wh"]),
            facts=facts_from_payload(payload),
            segmented_with=payload.get("segmented_with"),
            segment_count=payload["segment_count"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged("photo", payload.get("photo_id"), error) from error


def payload_from_segment(segment: Segment, facts: PhotoFacts) -> Payload:
    """Return what is stored beside a segment's vector.

    Raises:
        ValueError: the segment has no mask.
    """
    if segment.mask is None:
        raise ValueError(f"segment {segment.segment_id} has no mask and can't be stored")
    return {
        "photo_id": segment.photo_id,
        "bbox_xywh": list(segment.bbox_xywh),
        "area_px": segment.area_px,
        "area_fraction": segment.area_fraction,
        "predicted_iou": segment.predicted_iou,
        "stability_score": segment.stability_score,
        "point_xy": list(segment.point_xy),
        "mask_rle": segment.mask.counts,
        "mask_size_wh": list(segment.mask.size_wh),
        **payload_from_facts(facts),
    }


def segment_from_payload(segment_id: str, payload: Payload) -> Segment:
    """Turn a stored payload back into a segment; its mask is None if it was not read.

    Raises:
        DamagedError: it makes none.
    """
    try:
        mask = None
        if "mask_rle" in payload:
            mask = Mask(size_wh=tuple(payload["mask_size_wh"]), counts=payload["mask_rle"])
        return Segment(
            segment_id=segment_id,
            photo_id=payload["photo_id"],
            bbox_xywh=Box(*payload["bbox_xywh"]),
            area_px=payload["area_px"],
            area_fraction=payload["area_fraction"],
            predicted_iou=payload["predicted_iou"],
            stability_score=payload["stability_score"],
            point_xy=tuple(payload["point_xy"]),
            mask=mask,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged("segment", segment_id, error) from error


def photo_id_from_payload(segment_id: str, payload: Payload) -> str:
    """Return whose segment this is.

    Raises:
        DamagedError: it does not say.
    """
    try:
        return str(payload["photo_id"])
    except KeyError as error:
        raise _damaged("segment", segment_id, error) from error


def _damaged(kind: str, record_id: object, error: Exception) -> DamagedError:
    what = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
    return DamagedError(
        f"what the index keeps of the {kind} {record_id} can't be read: {what}. "
        "`segsearch verify --repair` mends it."
    )
