"""Batches of photos with region labels and of drawings, and the recipe that decides them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from training.segmenter.clicks import ClickBatch, click_batches
from training.segmenter.photos import HELD_OUT_EVERY, LabeledPhoto, photo_batch

CHECK_CLICKS = 6
DRAWINGS_SEED = 5  # the stream of drawings; see click_batches
LEAVES_SHARE = 0.3  # of the drawings that are dead leaves; the others are scenes


@dataclass(frozen=True)
class Recipe:
    """What decides a run's result, but for rounding and the processor's speed."""

    minutes: float = 60.0
    size_px: int = 256
    pictures: int = 8  # a step
    drawings: int = 2  # of them; the others are photos
    regions_share: float = 0.65  # of the photos: those divided into regions by several people
    clicks: int = 8  # a picture
    precise: int = 4  # boxes and pairs of points a picture
    corrected: int = 2  # masks with a correcting click a picture
    tokens_share: float = 0.36  # of the image tokens whose pixels are drawn
    learning_rate: float = 5e-4
    trunk_rate: float = 0.0  # share of the learning rate for the pretrained convolutions
    warm_up_steps: int = 30
    weight_decay: float = 0.02
    grounding: float = 0.3  # weight of teaching the image which cells are the prompt's
    looking: float = 0.3  # weight of the tokens' attention to the click, fading to half-time
    seed: int = 1


class Batches:
    """Batches of photos and drawings; batch n is a function of seed and n alone."""

    def __init__(self, recipe: Recipe, photos: list[LabeledPhoto]) -> None:
        self.recipe = recipe
        learned = [p for at, p in enumerate(photos) if at % HELD_OUT_EVERY]
        self.regions = [photo for photo in learned if photo.by_many]
        self.classes = [photo for photo in learned if not photo.by_many]
        self.held_out = photos[::HELD_OUT_EVERY]

    def of_photos(self, number: int) -> ClickBatch:
        """Return batch `number` of photos."""
        recipe = self.recipe
        rng = np.random.default_rng((recipe.seed, number))
        chosen = []
        for _ in range(recipe.pictures - recipe.drawings):
            by_many = self.regions and (not self.classes or rng.random() < recipe.regions_share)
            some = self.regions if by_many else self.classes
            chosen.append(some[rng.integers(len(some))])
        return photo_batch(rng, chosen, recipe.clicks, recipe.size_px)

    def stream(self, start: int) -> Iterator[dict[str, Tensor]]:
        """Yield batches from number `start` on."""
        recipe = self.recipe
        drawings = click_batches(
            DRAWINGS_SEED, start, pictures=max(1, recipe.drawings), clicks=recipe.clicks,
            size_px=recipe.size_px, leaves=LEAVES_SHARE,
        )  # fmt: skip
        for number in itertools.count(start):
            parts = []
            if recipe.drawings:
                parts.append(next(drawings))
            if recipe.pictures > recipe.drawings:
                parts.append(self.of_photos(number))
            yield joined(parts)

    def checks(self) -> dict[str, Tensor]:
        """Return whole photos that are held out, the same at every call."""
        rng = np.random.default_rng(7)
        return joined(
            [photo_batch(rng, self.held_out, CHECK_CLICKS, self.recipe.size_px, changed=False)]
        )


def joined(parts: list[ClickBatch]) -> dict[str, Tensor]:
    """Return several batches as one, as tensors."""
    return {
        item.name: torch.from_numpy(np.concatenate([getattr(part, item.name) for part in parts]))
        for item in fields(ClickBatch)
    }
