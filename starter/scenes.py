"""Procedurally drawn pictures with exact, nested masks and what they show.

A scene is a tree of painted nodes: grounds, things, their parts, and groups that own no pixels.
The mask of a node is all that is visible of its subtree. The same seed and size give the same
scene. At 256 px one core draws 44 scenes a second (26 nodes each on average).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from starter.backdrops import BACKDROP_SHARES, BACKDROPS
from starter.drawing.canvas import Canvas, Light, Painted
from starter.drawing.chance import pick
from starter.drawing.colors import COLOR_NAMES, MODIFIERS, draw_palette, name_color, name_pixels
from starter.drawing.develop import develop
from starter.layouts import LAYOUT_SHARES, LAYOUTS
from starter.things import Pose, Thing, paint_thing

__all__ = [
    "PlacedThing",
    "Scene",
    "SceneNode",
    "SegmentTruth",
    "Theme",
    "click_targets",
    "count_colors",
    "draw_scene",
    "main_colors",
    "name_color",
    "segments",
    "subtree_mask",
    "subtree_members",
    "visible_pattern",
]

Mask = NDArray[np.bool]

SIDE_RANGE_PX = (64, 4096)
MODIFIER_MAJORITY = 0.6  # below it a color is neither dark nor light
NAMED_SHARE = 0.3  # a color with this share of a segment belongs to its description
VISIBLE_SHARE = 0.85  # of its drawn area: a shape that is more hidden has no shape name
VISIBLE_SPREAD = 0.035 * 255  # below it no pattern can be made out
CLICK_MIN_FRACTION = 0.0012
CLICK_GROWTH = 1.25  # a click's next larger mask is at least so much larger
MAX_CLICK_TARGETS = 3


@dataclass(frozen=True)
class Theme:
    """What a scene is to be like; what is None is drawn from the seed."""

    backdrop: str | None = None
    layout: str | None = None
    mood: str | None = None
    degradation: float | None = None  # 0 a clean photo, 1 a poor one


@dataclass(frozen=True)
class PlacedThing:
    """A given thing at a given place: center and radius as shares of the picture, radians."""

    thing: Thing
    center: tuple[float, float]
    radius: float  # share of the short side
    turn: float = 0.0


@dataclass(frozen=True)
class SceneNode:
    """A node of the tree; color and modifier are those of its visible pixels as rendered.

    A node of which nothing is visible keeps the color it was painted with.
    """

    parent: int | None
    color: str
    modifier: str  # "", "dark" or "light"
    pattern: str | None  # None for groups
    shape: str | None  # None for grounds and groups
    is_group: bool
    drawn_area_px: int  # before anything was painted over it; 0 for groups


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and its truth: labels_hw holds the index of the topmost node at each pixel."""

    image: NDArray[np.uint8]  # (h, w, 3)
    labels_hw: NDArray[np.uint16]
    nodes: tuple[SceneNode, ...]
    placed_nodes: tuple[int | None, ...] = ()  # the node of each Cast; None if out of view


@dataclass(frozen=True)
class SegmentTruth:
    """What is true of a visible subtree: `color` is the most common, `colors` all main ones."""

    node: int
    color: str
    modifier: str
    colors: tuple[str, ...]
    pattern: str | None  # None for composites, and where it can't be made out
    shape: str | None  # None where much of it is hidden or cut off
    area_fraction: float


