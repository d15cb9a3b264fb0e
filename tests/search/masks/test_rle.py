"""Masks: round trips, boxes, sizes and small regions, checked against COCO, sam2 and opencv."""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask
from sam2.utils.amg import batched_mask_to_box, mask_to_rle_pytorch, remove_small_regions

from api.render.draw import mask_png
from search.masks.rle import (
    array_from_mask,
    bbox_xywh_from_array,
    box_iou,
    coco_rle_from_mask,
    fitted_size,
    interior_points,
    iou,
    mask_from_array,
    mask_from_runs,
    polygons_from_array,
    resized,
    runs_from_counts,
    without_small_regions,
)
from search.records import Box, Mask, MaskArray

SIDES = st.integers(1, 24)
MASKS = st.tuples(SIDES, SIDES).flatmap(lambda size_hw: arrays(np.bool_, size_hw))
BOXES = st.builds(Box, *[st.floats(-50, 50)] * 2, *[st.floats(0, 50)] * 2)


def blobs(seed: int, size_hw: tuple[int, int] = (60, 80), share: float = 0.5) -> MaskArray:
    """A mask with holes and islands of many sizes, as thresholded smooth noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.random((size_hw[0] // 5, size_hw[1] // 5)).astype(np.float32))
    smooth = np.asarray(coarse.resize(size_hw[::-1], Image.Resampling.BICUBIC))
    noisy = smooth + 0.15 * rng.normal(size=size_hw)
    mask: MaskArray = noisy < np.quantile(noisy, share)
    return mask


def decoded_by_coco(mask: Mask) -> MaskArray:
    with warnings.catch_warnings():
        # its decoder sets the shape of an array, which new numpy calls deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        return np.asarray(coco_mask.decode(coco_rle_from_mask(mask)), bool)


@given(MASKS)
def test_a_mask_survives_rle_encoding(mask_hw: MaskArray) -> None:
    mask = mask_from_array(mask_hw)
    assert mask.size_wh == mask_hw.shape[::-1]
    assert np.array_equal(array_from_mask(mask), mask_hw)


@given(MASKS)
def test_cocos_own_decoder_agrees(mask_hw: MaskArray) -> None:
    assert np.array_equal(decoded_by_coco(mask_from_array(mask_hw)), mask_hw)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 5000), (5000, 1), (700, 900)])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_large_thin_empty_and_full_masks_survive_rle_encoding(
    size_hw: tuple[int, int], share: float
) -> None:
    mask_hw = np.random.default_rng(0).random(size_hw) < share
    mask = mask_from_array(mask_hw)
    assert np.array_equal(array_from_mask(mask), mask_hw)
    assert np.array_equal(decoded_by_coco(mask), mask_hw)


def test_decoded_masks_are_row_major_and_writable() -> None:
    back = array_from_mask(mask_from_array(blobs(0)))
    assert back.dtype == np.bool_
    assert back.flags.c_contiguous
    back[0, 0] = True


@given(MASKS)
def test_runs_are_those_of_sam2_and_make_the_same_mask(mask_hw: MaskArray) -> None:
    import torch

    mask = mask_from_array(mask_hw)
    runs = runs_from_counts(mask.counts)
    theirs = mask_to_rle_pytorch(torch.from_numpy(mask_hw)[None])[0]["counts"]
    assert runs.tolist() == theirs
    assert mask_from_runs(theirs, mask_hw.shape) == mask


@given(st.text(max_size=30), SIDES, SIDES)
def test_any_text_is_refused_or_fills_the_mask_exactly(text: str, width: int, height: int) -> None:
    assume(text)
    try:
        decoded = array_from_mask(Mask(size_wh=(width, height), counts=text))
    except ValueError:
        return
    assert decoded.shape == (height, width)


@given(MASKS, st.data())
def test_a_damaged_run_length_text_never_becomes_a_mask_of_garbage(
    mask_hw: MaskArray, data: st.DataObject
) -> None:
    mask = mask_from_array(mask_hw)
    place = data.draw(st.integers(0, len(mask.counts) - 1))
    letter = data.draw(st.characters())
    damaged = mask.counts[:place] + letter + mask.counts[place + 1 :]
    try:
        decoded = array_from_mask(mask.model_copy(update={"counts": damaged}))
    except ValueError:
        return
    # what still reads is another true mask: encoding it anew gives those runs
    assert runs_from_counts(damaged).sum() == decoded.size
    again = array_from_mask(mask_from_array(decoded))
    assert np.array_equal(again, decoded)


@given(MASKS)
def test_a_text_that_ends_early_is_refused(mask_hw: MaskArray) -> None:
    mask = mask_from_array(mask_hw)
    assume(len(mask.counts) > 1)
    with pytest.raises(ValueError, match="mask"):
        array_from_mask(mask.model_copy(update={"counts": mask.counts[:-1]}))


@pytest.mark.parametrize("counts", ["é", "01é", "\x00", "~~~", "o" * 40, "\ud800", "🙂"])
def test_characters_outside_of_coco_rle_are_refused(counts: str) -> None:
    with pytest.raises(ValueError, match="damaged"):
        runs_from_counts(counts)


def test_runs_for_another_size_are_refused() -> None:
    mask = mask_from_array(blobs(1))
    with pytest.raises(ValueError, match="fill 4800 pixels, not 81 x 60"):
        array_from_mask(mask.model_copy(update={"size_wh": (81, 60)}))


@given(MASKS)
def test_a_mask_survives_encoding_as_an_image(mask_hw: MaskArray) -> None:
    with Image.open(BytesIO(mask_png(mask_hw))) as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture) >= 128, mask_hw)


def filled_even_odd(polygons: list[list[tuple[int, int]]], size_hw: tuple[int, int]) -> MaskArray:
    """Fill by casting a ray from each pixel's middle to the left and counting what it crosses."""
    inside = np.zeros(size_hw, np.bool_)
    for loop in polygons:
        for (x0, y0), (x1, y1) in zip(loop, [*loop[1:], loop[0]], strict=True):
            if x0 == x1:  # only upright edges cross a ray
                inside[min(y0, y1) : max(y0, y1), x0:] ^= True
    return inside


