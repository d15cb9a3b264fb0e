"""The twelve shapes: outlines in a unit circle, and how they become anti-aliased masks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]  # (n, 2), y down

ROUND_POINTS = 96  # a circle of 500 px radius is then off by 0.3 px at most


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed outline of (n, 2) points, roughly within radius 1, with an optional hole."""

    points: Points
    hole: Points | None = None

    def placed(
        self, center_xy: tuple[float, float], scale_xy: tuple[float, float], turn: float
    ) -> "Outline":
        """Return the outline scaled, turned by `turn` radians, then moved to the center."""
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])

        def move(points: Points) -> Points:
            moved: Points = (points * scale_xy) @ rotation + center_xy
            return moved

        return Outline(move(self.points), None if self.hole is None else move(self.hole))


@dataclass(frozen=True, eq=False)
class Stamp:
    """An anti-aliased mask and where its upper left corner lies: alpha is (h, w) uint8."""

    left: int
    top: int
    alpha: NDArray[np.uint8]

    @property
    def window(self) -> tuple[slice, slice]:
        """Return the rows and columns that the stamp covers in its picture."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def area_px(self) -> int:
        """Return how many pixels are more than half covered."""
        return int(np.count_nonzero(self.alpha > 127))

    def clipped_to(self, other: "Stamp") -> "Stamp":
        """Return what of this stamp lies within the other; a single empty pixel if nothing."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right = min(stamp.left + stamp.alpha.shape[1] for stamp in (self, other))
        bottom = min(stamp.top + stamp.alpha.shape[0] for stamp in (self, other))
        if right <= left or bottom <= top:
            return Stamp(self.left, self.top, np.zeros((1, 1), dtype=np.uint8))
        rows, columns = slice(top, bottom), slice(left, right)
        ours, theirs = self._crop(rows, columns), other._crop(rows, columns)
        return Stamp(left, top, np.minimum(ours, theirs))

    def _crop(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Return alpha at the picture's rows and columns, which must lie within the stamp."""
        return self.alpha[
            rows.start - self.top : rows.stop - self.top,
            columns.start - self.left : columns.stop - self.left,
        ]


def draw_outline(rng: np.random.Generator, shape: str) -> Outline:
    """Return an outline of the shape; those of one name differ in proportions."""
    return OUTLINES[shape](rng)


def stamp_outline(outline: Outline, size_wh: tuple[int, int]) -> Stamp | None:
    """Return the part of a placed outline that lies in the picture; None below 2 px a side."""
    low = np.floor(outline.points.min(axis=0)).astype(int) - 1
    high = np.ceil(outline.points.max(axis=0)).astype(int) + 1
    left, top = np.maximum(low, 0).tolist()
    right, bottom = np.minimum(high, size_wh).tolist()
    if right - left < 2 or bottom - top < 2:
        return None
    # Coverage in 16, 9 or 4 steps per pixel axis pair: large shapes hide a coarser edge.
    factor = 4 if max(right - left, bottom - top) < 160 else 3
    plate = Image.new("L", ((right - left) * factor, (bottom - top) * factor))
    pen = ImageDraw.Draw(plate)
    for points, ink in ((outline.points, 255), (outline.hole, 0)):
        if points is not None:
            pen.polygon(((points - (left, top)) * factor - 0.5).ravel().tolist(), fill=ink)
    return Stamp(left, top, np.array(plate.reduce(factor)))


def full_stamp(size_wh: tuple[int, int]) -> Stamp:
    """Return the stamp that covers the whole picture."""
    return Stamp(0, 0, np.full((size_wh[1], size_wh[0]), 255, dtype=np.uint8))


def _angles(count: int) -> NDArray[np.float64]:
    return np.linspace(0, 2 * np.pi, count, endpoint=False)


def _polar(angles: NDArray[np.float64], radii: NDArray[np.float64] | float = 1.0) -> Points:
    """Return points at the angles and radii around the origin."""
    return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)


def _circle(_rng: np.random.Generator) -> Outline:
    return Outline(_polar(_angles(ROUND_POINTS)))


def _ellipse(rng: np.random.Generator) -> Outline:
    return Outline(_polar(_angles(ROUND_POINTS)) * (1, rng.uniform(0.35, 0.72)))


def _square(rng: np.random.Generator) -> Outline:
    return Outline(_rounded_box(1.0, rng.choice([0.0, 0.0, 0.12, 0.3])))


def _rectangle(rng: np.random.Generator) -> Outline:
    return Outline(_rounded_box(rng.uniform(0.16, 0.65), rng.choice([0.0, 0.0, 0.12, 0.3])))


