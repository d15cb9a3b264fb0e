"""How much two masks share, from their runs: for the many pairs of a page of results."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.compiled import compiled
from search.masks import runs_from_mask
from search.records import Mask, Segment

# Two segments of a photo overlap if they share more than this part of the smaller one.
OVERLAPS = 0.5
Ends = NDArray[np.int64]  # where each run ends, the first of background; the last ends the mask


class Overlaps:
    """Says which segments of a photo overlap; each mask is decoded once, if it is at all."""

    def __init__(self) -> None:
        self._ends: dict[str, Ends | None] = {}

    def __call__(self, one: Segment, other: Segment) -> bool:
        """Say whether two segments of a photo overlap, by their boxes and then by their masks."""
        (left, top, right, bottom), (x0, y0, x1, y1) = one.bbox_xywh.xyxy, other.bbox_xywh.xyxy
        width, height = min(right, x1) - max(left, x0) + 1, min(bottom, y1) - max(top, y0) + 1
        smaller_px = min(one.area_px, other.area_px)
        if min(width, height) <= 0 or width * height <= OVERLAPS * smaller_px:
            return False
        ends, other_ends = self._ends_of(one), self._ends_of(other)
        if ends is None or other_ends is None or ends[-1] != other_ends[-1]:
            return False  # one is damaged, or of another size since it is being replaced
        return overlap(ends, other_ends) > OVERLAPS

    def _ends_of(self, segment: Segment) -> Ends | None:
        if segment.segment_id not in self._ends:
            mask = segment.mask
            self._ends[segment.segment_id] = None if mask is None else ends_of_runs(mask)
        return self._ends[segment.segment_id]


def ends_of_runs(mask: Mask) -> Ends | None:
    """Return where a mask's runs end; None if it is damaged."""
    try:
        return np.cumsum(runs_from_mask(mask))
    except ValueError:
        return None


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
