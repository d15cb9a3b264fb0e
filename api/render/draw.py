"""Pictures of segments: overlays, crops, cutouts and masks. Arrays in, arrays or bytes out.

A mask may come at any size; it is brought to the photo's by `search.masks.rle.resized`. SAM's box
is left, top and right - left, bottom - top of the outermost pixels: the picture of a box of w x h
has w + 1 by h + 1 pixels.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from ingest.segmentation.types import SegmentedMask
from search.masks.rle import array_from_mask, bbox_xywh_from_array, fitted_size, resized
from search.records import Box, MaskArray, RgbImage, Segment

Background = Literal["keep", "transparent", "white", "black", "blur"]
Lossless = Literal["png", "webp"]
RgbaImage = NDArray[np.uint8]  # (h, w, 4)
Color = tuple[int, int, int]

TINT = 0.5  # share of the colour in a tinted pixel; SAM's show_anns has 0.5 too
OUTLINES_A_SIDE = 400  # an outline is the photo's long side divided by this, at least one pixel
OUTLINE_WHITE = 0.4  # share of white in an outline
FIRST_HUE = 0.58  # a clear blue: the largest mask is often a background
GOLDEN_TURN = 0.618034  # steps of the golden angle: neighbours in order differ most in hue
SHADES = ((0.85, 1.0), (0.65, 1.0), (1.0, 0.85))  # saturation and value, taken in turn
BLUR = 0.1  # sigma, in longer sides of the crop
JPEG_QUALITY = 90
PNG_LEVEL = 3  # of zlib: a third larger than 9, many times faster
WEBP_EFFORT = 0  # of lossless WebP, to 6: a sixth smaller than such a PNG, in the same time

Part = tuple[slice, slice]  # rows, columns


def overlay(rgb: RgbImage, masks: Sequence[MaskArray]) -> RgbImage:
    """Return the (h, w, 3) photo with every mask tinted in its own colour and outlined.

    Large masks are painted first, so that those within them stay visible. The colour goes by the
    mask's place in `masks`: the same masks in the same order give the same picture.
    """
    size_wh = (rgb.shape[1], rgb.shape[0])
    thickness = max(1, round(max(size_wh) / OUTLINES_A_SIDE))
    painted = rgb.copy()
    shares = [float(mask.mean()) for mask in masks]
    for i in sorted(range(len(masks)), key=lambda i: -shares[i]):
        _paint(painted, rgb, resized(masks[i], size_wh), mask_color(i), thickness)
    return painted


def mask_color(number: int) -> Color:
    """Return the vivid colour of the mask with this number."""
    saturation, value = SHADES[number % len(SHADES)]
    hue = (FIRST_HUE + number * GOLDEN_TURN) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _paint(
    painted: RgbImage, rgb: RgbImage, mask_hw: MaskArray, color: Color, thickness: int
) -> None:
    """Tint a mask over whatever was painted there before, and draw its inner edge."""
    if not mask_hw.any():
        return
    part = box_part(bbox_xywh_from_array(mask_hw), mask_hw.shape)
    inside, canvas = mask_hw[part], painted[part]
    canvas[inside] = _mixed(rgb[part][inside], color, TINT)
    edge = inside & ~_eroded(mask_hw, part, thickness)
    canvas[edge] = _mixed(np.array([color], np.uint8), (255, 255, 255), OUTLINE_WHITE)


def _mixed(pixels: NDArray[np.uint8], color: Color, share: float) -> NDArray[np.uint8]:
    """Return (n, 3) pixels with a share of one colour mixed in."""
    mixed = pixels * np.float32(1 - share) + np.array(color, np.float32) * np.float32(share)
    return np.rint(mixed).astype(np.uint8)


def _eroded(mask_hw: MaskArray, part: Part, thickness: int) -> MaskArray:
    """Return a part of a mask without its rim; the photo's own border is no rim."""
    rows, columns = part
    top, left = min(1, rows.start), min(1, columns.start)
    around = mask_hw[rows.start - top : rows.stop + 1, columns.start - left : columns.stop + 1]
    side = 2 * thickness + 1
    eroded = ndimage.minimum_filter(around.view(np.uint8), side, mode="constant", cval=1)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    inner: MaskArray = eroded[top : top + height, left : left + width] > 0
    return inner


