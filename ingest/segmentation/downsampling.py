"""Downsampling of run-length encoded masks, without decoding them to pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from search.jit import compiled
from search.masks.rle import mask_from_array, runs_from_mask
from search.records import Mask


def downsampled(mask: Mask, size_wh: tuple[int, int]) -> Mask:
    """Downsample a mask: a pixel is inside if at least half of it is covered.

    A mask never becomes empty: if no pixel is half covered, the most covered ones are inside.

    Raises:
        ValueError: the mask is damaged, or smaller than `size_wh`.
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
    """Return the covered area of each pixel of the small mask, (small width, small height).

    Areas are integers in a unit of which a small pixel has width * height, and a large pixel
    small_width * small_height.
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
            over = top - first * height, (last + 1) * height - bottom  # excess at both ends
            share = min((column + 1) * width - x * small_width, small_width)
            for part in (share, small_width - share):  # in this small column and the next
                if part:
                    for row in range(first, last + 1):
                        covered[column, row] += part * height
                    covered[column, first] -= part * over[0]
                    covered[column, last] -= part * over[1]
                column += 1
        inside = not inside
    return covered
