"""Things to put into a picture: single shapes, shapes with parts, and small assemblies.

A Thing is fixed by its kind, styles and seed. Painted twice, anywhere, at any size, it looks the
same: that is how two photos come to show the same object.
"""

from dataclasses import dataclass

import numpy as np

from starter.drawing.canvas import Canvas, Style
from starter.drawing.chance import pick
from starter.drawing.colors import Palette, mixed, shaded
from starter.drawing.patterns import PATTERNS, Frame
from starter.drawing.shapes import SHAPES, Outline, Stamp, draw_outline, stamp_outline

PATTERN_SHARES = dict(
    zip(PATTERNS, (0.30, 0.10, 0.11, 0.06, 0.09, 0.08, 0.05, 0.06, 0.05, 0.06, 0.04), strict=True)
)
SHAPE_SHARES = dict(
    zip(
        SHAPES,
        (0.15, 0.12, 0.07, 0.13, 0.08, 0.09, 0.06, 0.16, 0.05, 0.04, 0.03, 0.02),
        strict=True,
    )
)
TINTED_PATTERNS = ("gradient", "mottled", "streaked")  # shades of one color look best here
SHADING_SHARES = {"flat": 0.4, "sloped": 0.25, "round": 0.35}
MIN_CONTRAST = 0.25  # below it, in every channel, a pattern can't be made out


@dataclass(frozen=True)
class Part:
    """One shape of an assembly, in a frame from -1 to 1 with y down.

    `style` is an index into the thing's styles; `on` is the part it lies on and is clipped to.
    """

    shape: str
    center_xy: tuple[float, float]
    scale_xy: tuple[float, float]
    style: int
    turn: float = 0.0
    on: int | None = None
    corners: tuple[tuple[float, float], ...] = ()  # instead of a drawn outline


@dataclass(frozen=True)
class Thing:
    """An object: a shape, a shape "with parts", or one of ASSEMBLIES, in fixed styles."""

    kind: str
    styles: tuple[Style, ...]
    seed: int
    parts: int = 0  # shapes scattered on a single shape


@dataclass(frozen=True)
class Pose:
    """Where a thing goes: center and radius in pixels, and its rotation in radians."""

    center_xy: tuple[float, float]
    radius_px: float
    turn: float = 0.0


_BAR = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))
_SPAR = ((-0.03, -1.0), (0.03, -1.0), (0.03, 1.0), (-0.03, 1.0))
_ROPES = ((-1.0, -1.0), (1.0, -1.0), (0.5, 0.9), (-0.5, 0.9))
_HULL = ((-1.0, -0.3), (1.0, -0.3), (0.72, 0.3), (-0.66, 0.3))
_SAIL = ((0.0, -1.0), (0.0, 1.0), (1.0, 1.0))
_SMALL_SAIL = ((0.0, -1.0), (0.0, 1.0), (-1.0, 1.0))
_ROOF = ((-1.0, 0.5), (0.0, -0.5), (1.0, 0.5))
_DOME = tuple(
    (float(np.cos(angle)), -float(np.sin(angle)) + 0.5) for angle in np.linspace(0, np.pi, 40)
)
_BOWL = tuple((x, -y) for x, y in _DOME)
_KITE = ((0.0, -1.0), (0.62, -0.25), (0.0, 1.0), (-0.62, -0.25))
_CUP = ((-0.75, -1.0), (0.75, -1.0), (0.55, 0.85), (0.4, 1.0), (-0.4, 1.0), (-0.55, 0.85))
_TAIL = ((-1.0, -1.0), (1.0, 0.0), (-1.0, 1.0), (-0.5, 0.0))
_FIR = ((0.0, -1.0), (0.9, 0.9), (-0.9, 0.9))