def crop(
    rgb: RgbImage, segment: Segment | SegmentedMask, background: Background = "keep"
) -> RgbImage | RgbaImage:
    """Return what a segment's box shows: (h + 1, w + 1, 3), or with `transparent` 4 channels.

    Pixels of the segment are the photo's own; `background` says what the others become.

    Raises:
        ValueError: the background is to go, and the segment came without its mask.
    """
    part = box_part(segment.bbox_xywh, rgb.shape)
    shown = rgb[part]
    if background == "keep":
        return shown
    if segment.mask is None:
        raise ValueError(f"a background of {background!r} needs the segment's mask")
    inside = resized(array_from_mask(segment.mask), (rgb.shape[1], rgb.shape[0]))[part]
    if background == "transparent":
        return _with_alpha(shown, inside)
    return np.where(inside[..., None], shown, _behind(shown, background))


def _behind(shown: RgbImage, background: Background) -> RgbImage:
    """Return what is seen around the segment, (h, w, 3)."""
    if background == "blur":
        blur = ImageFilter.GaussianBlur(BLUR * max(shown.shape[:2]))
        return np.asarray(Image.fromarray(shown).filter(blur))
    return np.full_like(shown, 255 if background == "white" else 0)


def cutout(rgb: RgbImage, mask_hw: MaskArray) -> RgbaImage:
    """Return the (h, w, 4) pixels of the mask's own box, transparent black around the mask.

    An empty mask gives one transparent pixel.
    """
    inside = resized(mask_hw, (rgb.shape[1], rgb.shape[0]))
    part = box_part(bbox_xywh_from_array(inside), rgb.shape)
    return _with_alpha(rgb[part], inside[part])


def box_part(bbox_xywh: Box, shape: tuple[int, ...]) -> Part:
    """Return the rows and columns of a photo of (h, w, ...) that a SAM box covers.

    A box that leaves the photo is cut down to it, to one pixel at least.
    """
    x0, y0, x1, y1 = (round(edge) for edge in bbox_xywh.xyxy)
    rows, columns = _span(y0, y1, shape[0]), _span(x0, x1, shape[1])
    return rows, columns


def _span(first: int, last: int, length: int) -> slice:
    first = min(max(first, 0), length - 1)
    return slice(first, min(max(last, first), length - 1) + 1)


def _with_alpha(rgb: RgbImage, inside: MaskArray) -> RgbaImage:
    """Return (h, w, 4): what is outside is transparent, and black, so that nothing leaks."""
    alpha = inside[..., None] * np.uint8(255)
    return np.concatenate([rgb * inside[..., None], alpha], axis=2, dtype=np.uint8)


def thumbnail(rgb: RgbImage, long_side_px: int) -> RgbImage:
    """Return the picture scaled down to this long side; one that is smaller stays as it is."""
    height, width = rgb.shape[:2]
    size_wh = fitted_size((width, height), long_side_px)
    if size_wh == (width, height):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize(size_wh, Image.Resampling.LANCZOS))


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (h, w), (h, w, 3) or (h, w, 4) pixels as PNG."""
    return _encoded(pixels, "PNG", compress_level=PNG_LEVEL)


def webp_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (h, w), (h, w, 3) or (h, w, 4) pixels as WebP, without loss."""
    return _encoded(pixels, "WEBP", lossless=True, exact=True, quality=0, method=WEBP_EFFORT)


def lossless_bytes(pixels: NDArray[np.uint8], form: Lossless) -> bytes:
    """Encode (h, w), (h, w, 3) or (h, w, 4) pixels so that every one comes back."""
    return png_bytes(pixels) if form == "png" else webp_bytes(pixels)


def mask_png(mask_hw: MaskArray) -> bytes:
    """Encode a mask as an 8-bit grey PNG: 255 inside, 0 outside."""
    return mask_bytes(mask_hw, "png")


def mask_bytes(mask_hw: MaskArray, form: Lossless) -> bytes:
    """Encode a mask: 255 inside, 0 outside. WebP has no grey, and says it in RGB."""
    return lossless_bytes(mask_hw * np.uint8(255), form)


def jpeg_bytes(rgb: RgbImage) -> bytes:
    """Encode (h, w, 3) pixels as JPEG, without any metadata."""
    return _encoded(rgb, "JPEG", quality=JPEG_QUALITY)


def _encoded(pixels: NDArray[np.uint8], form: str, **how: int) -> bytes:
    written = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(written, form, **how)
    return written.getvalue()
