"""Consistency checks of a stored mask: encoding, size, position, area."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search.masks.rle import fitted_size, runs_from_counts
from search.records import Segment

# Downsampling to the stored size keeps half-covered pixels, so of one pixel wide segments it keeps
# all or nothing. Masks come from 256 x 256 logits, so few segments are that thin.
AREA_TOLERANCE = 0.3  # fraction of the segment's area,
AREA_TOLERANCE_PX = 100  # or pixels of the stored mask, whichever is more
# In photos with a greater aspect ratio (16 logits on the short side) all segments may be that thin,
# so the area is not checked.
MAX_ASPECT_RATIO = 16


def mask_problem(segment: Segment, size_wh: tuple[int, int]) -> str | None:
    """Describe what is wrong with a segment's mask; None if it is intact."""
    if segment.mask is None:
        return "it is missing"
    if segment.mask.size_wh != fitted_size(size_wh, max(segment.mask.size_wh)):
        return "it does not have the photo's aspect ratio"
    try:
        runs = runs_from_counts(segment.mask.counts)
    except ValueError as error:
        return str(error)
    pixels = segment.mask.size_wh[0] * segment.mask.size_wh[1]
    if runs.sum() != pixels:
        return "its runs do not fill its size"
    if not _within_box(segment, segment.mask.size_wh, runs, size_wh):
        return "it lies outside the segment's box"
    return _area_problem(segment, int(runs[1::2].sum()), pixels, size_wh)


def _within_box(
    segment: Segment, mask_wh: tuple[int, int], runs: NDArray[np.int64], size_wh: tuple[int, int]
) -> bool:
    """Return whether a mask, given as (n,) column-major run lengths, lies in the segment's box.

    Downsampling may put pixels at most one pixel outside the box.
    """
    width, height = mask_wh
    ends = np.cumsum(runs)
    starts, stops = ends[:-1:2], ends[1::2]  # of the runs inside the mask
    starts, stops = starts[stops > starts], stops[stops > starts]
    if not len(starts):
        return True  # nothing may be left of a one pixel wide segment
    x0, y0, x1, y1 = segment.bbox_xywh.xyxy
    x_scale, y_scale = width / size_wh[0], height / size_wh[1]
    in_columns = (
        starts[0] // height >= x0 * x_scale - 1 and (stops[-1] - 1) // height <= x1 * x_scale + 1
    )
    one_column = starts // height == (stops - 1) // height
    tops = np.where(one_column, starts % height, 0)
    bottoms = np.where(one_column, (stops - 1) % height, height - 1)
    return bool(in_columns and tops.min() >= y0 * y_scale - 1 and bottoms.max() <= y1 * y_scale + 1)


def _area_problem(
    segment: Segment, mask_px: int, pixels: int, size_wh: tuple[int, int]
) -> str | None:
    whole = size_wh[0] * size_wh[1]
    if max(size_wh) > MAX_ASPECT_RATIO * min(size_wh):
        return None if mask_px else "nothing of it is left"
    if abs(segment.area_px / whole - segment.area_fraction) > 1e-6:
        return f"{segment.area_px} pixels are not {segment.area_fraction:.4g} of the photo"
    if pixels == whole:
        agrees = mask_px == segment.area_px
    else:
        expected = segment.area_fraction * pixels
        agrees = abs(mask_px - expected) <= max(AREA_TOLERANCE_PX, AREA_TOLERANCE * expected)
    if agrees:
        return None
    return f"it covers {mask_px / pixels:.4g} of the photo, not {segment.area_fraction:.4g}"