def draw_scene(
    seed: int,
    size_wh: tuple[int, int] = (256, 256),
    *,
    theme: Theme | None = None,
    placed: Sequence[PlacedThing] = (),
) -> Scene:
    """Return the scene of a seed, width and height; the cast is painted last, on top."""
    if not all(SIDE_RANGE_PX[0] <= side <= SIDE_RANGE_PX[1] for side in size_wh):
        low, high = SIDE_RANGE_PX
        raise ValueError(f"size_wh {size_wh}: each side must be {low} to {high} px")
    theme = theme or Theme()
    rng = np.random.default_rng(seed)
    canvas = Canvas(size_wh, draw_palette(rng, theme.mood), _draw_light(rng))
    backdrop = theme.backdrop or pick(rng, BACKDROP_SHARES)
    area = BACKDROPS[backdrop](rng, canvas)
    if rng.random() < 0.3:
        canvas.blur(canvas.unit_px * rng.uniform(0.003, 0.015))
    layout = theme.layout or pick(rng, LAYOUT_SHARES)
    LAYOUTS[layout](rng, canvas, area)
    placed_nodes = tuple(_paint_placed(canvas, member) for member in placed)
    degradation = float(rng.beta(1.2, 2.0)) if theme.degradation is None else theme.degradation
    image = develop(rng, canvas, degradation)
    return Scene(
        image, canvas.labels, _read_nodes(canvas.nodes, canvas.labels, image), placed_nodes
    )


def subtree_mask(scene: Scene, node: int) -> Mask:
    """Return the (h, w) mask of what is visible of a node and all below it."""
    mask: Mask = subtree_members(scene.nodes)[node][scene.labels_hw]
    return mask


def segments(scene: Scene, min_area_fraction: float = 0.001) -> list[tuple[Mask, SegmentTruth]]:
    """Return the distinct visible subtrees of at least the given area, roots first."""
    members = subtree_members(scene.nodes)
    own_area = np.bincount(scene.labels_hw.ravel(), minlength=len(scene.nodes))
    seen: set[bytes] = set()
    found = []
    for node, inside in enumerate(members):
        visible = inside & (own_area > 0)
        area_fraction = float(own_area[visible].sum() / scene.labels_hw.size)
        if area_fraction < max(min_area_fraction, 1e-9) or visible.tobytes() in seen:
            continue
        seen.add(visible.tobytes())
        mask = visible[scene.labels_hw]
        found.append((mask, _segment_truth(scene, node, visible, mask, area_fraction)))
    return found