@given(MASKS)
def test_filling_the_polygons_gives_the_mask_back(mask_hw: MaskArray) -> None:
    polygons = polygons_from_array(mask_hw)
    assert np.array_equal(filled_even_odd(polygons, mask_hw.shape), mask_hw)


@given(MASKS)
def test_polygons_turn_at_every_point_and_keep_to_pixel_edges(mask_hw: MaskArray) -> None:
    for loop in polygons_from_array(mask_hw):
        assert len(loop) >= 4
        assert len(loop) % 2 == 0  # upright and level edges take turns
        for i, (x, y) in enumerate(loop):
            (x_before, y_before), (x_after, _) = loop[i - 1], loop[(i + 1) % len(loop)]
            assert (x == x_before) != (y == y_before)
            assert (x == x_after) == (y == y_before)


def test_outlines_and_holes_have_opposite_orientation() -> None:
    ring = np.ones((7, 7), np.bool_)
    ring[2:5, 2:5] = False
    outer, hole = sorted(polygons_from_array(ring), key=lambda loop: min(loop))
    assert area(outer) == 49
    assert area(hole) == -9


def area(loop: list[tuple[int, int]]) -> float:
    """The shoelace formula: positive where x to y turns by the shorter way."""
    following = [*loop[1:], loop[0]]
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(loop, following, strict=True)) / 2


def test_an_empty_mask_has_no_polygons() -> None:
    assert polygons_from_array(np.zeros((4, 5), np.bool_)) == []


@given(MASKS)
def test_the_box_is_that_of_sam2(mask_hw: MaskArray) -> None:
    import torch

    box = bbox_xywh_from_array(mask_hw)
    theirs = batched_mask_to_box(torch.from_numpy(mask_hw)[None])[0].tolist()
    assert list(box.xyxy) == theirs


def test_an_empty_mask_has_an_empty_box() -> None:
    assert bbox_xywh_from_array(np.zeros((3, 4), np.bool_)) == Box(0, 0, 0, 0)


@given(BOXES, BOXES)
def test_box_iou_is_symmetric_and_at_most_one(a: Box, b: Box) -> None:
    assert 0 <= box_iou(a, b) <= 1 + 1e-9
    assert box_iou(a, b) == pytest.approx(box_iou(b, a))
    if a.w * a.h > 1e-6:
        assert box_iou(a, a) == pytest.approx(1)


def test_boxes_overlap_as_counted_by_hand() -> None:
    assert box_iou(Box(0, 0, 4, 4), Box(2, 2, 4, 4)) == pytest.approx(4 / 28)
    assert box_iou(Box(0, 0, 4, 4), Box(4, 0, 4, 4)) == 0
    assert box_iou(Box(1, 1, 0, 0), Box(1, 1, 0, 0)) == 0


@given(MASKS)
def test_masks_overlap_by_a_part(mask_hw: MaskArray) -> None:
    assert iou(mask_hw, mask_hw) == float(mask_hw.any())
    assert iou(mask_hw, ~mask_hw) == 0
    assert iou(mask_hw, np.ones_like(mask_hw)) == pytest.approx(mask_hw.mean())


@given(MASKS, SIDES, SIDES)
def test_a_resized_mask_is_empty_only_if_it_was(
    mask_hw: MaskArray, width: int, height: int
) -> None:
    found = resized(mask_hw, (width, height))
    assert found.shape == (height, width)
    assert found.dtype == np.bool_
    assert found.any() == mask_hw.any()


@given(MASKS, SIDES, SIDES)
def test_a_resized_mask_keeps_its_position(mask_hw: MaskArray, width: int, height: int) -> None:
    for y, x in np.argwhere(resized(mask_hw, (width, height))):
        rows = covered_part(y, height, mask_hw.shape[0])
        columns = covered_part(x, width, mask_hw.shape[1])
        assert mask_hw[rows, columns].any()


