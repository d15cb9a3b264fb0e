"""Overlap of two masks, computed from their RLE runs."""

from __future__ import annotations

from typing import Any

from search.jit import compiled
from search.masks.outlines import Ends, Outline

# Two segments of a photo overlap if they share more than this part of the smaller one.
MIN_OVERLAP = 0.5


def overlaps(one: Outline, other: Outline) -> bool:
    """True if two segments of a photo overlap; masks are compared only if boxes overlap."""
    (left, top, right, bottom), (x0, y0, x1, y1) = one.bbox_xywh.xyxy, other.bbox_xywh.xyxy
    width, height = min(right, x1) - max(left, x0) + 1, min(bottom, y1) - max(top, y0) + 1
    smaller_px = min(one.area_px, other.area_px)
    if min(width, height) <= 0 or width * height <= MIN_OVERLAP * smaller_px:
        return False
    if one.ends is None or other.ends is None or one.ends[-1] != other.ends[-1]:
        return False  # damaged, or of another size while the photo is segmented again
    return overlap(one.ends, other.ends) > MIN_OVERLAP


def overlap(one: Ends, other: Ends) -> float:
    """Intersection over the smaller of two masks of the same size; 0 if one is empty."""
    shared, *areas = _shared(one, other)
    return float(shared / min(areas)) if min(areas) else 0.0


@compiled()
def _shared(one: Any, other: Any) -> Any:  # noqa: ANN401
    """Pixels in both masks, in one, and in the other."""
    shared, area_one, area_other = 0, 0, 0
    i, j, at = 0, 0, 0
    while i < len(one) and j < len(other):
        end = min(one[i], other[j])
        if i % 2:
            area_one += end - at
        if j % 2:
            area_other += end - at
            if i % 2:
                shared += end - at
        at = end
        i, j = i + (one[i] == end), j + (other[j] == end)
    return shared, area_one, area_other
