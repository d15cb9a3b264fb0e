"""A quick look at an encoder in training: a few hundred segments that it never learns from.

The figures that count are those of starter.evaluate; these show where training is going.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPModel, CLIPProcessor

from search.models.crops import Rgb
from search.models.encoder import TEMPLATES
from starter.drawing.colors import COLOR_NAMES
from starter.drawing.patterns import PATTERNS
from starter.drawing.shapes import SHAPES
from training.encoder.captions import HOLDS, Claim, Facts, full_claim, judge, plain_words
from training.encoder.crops import cutouts, plain_view

FIRST_CHECK_SEED = 700_000_000  # far from the scenes of training and of the evaluation
SCENE_PX = 256
PURE_SHARE = 0.6  # of a segment: then its color has one name
RECALL_AT = 10
BATCH = 128


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Masked views (n, size, size, 3) and what is true of each."""

    crops: NDArray[np.uint8]
    facts: tuple[Facts, ...]


def draw_held_out(count: int, crop_px: int, fill_rgb: Rgb) -> HeldOut:
    """Return the first `count` segments of scenes that are used for nothing else."""
    shown: list[tuple[NDArray[np.uint8], Facts]] = []
    seed = FIRST_CHECK_SEED
    while len(shown) < count:
        shown += [plain_view(cutout, crop_px, fill_rgb) for cutout in cutouts(seed, SCENE_PX)]
        seed += 1
    return HeldOut(
        np.stack([crop for crop, _ in shown[:count]]), tuple(f for _, f in shown[:count])
    )


def check_encoder(
    model: CLIPModel, processor: CLIPProcessor, held_out: HeldOut
) -> dict[str, float]:
    """Return the share of right answers by words alone, and the recall of full descriptions."""
    images = _image_rows(model, processor, held_out.crops)
    facts = held_out.facts
    pure = [f.color if f.shares.max() >= PURE_SHARE else None for f in facts]

    def accuracy(names: Sequence[str], true: Sequence[str | None]) -> float:
        guesses = (images @ _text_rows(model, processor, names).T).argmax(axis=1)
        known = [i for i, name in enumerate(true) if name is not None]
        return round(float(np.mean([names[guesses[i]] == true[i] for i in known])), 3)

    return {
        "color_acc": accuracy(COLOR_NAMES, pure),
        "pattern_acc": accuracy(PATTERNS, [f.pattern for f in facts]),
        "shape_acc": accuracy(SHAPES, [f.shape for f in facts]),
        "attr_r10": _recall(model, processor, images, facts),
    }


def _recall(
    model: CLIPModel, processor: CLIPProcessor, images: NDArray[np.float32], facts: Sequence[Facts]
) -> float:
    """Return how many full descriptions have one that they hold of among the first ten."""
    claims: list[Claim] = [full_claim(f) for f in facts if f.pattern and f.shape]
    scores = _text_rows(model, processor, [plain_words(c) for c in claims]) @ images.T
    first = np.argsort(-scores, axis=1)[:, :RECALL_AT]
    right = np.take_along_axis(judge(claims, facts), first, axis=1) == HOLDS
    return round(float(right.any(axis=1).mean()), 3)


@torch.inference_mode()
def _image_rows(
    model: CLIPModel, processor: CLIPProcessor, crops: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return (n, dim) unit rows."""
    rows = []
    for start in range(0, len(crops), BATCH):
        inputs = processor.image_processor(list(crops[start : start + BATCH]), return_tensors="pt")
        rows.append(model.get_image_features(**inputs.to(model.device)).pooler_output)
    return _unit(torch.cat(rows))


@torch.inference_mode()
def _text_rows(
    model: CLIPModel, processor: CLIPProcessor, phrases: Sequence[str]
) -> NDArray[np.float32]:
    """Return (n, dim) unit rows, each the mean over TEMPLATES, as queries are encoded."""
    texts = [template.format(phrase) for phrase in phrases for template in TEMPLATES]
    tokens = processor.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    rows = model.get_text_features(**tokens.to(model.device)).pooler_output
    rows = rows / rows.norm(dim=1, keepdim=True)
    return _unit(rows.reshape(len(phrases), len(TEMPLATES), -1).mean(dim=1))


def _unit(rows: torch.Tensor) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = (rows / rows.norm(dim=1, keepdim=True)).float().cpu().numpy()
    return unit
