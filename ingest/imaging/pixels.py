"""From whatever Pillow decodes to upright 8-bit sRGB."""

from __future__ import annotations

from functools import cache, lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from ingest.imaging.color_spaces import color_space_from_info, srgb_from_space
from search.records import RgbImage

GREY_16 = ("I;16", "I;16L", "I;16B")
NO_AGREED_WHITE = ("I", "F")  # 32-bit integers and floats: every program has its own scale
BAND_HEIGHT = 512  # rows; 20 MB of a 12,000 px wide panorama
INVISIBLE = 2  # levels out of 255; an sRGB profile's own rounding changes no more than 1

_TURNS = {  # EXIF orientation -> what makes it upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LYING = (5, 6, 7, 8)  # orientations whose width is the upright picture's height


def upright_size(size_wh: tuple[int, int], orientation: object) -> tuple[int, int]:
    """Return the size of a picture turned as EXIF's orientation says."""
    width, height = size_wh
    return (height, width) if orientation in LYING else (width, height)


def upright_rgb(image: Image.Image, orientation: object) -> RgbImage:
    """Return (h, w, 3) uint8 sRGB, contiguous and writable, turned as EXIF's orientation says.

    An orientation that EXIF doesn't know changes nothing.
    """
    rgb = rgb_from_image(image)
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return _array_from_rgb(rgb if turn is None else rgb.transpose(turn))


def _array_from_rgb(image: Image.Image) -> RgbImage:
    """Return (h, w, 3); copied by bands, since np.array(image) needs the memory three times."""
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, BAND_HEIGHT):
        bottom = min(top + BAND_HEIGHT, image.height)
        rgb[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return rgb


def rgb_from_image(image: Image.Image) -> Image.Image:
    """Return a picture of any of Pillow's modes as RGB in sRGB, not turned."""
    profile, space = image.info.get("icc_profile"), color_space_from_info(image.info)
    if image.mode == "LAB":
        return _transformed(image, _srgb_from_lab())
    if image.mode in GREY_16:
        image = _grey_from_16_bits(image)
    elif image.mode in NO_AGREED_WHITE:
        image = _grey_from_extremes(image)
    elif image.has_transparency_data:
        image = _on_white(image)
    if image.mode not in ("RGB", "CMYK"):
        image = image.convert("RGB")
    if space is not None:
        return srgb_from_space(_plain_rgb(image), space)
    return _in_srgb(image, profile) if profile else _plain_rgb(image)


def _plain_rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy


def _grey_from_16_bits(image: Image.Image) -> Image.Image:
    """Keep the high byte, as Pillow does with 16-bit colour; the transparent grey is white."""
    values = np.asarray(image)  # (h, w) uint16
    grey = (values >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def _grey_from_extremes(image: Image.Image) -> Image.Image:
    """Stretch from the smallest to the largest finite value; what isn't finite is black."""
    values = np.asarray(image, np.float32) / 2  # (h, w); halved, so that high - low is finite
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0, 0)
    if low == high:
        return Image.new("L", image.size)
    share = np.where(finite, (values - low) / (high - low), 0)
    return Image.fromarray(np.rint(share * 255).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    """Lay a picture with transparency on white.

    Cut-outs are made for white pages, and the colour below a transparent pixel is arbitrary: seen
    by the segmenter it would become things that nobody sees.
    """
    if image.mode == "La":  # premultiplied; Pillow converts it to nothing else
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    page = Image.new("RGB", rgba.size, "white")
    page.paste(rgba, mask=rgba.getchannel("A"))
    return page


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert RGB or CMYK by its profile; by the plain formula where the profile is damaged."""
    transform = _transform_from_profile(profile, image.mode)
    if transform is not None:
        try:
            return _transformed(image, transform)
        except (ImageCms.PyCMSError, ValueError):
            pass  # the profile is broken deeper down
    return _plain_rgb(image)


@lru_cache(maxsize=8)  # a camera's photos all carry the same profile; building one takes 3 ms
def _transform_from_profile(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what converts to sRGB; None if it is damaged, another space's, or sRGB itself."""
    try:
        source = ImageCms.getOpenProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != mode:
            return None
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB")
        return None if mode == "RGB" and _is_invisible(transform) else transform
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None


def _is_invisible(transform: ImageCms.ImageCmsTransform) -> bool:
    """Tell whether a transform moves no colour by more than `INVISIBLE` levels."""
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    lattice = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    moved = np.asarray(_transformed(Image.fromarray(lattice), transform))
    return int(np.abs(moved.astype(int) - lattice).max()) <= INVISIBLE


def _transformed(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # only in place there is nothing to return
    return converted


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@cache
def _srgb_from_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")
