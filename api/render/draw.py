"""Draw segments: overlays, crops, cutouts and masks, from arrays to arrays or bytes.

Masks may have any size; they are resized to the photo. SAM's boxes connect the centers of the
outermost pixels: the crop of a box of w x h has w + 1 by h + 1 pixels.
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

TINT = 0.5  # opacity of the color, as in SAM's show_anns
OUTLINE_DIVISOR = 400  # outline width: the photo's long side divided by this, at least one pixel
OUTLINE_WHITE = 0.4  # share of white in an outline
FIRST_HUE = 0.58  # a clear blue: the largest mask is often a background
GOLDEN_TURN = 0.618034  # golden angle: consecutive masks differ most in hue
SHADES = ((0.85, 1.0), (0.65, 1.0), (1.0, 0.85))  # saturation and value, in rotation
BLUR = 0.1  # sigma, relative to the longer side of the crop
JPEG_QUALITY = 90
PNG_LEVEL = 3  # of zlib: files a third larger than at 9, many times faster
WEBP_EFFORT = 0  # of lossless WebP, 0..6: a sixth smaller than PNG at the same speed

Part = tuple[slice, slice]  # rows, columns


def overlay(rgb: RgbImage, masks: Sequence[MaskArray]) -> RgbImage:
    """Return the (h, w, 3) photo with every mask tinted in its own color and outlined.

    Large masks are painted first, so that nested ones stay visible. The color depends only on a
    mask's index, so the image is deterministic.
    """
    size_wh = (rgb.shape[1], rgb.shape[0])
    thickness = max(1, round(max(size_wh) / OUTLINE_DIVISOR))
    painted = rgb.copy()
    shares = [float(mask.mean()) for mask in masks]
    for i in sorted(range(len(masks)), key=lambda i: -shares[i]):
        _paint(painted, rgb, resized(masks[i], size_wh), mask_color(i), thickness)
    return painted


def mask_color(number: int) -> Color:
    """The RGB color of the mask with this index."""
    saturation, value = SHADES[number % len(SHADES)]
    hue = (FIRST_HUE + number * GOLDEN_TURN) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _paint(
    painted: RgbImage, rgb: RgbImage, mask_hw: MaskArray, color: Color, thickness: int
) -> None:
    """Tint a mask over earlier ones, and draw its inner edge."""
    if not mask_hw.any():
        return
    part = box_slices(bbox_xywh_from_array(mask_hw), mask_hw.shape)
    inside, canvas = mask_hw[part], painted[part]
    canvas[inside] = _mixed(rgb[part][inside], color, TINT)
    edge = inside & ~_eroded(mask_hw, part, thickness)
    canvas[edge] = _mixed(np.array([color], np.uint8), (255, 255, 255), OUTLINE_WHITE)


def _mixed(pixels: NDArray[np.uint8], color: Color, share: float) -> NDArray[np.uint8]:
    """Blend one color into (n, 3) pixels."""
    mixed = pixels * np.float32(1 - share) + np.array(color, np.float32) * np.float32(share)
    return np.rint(mixed).astype(np.uint8)


def _eroded(mask_hw: MaskArray, part: Part, thickness: int) -> MaskArray:
    """Erode a part of a mask, but not at the border of the photo."""
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
    """Crop a segment's box: (h + 1, w + 1, 3), or 4 channels with `transparent`.

    `background` replaces the pixels outside the mask.

    Raises:
        ValueError: the segment has no mask, which a replaced background needs.
    """
    part = box_slices(segment.bbox_xywh, rgb.shape)
    shown = rgb[part]
    if background == "keep":
        return shown
    if segment.mask is None:
        raise ValueError(f"a background of {background!r} needs the segment's mask")
    inside = resized(array_from_mask(segment.mask), (rgb.shape[1], rgb.shape[0]))[part]
    if background == "transparent":
        return _with_alpha(shown, inside)
    return np.where(inside[..., None], shown, _background(shown, background))


def _background(shown: RgbImage, background: Background) -> RgbImage:
    """The background of a crop, (h, w, 3)."""
    if background == "blur":
        blur = ImageFilter.GaussianBlur(BLUR * max(shown.shape[:2]))
        return np.asarray(Image.fromarray(shown).filter(blur))
    return np.full_like(shown, 255 if background == "white" else 0)


def cutout(rgb: RgbImage, mask_hw: MaskArray) -> RgbaImage:
    """Return the (h, w, 4) pixels of the mask's box, transparent black outside the mask.

    An empty mask gives one transparent pixel.
    """
    inside = resized(mask_hw, (rgb.shape[1], rgb.shape[0]))
    part = box_slices(bbox_xywh_from_array(inside), rgb.shape)
    return _with_alpha(rgb[part], inside[part])


def box_slices(bbox_xywh: Box, shape: tuple[int, ...]) -> Part:
    """The rows and columns of a photo of shape (h, w, ...) that a SAM box covers.

    The box is clipped to the photo, and covers at least one pixel.
    """
    x0, y0, x1, y1 = (round(edge) for edge in bbox_xywh.xyxy)
    rows, columns = _span(y0, y1, shape[0]), _span(x0, x1, shape[1])
    return rows, columns


def _span(first: int, last: int, length: int) -> slice:
    first = min(max(first, 0), length - 1)
    return slice(first, min(max(last, first), length - 1) + 1)


def _with_alpha(rgb: RgbImage, inside: MaskArray) -> RgbaImage:
    """Return (h, w, 4); pixels outside are transparent black, so that no hidden pixels leak."""
    alpha = inside[..., None] * np.uint8(255)
    return np.concatenate([rgb * inside[..., None], alpha], axis=2, dtype=np.uint8)


def thumbnail(rgb: RgbImage, long_side_px: int) -> RgbImage:
    """Scale an image down to this long side; smaller ones stay as they are."""
    height, width = rgb.shape[:2]
    size_wh = fitted_size((width, height), long_side_px)
    if size_wh == (width, height):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize(size_wh, Image.Resampling.LANCZOS))


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (h, w), (h, w, 3) or (h, w, 4) pixels as PNG."""
    return _encoded(pixels, "PNG", compress_level=PNG_LEVEL)


def webp_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (h, w), (h, w, 3) or (h, w, 4) pixels as lossless WebP."""
    return _encoded(pixels, "WEBP", lossless=True, exact=True, quality=0, method=WEBP_EFFORT)


def lossless_bytes(pixels: NDArray[np.uint8], image_format: Lossless) -> bytes:
    """Encode (h, w), (h, w, 3) or (h, w, 4) pixels as PNG or lossless WebP."""
    return png_bytes(pixels) if image_format == "png" else webp_bytes(pixels)


def mask_png(mask_hw: MaskArray) -> bytes:
    """Encode a mask as an 8-bit gray PNG: 255 inside, 0 outside."""
    return mask_bytes(mask_hw, "png")


def mask_bytes(mask_hw: MaskArray, image_format: Lossless) -> bytes:
    """Encode a mask: 255 inside, 0 outside; PNG in gray, WebP in RGB."""
    return lossless_bytes(mask_hw * np.uint8(255), image_format)


def jpeg_bytes(rgb: RgbImage) -> bytes:
    """Encode (h, w, 3) pixels as JPEG, without any metadata."""
    return _encoded(rgb, "JPEG", quality=JPEG_QUALITY)


def _encoded(pixels: NDArray[np.uint8], image_format: str, **options: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, image_format, **options)
    return buffer.getvalue()
