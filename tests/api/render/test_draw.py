"""Overlays, crops, cutouts and masks: right to the pixel."""

from __future__ import annotations

from io import BytesIO
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from api.render.draw import (
    crop,
    cutout,
    jpeg_bytes,
    mask_color,
    mask_png,
    overlay,
    png_bytes,
    thumbnail,
)
from search.masks.rle import bbox_xywh_from_array, mask_from_array
from search.records import Box, MaskArray, RgbImage, Segment

HEIGHT, WIDTH = 40, 60


@pytest.fixture(scope="module")
def photo() -> RgbImage:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def block(x0: int, y0: int, x1: int, y1: int) -> MaskArray:
    """A mask that covers x0..x1 and y0..y1, both ends included."""
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def segment_of(mask_hw: MaskArray, bbox_xywh: Box | None = None) -> Segment:
    return Segment(
        segment_id=str(uuid4()),
        photo_id=str(uuid4()),
        bbox_xywh=bbox_xywh or bbox_xywh_from_array(mask_hw),
        area_px=int(mask_hw.sum()),
        area_fraction=float(mask_hw.mean()),
        predicted_iou=0.9,
        stability_score=0.9,
        point_xy=(0, 0),
        mask=mask_from_array(mask_hw),
    )


def ring() -> MaskArray:
    return block(10, 5, 29, 24) & ~block(15, 10, 19, 14)


def read(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)))


def test_a_crop_has_one_pixel_more_than_sams_box_each_way(photo: RgbImage) -> None:
    segment = segment_of(ring())
    assert segment.bbox_xywh == (10, 5, 19, 19)
    assert np.array_equal(crop(photo, segment), photo[5:25, 10:30])


def test_a_segment_of_one_pixel_gives_a_crop_of_one_pixel(photo: RgbImage) -> None:
    assert np.array_equal(crop(photo, segment_of(block(7, 8, 7, 8))), photo[8:9, 7:8])


@pytest.mark.parametrize(("background", "level"), [("white", 255), ("black", 0)])
def test_a_plain_background_leaves_only_the_segment(
    photo: RgbImage, background: str, level: int
) -> None:
    inside = ring()[5:25, 10:30]
    shown = crop(photo, segment_of(ring()), background)  # type: ignore[arg-type]
    assert np.array_equal(shown[inside], photo[5:25, 10:30][inside])
    assert (shown[~inside] == level).all()


def test_a_transparent_crop_shows_the_segment_and_nothing_else(photo: RgbImage) -> None:
    inside = ring()[5:25, 10:30]
    shown = crop(photo, segment_of(ring()), "transparent")
    assert np.array_equal(shown[..., 3] == 255, inside)
    assert np.array_equal(shown[inside][:, :3], photo[5:25, 10:30][inside])
    assert (shown[~inside] == 0).all()


def test_a_blurred_background_is_smoother_and_the_segment_is_untouched(photo: RgbImage) -> None:
    inside = ring()[5:25, 10:30]
    shown = crop(photo, segment_of(ring()), "blur")
    assert np.array_equal(shown[inside], photo[5:25, 10:30][inside])
    assert shown[~inside].std() < photo[5:25, 10:30][~inside].std() / 2


def test_a_stored_mask_is_enlarged_for_its_crop(photo: RgbImage) -> None:
    small = np.zeros((HEIGHT // 2, WIDTH // 2), np.bool_)
    small[4:8, 3:9] = True
    shown = crop(photo, segment_of(small, Box(6, 8, 11, 7)), "transparent")
    assert shown.shape == (8, 12, 4)
    assert (shown[..., 3] == 255).all()


def test_a_box_is_clipped_to_the_photo(photo: RgbImage) -> None:
    segment = segment_of(block(50, 30, 59, 39), Box(50, 30, 40, 40))
    assert np.array_equal(crop(photo, segment), photo[30:, 50:])


def test_replacing_the_background_needs_a_mask(photo: RgbImage) -> None:
    bare = segment_of(ring()).model_copy(update={"mask": None})
    with pytest.raises(ValueError, match="mask"):
        crop(photo, bare, "white")


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, WIDTH - 1),
    st.integers(0, HEIGHT - 1),
    st.integers(0, WIDTH - 1),
    st.integers(0, HEIGHT - 1),
)
def test_a_cutout_is_the_masks_own_box(xa: int, ya: int, xb: int, yb: int) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    x0, x1, y0, y1 = min(xa, xb), max(xa, xb), min(ya, yb), max(ya, yb)
    cut = cutout(rgb, block(x0, y0, x1, y1))
    assert np.array_equal(cut[..., :3], rgb[y0 : y1 + 1, x0 : x1 + 1])
    assert (cut[..., 3] == 255).all()


