"""How much two masks share, from their runs: for the many pairs of a page of results."""

from __future__ import annotations

from typing import Any

from search.jit import compiled
from search.masks.outlines import Ends, Outline

# Two segments of a photo overlap if they share more than this part of the smaller one.
OVERLAPS = 0.5


def overlaps(one: Outline, other: Outline) -> bool:
    """Say whether two segments of a photo overlap, by their boxes and then by their masks."""
    (left, top, right, bottom), (x0, y0, x1, y1) = one.bbox_xywh.xyxy, other.bbox_xywh.xyxy
    width, height = min(right, x1) - max(left, x0) + 1, min(bottom, y1) - max(top, y0) + 1
    smaller_px = min(one.area_px, other.area_px)
    if min(width, height) <= 0 or width * height <= OVERLAPS * smaller_px:
        return False
    if one.ends is None or other.ends is None or one.ends[-1] != other.ends[-1]:
        return False  # one is damaged, or of another size since it is being replaced
    return overlap(one.ends, other.ends) > OVERLAPS


def overlap(one: Ends, other: Ends) -> float:
    """Return the part of the smaller of two masks of one size that lies in both; 0 if empty."""
    shared, *areas = _shared(one, other)
    return float(shared / min(areas)) if min(areas) else 0.0


@compiled()
def _shared(one: Any, other: Any) -> Any:  # noqa: ANN401
    """Return the pixels that are in both masks, in one, and in the other."""
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