def click_targets(scene: Scene, xy: tuple[int, int]) -> list[Mask]:
    """Return the masks that a click may mean, smallest first, at most three, each in the next.

    Candidates are the connected piece under the click, then the node there and its ancestors.
    """
    x, y = xy
    height, width = scene.labels_hw.shape
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"the click {xy} lies outside of the {width} x {height} picture")
    members = subtree_members(scene.nodes)
    node: int | None = int(scene.labels_hw[y, x])
    candidates = []
    while node is not None:
        candidates.append(members[node][scene.labels_hw])
        node = scene.nodes[node].parent
    pieces, _ = ndimage.label(candidates[0], structure=np.ones((3, 3)))
    targets = _spaced([pieces == pieces[y, x], *candidates])
    if len(targets) <= MAX_CLICK_TARGETS:
        return targets
    return [targets[0], targets[len(targets) // 2], targets[-1]]


def _spaced(nested: list[Mask]) -> list[Mask]:
    """Drop masks too small to be meant, and of two nearly equal ones the smaller."""
    areas = [int(np.count_nonzero(mask)) for mask in nested]
    smallest = min(CLICK_MIN_FRACTION * nested[0].size, areas[-1])
    kept: list[int] = []
    for index, area in enumerate(areas):
        if area < smallest:
            continue
        if kept and area < CLICK_GROWTH * areas[kept[-1]]:
            kept.pop()
        kept.append(index)
    return [nested[index] for index in kept]


def _draw_light(rng: np.random.Generator) -> Light:
    """Return a light from above, mostly from one side; some scenes have hardly any shadow."""
    return Light(
        angle=float(-np.pi / 2 + rng.normal(0, 0.6)),
        shadow_strength=float(rng.choice([rng.uniform(0.0, 0.2), rng.uniform(0.25, 0.6)])),
        shadow_reach=rng.uniform(0.04, 0.16),
        shadow_blur=rng.uniform(0.03, 0.14),
    )


def _paint_placed(canvas: Canvas, member: PlacedThing) -> int | None:
    center = (member.center[0] * canvas.size_wh[0], member.center[1] * canvas.size_wh[1])
    return paint_thing(
        canvas, member.thing, Pose(center, member.radius * canvas.unit_px, member.turn)
    )


def subtree_members(nodes: Sequence[SceneNode]) -> NDArray[np.bool]:
    """Return (n, n): row i marks i and all nodes below it. Parents come before their children."""
    members = np.eye(len(nodes), dtype=bool)
    for index in range(len(nodes) - 1, 0, -1):
        parent = nodes[index].parent
        if parent is not None:
            members[parent] |= members[index]
    return members


def _read_nodes(
    painted: Sequence[Painted], labels: NDArray[np.uint16], image: NDArray[np.uint8]
) -> tuple[SceneNode, ...]:
    """Return the nodes with the color names of their rendered pixels."""
    names, modifiers = name_pixels(image)
    kinds = len(COLOR_NAMES) * len(MODIFIERS)
    keys = (labels.astype(np.int32) * kinds + names * np.uint8(len(MODIFIERS)) + modifiers).ravel()
    counts = np.bincount(keys, minlength=len(painted) * kinds).reshape(len(painted), kinds)
    for index in range(len(painted) - 1, 0, -1):
        parent = painted[index].parent
        if parent is not None and painted[parent].is_group:
            counts[parent] += counts[index]
    return tuple(
        _read_node(node, row.reshape(len(COLOR_NAMES), len(MODIFIERS)))
        for node, row in zip(painted, counts, strict=True)
    )


def _read_node(node: Painted, counts: NDArray[np.int64]) -> SceneNode:
    if node.style is not None and not counts.any():
        color, modifier = name_color(np.asarray(node.style.color) * 255)
    else:
        color, modifier, _ = main_colors(counts)
    pattern = None if node.style is None else node.style.pattern
    return SceneNode(
        node.parent, color, modifier, pattern, node.shape, node.is_group, node.drawn_area_px
    )


def count_colors(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many of (n, 3) pixels have each (name, modifier)."""
    names, modifiers = name_pixels(pixels)
    kinds = len(COLOR_NAMES) * len(MODIFIERS)
    keys = names.astype(np.int64) * len(MODIFIERS) + modifiers
    return np.bincount(keys, minlength=kinds).reshape(len(COLOR_NAMES), len(MODIFIERS))


def main_colors(counts: NDArray[np.int64]) -> tuple[str, str, tuple[str, ...]]:
    """Return the most common name, its modifier, and all main names of a (name, modifier) count."""
    by_name = counts.sum(axis=1)
    named_px = NAMED_SHARE * by_name.sum()
    order = np.argsort(-by_name, kind="stable")
    first = int(order[0])
    modifier = int(counts[first].argmax())
    if counts[first, modifier] <= MODIFIER_MAJORITY * by_name[first]:
        modifier = 0
    main = [int(name) for name in order if by_name[name] >= named_px]
    names = tuple(COLOR_NAMES[name] for name in (main or [first]))
    return COLOR_NAMES[first], MODIFIERS[modifier], names


def _segment_truth(
    scene: Scene, index: int, visible: NDArray[np.bool], mask: Mask, area_fraction: float
) -> SegmentTruth:
    pixels = scene.image[mask]
    color, modifier, colors = main_colors(count_colors(pixels))
    only = np.flatnonzero(visible)
    node = scene.nodes[int(only[0]) if len(only) == 1 else index]
    pattern = visible_pattern(node.pattern, pixels) if len(only) == 1 else None
    cut_off = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
    whole = len(pixels) >= VISIBLE_SHARE * node.drawn_area_px
    shape = node.shape if whole and not cut_off else None
    return SegmentTruth(index, color, modifier, colors, pattern, shape, area_fraction)


def visible_pattern(pattern: str | None, pixels: NDArray[np.uint8]) -> str | None:
    """Return the pattern unless blur or darkness has left nothing of it to see in (n, 3) pixels."""
    if pattern in ("plain", "gradient"):
        return pattern
    return pattern if float(pixels.std(axis=0).max()) >= VISIBLE_SPREAD else None
