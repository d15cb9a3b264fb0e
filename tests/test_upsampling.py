"""What is measured from low-res logits is what torch's upsampled mask measures, exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sam2.utils.amg import batched_mask_to_box, calculate_stability_score, mask_to_rle_pytorch

from ingest import upsampling

SIZES = st.integers(1, 300)


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, st.sampled_from([16, 64]), st.integers(0, 10**6), st.floats(0.1, 30))
def test_any_size_measures_as_torch_upsamples(
    width: int, height: int, side: int, seed: int, spread: float
) -> None:
    _check(_logits(seed, 3, side, spread), (width, height), 0.0, 1.0)


@pytest.mark.parametrize("size_wh", [(1800, 1200), (4000, 3000)])
def test_photo_sizes_measure_as_torch_upsamples(size_wh: tuple[int, int]) -> None:
    _check(_logits(1, 2, 256, 8.0), size_wh, 0.0, 1.0)


@pytest.mark.parametrize(("threshold", "offset"), [(0.0, 0.0), (-3.0, 2.0), (1.5, 0.25)])
def test_any_threshold_measures_as_torch_upsamples(threshold: float, offset: float) -> None:
    _check(_logits(2, 4, 64, 5.0), (321, 123), threshold, offset)


def test_empty_full_and_flat_masks_measure_as_torch_upsamples() -> None:
    flat = np.stack([np.full((32, 32), value, np.float32) for value in (-9, 9, 0, 1, -1)])
    _check(flat, (77, 55), 0.0, 1.0)


def test_an_empty_union_has_no_stability() -> None:
    measured = upsampling.measure(np.full((1, 8, 8), -9, np.float32), (20, 10), 0.0, 1.0)
    assert np.isnan(measured.stability_score[0])
    assert measured.area_px[0] == 0
    assert measured.boxes_xyxy[0].tolist() == [0, 0, 0, 0]


def test_no_masks_measure_as_nothing() -> None:
    measured = upsampling.measure(np.zeros((0, 8, 8), np.float32), (20, 10), 0.0, 1.0)
    assert len(measured.area_px) == len(measured.boxes_xyxy) == 0


def _check(
    logits: upsampling.Logits, size_wh: tuple[int, int], threshold: float, offset: float
) -> None:
    width, height = size_wh
    full = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[:, None], (height, width), mode="bilinear", align_corners=False
    )[:, 0]
    inside = full > threshold
    measured = upsampling.measure(logits, size_wh, threshold, offset)
    np.testing.assert_array_equal(measured.area_px, inside.sum((1, 2)).numpy())
    np.testing.assert_array_equal(measured.boxes_xyxy, batched_mask_to_box(inside).numpy())
    np.testing.assert_array_equal(
        measured.stability_score, calculate_stability_score(full, threshold, offset).numpy()
    )
    for mask_logits, rle in zip(logits, mask_to_rle_pytorch(inside), strict=True):
        assert upsampling.runs(mask_logits, size_wh, threshold) == rle["counts"]


def _logits(seed: int, count: int, side: int, spread: float) -> upsampling.Logits:
    """Return smooth logits (count, side, side) with edges, islands and holes."""
    torch.manual_seed(seed)
    coarse = torch.randn(count, 1, max(2, side // 6), max(2, side // 6)) * spread
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    found: upsampling.Logits = smooth[:, 0].contiguous().numpy()
    return found
