"""What lies behind the things: skies and hills, seas, tables, sheets of paper, patterned ground."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from starter.drawing.canvas import Canvas, Style
from starter.drawing.colors import Rgb, mixed, rgb_from_oklch, shaded
from starter.drawing.patterns import PATTERNS, Frame
from starter.drawing.shapes import Outline, Stamp, draw_outline, full_stamp, stamp_outline
from starter.things import draw_style

DOWNWARDS = np.pi / 2  # a gradient that changes from top to bottom
RIDGE_POINTS = 80


@dataclass(frozen=True)
class PlacementArea:
    """Where things may go: below `top` (a share of the height), smaller when far if standing."""

    top: float = 0.0
    standing: bool = False


def paint_landscape(rng: np.random.Generator, canvas: Canvas) -> PlacementArea:
    """Paint a graded sky, perhaps a sun and clouds, and hills that pale with distance."""
    haze = _paint_sky(rng, canvas)
    ridges = int(rng.integers(1, 5))
    near = shaded(canvas.palette.ground(rng), rng.uniform(0.6, 1.0))
    if canvas.palette.mood != "dusk" and rng.random() < 0.7:
        near = _land_color(rng)
    heights = np.sort(rng.uniform(0.3, 0.85, ridges))
    for number, height in enumerate(heights, start=1):
        color = mixed(haze, near, (number / ridges) ** 0.8)
        pattern = str(rng.choice(["plain", "gradient", "mottled", "patchy", "streaked"]))
        style = _ground_style(rng, color, pattern, DOWNWARDS)
        roughness = rng.choice([0.02, 0.06, 0.12]) * (1.2 - number / (ridges + 1))
        canvas.paint(_ridge(rng, canvas, height, roughness), style, casts_shadow=False)
    return PlacementArea(top=float(heights[-1]) - 0.05, standing=True)


def paint_seaside(rng: np.random.Generator, canvas: Canvas) -> PlacementArea:
    """Paint a sky, a level sea and perhaps a beach in front."""
    _paint_sky(rng, canvas)
    horizon = rng.uniform(0.35, 0.6)
    lightness = rng.uniform(0.4, 0.75)
    water, deep = (
        _rgb(lightness * factor, rng.uniform(0.05, 0.11), rng.uniform(195, 250))
        for factor in (1.0, 0.75)
    )
    pattern = str(rng.choice(["gradient", "wavy", "streaked"]))
    sea = Style(pattern, water, deep, int(rng.integers(2**31)), angle=DOWNWARDS)
    canvas.paint(_ridge(rng, canvas, horizon, 0.0), sea, casts_shadow=False)
    if rng.random() < 0.5:
        sand = _rgb(rng.uniform(0.75, 0.9), rng.uniform(0.03, 0.07), rng.uniform(70, 95))
        style = _ground_style(rng, sand, str(rng.choice(["speckled", "plain", "mottled"])))
        canvas.paint(_ridge(rng, canvas, rng.uniform(0.72, 0.88), 0.05), style)
    return PlacementArea(top=horizon, standing=True)


def paint_table(rng: np.random.Generator, canvas: Canvas) -> PlacementArea:
    """Paint a wall and the top of a table or a cloth before it."""
    wall_pattern = str(rng.choice(["plain", "gradient", "striped", "mottled", "dotted", "grid"]))
    wall = _ground_style(rng, canvas.palette.ground(rng), wall_pattern, DOWNWARDS)
    if wall_pattern == "striped":
        wall = _ground_style(rng, canvas.palette.ground(rng), wall_pattern, 0.0)
    canvas.paint(full_stamp(canvas.size_wh), wall, casts_shadow=False)
    edge = rng.uniform(0.42, 0.7)
    if rng.random() < 0.55:
        wood = _rgb(rng.uniform(0.4, 0.75), rng.uniform(0.04, 0.09), rng.uniform(50, 78))
        top = _ground_style(rng, wood, "streaked")
    else:
        pattern = str(rng.choice(["plain", "checked", "grid", "striped", "speckled"]))
        top = draw_style(rng, canvas.palette, pattern)
        top = Style(
            pattern, mixed(top.color, (1, 1, 1), 0.35), canvas.palette.ground(rng), top.seed
        )
    canvas.paint(_ridge(rng, canvas, edge, 0.0), top)
    return PlacementArea(top=edge - 0.02, standing=True)


def paint_sheet(rng: np.random.Generator, canvas: Canvas) -> PlacementArea:
    """Paint one even or gently graded sheet, as in a studio."""
    color = canvas.palette.ground(rng)
    style = _ground_style(rng, color, str(rng.choice(["plain", "gradient", "gradient"])))
    canvas.paint(full_stamp(canvas.size_wh), style, casts_shadow=False)
    return PlacementArea()


def paint_ground(rng: np.random.Generator, canvas: Canvas) -> PlacementArea:
    """Paint ground seen from above: sand, moss, stone, tiles or cloth."""
    pattern = str(rng.choice(PATTERNS[2:]))
    if pattern in ("mottled", "speckled", "patchy", "streaked") or rng.random() < 0.5:
        style = _ground_style(rng, canvas.palette.ground(rng), pattern)
    else:
        style = draw_style(rng, canvas.palette, pattern)
    stamp = full_stamp(canvas.size_wh)
    canvas.paint(stamp, style, _wide_frame(canvas, stamp), casts_shadow=False)
    return PlacementArea()


def paint_meadow(rng: np.random.Generator, canvas: Canvas) -> PlacementArea:
    """Paint grass, moss or dry earth seen from above."""
    pattern = str(rng.choice(["mottled", "speckled", "streaked", "patchy"]))
    style = _ground_style(rng, _land_color(rng), pattern)
    canvas.paint(full_stamp(canvas.size_wh), style, casts_shadow=False)
    return PlacementArea()


def paint_panels(rng: np.random.Generator, canvas: Canvas) -> PlacementArea:
    """Paint two to four areas side by side or above each other, each in its own style."""
    paint_sheet(rng, canvas)
    sideways = rng.random() < 0.5
    for at in np.sort(rng.uniform(0.15, 0.85, rng.integers(1, 4))):
        style = draw_style(rng, canvas.palette) if rng.random() < 0.5 else None
        style = style or _ground_style(rng, canvas.palette.ground(rng), str(rng.choice(PATTERNS)))
        stamp = _ridge(rng, canvas, at, rng.choice([0.0, 0.0, 0.06]), sideways=sideways)
        canvas.paint(
            stamp, style, _wide_frame(canvas, stamp), casts_shadow=bool(rng.random() < 0.5)
        )
    return PlacementArea()


def _paint_sky(rng: np.random.Generator, canvas: Canvas) -> Rgb:
    """Paint a sky over the whole picture and return its color at the horizon."""
    if canvas.palette.mood == "dusk":
        hue = rng.uniform(260, 320)
        top = _rgb(rng.uniform(0.22, 0.4), 0.09, hue)
        low = _rgb(rng.uniform(0.6, 0.78), rng.uniform(0.08, 0.14), rng.uniform(20, 75))
    elif rng.random() < 0.7:
        hue = rng.uniform(215, 262)
        top = _rgb(rng.uniform(0.58, 0.78), rng.uniform(0.06, 0.12), hue)
        low = _rgb(rng.uniform(0.86, 0.96), rng.uniform(0.01, 0.05), rng.uniform(40, 250))
    else:
        top, low = canvas.palette.ground(rng), shaded(canvas.palette.ground(rng), 1.6)
    style = Style("gradient", top, low, int(rng.integers(2**31)), angle=DOWNWARDS)
    canvas.paint(full_stamp(canvas.size_wh), style, casts_shadow=False)
    if rng.random() < 0.3:
        _paint_disc(rng, canvas, shaded(low, 1.6))
    if rng.random() < 0.45:
        _paint_clouds(rng, canvas, mixed(low, (1.0, 1.0, 1.0), 0.65))
    return low


def _paint_disc(rng: np.random.Generator, canvas: Canvas, color: Rgb) -> None:
    """Paint a sun or a moon."""
    width, height = canvas.size_wh
    center = (width * rng.uniform(0.12, 0.88), height * rng.uniform(0.1, 0.35))
    radius = canvas.unit_px * rng.uniform(0.04, 0.11)
    outline = draw_outline(rng, "circle").placed(center, (radius, radius), 0)
    stamp = stamp_outline(outline, canvas.size_wh)
    if stamp is not None:
        style = Style("plain", color, color, 0)
        canvas.paint(stamp, style, shape="circle", casts_shadow=False)


def _paint_clouds(rng: np.random.Generator, canvas: Canvas, color: Rgb) -> None:
    """Paint a few flat, pale clouds."""
    width, height = canvas.size_wh
    for _ in range(rng.integers(1, 5)):
        center = (width * rng.uniform(0, 1), height * rng.uniform(0.04, 0.34))
        reach = canvas.unit_px * rng.uniform(0.1, 0.26)
        outline = draw_outline(rng, "blob").placed(center, (reach, reach * 0.42), 0)
        stamp = stamp_outline(outline, canvas.size_wh)
        if stamp is not None:
            seed = int(rng.integers(2**31))
            style = Style("gradient", color, shaded(color, 0.93), seed, angle=DOWNWARDS)
            canvas.paint(stamp, style, shape="blob", casts_shadow=False)


def _ground_style(
    rng: np.random.Generator, color: Rgb, pattern: str, angle: float | None = None
) -> Style:
    """Return a calm style: its second color is a shade of the first."""
    second = shaded(color, float(rng.choice([0.6, 0.72, 0.85, 1.3])))
    return Style(pattern, color, second, int(rng.integers(2**31)), angle=angle)


def _land_color(rng: np.random.Generator) -> Rgb:
    """Return an ochre, olive or green."""
    return _rgb(rng.uniform(0.42, 0.74), rng.uniform(0.04, 0.12), rng.uniform(70, 148))


def _ridge(
    rng: np.random.Generator, canvas: Canvas, at: float, roughness: float, *, sideways: bool = False
) -> Stamp:
    """Return all that lies below a line at a share of the height, or right of one, if sideways.

    `roughness` is how far the line wanders, as a share of the height; 0 is straight and level.
    """
    along = np.linspace(-0.02, 1.02, RIDGE_POINTS)
    line = np.full(RIDGE_POINTS, at)
    if roughness:
        for wave in range(1, 9):
            swing = roughness * rng.normal() / wave**1.1
            line += swing * np.sin(2 * np.pi * wave * along * 0.8 + rng.uniform(0, 2 * np.pi))
    points = np.stack([along, np.minimum(line, 0.97)], axis=1)
    points = np.concatenate([points, [[1.02, 1.02], [-0.02, 1.02]]])
    if sideways:
        points = points[:, ::-1]
    return stamp_outline(Outline(points * canvas.size_wh), canvas.size_wh) or full_stamp((1, 1))


def _wide_frame(canvas: Canvas, stamp: Stamp) -> Frame:
    """Return a frame whose pattern is fine enough for a ground: a third of the picture."""
    height, width = stamp.alpha.shape
    return Frame(height, width, (width / 2, height / 2), canvas.unit_px * 0.4)


def _rgb(lightness: float, chroma: float, hue_deg: float) -> Rgb:
    red, green, blue = rgb_from_oklch([lightness], [chroma], [hue_deg])[0].tolist()
    return (red, green, blue)


BACKDROPS: dict[str, Callable[[np.random.Generator, Canvas], PlacementArea]] = {
    "landscape": paint_landscape,
    "seaside": paint_seaside,
    "table": paint_table,
    "sheet": paint_sheet,
    "ground": paint_ground,
    "meadow": paint_meadow,
    "panels": paint_panels,
}
BACKDROP_SHARES = {
    "landscape": 0.2,
    "seaside": 0.12,
    "table": 0.18,
    "sheet": 0.16,
    "ground": 0.14,
    "meadow": 0.06,
    "panels": 0.16,
}
