"""Drawn scenes that no training sees, and what is asked about them.

Light to import: training reads HELD_OUT_SEEDS from here and leaves them alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from search.masks.rle import bbox_xywh_from_array
from search.records import MaskArray
from starter.scenes import (
    CLICK_MIN_FRACTION,
    Scene,
    SegmentTruth,
    click_targets,
    draw_scene,
    segments,
)

HELD_OUT_SEEDS = range(900_000_000, 901_000_000)
CUTTING_SEEDS = HELD_OUT_SEEDS[:500_000]  # for the segmenter
FINDING_SEEDS = HELD_OUT_SEEDS[500_000:]  # for the encoder
SIDE_PX = 256
CLICKS_A_SCENE = 8
# What the encoder is asked about, as the first pair of models was measured.
FINDABLE_FRACTION = 0.004
FINDABLE_SIDE_PX = 14
FINDABLE_A_SCENE = 8
BOTH_COLORS_SHARE = 0.7  # of the descriptions of things of two main colors that name both
MODIFIER_SHARE = 0.6  # of the descriptions that say dark or light where it holds


class Click(NamedTuple):
    """A click at the middle of a pixel, and the masks it may mean, smallest first."""

    xy: tuple[float, float]
    targets: list[MaskArray]


class Description(NamedTuple):
    """What a full description says of a segment."""

    colors: frozenset[str]
    modifier: str  # "" if it says nothing of dark and light
    pattern: str
    shape: str

    @property
    def words(self) -> str:
        """Return it as a person would type it: "dark red striped star"."""
        colors = " and ".join(sorted(self.colors))
        return " ".join(filter(None, (self.modifier, colors, self.pattern, self.shape)))

    def holds_for(self, truth: SegmentTruth) -> bool:
        """Say whether all of it is known to be true of a segment."""
        return (
            self.colors <= set(truth.colors)
            and (not self.modifier or truth.modifier == self.modifier)
            and (self.pattern, self.shape) == (truth.pattern, truth.shape)
        )


def iter_scenes(seeds: Sequence[int]) -> Iterator[Scene]:
    """Yield the square scene of each seed."""
    for seed in seeds:
        yield draw_scene(seed, (SIDE_PX, SIDE_PX))


def draw_clicks(scene: Scene, seed: int, count: int = CLICKS_A_SCENE) -> list[Click]:
    """Return clicks: a node by the root of its visible area, then any pixel of it alike."""
    rng = np.random.default_rng(seed)
    labels = scene.labels_hw.ravel()
    areas = np.bincount(labels)
    nodes = np.flatnonzero(areas >= CLICK_MIN_FRACTION * labels.size)
    weights = np.sqrt(areas[nodes])
    clicks = []
    for node in rng.choice(nodes, count, p=weights / weights.sum()):
        y, x = divmod(int(rng.choice(np.flatnonzero(labels == node))), scene.labels_hw.shape[1])
        clicks.append(Click((x + 0.5, y + 0.5), click_targets(scene, (x, y))))
    return clicks


def findable(scene: Scene, seed: int) -> list[tuple[MaskArray, SegmentTruth]]:
    """Return some segments of a scene, in random order, that are large enough to look at."""
    large = [
        (mask, truth)
        for mask, truth in segments(scene, FINDABLE_FRACTION)
        if min(bbox_xywh_from_array(mask)[2:]) >= FINDABLE_SIDE_PX
    ]
    order = np.random.default_rng(seed).permutation(len(large))
    return [large[place] for place in order[:FINDABLE_A_SCENE]]


def describe(truth: SegmentTruth, rng: np.random.Generator) -> Description | None:
    """Return a full description; None where pattern or shape can't be made out."""
    if truth.pattern is None or truth.shape is None:
        return None
    both, modified = rng.random() < BOTH_COLORS_SHARE, rng.random() < MODIFIER_SHARE
    if len(truth.colors) > 1 and both:
        return Description(frozenset(truth.colors[:2]), "", truth.pattern, truth.shape)
    modifier = truth.modifier if modified else ""
    return Description(frozenset({truth.color}), modifier, truth.pattern, truth.shape)
