"""Color names, and palettes of matching colors.

Names follow from hue, saturation and value, so that a segment's color name can be computed from its
pixels. Palettes are chosen in OKLCH, which is perceptually uniform.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from starter.drawing.chance import pick

Floats = NDArray[np.float32]
Indices = NDArray[np.uint8]
Rgb = tuple[float, float, float]  # each 0..1

COLOR_NAMES = (
    "red",
    "orange",
    "yellow",
    "green",
    "teal",
    "blue",
    "purple",
    "pink",
    "brown",
    "beige",
    "white",
    "gray",
    "black",
)
MODIFIERS = ("", "dark", "light")

# An unambiguous example of each name.
SAMPLE_COLORS: dict[str, Rgb] = {
    "red": (0.83, 0.13, 0.12),
    "orange": (0.95, 0.50, 0.10),
    "yellow": (0.97, 0.82, 0.16),
    "green": (0.20, 0.62, 0.27),
    "teal": (0.08, 0.60, 0.60),
    "blue": (0.14, 0.33, 0.80),
    "purple": (0.46, 0.20, 0.70),
    "pink": (0.95, 0.42, 0.66),
    "brown": (0.45, 0.27, 0.13),
    "beige": (0.88, 0.78, 0.62),
    "white": (0.96, 0.95, 0.93),
    "gray": (0.52, 0.53, 0.54),
    "black": (0.08, 0.08, 0.09),
}


def name_color(rgb: ArrayLike) -> tuple[str, str]:
    """Return the name and the modifier ("", "dark" or "light") of one color given as 0..255."""
    names, modifiers = _name_rows(np.asarray(rgb, dtype=np.float32).reshape(1, 3) / np.float32(255))
    return COLOR_NAMES[int(names[0])], MODIFIERS[int(modifiers[0])]


def name_pixels(pixels: NDArray[np.uint8]) -> tuple[Indices, Indices]:
    """Return indices into COLOR_NAMES and MODIFIERS for (..., 3) uint8 pixels, 5 bits each."""
    steps = (pixels >> 3).astype(np.uint16)
    rows = (steps[..., 0] << 10) | (steps[..., 1] << 5) | steps[..., 2]
    names, modifiers = _name_table()
    return names[rows], modifiers[rows]


@cache
def _name_table() -> tuple[Indices, Indices]:
    """Return both tables of 32 x 32 x 32 rows: the rule at the middle of each 5-bit step."""
    steps = (np.arange(32, dtype=np.float32) * 8 + 4) / np.float32(255)
    rgb = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    return _name_rows(rgb.reshape(-1, 3))


def _name_rows(rgb: Floats) -> tuple[Indices, Indices]:
    """Apply the rule to (n, 3) rows of 0..1. The thresholds are those of the models' training."""
    hue, saturation, value = _hsv_from_rgb(np.clip(rgb, 0, 1))
    reddish = (hue >= 330) | (hue < 18)
    families = [
        (value < 0.16, "black"),
        (((saturation < 0.12) | ((saturation < 0.2) & (value < 0.3))) & (value > 0.86), "white"),
        ((saturation < 0.12) | ((saturation < 0.2) & (value < 0.3)), "gray"),
        ((hue >= 14) & (hue < 48) & (value < 0.62) & (saturation > 0.25), "brown"),
        ((hue >= 18) & (hue < 62) & (saturation < 0.4), "beige"),
        (reddish & (saturation < 0.5) & (value > 0.6), "pink"),
        ((hue < 14) | (hue >= 345), "red"),
        (hue < 42, "orange"),
        (hue < 68, "yellow"),
        (hue < 160, "green"),
        (hue < 196, "teal"),
        (hue < 256, "blue"),
        (hue < 296, "purple"),
    ]
    conditions = [condition for condition, _ in families]
    indices = [COLOR_NAMES.index(name) for _, name in families]
    names = np.select(conditions, indices, default=COLOR_NAMES.index("pink")).astype(np.uint8)
    washed_pink = conditions[5] & ~np.logical_or.reduce(conditions[:5])
    return names, _modifiers(names, saturation, value, washed_pink)


