"""Records to Qdrant payloads and back, and the payload keys that are indexed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from search.errors import DamagedError
from search.index.base import Collection
from search.records import Box, DateSource, Mask, Photo, PhotoFacts, Place, Segment

Payload = dict[str, Any]
# Format 1 has no key for local time; its points get one by the next ingest.
PAYLOAD_FORMAT = 2
MASK_KEYS = ("mask_rle", "mask_size_wh")  # most of a payload's bytes; read only on request
# Words, not booleans: qdrant-edge-py 0.9.0 sends MatchValue(False) as the integer 0, which matches
# no boolean, so a filter on one would find nothing.
DATED: tuple[DateSource, ...] = ("exif", "xmp", "png text", "unknown")
UNDATED: tuple[DateSource, ...] = ("file",)
SHOWN, HIDDEN = "shown", "hidden"
WHOLE, SEGMENTS = "whole", "segments"  # what a photo can be found by


@dataclass(frozen=True)
class PayloadField:
    """A payload key that filters use and engines therefore index."""

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


def payload_from_facts(facts: PhotoFacts) -> Payload:
    """All metadata keys of a photo; unknown ones are null, which deletes a stored value."""
    return {
        "sort_at": facts.sort_at.isoformat(),
        "taken_at": facts.taken_at.isoformat() if facts.taken_at else None,
        # Qdrant has no datetime without an offset: local time is written as if it were UTC.
        "local_at": facts.local_at.replace(tzinfo=UTC).isoformat() if facts.local_at else None,
        "date_source": facts.date_source,
        "year_month": facts.year_month,
        "camera": facts.camera,
        "location": facts.location.model_dump() if facts.location else None,
        "folders": list(facts.folders),
        "visibility": HIDDEN if facts.hidden else SHOWN,
    }


def facts_from_payload(payload: Payload) -> PhotoFacts:
    """Parse the metadata keys of a payload; old payloads have no `date_source`."""
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
    """Payload of a point in the collection `photos`."""
    return {
        "photo_id": photo.photo_id,
        "size_wh": list(photo.size_wh),
        "segmented_with": photo.segmented_with,
        "segment_count": photo.segment_count,
        "found_by": WHOLE if photo.segmented_with is None else SEGMENTS,
        **payload_from_facts(photo.facts),
    }


def photo_from_payload(payload: Payload) -> Photo:
    """Parse a payload of the collection `photos`.

    Raises:
        DamagedError: a key is missing or its value invalid.
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
    """Payload of a point in the collection `segments`.

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
    """Parse a payload of the collection `segments`; without mask keys the mask is None.

    Raises:
        DamagedError: a key is missing or its value invalid.
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
    """Id of the photo that a segment belongs to.

    Raises:
        DamagedError: the payload has none.
    """
    try:
        return str(payload["photo_id"])
    except KeyError as error:
        raise _damaged("segment", segment_id, error) from error


def _damaged(kind: str, record_id: object, error: Exception) -> DamagedError:
    what = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
    return DamagedError(f"the payload of the {kind} {record_id} can't be read: {what}")
