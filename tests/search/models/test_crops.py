"""What the encoder sees of a segment."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from search.errors import UsageError
from search.masks.rle import bbox_xywh_from_array, mask_from_array
from search.models.crops import (
    RECIPES,
    Square,
    photo_view,
    recipe_fingerprint,
    square_around,
    views,
)
from search.records import Box, Mask, MaskArray, RgbImage
from search.settings import CropRecipe

Case = tuple[int, int, Box]  # a photo's width and height, a box in it
FILL = (123, 117, 104)


def ramp(width: int, height: int) -> RgbImage:
    """A photo whose red says how far right a pixel is, and whose green says how far down."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 0] = np.linspace(0, 255, width)[None, :]
    rgb[..., 1] = np.linspace(0, 255, height)[:, None]
    rgb[..., 2] = 255  # padding has less
    return rgb


def disc(width: int, height: int, center_xy: tuple[float, float], radius: int) -> MaskArray:
    ys, xs = np.mgrid[:height, :width]
    squares: NDArray[np.float64] = (xs - center_xy[0]) ** 2 + (ys - center_xy[1]) ** 2
    return squares <= radius**2


def noise(width: int, height: int, seed: int = 0) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def view(
    rgb: RgbImage, mask: Mask | MaskArray | None, box: Box, recipe: CropRecipe, size_px: int
) -> RgbImage:
    (only,) = views(rgb, mask, box, recipe, size_px=size_px, fill_rgb=FILL)
    return only.rgb


def painted_and_padded(rgb: RgbImage, mask_hw: MaskArray, square: Square, size_px: int) -> RgbImage:
    """The plain way: fill at full size, pad to the square, resize as CLIP's processor does."""
    left, top, side = square
    painted = np.where(mask_hw[..., None], rgb, np.array(FILL, np.uint8))
    canvas = Image.new("RGB", (side, side), FILL)
    canvas.paste(Image.fromarray(painted), (-left, -top))
    return np.asarray(canvas.resize((size_px, size_px), Image.Resampling.BICUBIC))


@st.composite
def photos_with_boxes(draw: st.DrawFn) -> Case:
    width, height = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    w, h = draw(st.integers(0, width - 1 - x)), draw(st.integers(0, height - 1 - y))
    return width, height, Box(x, y, w, h)


@settings(max_examples=150, deadline=None)
@given(photos_with_boxes(), st.sampled_from(sorted(RECIPES)), st.integers(1, 40))
def test_every_box_in_every_photo_gives_views_of_the_asked_size(
    case: Case, recipe: CropRecipe, size_px: int
) -> None:
    width, height, box = case
    mask = np.zeros((height, width), bool)
    mask[int(box.y), int(box.x)] = True
    seen = views(ramp(width, height), mask, box, recipe, size_px=size_px, fill_rgb=FILL)
    assert all(v.rgb.shape == (size_px, size_px, 3) and v.rgb.dtype == np.uint8 for v in seen)
    assert sum(v.weight for v in seen) == pytest.approx(1.0)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(60, 400), st.integers(60, 400), st.floats(0, 1), st.floats(0, 1),
    st.floats(0.3, 1), st.floats(0.3, 1), st.sampled_from(["context", "tight"]),
)  # fmt: skip
def test_views_keep_the_aspect_ratio(
    width: int, height: int, fx: float, fy: float, fw: float, fh: float, recipe: CropRecipe
) -> None:
    w, h = int(fw * (width - 1)), int(fh * (height - 1))
    box = Box(int(fx * (width - 1 - w)), int(fy * (height - 1 - h)), w, h)
    size_px = 96
    seen = view(ramp(width, height), None, box, recipe, size_px).astype(float)
    shown = seen[..., 2] > 250
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    assume(min(len(columns), len(rows)) >= 12)  # enough to measure a slope on
    inner = seen[rows[2] : rows[-2], columns[2] : columns[-2]]  # the rim mixes with padding
    across = np.polyfit(np.arange(inner.shape[1]), inner[..., 0].mean(0), 1)[0]
    down = np.polyfit(np.arange(inner.shape[0]), inner[..., 1].mean(1), 1)[0]
    pixels_across, pixels_down = across * (width - 1) / 255, down * (height - 1) / 255
    scale = square_around(box, RECIPES[recipe].side).side / size_px  # photo pixels per view pixel
    half_a_pixel = 0.5 / min(len(columns), len(rows))
    assert pixels_across == pytest.approx(scale, rel=half_a_pixel + 0.02)
    assert pixels_down == pytest.approx(scale, rel=half_a_pixel + 0.02)


