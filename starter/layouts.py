"""How many things a picture holds and where they go, from an empty area to a crowd."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from starter.backdrops import PlacementArea
from starter.drawing.canvas import Canvas
from starter.things import Pose, draw_style, draw_thing, paint_thing

TRIES_FOR_ROOM = 7  # of so many random poses the one furthest from the others is taken
FAR_SCALE = 0.6  # a standing thing at the horizon against 1.25 at the bottom


def lay_out_nothing(rng: np.random.Generator, canvas: Canvas, area: PlacementArea) -> None:
    """Leave the area empty, or put one thing on it."""
    if rng.random() < 0.6:
        _paint_spread(rng, canvas, area, 1, (0.12, 0.34))


def lay_out_bare(_rng: np.random.Generator, _canvas: Canvas, _area: PlacementArea) -> None:
    """Leave the area to a cast that is painted afterwards."""


def lay_out_few(rng: np.random.Generator, canvas: Canvas, area: PlacementArea) -> None:
    """Put two to six things well apart."""
    _paint_spread(rng, canvas, area, int(rng.integers(2, 7)), (0.1, 0.28))


def lay_out_many(rng: np.random.Generator, canvas: Canvas, area: PlacementArea) -> None:
    """Put six to fourteen things, some before others."""
    _paint_spread(rng, canvas, area, int(rng.integers(6, 15)), (0.075, 0.2))


def lay_out_pile(rng: np.random.Generator, canvas: Canvas, _area: PlacementArea) -> None:
    """Cover everything with things, the large ones below."""
    count = int(rng.integers(12, 34))
    largest = rng.uniform(0.16, 0.34)
    radii = np.sort(np.exp(rng.uniform(np.log(0.035), np.log(largest), count)))[::-1]
    for radius in radii:
        x, y = rng.uniform(0, 1, 2) * canvas.size_wh
        thing = draw_thing(rng, canvas.palette, assembly_share=0.15)
        pose = Pose((x, y), radius * canvas.unit_px, rng.uniform(0, 2 * np.pi))
        paint_thing(canvas, thing, pose)


def lay_out_flock(rng: np.random.Generator, canvas: Canvas, area: PlacementArea) -> None:
    """Put many of a kind around one spot, in variations of one style, and a few others."""
    model = draw_thing(rng, canvas.palette)
    middle = rng.uniform(0.3, 0.7, 2) * canvas.size_wh
    reach = rng.uniform(0.14, 0.34) * canvas.unit_px
    radius = rng.uniform(0.045, 0.12) * canvas.unit_px
    for _ in range(rng.integers(5, 20)):
        x, y = rng.normal(middle, reach)
        sibling = replace(model, styles=tuple(style.varied(rng) for style in model.styles))
        pose = Pose((x, y), radius * rng.uniform(0.75, 1.35), _turn(rng, area))
        paint_thing(canvas, sibling, pose)
    _paint_spread(rng, canvas, area, int(rng.integers(0, 4)), (0.07, 0.2))


def lay_out_row(rng: np.random.Generator, canvas: Canvas, area: PlacementArea) -> None:
    """Line up things of one kind, each in its own colors."""
    count = int(rng.integers(3, 8))
    model = draw_thing(rng, canvas.palette, assembly_share=0.4)
    width, height = canvas.size_wh
    step = width * rng.uniform(0.8, 1.0) / count
    radius = min(step * rng.uniform(0.36, 0.5), 0.3 * height)
    y = height * rng.uniform(max(0.3, area.top), 0.82)
    for number in range(count):
        x = width / 2 + (number - (count - 1) / 2) * step
        styles = tuple(
            draw_style(rng, canvas.palette, style.pattern if rng.random() < 0.5 else None)
            for style in model.styles
        )
        pose = Pose((x, y + rng.normal(0, 0.04) * radius), radius, rng.normal(0, 0.06))
        paint_thing(canvas, replace(model, styles=styles), pose)


def lay_out_clusters(rng: np.random.Generator, canvas: Canvas, area: PlacementArea) -> None:
    """Put one to five groups of shapes that touch, each group a thing of its own."""
    poses = _spread(rng, canvas, area, int(rng.integers(1, 6)), (0.08, 0.2))
    for pose in poses:
        group = canvas.open_group()
        heading, (x, y), radius = rng.uniform(0, 2 * np.pi), pose.center_xy, pose.radius_px * 0.7
        style = draw_style(rng, canvas.palette)
        for _ in range(rng.integers(2, 6)):
            member = draw_thing(rng, canvas.palette, assembly_share=0)
            if rng.random() < 0.5:
                member = replace(member, styles=(style, member.styles[1]))
            here = Pose((x, y), radius, rng.uniform(0, 2 * np.pi))
            paint_thing(canvas, member, here, parent=group)
            heading += rng.normal(0, 0.9)
            next_radius = radius * rng.uniform(0.5, 1.1)
            x += np.cos(heading) * (radius + next_radius) * 0.68
            y += np.sin(heading) * (radius + next_radius) * 0.68
            radius = next_radius


def _paint_spread(
    rng: np.random.Generator,
    canvas: Canvas,
    area: PlacementArea,
    count: int,
    sizes: tuple[float, float],
) -> None:
    """Paint random things at poses with room between them, far ones first."""
    for pose in _spread(rng, canvas, area, count, sizes):
        paint_thing(canvas, draw_thing(rng, canvas.palette), pose)


def _spread(
    rng: np.random.Generator,
    canvas: Canvas,
    area: PlacementArea,
    count: int,
    sizes: tuple[float, float],
) -> list[Pose]:
    """Return poses with room between them, from the top of the picture to the bottom."""
    low, high = np.array([0.06, max(0.1, area.top)]), np.array([0.94, 0.92])
    spots: list[tuple[float, float]] = []
    for _ in range(count):
        tries = rng.uniform(low, high, (TRIES_FOR_ROOM, 2)) * canvas.size_wh
        if spots:
            room = np.linalg.norm(tries[:, None] - np.array(spots), axis=2).min(axis=1)
            tries = tries[[room.argmax()]]
        spots.append((float(tries[0, 0]), float(tries[0, 1])))
    poses = []
    for x, y in sorted(spots, key=lambda spot: spot[1]):
        radius = canvas.unit_px * np.exp(rng.uniform(*np.log(sizes)))
        if area.standing:
            depth = (y / canvas.size_wh[1] - area.top) / max(0.08, 1 - area.top)
            radius *= FAR_SCALE + (1.25 - FAR_SCALE) * float(np.clip(depth, 0, 1))
            y -= 0.6 * radius
        poses.append(Pose((x, y), radius, _turn(rng, area)))
    return poses


def _turn(rng: np.random.Generator, area: PlacementArea) -> float:
    """Return a rotation: nearly upright for what stands, else often any."""
    if area.standing or rng.random() < 0.45:
        return float(rng.normal(0, 0.08))
    return float(rng.uniform(0, 2 * np.pi))


LAYOUTS: dict[str, Callable[[np.random.Generator, Canvas, PlacementArea], None]] = {
    "bare": lay_out_bare,
    "nothing": lay_out_nothing,
    "few": lay_out_few,
    "many": lay_out_many,
    "pile": lay_out_pile,
    "flock": lay_out_flock,
    "row": lay_out_row,
    "clusters": lay_out_clusters,
}
LAYOUT_SHARES = {
    "nothing": 0.05,
    "few": 0.25,
    "many": 0.2,
    "pile": 0.17,
    "flock": 0.13,
    "row": 0.1,
    "clusters": 0.1,
}
