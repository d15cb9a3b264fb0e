"""Stored segments and their masks."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

from search.records import Box, Record


class SegmentOut(Record):
    """A segment with its mask; box and scores as SAM's automatic mask generator defines them."""

    segment_id: str
    photo_id: str
    bbox_xywh: Box
    area_px: int
    area_fraction: float
    predicted_iou: float
    stability_score: float
    point_xy: tuple[float, float]
    mask: dict[str, Any] | None = None


class MaskRleOut(Record):
    """A mask as COCO's compressed RLE."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"size": [768, 1024], "counts": "fTc21_g01O0O1"}]}
    )

    size: tuple[int, int]  # height, width
    counts: str


class MaskPolygonsOut(Record):
    """A mask as closed polygons along pixel edges, holes included: fill by the even-odd rule."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"size": [768, 1024], "polygons": [[2, 1, 9, 1, 9, 5, 2, 5]]}]
        }
    )

    size: tuple[int, int]  # height, width
    polygons: tuple[tuple[int, ...], ...]  # each x, y, x, y, ...


class SegmentsResponse(Record):
    """Every segment of a photo, largest first."""

    segments: tuple[SegmentOut, ...]
