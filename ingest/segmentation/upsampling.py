"""Areas, boxes and run lengths of upsampled masks, without upsampling them.

SAM decodes a mask to 256 x 256 logits (a quarter of the model's size), and sam2 upsamples each
bilinearly to the photo's size to threshold and measure it: at 12 MP that is 48 MB per mask and
three masks per point. But an upsampled value is a convex combination of the four logits around it.
If those are on one side of the threshold, so are all pixels between them; only cells that the
threshold crosses have to be evaluated pixel by pixel (about 1% of pixels). The arithmetic is that
of torch's `interpolate(mode="bilinear", align_corners=False)` in float32, operation by operation.

On a GPU every pixel is evaluated (see `ingest.segmentation.upsampling_gpu`), and only the logits of
masks that pass the filters are copied to the CPU.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ingest.segmentation.bilinear import Axis, axis
from ingest.segmentation.upsampling_gpu import measured_on_gpu
from search.jit import compiled
from search.records import Mask

Logits = NDArray[np.float32]

# Bound of the rounding error of a combination of four logits (SAM clamps them to +-32).
MARGIN = np.float32(1e-5)


class Measured(NamedTuple):
    """Measurements of n masks at full size."""

    area_px: NDArray[np.int64]  # (n,) pixels over the threshold
    stability_score: NDArray[np.float32]  # (n,) NaN where the union is empty, as in sam2
    boxes_xyxy: NDArray[np.int64]  # (n, 4) outermost pixels, inclusive; zeros if empty


def measure(
    logits: torch.Tensor, size_wh: tuple[int, int], threshold: float, offset: float
) -> Measured:
    """Measure n masks as if upsampled to the photo's size, on the device of the logits.

    Args:
        logits: (n, h, w) float32.
        size_wh: width and height of the photo.
        threshold: logits above it are inside.
        offset: SAM's stability score is area(> threshold + offset) / area(> threshold - offset).
    """
    levels = (threshold, threshold + offset, threshold - offset)
    if logits.device.type == "cpu":
        areas, boxes = measured_by_cells(logits, size_wh, levels)
    else:
        on_gpu = measured_on_gpu(logits, size_wh, levels)
        areas, boxes = (found.cpu().numpy().astype(np.int64) for found in on_gpu)
    with np.errstate(invalid="ignore"):
        stability: NDArray[np.float32] = np.divide(areas[:, 1], areas[:, 2], dtype=np.float32)
    return Measured(areas[:, 0], stability, boxes)


def measured_by_cells(
    logits: torch.Tensor, size_wh: tuple[int, int], levels: tuple[float, float, float]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (n, 3) areas above each level and (n, 4) boxes at the first level, on the CPU."""
    width, height = size_wh
    down, across = axis(logits.shape[1], height), axis(logits.shape[2], width)
    areas, boxes = _measure(logits.contiguous().numpy(), down, across, np.array(levels, np.float32))
    return areas, boxes


def mask_from_logits(logits_hw: Logits, size_wh: tuple[int, int], threshold: float) -> Mask:
    """Threshold and encode one mask (h, w) as if upsampled to the photo's size."""
    width, height = size_wh
    down, across = axis(logits_hw.shape[0], height), axis(logits_hw.shape[1], width)
    counts = _counts(_runs(logits_hw, down, across, np.float32(threshold)))
    return Mask(size_wh=size_wh, counts=counts.tobytes().decode("ascii"))


