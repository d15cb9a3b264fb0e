"""Weights of torch's `interpolate(mode="bilinear", align_corners=False)` along an axis."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Axis(NamedTuple):
    """Interpolation from logits to pixels along one axis."""

    first: NDArray[np.int64]  # (out,) index of the logit before the pixel
    second: NDArray[np.int64]  # (out,) and of the one after it; equal to first at the end
    first_weight: NDArray[np.float32]  # (out,)
    second_weight: NDArray[np.float32]  # (out,)
    starts: NDArray[np.int64]  # (in + 1,) outputs starts[k]:starts[k + 1] have first == k


@lru_cache(maxsize=64)
def axis(size_in: int, size_out: int) -> Axis:
    """Compute the interpolation from `size_in` logits to `size_out` pixels, as torch does."""
    scale = np.float32(size_in) / np.float32(size_out)
    centers = np.arange(size_out, dtype=np.float32) + np.float32(0.5)
    source = np.maximum(scale * centers - np.float32(0.5), np.float32(0))
    first = np.minimum(source.astype(np.int64), size_in - 1)
    second = np.minimum(first + 1, size_in - 1)
    second_weight = np.clip(source - first.astype(np.float32), 0, 1).astype(np.float32)
    starts = np.searchsorted(first, np.arange(size_in + 1))
    return Axis(first, second, np.float32(1) - second_weight, second_weight, starts)
