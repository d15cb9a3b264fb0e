"""Dead leaves: pictures of textured things that cover one another, with the statistics of photos.

Things of all sizes fall on one another until the ground is covered, as in Lee, Mumford and Huang
(Occlusion models for natural images, 2001); surfaces are noise whose spectrum falls off like that
of photos, which is enough to learn to see by (Baradad et al., Learning to See by Looking at
Noise, 2021). Drawn scenes teach clean outlines and patterns; these teach the segmenter that a
textured, unevenly lit patch is one thing and that what only shades it isn't another.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from starter.drawing.canvas import Canvas, Light
from starter.drawing.colors import Floats, draw_palette, rgb_from_oklch
from starter.drawing.develop import develop
from starter.drawing.patterns import noise_patch

MIN_RADIUS, MAX_RADIUS = 0.035, 0.5  # of a thing, as a share of the picture's side
HARMONICS = 9  # of an outline's radius over its angle
GROUNDS = 4
MAX_THINGS = 36
MAX_PARTS = 5
TILE_PX = 512
ANGLES = 360


@dataclass(frozen=True, eq=False)
class Leaves:
    """A picture: image (s, s, 3), labels (s, s), members (n, n) as of scenes.subtree_members."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint16]
    members: NDArray[np.bool]


@dataclass(frozen=True, eq=False)
class _Outline:
    """A closed curve around a center: its radius over the angle, stretched and turned."""

    center_xy: tuple[float, float]
    radius_px: float
    stretch: float
    turn: float
    waves: NDArray[np.float64]  # (2, HARMONICS) of the logarithm of the radius
    corners: int  # of a polygon underneath; 0 for an ellipse

    def cover(self, side_px: int) -> tuple[tuple[slice, slice], Floats, Floats] | None:
        """Return its window, how much of each pixel it covers, and the depth within (0 to 1)."""
        radii = self._radii()
        reach = float(radii.max()) * self.stretch
        (x, y), top = self.center_xy, side_px
        left, right = max(0, int(x - reach)), min(top, int(x + reach) + 1)
        upper, lower = max(0, int(y - reach)), min(top, int(y + reach) + 1)
        if right - left < 2 or lower - upper < 2:
            return None
        across = np.arange(left, right, dtype=np.float32) - np.float32(x)
        down = (np.arange(upper, lower, dtype=np.float32) - np.float32(y))[:, None]
        cos, sin = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        along = (across * cos + down * sin) / np.float32(self.stretch)
        beside = (down * cos - across * sin) * np.float32(self.stretch)
        distance = np.sqrt(along * along + beside * beside)
        angle = np.arctan2(beside, along)
        degrees = (angle / np.float32(2.0001 * np.pi) + np.float32(0.5)) * np.float32(ANGLES)
        radius = radii[degrees.astype(np.int16)]
        cover: Floats = np.clip(radius - distance + np.float32(0.5), 0, 1)
        depth: Floats = np.clip(1 - distance / radius, 0, 1)
        return (slice(upper, lower), slice(left, right)), cover, depth

    def _radii(self) -> Floats:
        """Return the radius at ANGLES angles, in px."""
        angles, cosines, sines = _harmonics()
        log_radius = self.waves[0] @ cosines + self.waves[1] @ sines
        if self.corners:
            sector = np.mod(angles, 2 * np.pi / self.corners) - np.pi / self.corners
            log_radius += np.log(np.cos(np.pi / self.corners) / np.cos(sector))
        return np.asarray(self.radius_px * np.exp(np.clip(log_radius, -1.2, 0.5)), np.float32)


