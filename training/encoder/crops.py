"""Crops to train the encoder on, cut from drawn scenes as the product cuts segments.

A cutout is a segment with its surroundings, kept small. Each time it is shown it is turned, its
colors are changed and its mask is roughened anew; its colors are then read from the pixels shown.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from search.masks.rle import bbox_xywh_from_array
from search.models.crops import CONTEXT, Rgb, square_around, views
from search.records import RgbImage
from search.settings import CropRecipe
from starter.drawing.colors import name_color
from starter.scenes import count_colors, draw_scene, main_colors, segments, visible_pattern

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
class Facts:
    """What is true of a segment: `shares` (13,) of its pixels by color, the rest as in scenes."""

    shares: NDArray[np.float32]
    mean_color: str  # of the mean pixel
    color: str  # the most common
    modifier: str  # of that color
    pattern: str | None  # None: not known
    shape: str | None  # None: not known


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


def read_facts(image: RgbImage, mask: Mask, pattern: str | None, shape: str | None) -> Facts:
    """Return what is true of the pixels under a mask, given what was drawn there."""
    pixels = image[mask]
    pixels = pixels[:: 1 + len(pixels) // COLOR_SAMPLE_PX]
    counts = count_colors(pixels)
    color, modifier, _ = main_colors(counts)
    shares = (counts.sum(axis=1) / counts.sum()).astype(np.float32)
    mean_color, _ = name_color(pixels.mean(axis=0))
    return Facts(shares, mean_color, color, modifier, visible_pattern(pattern, pixels), shape)


def scene_cutouts(base_seed: int, number: int) -> list[Cutout]:
    """Return the cutouts of one of the scenes that no test and no sample sees."""
    seed = FIRST_SCENE_SEED + base_seed * 10_000_000 + number
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


def cutout_shares(pool: list[Cutout]) -> NDArray[np.float64]:
    """Return how often each cutout is to be taken: rare words count more, known ones too."""
    weights = np.ones(len(pool))
    for words in ([c.pattern or "" for c in pool], [c.shape or "" for c in pool]):
        _, kinds, counts = np.unique(words, return_inverse=True, return_counts=True)
        weights *= (len(pool) / counts[kinds]) ** 0.35
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def class_index(names: tuple[str, ...], name: str | None) -> int:
    """Return where a name is, UNKNOWN_CLASS for None."""
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
