# ruff: noqa: ANN001, ANN202
"""Measuring upsampled masks on a GPU, without storing the upsampled masks.

A Triton kernel (triton comes with torch for CUDA) upsamples some rows of a mask per program in
registers and counts pixels. On other devices torch upsamples a batch of masks at a time.
"""

from __future__ import annotations

import logging
from functools import cache, lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ingest.segmentation.bilinear import axis

try:
    import triton
    import triton.language as tl
except ImportError:  # not on this system
    triton = None

_logger = logging.getLogger(__name__)
PIXELS_AT_ONCE = 1 << 27  # upsampled at a time by torch: 0.5 GB
ROWS, COLUMNS = 16, 128  # block size of a program
NOWHERE = 1 << 30

Levels = tuple[float, float, float]


def measured_on_gpu(
    logits: Tensor, size_wh: tuple[int, int], levels: Levels
) -> tuple[Tensor, Tensor]:
    """Return (n, 3) areas above each level, and (n, 4) boxes xyxy at the first level.

    Args:
        logits: (n, h, w) float32.
        size_wh: width and height of the photo.
        levels: a mask that is empty at the first level has a box of zeros.
    """
    if logits.device.type == "cuda" and kernel_runs(logits.device):
        return measured_by_kernel(logits, size_wh, levels)
    return measured_upsampled(logits, size_wh, levels)


@cache
def kernel_runs(device: torch.device) -> bool:
    """Return whether Triton can compile the kernel, for which it needs a C compiler."""
    if triton is None:
        return False
    try:
        measured_by_kernel(torch.zeros((1, 2, 2), device=device), (2, 2), (0.0, 1.0, -1.0))
    except Exception as error:  # of the compiler or the driver, of any type
        _logger.warning("masks are measured without the Triton kernel, slower: %s", error)
        return False
    return True


def measured_by_kernel(
    logits: Tensor, size_wh: tuple[int, int], levels: Levels
) -> tuple[Tensor, Tensor]:
    """Like `measured_on_gpu`, with the Triton kernel."""
    (count, rows, columns), (width, height) = logits.shape, size_wh
    areas = torch.zeros((count, 3), dtype=torch.int32, device=logits.device)
    edges = torch.tensor([NOWHERE, NOWHERE, -1, -1], dtype=torch.int32, device=logits.device)
    edges = edges.repeat(count, 1)
    if count:
        down, across = _axis(rows, height, logits.device), _axis(columns, width, logits.device)
        grid = (count, triton.cdiv(height, ROWS))
        _measure[grid](
            logits.contiguous(), *down, *across, areas, edges, rows, columns, height, width,
            *levels, ROWS=ROWS, COLUMNS=COLUMNS, enable_fp_fusion=False,
        )  # fmt: skip
    return areas, edges * (edges[:, 2:3] >= 0)