class _Picture:
    """A picture in the making."""

    def __init__(self, rng: np.random.Generator, side_px: int) -> None:
        self.rng, self.side_px = rng, side_px
        self.pixels = np.zeros((side_px, side_px, 3), np.float32)
        self.labels = np.zeros((side_px, side_px), np.uint16)
        self.parents: list[int | None] = []
        self.light = rng.uniform(0, 2 * np.pi)
        self.shadows = rng.uniform(0, 0.5) if rng.random() < 0.6 else 0.0
        self.colors = self._draw_colors()
        self.roughness = rng.uniform(0.02, 0.16)
        self.variegation = rng.uniform(0, 0.25)

    def _draw_colors(self) -> Floats:
        """Return colors near one another, as one light and few materials give: (12, 3) in 0..1."""
        rng = self.rng
        hue = rng.uniform(0, 360) + rng.normal(0, rng.uniform(15, 120), 12)
        chroma = np.abs(rng.normal(0, rng.uniform(0.01, 0.1), 12))
        lightness = np.clip(rng.normal(rng.uniform(0.4, 0.7), rng.uniform(0.1, 0.28), 12), 0.08, 1)
        return rgb_from_oklch(lightness, chroma, hue)

    def node(self, parent: int | None) -> int:
        self.parents.append(parent)
        return len(self.parents) - 1

    def color(self) -> Floats:
        chosen = self.colors[self.rng.integers(len(self.colors))]
        return np.asarray(chosen + self.rng.normal(0, 0.03, 3), np.float32)

    def surface(self, height: int, width: int, color: Floats) -> Floats:
        """Return (height, width, 3) of a color, uneven at one or two scales and lit from a side."""
        rng, tiles = self.rng, _textures()
        pixels = np.broadcast_to(color, (height, width, 3)).copy()
        for _ in range(int(rng.integers(1, 3))):
            tile = tiles[rng.integers(len(tiles))]
            top, left = rng.integers(TILE_PX - height + 1), rng.integers(TILE_PX - width + 1)
            noise = tile[top : top + height, left : left + width]
            if rng.random() < 0.5:
                noise = noise[::-1]
            if rng.random() < 0.3:  # patches with edges instead of a gradual change
                noise = np.tanh(noise * np.float32(rng.uniform(1.5, 5)))
            strength = self.roughness * rng.lognormal(0, 0.7)
            towards = strength * (0.6 * color + 0.25 + rng.normal(0, self.variegation, 3))
            for channel in range(3):
                pixels[..., channel] += noise * np.float32(towards[channel])
        slope = rng.normal(0, 0.15) / max(height, width)
        across = np.arange(width, dtype=np.float32) - np.float32(width / 2)
        down = np.arange(height, dtype=np.float32)[:, None] - np.float32(height / 2)
        cos, sin = np.cos(self.light) * slope, np.sin(self.light) * slope
        pixels *= (1 + across * np.float32(cos) + down * np.float32(sin))[..., None]
        return pixels

    def lay(
        self, outline: _Outline, color: Floats, parent: int | None, within: int | None = None
    ) -> int | None:
        """Put a thing on top, or on what is visible of another; return its node."""
        covered = outline.cover(self.side_px)
        if covered is None:
            return None
        window, cover, depth = covered
        if within is not None:
            cover = cover * (self.labels[window] == within)
        if np.count_nonzero(cover > 0.5) < 12:
            return None
        rng = self.rng
        if within is None and self.shadows:
            self._darken(window, cover)
        surface = self.surface(cover.shape[0], cover.shape[1], color)
        if rng.random() < 0.6:  # round things darken towards their rim
            surface *= (1 - np.float32(rng.uniform(0, 0.35)) * (1 - depth) ** 2)[..., None]
        under = self.pixels[window]
        under += (surface - under) * cover[..., None]
        node = self.node(parent)
        self.labels[window][cover > 0.5] = node
        return node

    def _darken(self, window: tuple[slice, slice], cover: Floats) -> None:
        """Cast a thing's shadow, which belongs to nothing of its own."""
        shift = max(1, round(0.06 * max(cover.shape)))
        away = -np.sin(self.light), -np.cos(self.light)
        soft = np.roll(cover, (round(away[0] * shift), round(away[1] * shift)), (0, 1))
        for axis in (0, 1):
            soft = np.roll(soft, shift, axis) * np.float32(0.25) + soft * np.float32(0.75)
        self.pixels[window] *= (1 - np.float32(self.shadows) * soft)[..., None]

    def outline(self, center_xy: tuple[float, float], radius_px: float, wobble: float) -> _Outline:
        rng = self.rng
        falloff = np.arange(1, HARMONICS + 1) ** -rng.uniform(0.8, 2.0)
        waves = rng.normal(0, wobble, (2, HARMONICS)) * falloff
        corners = int(rng.choice([0, 0, 3, 4, 4, 4, 5, 6]))
        stretch = float(np.exp(abs(rng.normal(0, 0.3))))
        if rng.random() < 0.1:  # poles, branches, cables
            stretch = rng.uniform(2, 3)
        turn = rng.choice([0.0, np.pi / 2]) if rng.random() < 0.4 else rng.uniform(0, np.pi)
        return _Outline(center_xy, radius_px, stretch, float(turn), waves, corners)