def _modifiers(
    names: Indices, saturation: Floats, value: Floats, washed: NDArray[np.bool]
) -> Indices:
    """Return 0, 1 or 2 per row: what counts as dark or light differs between the families."""

    def is_named(name: str) -> NDArray[np.bool]:
        return np.equal(names, COLOR_NAMES.index(name))

    never = np.zeros(len(names), dtype=bool)
    hue_family = ~(is_named("black") | is_named("white"))
    dark = np.select(
        [is_named("gray"), is_named("brown"), is_named("beige"), washed],
        [value < 0.38, value < 0.3, value < 0.6, never],
        default=hue_family & (value < 0.42),
    )
    light = np.select(
        [is_named("gray"), is_named("brown"), is_named("beige"), washed],
        [value > 0.66, value > 0.5, never, saturation < 0.25],
        default=hue_family & (saturation < 0.45) & (value > 0.7),
    )
    return np.where(dark, 1, np.where(light, 2, 0)).astype(np.uint8)


def _hsv_from_rgb(rgb: Floats) -> tuple[Floats, Floats, Floats]:
    """Return hue (0..360), saturation and value (0..1) of (n, 3) rows; grays have hue 0."""
    red, green, blue = rgb.T
    value = rgb.max(axis=1)
    spread = value - rgb.min(axis=1)
    safe = np.maximum(spread, 1e-6)
    sector = np.select(
        [spread < 1e-6, value == red, value == green],
        [np.zeros_like(value), ((green - blue) / safe) % 6, (blue - red) / safe + 2],
        default=(red - green) / safe + 4,
    )
    saturation = spread / np.maximum(value, 1e-6)
    return (60 * sector).astype(np.float32), saturation, value


@dataclass(frozen=True)
class Mood:
    """Ranges of OKLCH lightness and chroma for the things and for the ground behind them."""

    lightness: tuple[float, float]
    chroma: tuple[float, float]
    ground_lightness: tuple[float, float]
    ground_chroma: tuple[float, float]


MOODS = {
    "vivid": Mood((0.50, 0.82), (0.14, 0.24), (0.30, 0.96), (0.02, 0.12)),
    "natural": Mood((0.35, 0.80), (0.03, 0.13), (0.35, 0.88), (0.02, 0.09)),
    "pastel": Mood((0.70, 0.90), (0.06, 0.13), (0.80, 0.97), (0.01, 0.06)),
    "earthy": Mood((0.32, 0.75), (0.04, 0.11), (0.45, 0.88), (0.02, 0.06)),
    "dusk": Mood((0.30, 0.72), (0.07, 0.18), (0.16, 0.42), (0.02, 0.09)),
}
MOOD_SHARES = {"vivid": 0.34, "natural": 0.24, "pastel": 0.14, "earthy": 0.13, "dusk": 0.15}
HUE_STEPS_DEG = {
    "neighbors": (0, 22, -25, 48, -50),
    "opposites": (0, 180, 18, 198, -15),
    "triad": (0, 120, 240, 15, 135),
    "split": (0, 150, 210, 20, 165),
    "wheel": (0, 72, 144, 216, 288),
}
BRIGHTEST_HUE_DEG = 105  # yellow: shown at full chroma only when light, its opposite when dark
# Red, orange, yellow, green, teal, blue, purple, pink: uniform hues would be a third greens.
NAMED_HUES_DEG = (27, 58, 98, 143, 195, 260, 305, 352, 387)
EARTH_HUES_DEG = (20, 80)  # positions on that circle: reds, ochres, yellows


@dataclass(frozen=True, eq=False)
class Palette:
    """Colors of one picture: `things` and `grounds`, both (n, 3) float32 in 0..1."""

    mood: str
    things: Floats
    grounds: Floats

    def thing(self, rng: np.random.Generator) -> Rgb:
        """Return one color for a thing: mostly from the palette, now and then any sample."""
        if rng.random() < 0.12:
            names = list(SAMPLE_COLORS)
            return _jittered(SAMPLE_COLORS[names[rng.integers(len(names))]], rng, 0.05)
        return _jittered(self.things[rng.integers(len(self.things))], rng, 0.025)

    def ground(self, rng: np.random.Generator) -> Rgb:
        """Return one color for what lies behind the things."""
        return _jittered(self.grounds[rng.integers(len(self.grounds))], rng, 0.015)