def _rounded_box(ratio: float, rounding: float) -> Points:
    """Return a box of half sides 0.85 and 0.85 x ratio; rounding is a share of the short side."""
    half = np.array([0.85, 0.85 * ratio])
    radius = rounding * float(half.min())
    circle = _polar(_angles(32) + np.pi / 32)
    corners: Points = np.sign(circle) * (half - radius) + circle * radius
    return corners


def _triangle(rng: np.random.Generator) -> Outline:
    lean = rng.normal(0, 0.22, 3) if rng.random() < 0.6 else np.zeros(3)
    return Outline(_polar(_angles(3) - np.pi / 2 + lean))


def _polygon(rng: np.random.Generator) -> Outline:
    corners = int(rng.integers(5, 9))
    uneven = rng.choice([0.0, 0.12])
    angles = _angles(corners) + rng.normal(0, uneven, corners)
    return Outline(_polar(angles, 1 - rng.random(corners) * uneven * 2.5))


def _star(rng: np.random.Generator) -> Outline:
    tips = int(rng.integers(4, 9))
    radii = np.where(np.arange(2 * tips) % 2, rng.uniform(0.38, 0.6), 1.0)
    return Outline(_polar(_angles(2 * tips) - np.pi / 2, radii))


def _blob(rng: np.random.Generator) -> Outline:
    angles = _angles(ROUND_POINTS)
    radii = np.ones(ROUND_POINTS)
    bumpiness = rng.uniform(0.08, 0.26)
    for wave in range(2, 7):
        swing = bumpiness / (wave - 1) ** 0.8 * rng.normal()
        radii += swing * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    radii = np.maximum(radii, 0.25)
    return Outline(_polar(angles, radii / radii.max()) * (1, rng.uniform(0.5, 1)))


def _curve(rng: np.random.Generator) -> Outline:
    """Return a bent band: a cubic from left to right, widened by its normals, ends rounded."""
    control = rng.uniform(-0.9, 0.9, (4, 2))
    control[0, 0], control[3, 0] = -0.95, 0.95
    at = np.linspace(0, 1, 32)[:, None]
    spine = (
        (1 - at) ** 3 * control[0]
        + 3 * (1 - at) ** 2 * at * control[1]
        + 3 * (1 - at) * at**2 * control[2]
        + at**3 * control[3]
    )
    return Outline(_widened(spine, rng.uniform(0.06, 0.16)))


def _widened(spine: Points, half_width: float) -> Points:
    """Return the outline of a band along the (n, 2) spine."""
    ahead = np.gradient(spine, axis=0)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-6)
    side = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1) * half_width
    cap = np.linspace(0, np.pi, 9)[1:-1, None]
    end = spine[-1] + side[-1] * np.cos(cap) + ahead[-1] * half_width * np.sin(cap)
    start = spine[0] - side[0] * np.cos(cap) - ahead[0] * half_width * np.sin(cap)
    return np.concatenate([spine + side, end, (spine - side)[::-1], start])


def _ring(rng: np.random.Generator) -> Outline:
    outer = _polar(_angles(ROUND_POINTS)) * (1, rng.uniform(0.7, 1))
    return Outline(outer, outer * rng.uniform(0.45, 0.75))


def _crescent(rng: np.random.Generator) -> Outline:
    """Return a disc with a bite: the far arc of one circle, the near arc of a shifted one."""
    shift = rng.uniform(0.35, 0.65)
    meet = np.arccos(shift / 2)
    outer = _polar(np.linspace(meet, 2 * np.pi - meet, 48))
    inner = _polar(np.linspace(np.pi + meet, np.pi - meet, 48)) + np.array([shift, 0])
    return Outline(np.concatenate([outer, inner]))


def _cross(rng: np.random.Generator) -> Outline:
    arm = rng.uniform(0.2, 0.4)
    quarter = np.array([[1, -arm], [1, arm], [arm, arm]])
    turns = [np.array([[0, 1], [-1, 0]])] * 4
    corners = [quarter @ np.linalg.matrix_power(turn, n) for n, turn in enumerate(turns)]
    return Outline(np.concatenate(corners))


OUTLINES: dict[str, Callable[[np.random.Generator], Outline]] = {
    "circle": _circle,
    "ellipse": _ellipse,
    "square": _square,
    "rectangle": _rectangle,
    "triangle": _triangle,
    "polygon": _polygon,
    "star": _star,
    "blob": _blob,
    "curve": _curve,
    "ring": _ring,
    "crescent": _crescent,
    "cross": _cross,
}
SHAPES = tuple(OUTLINES)
