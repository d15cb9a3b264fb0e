"""From painted pixels to a photo: uneven light, exposure, lens, sensor, compression."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from starter.drawing.canvas import Canvas
from starter.drawing.colors import Floats
from starter.drawing.patterns import noise_patch
from starter.drawing.shapes import SHAPES, draw_outline, stamp_outline

REFERENCE_PX = 256  # blur is measured in pixels of a picture with this short side


def develop(rng: np.random.Generator, canvas: Canvas, degradation: float) -> NDArray[np.uint8]:
    """Return the picture as (h, w, 3) uint8; degradation 0 is a clean photo, 1 a poor one."""
    pixels = canvas.pixels * _light_map(rng, canvas)[..., None]
    photo = _with_gamma(
        rng, Image.fromarray(_bytes(_exposed(rng, pixels, degradation))), degradation
    )
    if rng.random() < 0.25 + 0.5 * degradation:
        radius = rng.uniform(0.2, 0.35 + 0.9 * degradation) * canvas.unit_px / REFERENCE_PX
        photo = photo.filter(ImageFilter.GaussianBlur(radius))
    if rng.random() < 0.3 + 0.6 * degradation:
        photo = _with_sensor_noise(rng, photo, rng.uniform(0.002, 0.006 + 0.05 * degradation))
    if rng.random() < 0.7 * degradation + 0.1:
        photo = _recompressed(photo, int(rng.uniform(92 - 55 * degradation, 95)))
    return np.asarray(photo)


def _light_map(rng: np.random.Generator, canvas: Canvas) -> Floats:
    """Return (h, w) brightness: a fall from the lit side, dim corners, patches and a shadow."""
    width, height = canvas.size_wh
    x, y = canvas.light.towards_xy
    across = np.linspace(-1, 1, width, dtype=np.float32)
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    light = 1 + np.float32(rng.uniform(0, 0.14)) * (across * np.float32(x) + down * np.float32(y))
    if rng.random() < 0.5:
        light -= np.float32(rng.uniform(0.05, 0.22)) * (across**2 + down**2) * np.float32(0.5)
    if rng.random() < 0.4:
        span = rng.uniform(0.04, 0.12)
        patches = np.clip(noise_patch(rng, height, width, (span, span)), -2, 2)
        light *= 1 + np.float32(rng.uniform(0.02, 0.08)) * patches
    if rng.random() < 0.2:
        light *= _passing_shadow(rng, canvas)
    return light


def _passing_shadow(rng: np.random.Generator, canvas: Canvas) -> Floats:
    """Return a (h, w) map with one large soft shadow that crosses the things below it."""
    width, height = canvas.size_wh
    small_wh = (max(8, width // 8), max(8, height // 8))
    plate = Image.new("L", small_wh)
    radius = rng.uniform(0.25, 0.7) * min(small_wh)
    outline = draw_outline(rng, str(rng.choice(SHAPES)))
    center = (rng.uniform(0, small_wh[0]), rng.uniform(0, small_wh[1]))
    outline = outline.placed(center, (radius, radius), rng.uniform(0, 2 * np.pi))
    stamp = stamp_outline(outline, small_wh)
    if stamp is not None:
        plate.paste(Image.fromarray(stamp.alpha), (stamp.left, stamp.top))
    soft = plate.filter(ImageFilter.GaussianBlur(rng.uniform(0.05, 0.14) * min(small_wh)))
    cover = np.asarray(soft.resize((width, height), Image.Resampling.BILINEAR), np.float32)
    return np.float32(1) - np.float32(rng.uniform(0.12, 0.4) / 255) * cover


def _exposed(rng: np.random.Generator, pixels: Floats, degradation: float) -> Floats:
    """Apply exposure, white balance and saturation; degradation widens their ranges."""
    exposure = rng.uniform(0.95 - 0.2 * degradation, 1.06 + 0.08 * degradation)
    balance = 1 + rng.normal(0, 0.012 + 0.04 * degradation, 3).astype(np.float32)
    pixels *= np.float32(exposure) * balance
    pixels += np.float32(rng.normal(0, 0.025 * degradation))
    if rng.random() < 0.4 * degradation:
        gray = pixels.mean(axis=2, keepdims=True)
        pixels = gray + (pixels - gray) * np.float32(rng.uniform(0.35, 1))
    return pixels


def _with_gamma(rng: np.random.Generator, photo: Image.Image, degradation: float) -> Image.Image:
    """Return the photo with its middle tones lifted or lowered; by table, as that is quick."""
    gamma = np.exp(rng.normal(0, 0.04 + 0.15 * degradation))
    table = (np.linspace(0, 1, 256) ** gamma * 255 + 0.5).astype(int).tolist()
    return photo.point(table * 3)


def _with_sensor_noise(rng: np.random.Generator, photo: Image.Image, spread: float) -> Image.Image:
    """Return the photo with noise of the given spread, gray or colored."""
    pixels = np.asarray(photo, dtype=np.float32) / 255
    channels = 3 if rng.random() < 0.4 else 1
    noise = rng.standard_normal((*pixels.shape[:2], channels), dtype=np.float32)
    return Image.fromarray(_bytes(pixels + noise * np.float32(spread)))


def _recompressed(photo: Image.Image, quality: int) -> Image.Image:
    """Return the photo as it looks after JPEG at the given quality."""
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def _bytes(pixels: Floats) -> NDArray[np.uint8]:
    scaled = pixels * np.float32(255)
    scaled += np.float32(0.5)
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
