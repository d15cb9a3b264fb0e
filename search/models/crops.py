"""Crops of segments for the encoder.

A view is a square of the encoder's input size, so its image processor resizes nothing. The photo is
cropped first; masking, blurring and resizing work on the crop only. The aspect ratio is kept, and
what lies outside the photo is padding.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from search.errors import UsageError
from search.manifest import fingerprint
from search.masks.rle import array_from_mask
from search.records import Box, Mask, RgbImage
from search.settings import CropRecipe

Background = Literal["kept", "filled", "blurred"]
Rgb = tuple[int, int, int]

VERSION = 1  # increase it whenever the same numbers give other pixels
CONTEXT = 1.35  # side of the square, in longer sides of the box
WEIGHTS = (0.55, 0.45)  # of the context view and the masked view
BLUR = 0.1  # sigma as part of the square's side; FGVP's code blurs photos of 640 px by 100 px
SHARPNESS = 2  # a crop has at least this many times the size of the view


class Recipe(NamedTuple):
    """How a segment is cropped; weight and background of each view."""

    side: float  # of the square, in longer sides of the box
    surroundings: bool  # False: everything outside the box is padding
    looks: tuple[tuple[float, Background], ...]


RECIPES: dict[CropRecipe, Recipe] = {
    "fusion": Recipe(CONTEXT, True, ((WEIGHTS[0], "kept"), (WEIGHTS[1], "filled"))),
    "context": Recipe(CONTEXT, True, ((1.0, "kept"),)),
    "tight": Recipe(1.0, False, ((1.0, "kept"),)),
    "masked": Recipe(CONTEXT, True, ((1.0, "filled"),)),
    "blur": Recipe(CONTEXT, True, ((1.0, "blurred"),)),
}


class View(NamedTuple):
    """An image of a segment, and its weight in the vector of the segment."""

    weight: float
    rgb: RgbImage  # (size_px, size_px, 3)


class Square(NamedTuple):
    """A square in pixels of the photo; it may extend beyond it."""

    left: int
    top: int
    side: int


class Region(NamedTuple):
    """The visible part of a square, in pixels of the photo; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class Patch(NamedTuple):
    """A crop, downscaled by `shrink`, rounded up to whole pixels."""

    image: Image.Image
    region: Region
    shrink: int


def recipe_fingerprint(recipe: CropRecipe) -> str:
    """SHA-256 (hex) of all numbers of a recipe; fill color and size are the encoder's."""
    return fingerprint(VERSION, RECIPES[recipe], BLUR, SHARPNESS)


