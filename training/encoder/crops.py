"""Crops with captions to train the encoder on, cut from drawn scenes as the product cuts segments.

A cutout is a segment with its surroundings, kept small. Each time it is shown it is turned, its
colors are changed and its mask is roughened anew; its colors are then read from the pixels shown.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from search.masks.rle import bbox_xywh_from_array
from search.models.crops import CONTEXT, Rgb, square_around, views
from search.records import RgbImage
from search.settings import CropRecipe
from starter.drawing.colors import MODIFIERS
from starter.drawing.patterns import PATTERNS
from starter.drawing.shapes import SHAPES
from starter.scenes import count_colors, draw_scene, main_colors, segments, visible_pattern
from training.encoder.captions import Facts, caption, claimed_shares, draw_claim, judge

Mask = NDArray[np.bool]

FIRST_SCENE_SEED = 300_000_000  # below the held-out seeds, above those of samples and tests
SCENE_SIDES_PX = (256, 256, 256, 384)
MIN_AREA_FRACTION = 0.004
MIN_EXTENT_PX = 14  # of the shorter side of the box: less can't be made out
CUTOUT_PX = 128  # longest side of a stored cutout
MARGIN = 1.15  # side of a cutout in sides of the view's square, so that rough masks fit
MASKED_SHARE = 0.6  # of the views; the others show the context
MIN_KEPT_AREA = 0.7  # of a mask that is roughened
COLOR_SAMPLE_PX = 2500  # so many pixels tell the colors of a segment
UNKNOWN_CLASS = -1


@dataclass(frozen=True, eq=False)
class Cutout:
    """A segment and what is around it: image (h, w, 3) uint8, mask (h, w)."""

    image: RgbImage
    mask: Mask
    pattern: str | None
    shape: str | None


@dataclass(frozen=True, eq=False)
class Batch:
    """n views with what is true of them, and m captions with whether they hold of each view."""

    step: int
    crops: NDArray[np.uint8]  # (n, size, size, 3)
    captions: tuple[str, ...]  # m
    verdicts: NDArray[np.int8]  # (m, n), values of captions.judge
    claimed: NDArray[np.float32]  # (m, n), of captions.claimed_shares
    color_shares: NDArray[np.float32]  # (n, 13)
    modifiers: NDArray[np.int64]  # (n,) index into MODIFIERS
    patterns: NDArray[np.int64]  # (n,) index into PATTERNS, or UNKNOWN_CLASS
    shapes: NDArray[np.int64]  # (n,) index into SHAPES, or UNKNOWN_CLASS


@dataclass(frozen=True)
class BatchPlan:
    """Which scenes feed which batch: a window that moves on with every step.

    Batches depend on these numbers and on the step alone, so training can go on at any step.
    """

    seed: int = 0
    batch_size: int = 128
    scenes_per_step: int = 2
    window_scenes: int = 400
    crop_px: int = 96
    fill_rgb: Rgb = (122, 116, 104)


def cutouts(seed: int, side_px: int) -> list[Cutout]:
    """Return the segments of a square scene that are large enough to show something."""
    scene = draw_scene(seed, (side_px, side_px))
    found = []
    for mask, truth in segments(scene, MIN_AREA_FRACTION):
        box = bbox_xywh_from_array(mask)
        if min(box.w, box.h) + 1 < MIN_EXTENT_PX:
            continue
        left, top, side = square_around(box, CONTEXT * MARGIN)
        rows = slice(max(0, top), max(0, top + side))
        columns = slice(max(0, left), max(0, left + side))
        image, inside = _shrunk(scene.image[rows, columns], mask[rows, columns])
        found.append(Cutout(image, inside, truth.pattern, truth.shape))
    return found


def iter_batches(
    plan: BatchPlan, first_step: int = 0, *, worker: int = 0, workers: int = 1
) -> Iterator[Batch]:
    """Yield the batches of every step from the first on that is this worker's turn, without end.

    Each of several workers draws its own share of the scenes, so their number changes the batches.
    """
    window: dict[int, list[Cutout]] = {}
    step = first_step + (worker - first_step) % workers
    while True:
        first = step * plan.scenes_per_step
        numbers = range(first + (worker - first) % workers, first + plan.window_scenes, workers)
        window = {n: window.get(n) or _scene_cutouts(plan, n) for n in numbers}
        pool = [cutout for drawn in window.values() for cutout in drawn]
        yield draw_batch(np.random.default_rng((plan.seed, step)), plan, step, pool)
        step += workers


def draw_batch(rng: np.random.Generator, plan: BatchPlan, step: int, pool: list[Cutout]) -> Batch:
    """Return a batch of views of random cutouts, rare patterns and shapes a little more often."""
    chosen = rng.choice(len(pool), plan.batch_size, p=_shares(pool))
    shown = [show(rng, pool[i], plan.crop_px, plan.fill_rgb) for i in chosen]
    facts = [fact for _, fact in shown]
    claims = [draw_claim(rng, fact) for fact in facts]
    return Batch(
        step,
        np.stack([crop for crop, _ in shown]),
        tuple(caption(rng, claim) for claim in claims),
        judge(claims, facts),
        claimed_shares(claims, facts),
        np.stack([fact.shares for fact in facts]),
        np.array([MODIFIERS.index(fact.modifier) for fact in facts]),
        np.array([_class(PATTERNS, fact.pattern) for fact in facts]),
        np.array([_class(SHAPES, fact.shape) for fact in facts]),
    )


def show(
    rng: np.random.Generator, cutout: Cutout, size_px: int, fill_rgb: Rgb
) -> tuple[RgbImage, Facts]:
    """Return a view of a cutout, changed at random, and what is true of it."""
    image, mask = _turned(rng, cutout.image, cutout.mask)
    image = _recolored(rng, image) if rng.random() < 0.7 else image
    shape = cutout.shape
    if rng.random() < 0.12:
        (image, mask), shape = _cut_short(rng, image, mask), None
    facts = read_facts(image, mask, cutout.pattern, shape)
    if rng.random() < 0.6:
        mask = _roughened(rng, mask)
    box = bbox_xywh_from_array(mask)
    recipe: CropRecipe = "masked" if rng.random() < MASKED_SHARE else "context"
    view = views(image, mask, box, recipe, size_px=size_px, fill_rgb=fill_rgb)[0]
    return view.rgb, facts


def plain_view(cutout: Cutout, size_px: int, fill_rgb: Rgb) -> tuple[RgbImage, Facts]:
    """Return the masked view of a cutout as it was drawn, and what is true of it."""
    box = bbox_xywh_from_array(cutout.mask)
    view = views(cutout.image, cutout.mask, box, "masked", size_px=size_px, fill_rgb=fill_rgb)[0]
    return view.rgb, read_facts(cutout.image, cutout.mask, cutout.pattern, cutout.shape)


def read_facts(image: RgbImage, mask: Mask, pattern: str | None, shape: str | None) -> Facts:
    """Return what is true of the pixels under a mask, given what was drawn there."""
    pixels = image[mask]
    pixels = pixels[:: 1 + len(pixels) // COLOR_SAMPLE_PX]
    counts = count_colors(pixels)
    color, modifier, _ = main_colors(counts)
    shares = (counts.sum(axis=1) / counts.sum()).astype(np.float32)
    return Facts(shares, color, modifier, visible_pattern(pattern, pixels), shape)


def _scene_cutouts(plan: BatchPlan, number: int) -> list[Cutout]:
    seed = FIRST_SCENE_SEED + plan.seed * 10_000_000 + number
    return cutouts(seed, SCENE_SIDES_PX[number % len(SCENE_SIDES_PX)])


def _shrunk(image: RgbImage, mask: Mask) -> tuple[RgbImage, Mask]:
    """Return both with a longest side of at most CUTOUT_PX, as arrays of their own."""
    height, width = mask.shape
    scale = CUTOUT_PX / max(height, width)
    if scale >= 1:
        return image.copy(), mask.copy()
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(image).resize(size_wh, Image.Resampling.BOX)
    covered = Image.fromarray(mask.astype(np.uint8) * 255).resize(size_wh, Image.Resampling.BOX)
    inside = np.asarray(covered) > 127
    return np.array(small), inside if inside.any() else np.asarray(covered) > 0


def _shares(pool: list[Cutout]) -> NDArray[np.float64]:
    """Return how often each cutout is to be taken: rare words count more, known ones too."""
    weights = np.ones(len(pool))
    for words in ([c.pattern or "" for c in pool], [c.shape or "" for c in pool]):
        _, kinds, counts = np.unique(words, return_inverse=True, return_counts=True)
        weights *= (len(pool) / counts[kinds]) ** 0.35
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def _class(names: tuple[str, ...], name: str | None) -> int:
    return UNKNOWN_CLASS if name is None else names.index(name)


def _turned(rng: np.random.Generator, image: RgbImage, mask: Mask) -> tuple[RgbImage, Mask]:
    """Return both turned by quarters and mirrored: nothing that captions say depends on it."""
    quarters, mirrored = int(rng.integers(4)), rng.random() < 0.5
    image, mask = np.rot90(image, quarters), np.rot90(mask, quarters)
    if mirrored:
        image, mask = image[:, ::-1], mask[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(mask)


def _recolored(rng: np.random.Generator, image: RgbImage) -> RgbImage:
    """Return the image with channels swapped, less or more color, another light and gamma."""
    order = rng.permutation(3) if rng.random() < 0.4 else np.arange(3)
    mix = np.eye(3, dtype=np.float32)[order]
    saturation = np.float32(rng.uniform(0.3, 1.5) if rng.random() < 0.6 else 1)
    mix = mix * saturation + (1 - saturation) / 3
    mix *= np.exp(rng.normal(0, 0.06, 3) + rng.normal(0, 0.12)).astype(np.float32)
    pixels = image.astype(np.float32) @ mix
    if rng.random() < 0.3:
        pixels += rng.normal(0, rng.uniform(1, 10), (*image.shape[:2], 1)).astype(np.float32)
    levels = np.clip(pixels, 0, 255).astype(np.uint8)
    gamma = np.exp(rng.normal(0, 0.25))
    table = ((np.arange(256) / 255) ** gamma * 255 + 0.5).astype(np.uint8)
    recolored: RgbImage = table[levels]
    return recolored


def _cut_short(rng: np.random.Generator, image: RgbImage, mask: Mask) -> tuple[RgbImage, Mask]:
    """Return both without up to a third of the segment's left side, as at a photo's edge."""
    x, _, w, _ = bbox_xywh_from_array(mask)
    start = int(x + rng.uniform(0.05, 0.35) * w)
    if not mask[:, start:].any():
        return image, mask
    return image[:, start:], mask[:, start:]


def _roughened(rng: np.random.Generator, mask: Mask) -> Mask:
    """Return the mask as a segmenter might give it: grown or shrunk a little, its edge ragged."""
    extent = float(np.sqrt(np.count_nonzero(mask)))
    blur = max(0.6, extent * rng.uniform(0.01, 0.04))
    grey = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(blur))
    cells = int(rng.integers(8, 32))
    noise = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    noise = noise.resize(grey.size, Image.Resampling.BILINEAR)
    swing = (np.asarray(noise, np.float32) - 128) * np.float32(rng.uniform(0, 0.6))
    rough: Mask = np.asarray(grey, np.float32) + swing > rng.uniform(90, 165)
    rough &= np.asarray(grey) > 4  # noise far from the edge is no part of it
    rough |= np.asarray(grey) > 250
    if np.count_nonzero(rough & mask) < MIN_KEPT_AREA * np.count_nonzero(mask):
        return mask
    return rough