ASSEMBLIES: dict[str, tuple[Part, ...]] = {
    "boat": (
        Part("rectangle", (0.02, -0.28), (0.035, 0.72), 3, corners=_BAR),
        Part("triangle", (0.08, -0.34), (0.62, 0.6), 1, corners=_SAIL),
        Part("triangle", (-0.04, -0.26), (0.42, 0.5), 2, corners=_SMALL_SAIL),
        Part("polygon", (0.0, 0.58), (0.95, 0.8), 0, corners=_HULL),
        Part("rectangle", (0.0, 0.47), (1.2, 0.2), 2, on=3),
    ),
    "house": (
        Part("square", (0.0, 0.36), (0.82, 0.74), 0),
        Part("triangle", (0.0, -0.52), (0.95, 0.62), 1, corners=_ROOF),
        Part("rectangle", (0.0, 0.72), (0.5, 0.24), 2, turn=np.pi / 2, on=0),
        Part("square", (-0.42, 0.18), (0.2, 0.2), 3, on=0),
        Part("square", (0.42, 0.18), (0.2, 0.2), 3, on=0),
    ),
    "tree": (
        Part("rectangle", (0.0, 0.62), (0.45, 0.3), 1, turn=np.pi / 2),
        Part("blob", (0.0, -0.28), (0.78, 0.78), 0),
    ),
    "fir": (
        Part("rectangle", (0.0, 0.82), (0.24, 0.24), 1, turn=np.pi / 2),
        Part("triangle", (0.0, 0.3), (0.72, 0.5), 0, corners=_FIR),
        Part("triangle", (0.0, -0.14), (0.56, 0.46), 0, corners=_FIR),
        Part("triangle", (0.0, -0.54), (0.4, 0.42), 0, corners=_FIR),
    ),
    "flower": (
        *(
            Part("ellipse", (0.56 * float(np.cos(angle)), 0.56 * float(np.sin(angle))), (0.42, 0.4),
                 0, turn=float(angle))
            for angle in np.linspace(0, 2 * np.pi, 7, endpoint=False)
        ),
        Part("circle", (0.0, 0.0), (0.3, 0.3), 1),
    ),
    "balloon": (
        Part("polygon", (0.0, 0.62), (0.3, 0.4), 3, corners=_ROPES),
        Part("circle", (0.0, -0.22), (0.74, 0.76), 0),
        Part("square", (0.0, 0.9), (0.2, 0.16), 2),
    ),
    "fish": (
        Part("triangle", (-0.72, 0.0), (0.34, 0.42), 1, corners=_TAIL),
        Part("ellipse", (0.08, 0.0), (0.85, 0.85), 0),
        Part("circle", (0.62, -0.08), (0.09, 0.09), 2),
        Part("crescent", (0.0, 0.02), (0.24, 0.24), 1, on=1),
    ),
    "cup": (
        Part("ring", (0.62, 0.0), (0.4, 0.44), 1),
        Part("polygon", (-0.1, 0.0), (0.82, 0.82), 0, corners=_CUP),
        Part("ellipse", (-0.1, -0.8), (0.6, 0.32), 2),
    ),
    "mushroom": (
        Part("rectangle", (0.0, 0.42), (0.62, 0.5), 1, turn=np.pi / 2),
        Part("polygon", (0.0, -0.2), (0.92, 0.9), 0, corners=_DOME),
        Part("circle", (-0.36, -0.24), (0.15, 0.15), 2, on=1),
        Part("circle", (0.28, -0.08), (0.12, 0.12), 2, on=1),
        Part("circle", (0.06, -0.54), (0.17, 0.17), 2, on=1),
    ),
    "bowl": (
        Part("circle", (-0.42, -0.22), (0.36, 0.36), 1),
        Part("circle", (0.4, -0.2), (0.38, 0.38), 2),
        Part("circle", (0.0, -0.42), (0.38, 0.38), 3),
        Part("polygon", (0.0, 0.42), (0.95, 0.8), 0, corners=_BOWL),
    ),
    "kite": (
        Part("curve", (0.1, 0.78), (0.5, 0.3), 2, turn=1.2),
        Part("polygon", (0.0, -0.2), (0.95, 0.75), 0, corners=_KITE),
        Part("rectangle", (0.0, -0.2), (1.6, 0.8), 1, on=1, corners=_SPAR),
    ),
    "butterfly": (
        Part("ellipse", (-0.46, -0.32), (0.52, 0.6), 0, turn=-0.7),
        Part("ellipse", (0.46, -0.32), (0.52, 0.6), 0, turn=0.7),
        Part("ellipse", (-0.36, 0.4), (0.36, 0.5), 1, turn=0.8),
        Part("ellipse", (0.36, 0.4), (0.36, 0.5), 1, turn=-0.8),
        Part("ellipse", (0.0, 0.05), (0.62, 0.2), 2, turn=np.pi / 2),
    ),
}  # fmt: skip
STYLES_PER_ASSEMBLY = 4


def draw_style(rng: np.random.Generator, palette: Palette, pattern: str | None = None) -> Style:
    """Return a style in the palette's colors whose pattern, if any, can be made out."""
    pattern = pattern or pick(rng, PATTERN_SHARES)
    color = palette.thing(rng)
    if pattern in TINTED_PATTERNS:
        second = shaded(color, rng.uniform(0.45, 0.8) if rng.random() < 0.6 else 1.45)
        second = mixed(second, palette.thing(rng), rng.uniform(0, 0.4))
    else:
        second = _contrasting(rng, palette, color)
    shading = pick(rng, SHADING_SHARES)
    shine = rng.uniform(0.3, 0.75) if shading == "round" and rng.random() < 0.3 else 0.0
    return Style(pattern, color, second, int(rng.integers(2**31)), shading, shine)


