"""Conversion of any Pillow image to upright 8-bit sRGB pixels."""

from __future__ import annotations

from functools import cache, lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from ingest.imaging.color_spaces import color_space_from_info, srgb_from_space
from search.records import RgbImage

GRAY_16 = ("I;16", "I;16L", "I;16B")
WITHOUT_WHITE_POINT = ("I", "F")  # 32-bit integers and floats, whose scale is not defined
BAND_HEIGHT = 512  # rows; 20 MB for a 12,000 px wide panorama
INVISIBLE_LEVELS = 2  # of 255; rounding in an sRGB profile changes at most 1

_TRANSPOSES = {  # EXIF orientation -> transpose that makes it upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDES_SWAPPED = (5, 6, 7, 8)  # orientations that swap width and height


def upright_size(size_wh: tuple[int, int], orientation: object) -> tuple[int, int]:
    """Return the size of a picture after applying its EXIF orientation."""
    width, height = size_wh
    return (height, width) if orientation in SIDES_SWAPPED else (width, height)


def upright_rgb(image: Image.Image, orientation: object) -> RgbImage:
    """Return (h, w, 3) uint8 sRGB, contiguous and writable, with the EXIF orientation applied.

    Invalid orientations are ignored.
    """
    rgb = rgb_from_image(image)
    transpose = _TRANSPOSES.get(orientation) if isinstance(orientation, int) else None
    return _array_from_rgb(rgb if transpose is None else rgb.transpose(transpose))


def _array_from_rgb(image: Image.Image) -> RgbImage:
    """Return (h, w, 3), copied band by band, since np.array(image) needs three times the memory."""
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, BAND_HEIGHT):
        bottom = min(top + BAND_HEIGHT, image.height)
        rgb[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return rgb


def rgb_from_image(image: Image.Image) -> Image.Image:
    """Convert an image of any Pillow mode to RGB in sRGB, without applying the orientation."""
    profile, space = image.info.get("icc_profile"), color_space_from_info(image.info)
    if image.mode == "LAB":
        return _transformed(image, _srgb_from_lab())
    if image.mode in GRAY_16:
        image = _gray_from_16_bits(image)
    elif image.mode in WITHOUT_WHITE_POINT:
        image = _gray_from_extremes(image)
    elif image.has_transparency_data:
        image = _on_white(image)
    if image.mode not in ("RGB", "CMYK"):
        image = image.convert("RGB")
    if space is not None:
        return srgb_from_space(_plain_rgb(image), space)
    return _in_srgb(image, profile) if profile else _plain_rgb(image)


def _plain_rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy


def _gray_from_16_bits(image: Image.Image) -> Image.Image:
    """Keep the high byte, as Pillow does for 16-bit color; the transparent gray becomes white."""
    values = np.asarray(image)  # (h, w) uint16
    gray = (values >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray[values == transparent] = 255
    return Image.fromarray(gray)


def _gray_from_extremes(image: Image.Image) -> Image.Image:
    """Scale the finite values to 0..255; other values become black."""
    values = np.asarray(image, np.float32) / 2  # (h, w); halved, so that high - low is finite
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0, 0)
    if low == high:
        return Image.new("L", image.size)
    share = np.where(finite, (values - low) / (high - low), 0)
    return Image.fromarray(np.rint(share * 255).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    """Composite an image with transparency on white.

    Cut-outs are made for white pages, and the color of transparent pixels is arbitrary: the
    segmenter would find objects in it that are invisible.
    """
    if image.mode == "La":  # premultiplied; Pillow converts it to LA only
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    page = Image.new("RGB", rgba.size, "white")
    page.paste(rgba, mask=rgba.getchannel("A"))
    return page


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert RGB or CMYK by its ICC profile; by Pillow's formula if the profile is damaged."""
    transform = _transform_from_profile(profile, image.mode)
    if transform is not None:
        try:
            return _transformed(image, transform)
        except (ImageCms.PyCMSError, ValueError):
            pass  # the profile's tables are damaged
    return _plain_rgb(image)


@lru_cache(maxsize=8)  # photos of a camera share a profile; building a transform takes 3 ms
def _transform_from_profile(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the transform to sRGB; None if damaged, of another color space, or sRGB itself."""
    try:
        source = ImageCms.getOpenProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != mode:
            return None
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB")
        return None if mode == "RGB" and _is_invisible(transform) else transform
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None


def _is_invisible(transform: ImageCms.ImageCmsTransform) -> bool:
    """Return whether a transform changes no color by more than `INVISIBLE_LEVELS`."""
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    lattice = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    moved = np.asarray(_transformed(Image.fromarray(lattice), transform))
    return int(np.abs(moved.astype(int) - lattice).max()) <= INVISIBLE_LEVELS


def _transformed(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise ValueError("only in-place transforms return nothing")
    return converted


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@cache
def _srgb_from_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")
