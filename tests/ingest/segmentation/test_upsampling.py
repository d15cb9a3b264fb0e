"""What is measured from low-res logits is what torch's upsampled mask measures, exactly."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sam2.utils.amg import batched_mask_to_box, calculate_stability_score, mask_to_rle_pytorch

from ingest.segmentation import upsampling, upsampling_gpu
from search.masks.rle import mask_from_runs

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
    measured = upsampling.measure(torch.full((1, 8, 8), -9.0), (20, 10), 0.0, 1.0)
    assert np.isnan(measured.stability_score[0])
    assert measured.area_px[0] == 0
    assert measured.boxes_xyxy[0].tolist() == [0, 0, 0, 0]


def test_the_kernel_for_gpus_measures_as_the_processor_does() -> None:
    pytest.importorskip("triton", reason="triton comes with torch for CUDA")
    run = [sys.executable, "-c", KERNEL_CHECK]  # Triton's interpreter is chosen at the import
    subprocess.run(run, env={**os.environ, "TRITON_INTERPRET": "1"}, check=True, timeout=300)


def test_where_the_kernel_does_not_compile_torch_measures(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(upsampling_gpu, "triton", object())
    monkeypatch.setattr(upsampling_gpu, "measured_by_kernel", fails)
    upsampling_gpu.kernel_runs.cache_clear()
    assert not upsampling_gpu.kernel_runs(torch.device("cpu"))
    assert "Failed to find C compiler" in caplog.text
    upsampling_gpu.kernel_runs.cache_clear()


KERNEL_CHECK = """
import torch
from ingest.segmentation.upsampling import measured_by_cells
from ingest.segmentation.upsampling_gpu import measured_by_kernel

torch.manual_seed(0)
for size_wh, side in (((300, 200), 64), ((1, 50), 16), ((129, 33), 32)):
    coarse = torch.randn(3, 1, side // 6, side // 6) * 8
    logits = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[:, 0]
    logits[2] = -9
    levels = (0.5, 2.0, -1.0)
    found = measured_by_kernel(logits, size_wh, levels)
    for ours, theirs in zip(found, measured_by_cells(logits, size_wh, levels), strict=True):
        assert (ours.numpy() == theirs).all(), (size_wh, ours, theirs)
assert len(measured_by_kernel(logits[:0], size_wh, levels)[0]) == 0
"""


def test_upsampling_in_batches_measures_the_same() -> None:
    logits, levels = torch.from_numpy(_logits(3, 5, 32, 8.0)), (0.0, 1.0, -1.0)
    areas, boxes = upsampling_gpu.measured_upsampled(
        logits, (100, 80), levels, pixels_at_once=2 * 100 * 80
    )
    expected_areas, expected_boxes = upsampling.measured_by_cells(logits, (100, 80), levels)
    np.testing.assert_array_equal(areas, expected_areas)
    np.testing.assert_array_equal(boxes, expected_boxes)


def test_no_masks_measure_as_nothing() -> None:
    measured = upsampling.measure(torch.zeros((0, 8, 8)), (20, 10), 0.0, 1.0)
    assert len(measured.area_px) == len(measured.boxes_xyxy) == 0


def _check(
    logits: upsampling.Logits, size_wh: tuple[int, int], threshold: float, offset: float
) -> None:
    width, height = size_wh
    full = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[:, None], (height, width), mode="bilinear", align_corners=False
    )[:, 0]
    inside = full > threshold
    given_logits = torch.from_numpy(logits)
    measured = upsampling.measure(given_logits, size_wh, threshold, offset)
    np.testing.assert_array_equal(measured.area_px, inside.sum((1, 2)).numpy())
    np.testing.assert_array_equal(measured.boxes_xyxy, batched_mask_to_box(inside).numpy())
    np.testing.assert_array_equal(
        measured.stability_score, calculate_stability_score(full, threshold, offset).numpy()
    )
    levels = (threshold, threshold + offset, threshold - offset)
    on_gpu = upsampling_gpu.measured_upsampled(given_logits, size_wh, levels)
    by_cells = upsampling.measured_by_cells(given_logits, size_wh, levels)
    for theirs, ours in zip(on_gpu, by_cells, strict=True):
        np.testing.assert_array_equal(theirs.numpy(), ours)
    for mask_logits, rle in zip(logits, mask_to_rle_pytorch(inside), strict=True):
        mask = mask_from_runs(rle["counts"], (height, width))
        assert upsampling.mask_from_logits(mask_logits, size_wh, threshold) == mask


def _logits(seed: int, count: int, side: int, spread: float) -> upsampling.Logits:
    """Return smooth logits (count, side, side) with edges, islands and holes."""
    torch.manual_seed(seed)
    coarse = torch.randn(count, 1, max(2, side // 6), max(2, side // 6)) * spread
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    found: upsampling.Logits = smooth[:, 0].contiguous().numpy()
    return found