def test_a_cutout_of_a_small_mask_has_the_photos_full_size(photo: RgbImage) -> None:
    small = np.zeros((HEIGHT // 2, WIDTH // 2), np.bool_)
    small[2, 3] = True
    assert np.array_equal(cutout(photo, small)[..., :3], photo[4:6, 6:8])


def test_the_cutout_of_an_empty_mask_is_one_transparent_pixel(photo: RgbImage) -> None:
    assert cutout(photo, np.zeros((HEIGHT, WIDTH), np.bool_)).tolist() == [[[0, 0, 0, 0]]]


def test_an_overlay_keeps_pixels_outside_all_masks(photo: RgbImage) -> None:
    outside = ~(ring() | block(40, 30, 55, 38))
    painted = overlay(photo, [ring(), block(40, 30, 55, 38)])
    assert np.array_equal(painted[outside], photo[outside])
    assert (painted[~outside] != photo[~outside]).any(axis=1).mean() > 0.98


def test_nested_masks_stay_visible_in_any_order() -> None:
    white = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    large, small = block(5, 5, 50, 35), block(20, 15, 30, 25)
    for masks, number in ([large, small], 1), ([small, large], 0):
        painted = overlay(white, masks)
        tint = (np.array(mask_color(number)) * 0.5 + 127.5).round()
        assert np.abs(painted[20, 25] - tint).max() <= 1
        assert not np.array_equal(painted[20, 25], painted[10, 10])


def test_outlines_are_inside_masks_and_not_along_the_photos_border() -> None:
    grey = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    painted = overlay(grey, [block(0, 0, 20, 20)])
    tint, rim = painted[5, 5], painted[20, 5]
    assert not np.array_equal(tint, rim)
    assert np.array_equal(painted[0, 5], tint)
    assert np.array_equal(painted[5, 20], rim)
    assert (painted[21:] == 90).all()


def test_an_overlay_is_deterministic_and_does_not_modify_the_photo(photo: RgbImage) -> None:
    before = photo.copy()
    assert np.array_equal(overlay(photo, [ring()]), overlay(photo, [ring()]))
    assert np.array_equal(photo, before)


def test_an_overlay_of_nothing_is_the_photo(photo: RgbImage) -> None:
    empty = np.zeros((HEIGHT, WIDTH), np.bool_)
    assert np.array_equal(overlay(photo, []), photo)
    assert np.array_equal(overlay(photo, [empty]), photo)


def test_small_masks_are_painted_at_the_photos_size() -> None:
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    small = np.zeros((HEIGHT // 2, WIDTH // 2), np.bool_)
    small[2:5, 3:9] = True
    painted = overlay(black, [small]).any(axis=2)
    assert np.array_equal(painted, block(6, 4, 17, 9))


def test_the_first_hundred_masks_have_a_hundred_colors() -> None:
    assert len({mask_color(number) for number in range(100)}) == 100


def test_masks_survive_png_exactly() -> None:
    png = mask_png(ring())
    assert Image.open(BytesIO(png)).mode == "L"
    assert np.array_equal(read(png), ring() * 255)


@pytest.mark.parametrize("channels", [3, 4])
def test_png_keeps_every_pixel(channels: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (9, 7, channels), dtype=np.uint8)
    assert np.array_equal(read(png_bytes(pixels[:, ::-1])), pixels[:, ::-1])


def test_jpeg_is_near_the_photo() -> None:
    smooth = np.linspace(0, 255, HEIGHT * WIDTH * 3).reshape(HEIGHT, WIDTH, 3).astype(np.uint8)
    assert np.abs(read(jpeg_bytes(smooth)).astype(int) - smooth).mean() < 3


def test_a_thumbnail_keeps_the_aspect_ratio_and_is_never_enlarged(photo: RgbImage) -> None:
    assert thumbnail(photo, 30).shape == (20, 30, 3)
    assert thumbnail(photo, 1).shape == (1, 1, 3)
    assert np.array_equal(thumbnail(photo, 1000), photo)