def draw_palette(rng: np.random.Generator, mood: str | None = None) -> Palette:
    """Return a palette of the mood, or of a random one."""
    mood = mood or pick(rng, MOOD_SHARES)
    ranges = MOODS[mood]
    steps = np.array(HUE_STEPS_DEG[str(rng.choice(list(HUE_STEPS_DEG)))])
    first = rng.uniform(*EARTH_HUES_DEG) if mood == "earthy" else rng.uniform(0, 360)
    hues = _hues_by_name(first + steps + rng.normal(0, 6, len(steps)))
    things = rgb_from_oklch(
        _settled_lightness(rng.uniform(*ranges.lightness, len(hues)), hues, ranges.lightness),
        rng.uniform(*ranges.chroma, len(hues)),
        hues,
    )
    tone = rng.uniform(*ranges.ground_lightness)
    lightness = np.clip(tone + rng.normal(0, 0.06, 3), 0.12, 0.97)
    grounds = rgb_from_oklch(lightness, rng.uniform(*ranges.ground_chroma, 3), hues[:3])
    gray = rng.choice([rng.uniform(0.1, 0.22), rng.uniform(0.4, 0.7), rng.uniform(0.94, 0.98)])
    neutral = rgb_from_oklch([gray], rng.uniform(0, 0.015, 1), hues[:1])
    return Palette(mood, np.concatenate([things, neutral]), grounds)


def rgb_from_oklch(lightness: ArrayLike, chroma: ArrayLike, hue_deg: ArrayLike) -> Floats:
    """Return (n, 3) float32 sRGB in 0..1, cut at the edge of the gamut (Ottosson 2020)."""
    lightness, turn = np.asarray(lightness), np.radians(np.asarray(hue_deg))
    a, b = np.asarray(chroma) * np.cos(turn), np.asarray(chroma) * np.sin(turn)
    cones = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    ) @ (cones**3)
    linear = np.clip(linear, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(srgb.T, dtype=np.float32)


def shaded(color: Rgb, factor: float) -> Rgb:
    """Return the color darkened (factor < 1) or blended towards white (factor > 1, at most 2)."""
    if factor <= 1:
        return (color[0] * factor, color[1] * factor, color[2] * factor)
    lift = min(1.0, factor - 1)
    return mixed(color, (1.0, 1.0, 1.0), lift)


def mixed(first: Rgb, second: Rgb, share: float) -> Rgb:
    """Return `first` at share 0, `second` at share 1, and what lies between."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return (red, green, blue)


def _hues_by_name(positions_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map evenly spread positions on a circle to hues, so that all color names are as frequent."""
    even = np.linspace(0, 360, len(NAMED_HUES_DEG))
    return np.interp(positions_deg % 360, even, NAMED_HUES_DEG)


def _settled_lightness(
    lightness: NDArray[np.float64], hues: NDArray[np.float64], bounds: tuple[float, float]
) -> NDArray[np.float64]:
    """Move each lightness half way to its hue's best one, so that yellow does not become brown."""
    middle, reach = np.mean(bounds), (bounds[1] - bounds[0]) / 2
    best = middle + reach * np.cos(np.radians(hues - BRIGHTEST_HUE_DEG))
    settled: NDArray[np.float64] = (lightness + best) / 2
    return settled


def _jittered(color: Sequence[float] | Floats, rng: np.random.Generator, spread: float) -> Rgb:
    """Return the color with a small change of each channel and of its brightness."""
    red, green, blue = np.clip(
        np.asarray(color) + rng.normal(0, spread, 3) + rng.normal(0, spread), 0.01, 0.99
    ).tolist()
    return (red, green, blue)
