"""Conversion to sRGB of color spaces given by code points instead of an ICC profile.

HEIF and AVIF call them nclx, PNG cICP (or gAMA and cHRM); the code points are those of ITU-T H.273.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Transfer = Literal["sRGB", "PQ", "HLG"] | float  # a number: light = value ** number
Chromaticities = tuple[float, float, float, float, float, float, float, float]  # xy of w, r, g, b
Floats = NDArray[np.float32]

D65 = (0.3127, 0.3290)
PRIMARIES: dict[int, Chromaticities] = {  # by H.273's ColourPrimaries
    1: (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),  # sRGB, BT.709
    5: (*D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),  # PAL
    6: (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),  # NTSC
    7: (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # DCI-P3
    12: (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
SRGB_PRIMARIES = PRIMARIES[1]
# By H.273's TransferCharacteristics; video's curve (1, 6, 14, 15) is treated as sRGB's.
TRANSFERS: dict[int, Transfer] = {4: 2.2, 5: 2.8, 8: 1.0, 16: "PQ", 18: "HLG"}

REFERENCE_WHITE_NITS = 203.0  # diffuse white in HDR (BT.2408)
PQ_PEAK_NITS, HLG_PEAK_NITS, HLG_SYSTEM_GAMMA = 10_000.0, 1000.0, 1.2  # BT.2100
BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)
KNEE = 0.8  # linear light above it is compressed, so that highlights keep detail

SRGB_LIKE_GAMMA = (2.1, 2.3)  # programs write 1 / 0.45455 for sRGB
SANE_GAMMA = (0.2, 5.0)
MIN_Y = 0.0001  # of chromaticities; ProPhoto's blue has that
MIN_DETERMINANT = 1e-6
MAX_FACTOR = 20.0  # of a matrix; BT.2020's largest is 1.7
SAME_PRIMARIES = 0.002  # rounding differences of chromaticities
BAND_HEIGHT = 128  # rows; 18 MB of floats for a 12,000 px wide panorama
LEVELS = 1 << 16  # of linear light; the darkest step of sRGB spans 20 of them


@dataclass(frozen=True)
class ColorSpace:
    """A color space: primaries, transfer function and range."""

    primaries: Chromaticities = SRGB_PRIMARIES
    transfer: Transfer = "sRGB"
    is_full_range: bool = True  # False: black is 16 and white 235


SRGB = ColorSpace()


def color_space_from_info(info: Mapping[str | tuple[int, int], object]) -> ColorSpace | None:
    """Return a picture's color space by code points; None where the ICC profile, if any, applies.

    Args:
        info: of a Pillow image; with `cicp`, `srgb`, `gamma` and `chromaticity` of a PNG.
    """
    cicp, nclx = info.get("cicp"), info.get("nclx_profile")
    if isinstance(cicp, tuple):
        return _space_from_numbers(cicp[0], cicp[1], is_full_range=bool(cicp[3]))
    if isinstance(nclx, Mapping):
        space = _space_from_numbers(
            nclx.get("color_primaries"), nclx.get("transfer_characteristics")
        )
        if space.transfer in ("PQ", "HLG") or not info.get("icc_profile"):
            return space
    if info.get("icc_profile") or "srgb" in info:
        return None
    return _space_from_gamma(info.get("gamma"), info.get("chromaticity"))


def _space_from_numbers(
    primaries: object, transfer: object, *, is_full_range: bool = True
) -> ColorSpace:
    """Look up H.273's code points; unknown ones count as sRGB's."""
    return ColorSpace(
        PRIMARIES.get(_int(primaries), SRGB_PRIMARIES),
        TRANSFERS.get(_int(transfer), "sRGB"),
        is_full_range,
    )


def _int(number: object) -> int:
    return int(number) if isinstance(number, int) else 0


def _space_from_gamma(gamma: object, chromaticity: object) -> ColorSpace:
    transfer: Transfer = "sRGB"
    if isinstance(gamma, float) and gamma > 0 and SANE_GAMMA[0] <= 1 / gamma <= SANE_GAMMA[1]:
        is_like_srgb = SRGB_LIKE_GAMMA[0] <= 1 / gamma <= SRGB_LIKE_GAMMA[1]
        transfer = "sRGB" if is_like_srgb else 1 / gamma
    primaries = SRGB_PRIMARIES
    if isinstance(chromaticity, tuple) and len(chromaticity) == len(primaries):
        differ = max(abs(a - b) for a, b in zip(chromaticity, primaries, strict=True))
        primaries = chromaticity if differ > SAME_PRIMARIES else primaries
    return ColorSpace(primaries, transfer)


def srgb_from_space(image: Image.Image, space: ColorSpace) -> Image.Image:
    """Convert an RGB picture to sRGB; HDR highlights are compressed, out-of-gamut colors clipped.

    Invalid primaries (a triangle without area) count as sRGB's.
    """
    if space == SRGB:
        return image
    light_of_level, matrix = _light_of_level(space), _matrix_to_srgb(space.primaries)
    converted = Image.new("RGB", image.size)
    for top in range(0, image.height, BAND_HEIGHT):
        band = image.crop((0, top, image.width, min(top + BAND_HEIGHT, image.height)))
        light = light_of_level[np.asarray(band)]  # (h, w, 3), 1 is white
        if space.transfer == "HLG":
            light = _display_light_from_hlg(light)
        srgb = np.maximum(light @ matrix.T, 0)
        if space.transfer in ("PQ", "HLG"):
            srgb = _compressed(srgb)
        levels = _level_of_light()[(np.minimum(srgb, 1) * (LEVELS - 1)).astype(np.uint16)]
        converted.paste(Image.fromarray(levels), (0, top))
    return converted


@lru_cache(maxsize=8)
def _light_of_level(space: ColorSpace) -> Floats:
    """Return (256,) the linear light of each 8-bit level; for HLG scene light, 0..1."""
    level = np.arange(256, dtype=np.float64)
    value = level / 255 if space.is_full_range else np.clip((level - 16) / 219, 0, 1)
    if space.transfer == "PQ":
        light = _light_from_pq(value)
    elif space.transfer == "HLG":
        light = _light_from_hlg(value)
    elif space.transfer == "sRGB":
        light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    else:
        light = value**space.transfer
    return light.astype(np.float32)


def _light_from_pq(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert PQ values to display light (BT.2100); 1 is reference white."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    root = value ** (1 / m2)
    light = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return light * (PQ_PEAK_NITS / REFERENCE_WHITE_NITS)


def _light_from_hlg(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert HLG values to scene light (BT.2100), 0..1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)


def _display_light_from_hlg(scene: Floats) -> Floats:
    """Convert HLG scene light to display light (BT.2100); 1 is reference white."""
    luma = scene @ BT2020_LUMA
    display = scene * (luma ** (HLG_SYSTEM_GAMMA - 1))[..., np.newaxis]
    return display * np.float32(HLG_PEAK_NITS / REFERENCE_WHITE_NITS)


def _compressed(light: Floats) -> Floats:
    """Compress light above the knee into 0..1, preserving hue."""
    brightest = np.maximum(light.max(axis=-1, keepdims=True), np.float32(1e-6))
    room = np.float32(1 - KNEE)
    above = KNEE + room * (1 - np.exp(-(brightest - np.float32(KNEE)) / room))
    fitted: Floats = light * np.where(brightest <= KNEE, 1, above / brightest)
    return fitted


@lru_cache(maxsize=1)
def _level_of_light() -> NDArray[np.uint8]:
    """Return (LEVELS,) the 8-bit sRGB level of each step of linear light."""
    light = np.arange(LEVELS) / (LEVELS - 1)
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    levels: NDArray[np.uint8] = np.rint(value * 255).astype(np.uint8)
    return levels


@lru_cache(maxsize=8)
def _matrix_to_srgb(primaries: Chromaticities) -> Floats:
    """Return (3, 3): linear light in these primaries to linear sRGB, white to white."""
    to_xyz = _matrix_to_xyz(primaries)
    srgb_to_xyz = _matrix_to_xyz(SRGB_PRIMARIES)
    if to_xyz is None or srgb_to_xyz is None:
        return np.eye(3, dtype=np.float32)
    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    white, srgb_white = (bradford @ matrix.sum(axis=1) for matrix in (to_xyz, srgb_to_xyz))
    if (white <= 0).any():
        return np.eye(3, dtype=np.float32)
    adapted = np.linalg.inv(bradford) @ np.diag(srgb_white / white) @ bradford @ to_xyz
    matrix = np.linalg.inv(srgb_to_xyz) @ adapted
    is_sane = np.abs(matrix).max() <= MAX_FACTOR
    return np.asarray(matrix if is_sane else np.eye(3), dtype=np.float32)


def _matrix_to_xyz(primaries: Chromaticities) -> NDArray[np.float64] | None:
    """Return (3, 3): linear light to CIE XYZ, white having Y = 1; None if they are degenerate."""
    pairs = np.array(primaries).reshape(4, 2)
    if (pairs[:, 1] < MIN_Y).any() or (pairs > 1).any():
        return None
    x, y = pairs.T
    white, *columns = np.stack([x / y, np.ones(4), (1 - x - y) / y], axis=1)
    colors = np.stack(columns, axis=1)
    if abs(np.linalg.det(colors)) < MIN_DETERMINANT or (white <= 0).any():
        return None
    matrix: NDArray[np.float64] = colors * np.linalg.solve(colors, white)
    return matrix
