"""Pure functions on masks: boxes, run-length encoding, sizes, small regions.

A mask is a (h, w) bool array; a box follows SAM: left, top, width, height, where the width is
right - left of the outermost pixels (so a mask of one pixel has a box of 0 x 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from search.records import Box, Mask, MaskArray

Point = tuple[int, int]
INTERIOR_LONG_SIDE = 512  # px of the reduced mask for interior points: exact ones take seconds
INTERIOR_SPACING = 1.2  # between points, in distances of the first one to the edge
EIGHT_NEIGHBORS = np.ones((3, 3), dtype=np.uint8)


def mask_from_array(mask_hw: NDArray[np.bool_]) -> Mask:
    """Encode a (h, w) mask as COCO's compressed RLE."""
    height, width = mask_hw.shape
    rle = coco_mask.encode(np.asfortranarray(mask_hw, dtype=np.uint8))
    return Mask(size_wh=(width, height), counts=rle["counts"].decode("ascii"))


def array_from_mask(
    mask: Mask, rows: slice = slice(None), columns: slice = slice(None)
) -> MaskArray:
    """Decode to a (h, w) bool array at the mask's own size, or to a part of it.

    Not by pycocotools: its decoder leaves the rest of the array unset where runs are missing.

    Raises:
        ValueError: the text is damaged, or its runs do not fill the mask.
    """
    width, height = mask.size_wh
    runs = runs_from_mask(mask)
    inside = np.arange(len(runs)) % 2 == 1
    by_column = np.repeat(inside, runs).reshape(width, height)
    return np.ascontiguousarray(by_column[columns, rows].T)