@settings(max_examples=60, deadline=None)
@given(photos_with_boxes(), st.integers(1, 60), st.integers(0, 5))
def test_the_masked_view_is_what_painting_the_whole_photo_gives(
    case: Case, radius: int, seed: int
) -> None:
    width, height, (x, y, _, _) = case
    rgb, mask = noise(width, height, seed), disc(width, height, (x, y), radius)
    square = square_around(bbox_xywh_from_array(mask), RECIPES["masked"].side)
    seen = view(rgb, mask, bbox_xywh_from_array(mask), "masked", square.side)
    assert np.array_equal(seen, painted_and_padded(rgb, mask, square, square.side))


@pytest.mark.parametrize("size_px", [40, 96, 224, 500])
def test_the_masked_view_is_the_same_after_resizing(size_px: int) -> None:
    rgb, mask = noise(300, 200), disc(300, 200, (150, 100), 50)
    square = square_around(bbox_xywh_from_array(mask), RECIPES["masked"].side)
    seen = view(rgb, mask, bbox_xywh_from_array(mask), "masked", size_px)
    assert np.array_equal(seen, painted_and_padded(rgb, mask, square, size_px))


def test_a_masked_view_shows_no_background() -> None:
    mask = disc(300, 200, (150, 100), 40)
    rgb = np.where(
        mask[..., None], np.array((250, 0, 0), np.uint8), np.array((0, 250, 0), np.uint8)
    )
    seen = view(rgb, mask, bbox_xywh_from_array(mask), "masked", 224)
    assert (seen[:20] == FILL).all()
    assert (seen[100:124, 100:124] == (250, 0, 0)).all()
    assert seen[..., 1].max() < FILL[1] + 20  # bicubic resizing overshoots a little


def test_a_stored_mask_of_a_smaller_size_cuts_the_same_segment() -> None:
    mask = disc(1200, 900, (500, 420), 200)
    box = bbox_xywh_from_array(mask)
    rgb = noise(1200, 900)
    stored = mask_from_array(mask[::3, ::3])
    full = view(rgb, mask, box, "masked", 224).astype(int)
    small = view(rgb, stored, box, "masked", 224).astype(int)
    outline = np.abs(full - small).max(axis=2) > 8
    assert outline.mean() < 0.04  # two pixels of the photo along the outline
    assert np.array_equal(
        view(rgb, mask_from_array(mask), box, "masked", 224),
        view(rgb, mask, box, "masked", 224),
    )


def test_a_box_of_exactly_the_input_size_is_not_resampled() -> None:
    rgb = noise(400, 300)
    seen = view(rgb, None, Box(37, 11, 223, 223), "tight", 224)
    assert np.array_equal(seen, rgb[11 : 11 + 224, 37 : 37 + 224])