def measured_upsampled(
    logits: Tensor,
    size_wh: tuple[int, int],
    levels: Levels,
    *,
    pixels_at_once: int = PIXELS_AT_ONCE,
) -> tuple[Tensor, Tensor]:
    """Like `measured_on_gpu`, by upsampling masks in batches of about `pixels_at_once`."""
    width, height = size_wh
    areas = torch.zeros((len(logits), 3), dtype=torch.int64, device=logits.device)
    rows = torch.zeros((len(logits), height), dtype=torch.bool, device=logits.device)
    columns = torch.zeros((len(logits), width), dtype=torch.bool, device=logits.device)
    at_once = max(1, pixels_at_once // (width * height))
    for start in range(0, len(logits), at_once):
        part = slice(start, start + at_once)
        masks = F.interpolate(
            logits[part, None], (height, width), mode="bilinear", align_corners=False
        )[:, 0]
        for index, level in enumerate(levels):
            inside = masks > level
            areas[part, index] = inside.sum((1, 2))
            if index == 0:
                rows[part], columns[part] = inside.any(2), inside.any(1)
    edges = [_first(columns), _first(rows), _last(columns), _last(rows)]
    return areas, torch.stack(edges, 1) * rows.any(1, keepdim=True)


def _first(inside: Tensor) -> Tensor:
    """Return the index of the first True of each row: (n, k) to (n,)."""
    return inside.int().argmax(1)


def _last(inside: Tensor) -> Tensor:
    return inside.shape[1] - 1 - _first(inside.flip(1))


@lru_cache(maxsize=64)
def _axis(size_in: int, size_out: int, device: torch.device) -> tuple[Tensor, ...]:
    """Return `bilinear.axis` on the device: two indices and two weights per pixel."""
    mix = axis(size_in, size_out)
    indices = (torch.from_numpy(part).int().to(device) for part in (mix.first, mix.second))
    weights = (torch.from_numpy(part).to(device) for part in (mix.first_weight, mix.second_weight))
    return (*indices, *weights)


# Without type annotations, since Triton would compile them.
def _kernel(  # type: ignore[no-untyped-def]
    logits,  # (n, rows, columns)
    above, below, above_weight, below_weight,  # (height,) as of ingest.segmentation.bilinear.Axis
    before, after, before_weight, after_weight,  # (width,)
    areas,  # (n, 3)
    edges,  # (n, 4)
    rows, columns, height, width, level, upper_level, lower_level,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Measure ROWS rows of one upsampled mask."""
    mask = tl.program_id(0)
    y = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    there_y = y < height
    from_above = tl.load(above + y, there_y, 0) * columns
    from_below = tl.load(below + y, there_y, 0) * columns
    weight_above = tl.load(above_weight + y, there_y, 0.0)
    weight_below = tl.load(below_weight + y, there_y, 0.0)
    base = logits + mask.to(tl.int64) * rows * columns
    over = tl.zeros((ROWS, COLUMNS), tl.int32)
    over_upper = tl.zeros((ROWS, COLUMNS), tl.int32)
    over_lower = tl.zeros((ROWS, COLUMNS), tl.int32)
    left = tl.full((ROWS, COLUMNS), 1 << 30, tl.int32)
    right = tl.full((ROWS, COLUMNS), -1, tl.int32)
    for start in range(0, width, COLUMNS):
        x = start + tl.arange(0, COLUMNS)
        there_x = x < width
        there = there_y[:, None] & there_x[None, :]
        first = tl.load(before + x, there_x, 0)[None, :]
        second = tl.load(after + x, there_x, 0)[None, :]
        weight_first = tl.load(before_weight + x, there_x, 0.0)[None, :]
        weight_second = tl.load(after_weight + x, there_x, 0.0)[None, :]
        upper_a = tl.load(base + from_above[:, None] + first, there, 0.0)
        upper_b = tl.load(base + from_above[:, None] + second, there, 0.0)
        lower_a = tl.load(base + from_below[:, None] + first, there, 0.0)
        lower_b = tl.load(base + from_below[:, None] + second, there, 0.0)
        upper = weight_first * upper_a + weight_second * upper_b
        lower = weight_first * lower_a + weight_second * lower_b
        value = weight_above[:, None] * upper + weight_below[:, None] * lower
        inside = there & (value > level)
        over += inside.to(tl.int32)
        over_upper += (there & (value > upper_level)).to(tl.int32)
        over_lower += (there & (value > lower_level)).to(tl.int32)
        left = tl.where(inside, tl.minimum(left, x[None, :]), left)
        right = tl.where(inside, tl.maximum(right, x[None, :]), right)
    tl.atomic_add(areas + mask * 3, tl.sum(over))
    tl.atomic_add(areas + mask * 3 + 1, tl.sum(over_upper))
    tl.atomic_add(areas + mask * 3 + 2, tl.sum(over_lower))
    in_row = tl.sum(over, 1) > 0
    tl.atomic_min(edges + mask * 4, tl.min(left))
    tl.atomic_min(edges + mask * 4 + 1, tl.min(tl.where(in_row, y, 1 << 30)))
    tl.atomic_max(edges + mask * 4 + 2, tl.max(right))
    tl.atomic_max(edges + mask * 4 + 3, tl.max(tl.where(in_row, y, -1)))


_measure: Any = triton.jit(_kernel) if triton is not None else None
