"""The canvas of a scene: pixels, label map and the tree of painted nodes."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from starter.drawing.colors import Floats, Palette, Rgb
from starter.drawing.patterns import Frame, noise_patch, pattern_map
from starter.drawing.shapes import Stamp

MAX_NODES = 65_535  # the label map is uint16
MIN_AREA_FRACTION = 0.00025  # smaller marks are invisible
FAINT_SHADOW = 0.05  # weaker shadows are invisible
GRAIN_MIN_PX = 36  # grain on smaller things is invisible
SMALL_BLUR_PX = 1.7  # shadows are computed at the size at which they have this blur
RELIEF_PX = 28  # shading is smooth, so it is computed at this size and scaled up


@dataclass(frozen=True)
class Style:
    """The look of a surface; the seed determines the pattern, so equal styles look the same."""

    pattern: str
    color: Rgb
    second_color: Rgb
    seed: int
    shading: str = "flat"  # flat, sloped (one side brighter) or round (a soft relief)
    shine: float = 0.0  # strength of a highlight, 0..1
    angle: float | None = None  # direction of gradients and stripes, else drawn from the seed

    def varied(self, rng: np.random.Generator, spread: float = 0.03) -> "Style":
        """Return the same style in slightly other colors, as siblings have."""
        shift = rng.normal(0, spread, 3) + rng.normal(0, spread)
        return replace(
            self,
            color=_clipped(np.asarray(self.color) + shift),
            second_color=_clipped(np.asarray(self.second_color) + shift),
        )


@dataclass(frozen=True)
class Light:
    """Direction of the light and look of its shadows, for the whole scene."""

    angle: float  # towards the light, radians, y down
    shadow_strength: float  # 0..1
    shadow_reach: float  # offset as a share of the thing's size
    shadow_blur: float  # radius as a share of the thing's size

    @property
    def towards_xy(self) -> tuple[float, float]:
        """Return the unit vector that points to the light."""
        return float(np.cos(self.angle)), float(np.sin(self.angle))


@dataclass(frozen=True)
class Painted:
    """One node of the tree: what was painted, below whom, and how large before occlusion."""

    parent: int | None
    style: Style | None
    shape: str | None
    is_group: bool
    drawn_area_px: int


@dataclass(eq=False)
class Canvas:
    """Pixels (h, w, 3) float32 in 0..1, labels (h, w) uint16, and the painted nodes."""

    size_wh: tuple[int, int]
    palette: Palette
    light: Light
    nodes: list[Painted] = field(default_factory=list)
    pixels: Floats = field(init=False)
    labels: NDArray[np.uint16] = field(init=False)

    def __post_init__(self) -> None:
        width, height = self.size_wh
        self.pixels = np.zeros((height, width, 3), dtype=np.float32)
        self.labels = np.zeros((height, width), dtype=np.uint16)

    @property
    def unit_px(self) -> int:
        """Return the short side, which sizes are shares of."""
        return min(self.size_wh)

    def open_group(self, parent: int | None = None) -> int:
        """Add a node without pixels of its own and return its index."""
        self.nodes.append(Painted(parent, None, None, True, 0))
        return len(self.nodes) - 1

    def paint(
        self,
        stamp: Stamp,
        style: Style,
        frame: Frame | None = None,
        *,
        shape: str | None = None,
        parent: int | None = None,
        casts_shadow: bool = True,
    ) -> int | None:
        """Paint a stamp on top and return its node; None if too little of it lies in view."""
        area_px = stamp.area_px
        if area_px < MIN_AREA_FRACTION * self.labels.size or len(self.nodes) >= MAX_NODES:
            return None
        if casts_shadow and self.light.shadow_strength > FAINT_SHADOW:
            self._cast_shadow(stamp)
        height, width = stamp.alpha.shape
        frame = frame or Frame(height, width, (width / 2, height / 2), min(height, width))
        surface = self._surface(stamp, style, replace(frame, angle=style.angle))
        under = self.pixels[stamp.window]
        surface -= under
        surface *= (stamp.alpha * np.float32(1 / 255))[..., None]
        under += surface
        self.nodes.append(Painted(parent, style, shape, False, area_px))
        self.labels[stamp.window][stamp.alpha > 127] = len(self.nodes) - 1
        return len(self.nodes) - 1

    def blur(self, radius_px: float) -> None:
        """Blur what has been painted so far, as a lens does with what is far away."""
        for channel in range(3):
            plane = Image.fromarray(_bytes(self.pixels[..., channel]))
            soft = plane.filter(ImageFilter.GaussianBlur(radius_px))
            self.pixels[..., channel] = np.asarray(soft, dtype=np.float32) / 255

    def _surface(self, stamp: Stamp, style: Style, frame: Frame) -> Floats:
        """Return the (h, w, 3) colors of a style within a stamp: pattern, grain, shading."""
        rng = np.random.default_rng(style.seed)
        share = pattern_map(rng, style.pattern, frame)
        first = np.asarray(style.color, dtype=np.float32)
        brightness = self._brightness(rng, stamp, style)
        if share is None:
            surface = brightness[..., None] * first
        else:
            second = np.asarray(style.second_color, dtype=np.float32)
            surface = (share * brightness)[..., None] * (second - first)
            surface += brightness[..., None] * first
        if style.shine:
            surface += style.shine * (1 - surface) * _highlight(stamp, self.light)[..., None]
        return surface

    def _brightness(self, rng: np.random.Generator, stamp: Stamp, style: Style) -> Floats:
        """Return the (h, w) factor of the style's shading, often with a fine natural grain."""
        height, width = stamp.alpha.shape
        brightness = np.ones((height, width), dtype=np.float32)
        if min(height, width) >= GRAIN_MIN_PX and rng.random() < 0.5:
            span, strength = rng.uniform(0.2, 0.8), rng.choice([0.015, 0.03, 0.05])
            brightness += np.float32(strength) * noise_patch(rng, height, width, (span, span))
        if style.shading == "sloped":
            brightness *= _slope((height, width), self.light)
        elif style.shading == "round":
            brightness *= _relief(stamp, self.light)
        return brightness

    def _cast_shadow(self, stamp: Stamp) -> None:
        """Darken what lies beside the stamp, away from the light, with a soft edge."""
        extent = min(self.unit_px * 0.5, float(np.sqrt(stamp.area_px)))
        blur = max(1.0, extent * self.light.shadow_blur)
        margin = int(3 * blur) + 1
        soft = _soft_alpha(stamp.alpha, blur, margin)
        shift = [-axis * extent * self.light.shadow_reach for axis in self.light.towards_xy]
        left, top = stamp.left - margin + round(shift[0]), stamp.top - margin + round(shift[1])
        height, width = soft.shape
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(self.size_wh[0], left + width), min(self.size_wh[1], top + height)
        if x1 <= x0 or y1 <= y0:
            return
        cover = soft[y0 - top : y1 - top, x0 - left : x1 - left, None]
        # Shadows keep a little more blue, as those under an open sky do.
        absorbed = np.float32(self.light.shadow_strength) * np.array([1, 0.97, 0.88], np.float32)
        self.pixels[y0:y1, x0:x1] *= 1 - cover * absorbed