@pytest.mark.parametrize("side", [448, 700, 1100, 1790])
def test_cropping_before_resizing_changes_almost_nothing(side: int) -> None:
    smooth = np.asarray(
        Image.fromarray(noise(60, 60)).resize((1800, 1800), Image.Resampling.LANCZOS)
    )
    seen = view(smooth, None, Box(5, 3, side - 1, side - 1), "tight", 224).astype(int)
    cut = Image.fromarray(smooth[3 : 3 + side, 5 : 5 + side])
    plain = np.asarray(cut.resize((224, 224), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(seen - plain).max() <= 6
    assert np.abs(seen - plain).mean() < 0.5


def test_a_tight_view_shows_only_the_box() -> None:
    rgb = np.zeros((200, 300, 3), np.uint8)
    rgb[...] = (0, 200, 0)
    rgb[50:71, 40:141] = (0, 0, 200)
    seen = view(rgb, None, Box(40, 50, 100, 20), "tight", 101)
    assert (seen[40:61] == (0, 0, 200)).all()
    assert (seen[:40] == FILL).all()
    assert (seen[61:] == FILL).all()


def test_a_context_view_at_the_corner_is_padded_with_the_fill() -> None:
    seen = view(np.full((100, 100, 3), 9, np.uint8), None, Box(0, 0, 39, 39), "context", 54)
    assert (seen[:7, :] == FILL).all()
    assert (seen[:, :7] == FILL).all()
    assert (seen[7:, 7:] == 9).all()


def test_a_blurred_view_keeps_the_segment_and_flattens_the_rest() -> None:
    rgb, mask = noise(300, 300), disc(300, 300, (150, 150), 40)
    box = bbox_xywh_from_array(mask)
    seen = view(rgb, mask, box, "blur", 109).astype(int)
    context = view(rgb, mask, box, "context", 109).astype(int)
    assert np.array_equal(seen[40:70, 40:70], context[40:70, 40:70])
    assert seen[:10, :10].std() < 0.2 * context[:10, :10].std()


def test_fusion_is_the_context_view_and_the_masked_view() -> None:
    rgb, mask = noise(200, 150), disc(200, 150, (90, 70), 30)
    box = bbox_xywh_from_array(mask)
    context, masked = views(rgb, mask, box, "fusion", size_px=64, fill_rgb=FILL)
    assert (context.weight, masked.weight) == (0.55, 0.45)
    assert np.array_equal(context.rgb, view(rgb, mask, box, "context", 64))
    assert np.array_equal(masked.rgb, view(rgb, mask, box, "masked", 64))


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_a_pillow_image_gives_the_same_views_as_an_array(recipe: CropRecipe) -> None:
    rgb, mask = noise(500, 400), disc(500, 400, (480, 200), 150)
    box = bbox_xywh_from_array(mask)
    arrays = views(rgb, mask, box, recipe, size_px=32, fill_rgb=FILL)
    pictures = views(Image.fromarray(rgb), mask, box, recipe, size_px=32, fill_rgb=FILL)
    assert all(np.array_equal(a.rgb, p.rgb) for a, p in zip(arrays, pictures, strict=True))


def test_without_a_mask_the_whole_box_is_the_segment() -> None:
    rgb = noise(100, 100)
    box_mask = np.zeros((100, 100), bool)
    box_mask[20:51, 30:61] = True
    box = Box(30, 20, 30, 30)
    assert np.array_equal(
        view(rgb, None, box, "masked", 42), view(rgb, box_mask, box, "masked", 42)
    )


def test_a_whole_photo_is_padded_to_a_square() -> None:
    seen = photo_view(np.full((50, 100, 3), 7, np.uint8), size_px=40, fill_rgb=FILL)
    assert (seen[10:30] == 7).all()
    assert (seen[:10] == FILL).all()
    assert (seen[30:] == FILL).all()


def test_a_photo_thinner_than_a_pixel_of_the_view_is_visible() -> None:
    rgb = np.full((2, 3000, 3), 9, np.uint8)
    assert (photo_view(rgb, size_px=64, fill_rgb=FILL) == 9).any()


@pytest.mark.parametrize("box", [Box(100, 0, 5, 5), Box(0, 80, 5, 5), Box(-20, -20, 5, 5)])
def test_a_box_outside_the_photo_is_refused(box: Box) -> None:
    with pytest.raises(UsageError, match="outside the photo"):
        views(noise(100, 80), None, box, "tight", size_px=8, fill_rgb=FILL)


def test_recipes_have_fingerprints_that_change_only_on_purpose() -> None:
    short = {recipe: recipe_fingerprint(recipe)[:8] for recipe in RECIPES}
    assert short == {
        "fusion": "4ec3c279",
        "context": "8bcfe8ce",
        "tight": "b522fdb0",
        "masked": "b6860cbf",
        "blur": "c3a92741",
    }
