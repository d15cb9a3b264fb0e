"""The eleven patterns, as maps of how much of the second color shows at each pixel.

Every size is a share of the thing's extent, so the same seed gives the same look at any scale.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

NOISE_TILE_PX = 640
NOISE_TILES = 6
MIN_PERIOD_PX = 6.0  # finer patterns blur into one color at the size the models see


@dataclass(frozen=True)
class Frame:
    """The box a pattern fills: its size, the thing's center in it, extent and rotation.

    `angle` fixes the direction of gradients and stripes, which is drawn where it is None.
    """

    height: int
    width: int
    center_xy: tuple[float, float]
    extent_px: float
    turn: float = 0.0
    angle: float | None = None

    def direction(self, rng: np.random.Generator) -> float:
        """Return the fixed angle, else upright, level or any direction, a third each."""
        drawn = float(rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)]))
        return drawn if self.angle is None else self.angle

    def axes(self, angle: float) -> tuple[Floats, Floats]:
        """Return two (height, width) maps of pixels along and across `angle`, 0 at the center."""
        cos, sin = np.float32(np.cos(angle + self.turn)), np.float32(np.sin(angle + self.turn))
        x = np.arange(self.width, dtype=np.float32) - np.float32(self.center_xy[0])
        y = (np.arange(self.height, dtype=np.float32) - np.float32(self.center_xy[1]))[:, None]
        return x * cos + y * sin, y * cos - x * sin

    def period_px(self, rng: np.random.Generator, low: float = 0.1, high: float = 0.28) -> float:
        """Return a repeat length between two shares of the extent."""
        return max(MIN_PERIOD_PX, self.extent_px * rng.uniform(low, high))


def pattern_map(rng: np.random.Generator, name: str, frame: Frame) -> Floats | None:
    """Return (height, width) float32 in 0..1, the share of the second color; None for plain."""
    if name == "plain":
        return None
    return PATTERN_MAPS[name](rng, frame).astype(np.float32, copy=False)


def noise_patch(
    rng: np.random.Generator, height: int, width: int, span_xy: tuple[float, float]
) -> Floats:
    """Return (height, width) fractal noise, mean about 0 and spread 1.

    `span_xy` is the share of a noise tile that is spread over the patch: more is finer.
    """
    levels = _noise_tiles()[rng.integers(NOISE_TILES)]
    across, down = (float(np.clip(span, 0.01, 1)) for span in span_xy)
    left, top = rng.random() * (1 - across), rng.random() * (1 - down)
    flip = slice(None, None, int(rng.choice([1, -1])))
    # The smallest level that still has as many pixels as the patch: a sixteenth of the time.
    wanted = max(width / across, height / down)
    level = next((tile for tile in reversed(levels) if tile.width >= wanted), levels[0])
    size = level.width
    box = (left * size, top * size, (left + across) * size, (top + down) * size)
    resized = level.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized)[flip]


@cache
def _noise_tiles() -> tuple[tuple[Image.Image, ...], ...]:
    """Return the tiles that noise patches are cut from, each at full, half, ... an eighth size."""
    rng = np.random.default_rng(20240229)
    tiles = [Image.fromarray(_noise_tile(rng)) for _ in range(NOISE_TILES)]
    return tuple(tuple(tile.reduce(step) for step in (1, 2, 4, 8)) for tile in tiles)


def _noise_tile(rng: np.random.Generator) -> Floats:
    """Return one (NOISE_TILE_PX, NOISE_TILE_PX) tile: octaves of smooth noise, added up."""
    total = np.zeros((NOISE_TILE_PX, NOISE_TILE_PX), dtype=np.float32)
    cells, strength, fade = int(rng.integers(4, 12)), 1.0, rng.uniform(0.45, 0.75)
    while cells < NOISE_TILE_PX / 2:
        octave = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
        scaled = octave.resize((NOISE_TILE_PX, NOISE_TILE_PX), Image.Resampling.BICUBIC)
        total += np.float32(strength) * np.asarray(scaled)
        strength, cells = strength * fade, cells * 2
    tile: Floats = (total - total.mean()) / total.std()
    return tile


def _share(values: Floats) -> Floats:
    """Return the values cut to 0..1."""
    return np.clip(values, np.float32(0), np.float32(1))


def _edge(signed_px: Floats) -> Floats:
    """Return 0..1 across one pixel around signed distance 0: an anti-aliased edge."""
    return _share(signed_px + np.float32(0.5))


def _gradient(rng: np.random.Generator, frame: Frame) -> Floats:
    angle = rng.uniform(0, 2 * np.pi) if frame.angle is None else frame.angle
    along, _ = frame.axes(angle)
    low, high = float(along.min()), float(along.max())
    ramp: Floats = (along - low) / max(1e-3, high - low)
    return ramp


def _striped(rng: np.random.Generator, frame: Frame) -> Floats:
    along, _ = frame.axes(frame.direction(rng))
    return _bands(rng, along, frame.period_px(rng))


def _wavy(rng: np.random.Generator, frame: Frame) -> Floats:
    along, across = frame.axes(frame.direction(rng))
    period = frame.period_px(rng)
    wave = np.sin(across * np.float32(2 * np.pi / (period * rng.uniform(1.6, 3.5))))
    return _bands(rng, along + np.float32(period * rng.uniform(0.3, 0.7)) * wave, period)


def _bands(rng: np.random.Generator, along: Floats, period: float) -> Floats:
    """Return stripes along a map of distances: crisp ones mostly, else softly rolling."""
    wave = np.sin(along * np.float32(2 * np.pi / period)) + np.float32(rng.uniform(-0.4, 0.4))
    crisp = rng.random() < 0.8
    return _edge(wave * np.float32(period / (2 * np.pi) if crisp else 0.7))


def _checked(rng: np.random.Generator, frame: Frame) -> Floats:
    along, across = frame.axes(frame.direction(rng))
    period = frame.period_px(rng, 0.16, 0.4)
    pitch = np.float32(2 * np.pi / period)
    return _edge(np.sin(along * pitch) * np.sin(across * pitch) * np.float32(period / 4))


def _grid(rng: np.random.Generator, frame: Frame) -> Floats:
    along, across = frame.axes(frame.direction(rng))
    period = frame.period_px(rng, 0.12, 0.3)
    half_line = max(0.7, period * rng.uniform(0.06, 0.14))
    from_lines = [
        np.abs((distance / np.float32(period) + 0.5) % 1 - 0.5) * np.float32(period)
        for distance in (along, across)
    ]
    return _edge(np.float32(half_line) - np.minimum(*from_lines))


def _dotted(rng: np.random.Generator, frame: Frame) -> Floats:
    along, across = frame.axes(frame.direction(rng))
    period = frame.period_px(rng, 0.13, 0.3)
    column, row = along / np.float32(period), across / np.float32(period)
    if rng.random() < 0.6:
        column = column + 0.5 * (np.floor(row) % 2)
    from_dot = np.hypot(column - np.floor(column) - 0.5, row - np.floor(row) - 0.5)
    return _edge((np.float32(rng.uniform(0.2, 0.38)) - from_dot) * np.float32(period))


def _mottled(rng: np.random.Generator, frame: Frame) -> Floats:
    span = rng.uniform(0.15, 0.6)
    noise = noise_patch(rng, frame.height, frame.width, (span, span))
    return _share(noise * np.float32(rng.uniform(0.16, 0.32)) + np.float32(0.4))


def _patchy(rng: np.random.Generator, frame: Frame) -> Floats:
    span = rng.uniform(0.2, 0.6)
    noise = noise_patch(rng, frame.height, frame.width, (span, span))
    level = np.float32(rng.uniform(-0.35, 0.35))
    return _share((noise + level) * np.float32(rng.uniform(3, 9)) + np.float32(0.5))


def _speckled(rng: np.random.Generator, frame: Frame) -> Floats:
    cell = max(1.3, frame.extent_px / rng.uniform(28, 80))
    cells = (max(2, int(frame.height / cell)), max(2, int(frame.width / cell)))
    grains = (rng.random(cells, dtype=np.float32) < rng.uniform(0.1, 0.32)).astype(np.float32)
    scaled = Image.fromarray(grains).resize((frame.width, frame.height), Image.Resampling.BILINEAR)
    return _share(np.asarray(scaled) * np.float32(1.3))


def _streaked(rng: np.random.Generator, frame: Frame) -> Floats:
    fine, long = rng.uniform(0.5, 1.0), rng.uniform(0.02, 0.07)
    span_xy = (fine, long) if rng.random() < 0.4 else (long, fine)
    noise = noise_patch(rng, frame.height, frame.width, span_xy)
    return _share(noise * np.float32(0.28) + np.float32(0.42))


PATTERN_MAPS: dict[str, Callable[[np.random.Generator, Frame], Floats]] = {
    "gradient": _gradient,
    "striped": _striped,
    "checked": _checked,
    "dotted": _dotted,
    "mottled": _mottled,
    "patchy": _patchy,
    "speckled": _speckled,
    "grid": _grid,
    "wavy": _wavy,
    "streaked": _streaked,
}
PATTERNS = ("plain", *PATTERN_MAPS)
