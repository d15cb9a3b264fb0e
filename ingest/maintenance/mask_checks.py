"""What is wrong with a stored mask: its text, its shape, its place, its area."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search.masks.rle import fitted_size, runs_from_counts
from search.records import Segment

# Shrinking to the stored size keeps pixels that are half covered: of things as thin as a pixel it
# may keep all or none. Masks come from logits of 256 x 256, so that none is much thinner.
AREA_DIFFERS = 0.3  # part of the segment's area,
AREA_DIFFERS_PX = 100  # and pixels of the stored mask
# In photos that are this many times as long as wide (their short side has 16 logits) all things may
# be that thin: there a mask must lie within its segment's box, whatever it covers.
THIN = 16


def mask_problem(segment: Segment, size_wh: tuple[int, int]) -> str | None:
    """Say what is wrong with a segment's mask; None if nothing is."""
    if segment.mask is None:
        return "it is missing"
    if segment.mask.size_wh != fitted_size(size_wh, max(segment.mask.size_wh)):
        return "it does not have the photo's shape"
    try:
        runs = runs_from_counts(segment.mask.counts)
    except ValueError as error:
        return str(error)
    pixels = segment.mask.size_wh[0] * segment.mask.size_wh[1]
    if runs.sum() != pixels:
        return "its runs do not fill its size"
    if not _within_box(segment, runs, size_wh):
        return "it lies outside the segment's box"
    return _area_problem(segment, int(runs[1::2].sum()), pixels, size_wh)


def _within_box(segment: Segment, runs: NDArray[np.int64], size_wh: tuple[int, int]) -> bool:
    """Say whether a mask, given as (n,) run lengths by column, lies in the segment's box.

    Stored pixels are those that are half covered, so that none is further out than one pixel.
    """
    assert segment.mask is not None
    width, height = segment.mask.size_wh
    ends = np.cumsum(runs)
    starts, stops = ends[:-1:2], ends[1::2]  # of the runs inside the mask
    starts, stops = starts[stops > starts], stops[stops > starts]
    if not len(starts):
        return True  # of things as thin as a pixel nothing may be left
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
    if max(size_wh) > THIN * min(size_wh):
        return None if mask_px else "nothing of it is left"
    if abs(segment.area_px / whole - segment.area_fraction) > 1e-6:
        return f"{segment.area_px} pixels are not {segment.area_fraction:.4g} of the photo"
    if pixels == whole:
        agrees = mask_px == segment.area_px
    else:
        should = segment.area_fraction * pixels
        agrees = abs(mask_px - should) <= max(AREA_DIFFERS_PX, AREA_DIFFERS * should)
    if agrees:
        return None
    return f"it covers {mask_px / pixels:.4g} of the photo, not {segment.area_fraction:.4g}"