def _soft_alpha(alpha: NDArray[np.uint8], blur: float, margin: int) -> Floats:
    """Return alpha with a margin on each side, blurred, in 0..1; worked out at a small size."""
    height, width = alpha.shape
    shrink = max(1.0, blur / SMALL_BLUR_PX)
    outer_wh = (width + 2 * margin, height + 2 * margin)
    small_wh = (max(2, round(outer_wh[0] / shrink)), max(2, round(outer_wh[1] / shrink)))
    plate = Image.new("L", outer_wh)
    plate.paste(Image.fromarray(alpha), (margin, margin))
    small = plate.resize(small_wh, Image.Resampling.BOX)
    small = small.filter(ImageFilter.GaussianBlur(blur / shrink))
    scaled = small.resize(outer_wh, Image.Resampling.BILINEAR)
    return np.asarray(scaled, np.float32) * np.float32(1 / 255)


def _slope(shape_hw: tuple[int, int], light: Light) -> Floats:
    """Return a brightness map that falls evenly from the lit side to the other."""
    x, y = light.towards_xy
    across = np.linspace(-x, x, shape_hw[1], dtype=np.float32)
    down = np.linspace(-y, y, shape_hw[0], dtype=np.float32)[:, None]
    slope: Floats = 1 + np.float32(0.16) * (across + down)
    return slope


def _relief(stamp: Stamp, light: Light) -> Floats:
    """Return a brightness map as if the stamp bulged: bright towards the light, dim at its rim."""
    height, width = stamp.alpha.shape
    scale = RELIEF_PX / max(height, width)
    small_wh = (max(3, round(width * scale)), max(3, round(height * scale)))
    small = Image.fromarray(stamp.alpha).resize(small_wh, Image.Resampling.BOX)
    bulge = np.asarray(small.filter(ImageFilter.GaussianBlur(RELIEF_PX / 7)), np.float32) / 255
    down, across = np.gradient(bulge)
    x, y = light.towards_xy
    facing = -(across * np.float32(x) + down * np.float32(y)) * np.float32(RELIEF_PX / 7)
    brightness = np.clip(0.72 + 0.36 * bulge + 0.8 * facing, 0.45, 1.35).astype(np.float32)
    scaled = Image.fromarray(brightness).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(scaled)


def _highlight(stamp: Stamp, light: Light) -> Floats:
    """Return a soft spot in 0..1, a third of the way from the middle towards the light."""
    height, width = stamp.alpha.shape
    x, y = light.towards_xy
    across = np.linspace(-1, 1, width, dtype=np.float32) - np.float32(0.36 * x)
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - np.float32(0.36 * y)
    spot: Floats = np.exp(-(across**2 + down**2) * np.float32(14))
    return spot


def _bytes(values: Floats) -> NDArray[np.uint8]:
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def _clipped(color: NDArray[np.float64]) -> Rgb:
    red, green, blue = np.clip(color, 0.01, 0.99).tolist()
    return (red, green, blue)
