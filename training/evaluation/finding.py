"""How well an encoder finds: colors on real photos; patterns, shapes and descriptions on scenes.

Segments are shown in the masked view that the product embeds, and asked for by words as a person
types them, through the product's own phrasings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.masks.rle import bbox_xywh_from_array
from search.models.crops import views
from search.models.encoder import Encoder, encode_query
from search.records import MaskArray, RgbImage, Vectors
from starter.drawing.colors import COLOR_NAMES, name_color
from starter.drawing.patterns import PATTERNS
from starter.drawing.shapes import SHAPES
from starter.scenes import SegmentTruth
from training.evaluation import measures
from training.evaluation.held_out import describe, findable, iter_scenes
from training.evaluation.measures import Figure
from training.evaluation.photos import TruePhoto

COLOR_K = 20
DESCRIPTION_K = 10
DESCRIPTION_SEED = 0


class ByWords(NamedTuple):
    """What words find among the segments of held-out scenes."""

    pattern: Figure | None
    shape: Figure | None
    description: Figure | None


def by_words(encoder: Encoder, seeds: Sequence[int], count: int) -> ByWords:
    """Look at so many segments of the scenes of these seeds, fewer if they have no more.

    Every segment of known pattern and shape is described in full once; its description finds
    something if one of the first ten segments of all is as described.
    """
    found = list(islice(_iter_findable(encoder, seeds), count))
    if not found:
        return ByWords(None, None, None)
    crops, truths = zip(*found, strict=True)
    vectors = encoder.encode_crops(crops)
    return ByWords(
        _named_right(encoder, vectors, [truth.pattern for truth in truths], PATTERNS),
        _named_right(encoder, vectors, [truth.shape for truth in truths], SHAPES),
        _described(encoder, vectors, truths),
    )


def by_color(
    encoder: Encoder, photos: Iterable[TruePhoto]
) -> tuple[Figure | None, dict[str, float]]:
    """Return the mean precision@20 of color words among the true segments of photos, and each.

    A segment has the color that its mean pixel is called by. Colors of fewer than 20 segments are
    left out: they could not fill the first 20.
    """
    crops: list[RgbImage] = []
    names: list[str] = []
    for photo in photos:
        for mask in photo.masks:
            crops.append(masked_view(encoder, photo.rgb, mask))
            names.append(name_color(photo.rgb[mask].mean(axis=0))[0])
    named = np.array(names)
    colors = [color for color in COLOR_NAMES if (named == color).sum() >= COLOR_K]
    if not colors:
        return None, {}
    scores = queries(encoder, colors) @ encoder.encode_crops(crops).T  # (colors, n)
    precision = {
        color: measures.precision_at(row, named == color, COLOR_K)
        for color, row in zip(colors, scores, strict=True)
    }
    return measures.pooled([[value] for value in precision.values()]), precision


def masked_view(encoder: Encoder, rgb: RgbImage, mask: MaskArray) -> RgbImage:
    """Return a segment as the product shows it to the encoder, its background filled."""
    box = bbox_xywh_from_array(mask)
    size_px, fill_rgb = encoder.input_px, encoder.mean_rgb
    (view,) = views(rgb, mask, box, "masked", size_px=size_px, fill_rgb=fill_rgb)
    return view.rgb


def queries(encoder: Encoder, texts: Iterable[str]) -> Vectors:
    """Return the (n, dim) vectors of n texts as the product searches for them."""
    return np.concatenate([encode_query(encoder, text) for text in texts])


def _iter_findable(
    encoder: Encoder, seeds: Sequence[int]
) -> Iterator[tuple[RgbImage, SegmentTruth]]:
    for seed, scene in zip(seeds, iter_scenes(seeds), strict=True):
        for mask, truth in findable(scene, seed):
            yield masked_view(encoder, scene.image, mask), truth


def _named_right(
    encoder: Encoder, vectors: Vectors, truths: Sequence[str | None], names: Sequence[str]
) -> Figure | None:
    """Return the share of segments whose own name is nearest of all; unknown ones don't count."""
    known = [place for place, name in enumerate(truths) if name is not None]
    right: NDArray[np.intp] = np.array([names.index(str(truths[place])) for place in known], int)
    scores = vectors[known] @ queries(encoder, names).T
    return measures.pooled([[hit] for hit in measures.chosen_right(scores, right)])


def _described(encoder: Encoder, vectors: Vectors, truths: Sequence[SegmentTruth]) -> Figure | None:
    rng = np.random.default_rng(DESCRIPTION_SEED)
    described = [(place, describe(truth, rng)) for place, truth in enumerate(truths)]
    asked = [(place, words) for place, words in described if words is not None]
    if not asked:
        return None
    scores = queries(encoder, [words.words for _, words in asked]) @ vectors.T  # (q, n)
    true = np.array([[words.holds_for(truth) for truth in truths] for _, words in asked])
    return measures.pooled([[hit] for hit in measures.found_within(scores, true, DESCRIPTION_K)])