@cache
def _harmonics() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the angles, and the cosines and sines of their multiples, (HARMONICS, ANGLES)."""
    angles = np.linspace(-np.pi, np.pi, ANGLES)
    orders = np.arange(1, HARMONICS + 1)[:, None] * angles
    return angles, np.cos(orders), np.sin(orders)


@cache
def _textures() -> tuple[Floats, ...]:
    """Return tiles of noise with mean 0 and spread 1: clouds to grain, fibres, and pebbles."""
    rng = np.random.default_rng(20)
    down, across = np.fft.fftfreq(TILE_PX)[:, None], np.fft.rfftfreq(TILE_PX)
    tiles = []
    for falloff in (0.5, 0.8, 1.1, 1.4, 1.8):
        for stretch, turn in (
            (1, 0.0),
            (1, 0.0),
            (4, rng.uniform(0, np.pi)),
            (8, 0.0),
            (8, np.pi / 2),
        ):
            along = across * np.cos(turn) + down * np.sin(turn)
            beside = down * np.cos(turn) - across * np.sin(turn)
            frequency = np.hypot(along * stretch, beside) + 3 / TILE_PX
            spectrum = frequency**-falloff * np.exp(2j * np.pi * rng.random(frequency.shape))
            tiles.append(np.fft.irfft2(spectrum, (TILE_PX, TILE_PX)))
    for cells in (300, 1200, 5000, 12_000):
        seeds = np.ones((TILE_PX, TILE_PX), bool)
        seeds[rng.integers(TILE_PX, size=cells), rng.integers(TILE_PX, size=cells)] = False
        distance, nearest = ndimage.distance_transform_edt(seeds, return_indices=True)
        tints = rng.normal(0, 1, (TILE_PX, TILE_PX))
        tiles += [distance, tints[nearest[0], nearest[1]]]
    return tuple(((tile - tile.mean()) / tile.std()).astype(np.float32) for tile in tiles)


def draw_leaves(seed: int, side_px: int) -> Leaves:
    """Draw a square picture; the same seed and size give the same picture."""
    rng = np.random.default_rng((seed, side_px))
    picture = _Picture(rng, side_px)
    _lay_grounds(picture)
    things = int(rng.integers(3, MAX_THINGS))
    radii = np.sort(_power_law(rng, things))[::-1]
    order = np.argsort(-radii + rng.normal(0, 0.08, things))  # mostly the large ones lie below
    for radius in radii[order]:
        center = (rng.uniform(0, side_px), rng.uniform(0, side_px))
        _lay_thing(picture, center, float(radius) * side_px)
    light = Light(picture.light, 0.0, 0.0, 0.0)
    canvas = Canvas((side_px, side_px), draw_palette(rng), light)
    canvas.pixels = picture.pixels
    image = develop(rng, canvas, rng.uniform(0.1, 1))
    return Leaves(np.asarray(image), picture.labels, _members(picture.parents))


def _power_law(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return radii whose density falls with the square: few large things, many small ones."""
    low, high = 1 / MAX_RADIUS, 1 / rng.uniform(MIN_RADIUS, 3 * MIN_RADIUS)
    return 1 / rng.uniform(low, high, count)


def _lay_grounds(picture: _Picture) -> None:
    """Fill the picture: a wall, or bands of land and sky with rough edges."""
    rng, side = picture.rng, picture.side_px
    picture.node(None)
    picture.pixels[:] = picture.surface(side, side, picture.color())
    for _ in range(int(rng.integers(GROUNDS))):
        edge = rng.uniform(0.15, 0.9) * side
        rough = noise_patch(rng, 1, side, (rng.uniform(0.05, 0.9), 0.01))[0]
        height = (
            edge
            + rough * np.float32(rng.uniform(0, 0.06) * side)
            + np.float32(rng.normal(0, 0.15)) * (np.arange(side, dtype=np.float32) - side / 2)
        )
        cover = np.clip(np.arange(side, dtype=np.float32)[:, None] - height + 0.5, 0, 1)
        if rng.random() < 0.3:
            cover = np.ascontiguousarray(cover.T)
        if np.count_nonzero(cover > 0.5) < 0.03 * cover.size:
            continue
        surface = picture.surface(side, side, picture.color())
        picture.pixels += (surface - picture.pixels) * cover[..., None]
        picture.labels[cover > 0.5] = picture.node(None)


def _lay_thing(picture: _Picture, center_xy: tuple[float, float], radius_px: float) -> None:
    """Lay one thing: a plain one, one with marks on it, or one of several joined parts."""
    rng = picture.rng
    wobble = rng.choice([0.0, 0.08, 0.2, 0.35])
    color = picture.color()
    if rng.random() < 0.5 or radius_px < 0.06 * picture.side_px:
        body = picture.lay(picture.outline(center_xy, radius_px, wobble), color, None)
        if body is not None and rng.random() < 0.4:
            _lay_marks(picture, body, center_xy, radius_px)
        return
    group = picture.node(None)
    x, y = center_xy
    size = radius_px * 0.7
    for _ in range(int(rng.integers(2, MAX_PARTS + 1))):
        part = picture.lay(picture.outline((x, y), size, wobble), color, group)
        if part is not None and rng.random() < 0.3:
            _lay_marks(picture, part, (x, y), size)
        angle = rng.uniform(0, 2 * np.pi)
        x, y = x + np.cos(angle) * size * 0.8, y + np.sin(angle) * size * 0.8
        size = radius_px * rng.uniform(0.25, 0.7)
        color = picture.color() if rng.random() < 0.7 else color


def _lay_marks(
    picture: _Picture, body: int, center_xy: tuple[float, float], radius_px: float
) -> None:
    """Lay windows, spots, labels: things within the outline of another."""
    rng = picture.rng
    color, count = picture.color(), int(rng.integers(1, 5))
    for _ in range(count):
        at = rng.normal(0, 0.4, 2) * radius_px + center_xy
        size = radius_px * rng.uniform(0.12, 0.45)
        picture.lay(picture.outline((at[0], at[1]), size, 0.1), color, body, within=body)


def _members(parents: list[int | None]) -> NDArray[np.bool]:
    members = np.eye(len(parents), dtype=bool)
    for index in range(len(parents) - 1, 0, -1):
        parent = parents[index]
        if parent is not None:
            members[parent] |= members[index]
    return members
