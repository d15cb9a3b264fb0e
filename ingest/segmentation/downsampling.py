"""Masks at the size that they are stored at, without painting all their pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from search.jit import compiled
from search.masks.rle import mask_from_array, runs_from_mask
from search.records import Mask


def shrunk(mask: Mask, size_wh: tuple[int, int]) -> Mask:
    """Return the mask at a smaller size: its pixels are those of which at least half is covered.

    A mask that is not empty stays so: if nothing is half covered, the most covered pixels are kept.

    Raises:
        ValueError: the mask is damaged, or smaller than that.
    """
    (width, height), (small_width, small_height) = mask.size_wh, size_wh
    if small_width > width or small_height > height:
        raise ValueError(f"a mask of {mask.size_wh} can't be shrunk to {size_wh}")
    covered = _covered(runs_from_mask(mask), width, height, small_width, small_height)
    inside = covered >= (width * height + 1) // 2
    if not inside.any():
        inside = (covered == covered.max()) & (covered > 0)
    return mask_from_array(inside.T)


@compiled()
def _covered(runs: Any, width: int, height: int, small_width: int, small_height: int) -> Any:  # noqa: ANN401
    """Return how much of each pixel of the small mask is covered, (small width, small height).

    The unit is so small that all areas are whole: a pixel of the small mask has width * height of
    them, one of the large mask small_width * small_height.
    """
    covered = np.zeros((small_width, small_height), np.int64)
    at, inside = 0, False
    for run in runs:
        start, at = at, at + run
        while inside and start < at:
            x, y0 = divmod(start, height)
            y1 = min(height, at - x * height)
            start = x * height + y1
            column, top, bottom = x * small_width // width, y0 * small_height, y1 * small_height
            first, last = top // height, (bottom - 1) // height
            over = top - first * height, (last + 1) * height - bottom  # of the rows at both ends
            share = min((column + 1) * width - x * small_width, small_width)
            for part in (share, small_width - share):  # of this column of the small mask, the next
                if part:
                    for row in range(first, last + 1):
                        covered[column, row] += part * height
                    covered[column, first] -= part * over[0]
                    covered[column, last] -= part * over[1]
                column += 1
        inside = not inside
    return covered