def draw_thing(rng: np.random.Generator, palette: Palette, *, assembly_share: float = 0.2) -> Thing:
    """Return a random thing: a plain shape, a shape with parts, or an assembly."""
    seed = int(rng.integers(2**31))
    if rng.random() < assembly_share:
        styles = tuple(draw_style(rng, palette) for _ in range(STYLES_PER_ASSEMBLY))
        return Thing(str(rng.choice(list(ASSEMBLIES))), styles, seed)
    shape = pick(rng, SHAPE_SHARES)
    parts = int(rng.integers(1, 6)) if rng.random() < 0.45 else 0
    return Thing(shape, (draw_style(rng, palette), draw_style(rng, palette)), seed, parts)


def paint_thing(canvas: Canvas, thing: Thing, pose: Pose, parent: int | None = None) -> int | None:
    """Paint the thing and return the node of the whole; None if it is out of view."""
    if thing.kind in ASSEMBLIES:
        return _paint_assembly(canvas, thing, pose, parent)
    rng = np.random.default_rng(thing.seed)
    outline = draw_outline(rng, thing.kind)
    node, stamp = _paint_outline(canvas, outline, pose, thing.styles[0], thing.kind, parent)
    if node is not None and stamp is not None and thing.parts:
        _paint_parts(canvas, thing, pose, node, stamp, rng)
    return node


def _paint_outline(
    canvas: Canvas,
    outline: Outline,
    pose: Pose,
    style: Style,
    shape: str,
    parent: int | None,
    inside: Stamp | None = None,
) -> tuple[int | None, Stamp | None]:
    """Paint one outline; the pattern turns and grows with it."""
    radius = pose.radius_px
    placed = outline.placed(pose.center_xy, (radius, radius), pose.turn)
    stamp = stamp_outline(placed, canvas.size_wh)
    if stamp is None:
        return None, None
    if inside is not None:
        stamp = stamp.clipped_to(inside)
    height, width = stamp.alpha.shape
    center_xy = (pose.center_xy[0] - stamp.left, pose.center_xy[1] - stamp.top)
    extent_px = float(np.ptp(outline.points, axis=0).min()) * radius
    frame = Frame(height, width, center_xy, max(extent_px, 0.8 * radius), pose.turn)
    node = canvas.paint(
        stamp, style, frame, shape=shape, parent=parent, casts_shadow=inside is None
    )
    return node, stamp


def _paint_parts(
    canvas: Canvas, thing: Thing, pose: Pose, node: int, stamp: Stamp, rng: np.random.Generator
) -> None:
    """Scatter small shapes on a shape, all of one kind half of the time."""
    same_kind = rng.random() < 0.5
    shape = pick(rng, SHAPE_SHARES)
    cos, sin = np.cos(pose.turn), np.sin(pose.turn)
    for _ in range(thing.parts):
        if not same_kind:
            shape = pick(rng, SHAPE_SHARES)
        outline = draw_outline(rng, shape)
        x, y = rng.uniform(-0.6, 0.6, 2) * pose.radius_px
        size, turn = rng.uniform(0.14, 0.42), rng.uniform(0, 2 * np.pi)
        center = (pose.center_xy[0] + x * cos - y * sin, pose.center_xy[1] + x * sin + y * cos)
        part_place = Pose(center, pose.radius_px * size, pose.turn + turn)
        _paint_outline(canvas, outline, part_place, thing.styles[1], shape, node, inside=stamp)


def _paint_assembly(canvas: Canvas, thing: Thing, pose: Pose, parent: int | None) -> int | None:
    """Paint the parts of an assembly below one group node; None if none of them is in view."""
    rng = np.random.default_rng(thing.seed)
    group = canvas.open_group(parent)
    painted: list[tuple[int | None, Stamp | None]] = []
    for part in ASSEMBLIES[thing.kind]:
        outline = _part_outline(rng, part).placed((0, 0), part.scale_xy, part.turn)
        outline = outline.placed(part.center_xy, (1, 1), 0)
        node, inside = (group, None) if part.on is None else painted[part.on]
        if node is None or (part.on is not None and inside is None):
            painted.append((None, None))
            continue
        style = thing.styles[part.style % len(thing.styles)]
        painted.append(_paint_outline(canvas, outline, pose, style, part.shape, node, inside))
    if any(node is not None for node, _ in painted):
        return group
    canvas.nodes.pop()
    return None


def _part_outline(rng: np.random.Generator, part: Part) -> Outline:
    if part.corners:
        return Outline(np.array(part.corners, dtype=np.float64))
    return draw_outline(rng, part.shape)


def _contrasting(
    rng: np.random.Generator, palette: Palette, color: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Return a palette color well apart from `color`, else off-white or near-black."""
    for _ in range(4):
        other = palette.thing(rng)
        if np.abs(np.subtract(color, other)).max() > MIN_CONTRAST:
            return other
    return (0.95, 0.94, 0.91) if sum(color) < 1.6 else (0.12, 0.12, 0.14)
