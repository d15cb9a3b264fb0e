"""Masks shrunk from their runs, against areas counted pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.segmentation.downsampling import downsampled
from search.masks.rle import array_from_mask, fitted_size, iou, mask_from_array, resized
from search.records import Mask


def shares(large: int, small: int) -> NDArray[np.int64]:
    """How much of each of `small` equal parts lies in each of `large` ones, (small, large)."""
    at, into = np.arange(large) * small, np.arange(small)[:, None] * large
    ends = np.minimum(at + small, into + large)
    overlaps: NDArray[np.int64] = np.maximum(0, ends - np.maximum(at, into))
    return overlaps


def by_area(mask_hw: NDArray[np.bool_], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    height, width = mask_hw.shape
    rows, columns = shares(height, size_wh[1]), shares(width, size_wh[0])
    covered = rows @ mask_hw.astype(np.int64) @ columns.T
    inside: NDArray[np.bool_] = covered * 2 >= height * width
    if mask_hw.any() and not inside.any():
        inside = covered == covered.max()
    return inside


def masks(seed: int) -> NDArray[np.bool_]:
    rng = np.random.default_rng(seed)
    hw = tuple(int(side) for side in rng.integers(1, 45, 2))
    kind = seed % 5
    if kind == 0:
        return np.ones(hw, np.bool_)
    if kind == 1:
        mask_hw = np.zeros(hw, np.bool_)
        mask_hw[rng.integers(hw[0]), rng.integers(hw[1])] = True
        return mask_hw
    if kind == 2:
        return rng.random(hw) < rng.random()
    mask_hw = np.zeros(hw, np.bool_)
    y, x = (int(rng.integers(side)) for side in hw)
    mask_hw[y : y + int(rng.integers(1, 40)), x : x + int(rng.integers(1, 40))] = True
    return ~mask_hw if kind == 3 else mask_hw


@pytest.mark.parametrize("seed", range(100))
def test_pixels_are_those_of_which_half_is_covered(seed: int) -> None:
    mask_hw = masks(seed)
    rng = np.random.default_rng(seed)
    height, width = mask_hw.shape
    small_wh = int(rng.integers(1, width + 1)), int(rng.integers(1, height + 1))
    small = downsampled(mask_from_array(mask_hw), small_wh)
    assert small.size_wh == small_wh
    assert np.array_equal(array_from_mask(small), by_area(mask_hw, small_wh))


def test_a_mask_of_nothing_stays_one() -> None:
    nothing = mask_from_array(np.zeros((9, 12), np.bool_))
    assert not array_from_mask(downsampled(nothing, (4, 3))).any()


def test_a_large_mask_is_shrunk_as_pillow_does_but_for_its_edge() -> None:
    y, x = np.mgrid[:1500, :2000]
    mask_hw = (y - 700) ** 2 + (x - 900) ** 2 < 500**2
    size_wh = fitted_size((2000, 1500), 1024)
    found = array_from_mask(downsampled(mask_from_array(mask_hw), size_wh))
    assert iou(found, resized(mask_hw, size_wh)) > 0.998


@pytest.mark.parametrize(
    ("mask", "size_wh", "why"),
    [
        (Mask(size_wh=(8, 8), counts="5o"), (4, 4), "fill|damaged"),
        (mask_from_array(np.ones((8, 8), np.bool_)), (9, 8), "can't be shrunk"),
    ],
)
def test_damaged_masks_and_growing_are_errors(
    mask: Mask, size_wh: tuple[int, int], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        downsampled(mask, size_wh)