def views(
    photo: RgbImage | Image.Image,
    mask: Mask | NDArray[np.bool_] | None,
    bbox_xywh: Box,
    recipe: CropRecipe,
    *,
    size_px: int,
    fill_rgb: Rgb,
) -> list[View]:
    """Views of a segment: one, or two for `fusion`.

    Args:
        photo: the upright photo, (h, w, 3), or as an RGB image of Pillow: with many large
            segments it pays to convert once (36 ms at 12 megapixels) instead of for each.
        mask: the segment's mask over the whole photo, at any size; None: all of its box.
        bbox_xywh: SAM's box in pixels of the photo; 0 x 0 is a single pixel.
        recipe: a name of RECIPES.
        size_px: side of the views.
        fill_rgb: color of padding and of a filled background.

    Raises:
        UsageError: the box lies outside the photo.

    """
    side, surroundings, looks = RECIPES[recipe]
    square = square_around(bbox_xywh, side)
    photo_wh = _size_wh(photo)
    region = _region(square, None if surroundings else bbox_xywh, photo_wh)
    patch = _cut(photo, region, max(1, square.side // (SHARPNESS * size_px)))
    alpha = None
    if any(look != "kept" for _, look in looks):
        alpha = _alpha(patch, mask, bbox_xywh, photo_wh)
    shown = [(w, _shown(patch, alpha, look, fill_rgb, BLUR * square.side)) for w, look in looks]
    return [View(w, _framed(picture, square, size_px, fill_rgb)) for w, picture in shown]


def photo_view(photo: RgbImage | Image.Image, *, size_px: int, fill_rgb: Rgb) -> RgbImage:
    """(size_px, size_px, 3) view of a whole photo, padded to a square."""
    width, height = _size_wh(photo)
    whole = Box(0, 0, width - 1, height - 1)
    return views(photo, None, whole, "tight", size_px=size_px, fill_rgb=fill_rgb)[0].rgb


def square_around(bbox_xywh: Box, scale: float) -> Square:
    """The square around the center of a SAM box; its side is at least one pixel.

    SAM's width is right - left of the outermost pixels, one less than their number.
    """
    x, y, w, h = bbox_xywh
    side = max(1, round(scale * (max(w, h) + 1)))
    return Square(round(x + (w + 1 - side) / 2), round(y + (h + 1 - side) / 2), side)


def _size_wh(photo: RgbImage | Image.Image) -> tuple[int, int]:
    if isinstance(photo, Image.Image):
        return photo.size
    return photo.shape[1], photo.shape[0]


def _region(square: Square, bbox_xywh: Box | None, photo_wh: tuple[int, int]) -> Region:
    """The part of the square inside the photo, and inside the box if one is given."""
    width, height = photo_wh
    left, top, right, bottom = *square[:2], square.left + square.side, square.top + square.side
    if bbox_xywh is not None:
        x0, y0, x1, y1 = bbox_xywh.xyxy
        left, right = max(left, math.floor(x0)), min(right, math.ceil(x1) + 1)
        top, bottom = max(top, math.floor(y0)), min(bottom, math.ceil(y1) + 1)
    region = Region(max(left, 0), max(top, 0), min(right, width), min(bottom, height))
    if region.left >= region.right or region.top >= region.bottom:
        raise UsageError(f"the box lies outside the photo of {width} x {height} pixels")
    return region


def _cut(photo: Image.Image | RgbImage, region: Region, shrink: int) -> Patch:
    """Crop a region, downscaled by averaging."""
    if isinstance(photo, Image.Image):
        return Patch(photo.reduce(shrink, box=region), region, shrink)
    left, top, right, bottom = region
    whole = Image.fromarray(photo[top:bottom, left:right])
    return Patch(whole.reduce(shrink), region, shrink)


def _alpha(
    patch: Patch,
    mask: Mask | NDArray[np.bool_] | None,
    bbox_xywh: Box,
    photo_wh: tuple[int, int],
) -> Image.Image:
    """Coverage of each pixel of the patch by the segment, an "L" image."""
    if mask is None:
        return _box_alpha(patch, bbox_xywh)
    width, height = mask.size_wh if isinstance(mask, Mask) else mask.shape[::-1]
    scale_x, scale_y = width / photo_wh[0], height / photo_wh[1]
    left, top = patch.region.left * scale_x, patch.region.top * scale_y
    right = left + patch.image.width * patch.shrink * scale_x
    bottom = top + patch.image.height * patch.shrink * scale_y
    x0, y0 = int(left), int(top)
    rows, columns = slice(y0, math.ceil(bottom)), slice(x0, math.ceil(right))
    part = array_from_mask(mask, rows, columns) if isinstance(mask, Mask) else mask[rows, columns]
    gray = Image.fromarray(part.astype(np.uint8) * 255)
    box = (left - x0, top - y0, min(right - x0, gray.width), min(bottom - y0, gray.height))
    return gray.resize(patch.image.size, Image.Resampling.BILINEAR, box=box)


def _box_alpha(patch: Patch, bbox_xywh: Box) -> Image.Image:
    """255 in the box, 0 around it."""
    x0, y0, x1, y1 = bbox_xywh.xyxy
    left, top = patch.region[:2]
    inside = [(x0 - left, y0 - top), (x1 - left, y1 - top)]
    alpha = Image.new("L", patch.image.size, 0)
    ImageDraw.Draw(alpha).rectangle([(x / patch.shrink, y / patch.shrink) for x, y in inside], 255)
    return alpha


def _shown(
    patch: Patch, alpha: Image.Image | None, look: Background, fill_rgb: Rgb, sigma_px: float
) -> Patch:
    """The patch with its background kept, filled, or blurred by sigma_px of the photo."""
    image = patch.image
    if alpha is None or look == "kept":
        return patch
    if look == "filled":
        background = Image.new("RGB", image.size, fill_rgb)
    else:
        background = image.filter(ImageFilter.GaussianBlur(sigma_px / patch.shrink))
    return patch._replace(image=Image.composite(image, background, alpha))


def _framed(patch: Patch, square: Square, size_px: int, fill_rgb: Rgb) -> RgbImage:
    """(size_px, size_px, 3) view: the patch at its place in the square, the rest filled.

    Its edges are rounded to whole pixels, so its size is off by half a pixel at most.
    """
    left, top, right, bottom = patch.region
    x0, x1 = _span(left - square.left, right - square.left, square.side, size_px)
    y0, y1 = _span(top - square.top, bottom - square.top, square.side, size_px)
    covered = (0, 0, (right - left) / patch.shrink, (bottom - top) / patch.shrink)
    bicubic = Image.Resampling.BICUBIC  # as CLIP's own processor
    inner = patch.image.resize((x1 - x0, y1 - y0), bicubic, box=covered)
    if inner.size == (size_px, size_px):
        return np.array(inner)  # a writable copy, as torch requires
    framed = Image.new("RGB", (size_px, size_px), fill_rgb)
    framed.paste(inner, (x0, y0))
    return np.array(framed)


def _span(start: int, stop: int, side: int, size_px: int) -> tuple[int, int]:
    """Position of start..stop of the side of a square in the view: at least one pixel."""
    length = max(1, round((stop - start) * size_px / side))
    if stop == side:  # it reaches the edge of the view: no padding there
        return size_px - length, size_px
    first = min(round(start * size_px / side), size_px - length)
    return first, first + length