def interior_points(mask_hw: MaskArray, count: int) -> list[Point]:
    """Up to `count` pixels (x, y) deep inside a mask, spread over it; none if it is empty.

    The first is the farthest from all edges; each next one likewise, away from the previous ones.
    """
    from scipy import ndimage  # takes 0.15 s, and most commands don't need it

    every = max(1, max(mask_hw.shape) // INTERIOR_LONG_SIDE)
    inside = mask_hw[::every, ::every]
    if not inside.any():  # it is thinner than the steps
        every, inside = 1, mask_hw
    rest, found = inside.copy(), list[Point]()
    rows, columns = np.ogrid[: rest.shape[0], : rest.shape[1]]
    while rest.any() and len(found) < count:
        depth = ndimage.distance_transform_edt(np.pad(rest, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        found.append((int(x) * every, int(y) * every))
        rest &= np.hypot(rows - y, columns - x) > INTERIOR_SPACING * depth[y, x]
    return found


def coco_rle_from_mask(mask: Mask) -> dict[str, object]:
    """COCO's own form, {"size": [h, w], "counts": str}."""
    width, height = mask.size_wh
    return {"size": [height, width], "counts": mask.counts}


def mask_from_runs(runs: Sequence[int], size_hw: tuple[int, int]) -> Mask:
    """Encode column-major runs (first of background, as in COCO's uncompressed RLE)."""
    height, width = size_hw
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": list(runs)}, height, width)
    return Mask(size_wh=(width, height), counts=rle["counts"].decode("ascii"))


def runs_from_mask(mask: Mask) -> NDArray[np.int64]:
    """Column-major run lengths of a mask, the first of background.

    Raises:
        ValueError: the text is damaged, or its runs do not fill the mask.
    """
    width, height = mask.size_wh
    runs = runs_from_counts(mask.counts)
    if runs.sum() != width * height:
        raise ValueError(f"the runs of a mask fill {runs.sum()} pixels, not {width} x {height}")
    return runs


def runs_from_counts(counts: str) -> NDArray[np.int64]:
    """Decode COCO's compressed counts to run lengths.

    A number is a few characters of six bits: five of value, lowest first, and a continuation bit;
    from the fourth on, each number is the difference to the one two before.
    Source: rleFrString in pycocotools' maskApi.c.

    Raises:
        ValueError: the text ends within a number, or a run is negative or absurdly long.
    """
    bits = np.frombuffer(counts.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - 48
    last = (bits & 0x20) == 0  # the last character of each number
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    digit = np.arange(len(bits)) - np.repeat(starts, ends - starts + 1) if last[-1:].any() else None
    if digit is None or bits.min() < 0 or bits.max() > 63 or digit.max() > 6:
        raise ValueError("the run-length text of a mask is damaged")
    values = np.add.reduceat((bits & 0x1F) << (5 * digit), starts)
    negative = (bits[ends] & 0x10) != 0
    values -= np.where(negative, 1 << (5 * (ends - starts + 1)), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    if (values < 0).any():
        raise ValueError("the run-length text of a mask is damaged")
    return values


def bbox_xywh_from_array(mask_hw: NDArray[np.bool_]) -> Box:
    """SAM's box of a mask; an empty mask gives (0, 0, 0, 0)."""
    columns, rows = np.flatnonzero(mask_hw.any(axis=0)), np.flatnonzero(mask_hw.any(axis=1))
    if not len(columns):
        return Box(0, 0, 0, 0)
    left, top = int(columns[0]), int(rows[0])
    return Box(left, top, int(columns[-1]) - left, int(rows[-1]) - top)


def iou(a_hw: NDArray[np.bool_], b_hw: NDArray[np.bool_]) -> float:
    """Intersection over union; two empty masks give 0."""
    union = int(np.count_nonzero(a_hw | b_hw))
    return int(np.count_nonzero(a_hw & b_hw)) / union if union else 0.0


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes; two empty boxes give 0."""
    ax0, ay0, ax1, ay1 = a.xyxy
    bx0, by0, bx1, by1 = b.xyxy
    overlap = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
    union = a.w * a.h + b.w * b.h - overlap
    return min(1.0, overlap / union) if union else 0.0  # rounding can exceed 1 for tiny boxes


def resized(mask_hw: NDArray[np.bool_], size_wh: tuple[int, int]) -> MaskArray:
    """Resize a mask.

    Downscaling keeps pixels that are at least half covered; upscaling takes the nearest pixel. A
    non-empty mask never becomes empty: then the most covered pixels are kept.
    """
    height, width = mask_hw.shape
    if (width, height) == size_wh:
        return mask_hw
    shrinks = size_wh[0] <= width and size_wh[1] <= height
    method = Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
    gray = Image.fromarray(mask_hw.astype(np.uint8) * 255).resize(size_wh, method)
    small: MaskArray = np.asarray(gray) >= 128
    return small if small.any() or not mask_hw.any() else _most_covered(mask_hw, size_wh)


def _most_covered(mask_hw: NDArray[np.bool_], size_wh: tuple[int, int]) -> MaskArray:
    """The most covered pixels; in floats, as bytes round 1 in 1,000 to zero."""
    shares = Image.fromarray(mask_hw.astype(np.float32)).resize(size_wh, Image.Resampling.BOX)
    covered = np.asarray(shares)
    most: MaskArray = covered == covered.max()
    return most


def enlarged(mask: Mask, size_wh: tuple[int, int]) -> Mask:
    """Upscale a mask as `resized` does, but from its runs, without an array of its pixels.

    Raises:
        ValueError: the mask is damaged.
    """
    (small_width, small_height), (width, height) = mask.size_wh, size_wh
    if width < small_width or height < small_height:
        return mask_from_array(resized(array_from_mask(mask), size_wh))
    above_and_below = np.pad(array_from_mask(mask), ((1, 1), (0, 0)))
    changes = above_and_below[1:] != above_and_below[:-1]  # (h + 1, w): each column ends outside
    columns, rows = np.nonzero(changes.T)
    first_rows = np.searchsorted(_nearest(small_height, height), np.arange(small_height + 1))
    count = np.bincount(columns, minlength=small_width)
    first = np.cumsum(count) - count
    column_of = _nearest(small_width, width)
    each = count[column_of]  # changes in each column of the large mask
    which = np.arange(each.sum()) + np.repeat(first[column_of] - (np.cumsum(each) - each), each)
    at = np.repeat(np.arange(width), each) * height + first_rows[rows][which]
    kept = np.ones(len(at), np.bool_)  # a column that ends inside, and the next one begins there
    joined = np.flatnonzero(at[1:] == at[:-1])
    kept[joined] = kept[joined + 1] = False
    edges = np.concatenate([[0], at[kept], [width * height]])
    runs = np.diff(edges[:-1] if edges[-2] == edges[-1] else edges)
    return mask_from_runs(runs.tolist(), (height, width))


def _nearest(small: int, large: int) -> NDArray[np.int32]:
    """(large,) index of the nearest of `small` pixels."""
    numbers = Image.fromarray(np.arange(small, dtype=np.int32)[None])
    shown: NDArray[np.int32] = np.asarray(numbers.resize((large, 1), Image.Resampling.NEAREST))[0]
    return shown


def fitted_size(size_wh: tuple[int, int], long_side: int) -> tuple[int, int]:
    """The size, scaled down so that its long side is at most `long_side`."""
    scale = min(1.0, long_side / max(size_wh))
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


def without_small_regions(
    mask_hw: NDArray[np.bool_], area_thresh: float, mode: Literal["holes", "islands"]
) -> tuple[MaskArray, bool]:
    """The mask with small holes filled or small islands removed, and whether it changed.

    Regions are 8-connected. If all islands are small, the largest stays; of several, opencv's
    first. This is `remove_small_regions` of segment-anything's utils/amg.py, by scipy instead of
    opencv.
    """
    from scipy import ndimage  # takes 0.15 s, and most commands don't need it

    working = ~mask_hw if mode == "holes" else mask_hw
    labels, count = ndimage.label(working, structure=EIGHT_NEIGHBORS)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    small = np.flatnonzero(areas < area_thresh) + 1
    if not len(small):
        return mask_hw, False
    if mode == "holes":
        return mask_hw | np.isin(labels, small), True
    if len(small) == count:
        largest = np.flatnonzero(areas == areas.max()) + 1
        small = small[small != _first_by_blocks(labels, largest)]
    return mask_hw & ~np.isin(labels, small), True


def _first_by_blocks(labels: NDArray[np.int32], among: NDArray[np.int64]) -> int:
    """The label that opencv numbers first: it scans an image by blocks of 2 x 2 pixels.

    A block belongs to one 8-connected region at most (Grana et al., 2010).
    """
    rows, columns = np.nonzero(np.isin(labels, among))
    first = np.lexsort((columns // 2, rows // 2))[0]
    return int(labels[rows[first], columns[first]])


def polygons_from_array(mask_hw: NDArray[np.bool_]) -> list[list[Point]]:
    """Outlines of a mask, and of its holes, as closed polygons along pixel edges.

    Filling all of them by the even-odd rule gives exactly the mask.
    """
    padded = np.pad(mask_hw, 1).astype(np.int8)
    across = np.diff(padded, axis=0)[:, 1:-1]  # 1 where the inside begins going down
    down = np.diff(padded, axis=1)[1:-1]  # 1 where the inside begins going right
    edges = [((x, y), (x + 1, y), across[y, x] > 0) for y, x in np.argwhere(across).tolist()]
    edges += [((x, y), (x, y + 1), down[y, x] < 0) for y, x in np.argwhere(down).tolist()]
    steps: dict[Point, list[Point]] = {}
    for a, b, forward in edges:  # the inside stays on the right
        steps.setdefault(a if forward else b, []).append(b if forward else a)
    return [_without_straight_corners(loop) for loop in _loops(steps)]


def _loops(steps: dict[Point, list[Point]]) -> list[list[Point]]:
    """Chain directed unit steps to closed loops."""
    loops = []
    while steps:
        start = point = next(iter(steps))
        loop = []
        while True:
            ways = steps[point]
            nxt = ways.pop()
            if not ways:
                del steps[point]
            loop.append(point)
            point = nxt
            if point == start:
                break
        loops.append(loop)
    return loops


def _without_straight_corners(loop: list[Point]) -> list[Point]:
    """Drop points at which an outline does not turn."""
    turns = []
    for i, (x, y) in enumerate(loop):
        (x0, y0), (x1, y1) = loop[i - 1], loop[(i + 1) % len(loop)]
        if (x - x0) * (y1 - y) != (y - y0) * (x1 - x):
            turns.append((x, y))
    return turns