def covered_part(place: int, length: int, source_length: int) -> slice:
    """The source pixels that a pixel covers, whole or in part."""
    return slice(place * source_length // length, -(-(place + 1) * source_length // length))


@given(MASKS)
def test_resizing_to_the_same_size_changes_nothing(mask_hw: MaskArray) -> None:
    assert np.array_equal(resized(mask_hw, mask_hw.shape[::-1]), mask_hw)


@given(MASKS, st.integers(2, 5))
def test_a_mask_upscaled_by_an_integer_downscales_to_itself(mask_hw: MaskArray, times: int) -> None:
    height, width = mask_hw.shape
    grown = resized(mask_hw, (width * times, height * times))
    assert np.array_equal(grown, mask_hw.repeat(times, 0).repeat(times, 1))
    assert np.array_equal(resized(grown, (width, height)), mask_hw)


def test_downscaling_keeps_half_covered_pixels() -> None:
    mask_hw = np.zeros((2, 6), np.bool_)
    mask_hw[:, 0] = True  # half of the first pixel to be
    mask_hw[0, 2] = True  # a quarter of the second
    assert resized(mask_hw, (3, 1)).tolist() == [[True, False, False]]


def test_a_single_pixel_survives_downscaling() -> None:
    mask_hw = np.zeros((1000, 1500), np.bool_)
    mask_hw[700, 40] = True
    small = resized(mask_hw, (15, 10))
    assert np.argwhere(small).tolist() == [[7, 0]]


@given(st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)), st.integers(1, 5000))
def test_a_fitted_size_keeps_its_aspect_ratio_and_never_grows(
    size_wh: tuple[int, int], long_side: int
) -> None:
    width, height = fitted_size(size_wh, long_side)
    assert max(width, height) == min(max(size_wh), long_side)
    assert width <= size_wh[0]
    assert height <= size_wh[1]
    scale = max(width, height) / max(size_wh)
    assert abs(width - size_wh[0] * scale) <= 1
    assert abs(height - size_wh[1] * scale) <= 1


def by_opencv(mask_hw: MaskArray, area_thresh: float, mode: str) -> tuple[NDArray[np.bool_], bool]:
    found, changed = remove_small_regions(mask_hw.copy(), area_thresh, mode)
    return found.astype(np.bool_), bool(changed)


@pytest.mark.parametrize("mode", ["holes", "islands"])
@settings(deadline=None)
@example(mask_hw=np.array([[0, 0, 1], [1, 0, 0]], bool), area_thresh=2)  # opencv's first is below
@given(mask_hw=MASKS, area_thresh=st.sampled_from([0, 1, 2, 3.5, 5, 20, 100, 1000]))
def test_small_regions_are_removed_as_by_sam2_and_opencv(
    mode: str, mask_hw: MaskArray, area_thresh: float
) -> None:
    ours, changed = without_small_regions(mask_hw, area_thresh, mode)  # type: ignore[arg-type]
    theirs, they_changed = by_opencv(mask_hw, area_thresh, mode)
    assert np.array_equal(ours, theirs)
    assert changed == they_changed


@pytest.mark.parametrize("mode", ["holes", "islands"])
@pytest.mark.parametrize("seed", range(12))
def test_small_regions_of_larger_masks_are_removed_as_by_sam2_and_opencv(
    mode: str, seed: int
) -> None:
    mask_hw = blobs(seed, (300, 400), share=0.2 + 0.05 * seed)
    for area_thresh in (1, 10, 100, 3000):
        ours, changed = without_small_regions(mask_hw, area_thresh, mode)  # type: ignore[arg-type]
        theirs, they_changed = by_opencv(mask_hw, area_thresh, mode)
        assert np.array_equal(ours, theirs)
        assert changed == they_changed


def test_interior_points_are_deep_inside_and_apart() -> None:
    mask_hw = np.zeros((900, 1400), np.bool_)
    mask_hw[100:300, 100:700] = mask_hw[600:650, 900:950] = True
    points = interior_points(mask_hw, 3)
    assert len(points) == 3
    assert all(mask_hw[y, x] for x, y in points)
    assert all(150 <= y <= 250 for _, y in points), "all lie in the middle of the large part"
    assert max(x for x, _ in points) - min(x for x, _ in points) > 200
    line_hw = np.zeros((3000, 3000), np.bool_)
    line_hw[1, 5:9] = True  # thinner than the steps in which a large mask is looked through
    assert {y for _, y in interior_points(line_hw, 3)} == {1}
    assert interior_points(np.zeros((5, 5), np.bool_), 3) == []


def test_the_largest_of_small_islands_stays() -> None:
    mask_hw = np.zeros((10, 10), np.bool_)
    mask_hw[1:3, 1:3] = mask_hw[6, 6] = True
    kept, changed = without_small_regions(mask_hw, 100, "islands")
    assert changed
    assert kept.sum() == 4