@compiled()
def _measure(logits: Any, down: Axis, across: Axis, levels: Any) -> Any:  # noqa: ANN401, C901
    """Return (n, 3) areas above each level and (n, 4) boxes at the first level.

    The pixels of cells that a level may cross are gathered row by row, so that the CPU evaluates
    eight at once (one fused loop: numba does not inline this as fast in parts).
    """
    count, rows, columns = logits.shape
    width = across.first.shape[0]
    areas = np.zeros((count, 3), np.int64)
    boxes = np.zeros((count, 4), np.int64)
    upper, lower = np.empty(width, np.float32), np.empty(width, np.float32)
    columns_px, inside = np.empty(width, np.int32), np.empty(width, np.uint8)
    outside_all, inside_all = levels.min() - MARGIN, levels.max() + MARGIN
    for n in range(count):
        left, top, right, bottom = 1 << 60, 1 << 60, -1, -1
        solid = 0  # pixels of cells that are above every level
        for y in range(rows):
            y0, y1 = down.starts[y], down.starts[y + 1]
            if y0 == y1:
                continue
            below, mixed = min(y + 1, rows - 1), 0
            for x in range(columns):
                x0, x1 = across.starts[x], across.starts[x + 1]
                if x0 == x1:
                    continue
                after = min(x + 1, columns - 1)
                a, b = logits[n, y, x], logits[n, y, after]
                c, d = logits[n, below, x], logits[n, below, after]
                if max(max(a, b), max(c, d)) < outside_all:
                    continue
                if min(min(a, b), min(c, d)) > inside_all:
                    solid += (y1 - y0) * (x1 - x0)
                    left, right = min(left, x0), max(right, x1 - 1)
                    top, bottom = min(top, y0), max(bottom, y1 - 1)
                    continue
                for px in range(x0, x1):
                    upper[mixed] = across.first_weight[px] * a + across.second_weight[px] * b
                    lower[mixed] = across.first_weight[px] * c + across.second_weight[px] * d
                    columns_px[mixed], inside[mixed] = px, 0
                    mixed += 1
            for py in range(y0, y1):
                first, second = down.first_weight[py], down.second_weight[py]
                over0, over1, over2 = np.int32(0), np.int32(0), np.int32(0)
                for k in range(mixed):
                    value = first * upper[k] + second * lower[k]
                    over0 = np.int32(over0 + (value > levels[0]))
                    over1 = np.int32(over1 + (value > levels[1]))
                    over2 = np.int32(over2 + (value > levels[2]))
                    inside[k] |= value > levels[0]
                areas[n, 0] += over0
                areas[n, 1] += over1
                areas[n, 2] += over2
                if over0:
                    top, bottom = min(top, py), max(bottom, py)
            for k in range(mixed):
                if inside[k]:
                    left, right = min(left, columns_px[k]), max(right, columns_px[k])
        areas[n] += solid
        if right >= 0:
            boxes[n] = (left, top, right, bottom)
    return areas, boxes


@compiled()
def _runs(logits: Any, down: Axis, across: Axis, level: Any) -> Any:  # noqa: ANN401, C901
    """Return the column-major run lengths of one mask above a level (one fused loop)."""
    rows = logits.shape[0]
    height, width = down.first.shape[0], across.first.shape[0]
    found = [0]
    found.pop()
    column = np.empty(rows, np.float32)
    inside, since = False, 0
    for px in range(width):
        first, second = across.first[px], across.second[px]
        for y in range(rows):
            column[y] = (
                across.first_weight[px] * logits[y, first]
                + across.second_weight[px] * logits[y, second]
            )
        for y in range(rows):
            y0, y1 = down.starts[y], down.starts[y + 1]
            if y0 == y1:
                continue
            upper, lower = column[y], column[min(y + 1, rows - 1)]
            low, high = min(upper, lower), max(upper, lower)
            if low > level + MARGIN:
                if not inside:
                    found.append(px * height + y0 - since)
                    inside, since = True, px * height + y0
                continue
            if high < level - MARGIN:
                if inside:
                    found.append(px * height + y0 - since)
                    inside, since = False, px * height + y0
                continue
            for py in range(y0, y1):
                value = down.first_weight[py] * upper + down.second_weight[py] * lower
                if (value > level) != inside:
                    found.append(px * height + py - since)
                    inside, since = not inside, px * height + py
    found.append(width * height - since)
    return np.array(found)


@compiled()
def _counts(runs: Any) -> Any:  # noqa: ANN401
    """Encode run lengths in COCO's compressed RLE; `search.masks.rle` decodes it."""
    text = np.empty(7 * len(runs), np.uint8)
    used = 0
    for i in range(len(runs)):
        left = runs[i] - runs[i - 2] if i > 2 else runs[i]
        more = True
        while more:
            bits = left & 0x1F
            left >>= 5
            more = left != -1 if bits & 0x10 else left != 0
            text[used] = (bits | 0x20 if more else bits) + 48
            used += 1
    return text[:used]
