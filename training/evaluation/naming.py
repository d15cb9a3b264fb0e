"""Whether an encoder knows what things are, and the same thing again.

Segments are shown as the product's default recipe shows them, and asked for through its own
phrasings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.masks.rle import bbox_xywh_from_array
from search.models.crops import View, views
from search.models.encoder import Encoder, encode_segments
from search.records import Vectors
from search.settings import CropRecipe
from training.evaluation import measures
from training.evaluation.finding import queries
from training.evaluation.measures import Figure
from training.evaluation.photos import NamedMask

RECIPE: CropRecipe = "fusion"
AGAIN_RECIPE: CropRecipe = "context"  # harder than "fusion": the first encoder has .75, not .92
LEAST_OF_A_KIND = 4
SEGMENTS_AT_ONCE = 32
DISTRACTORS = 280
# Made up; training draws its own at random.
NONSENSE = (
    *("xyzzy", "blorp", "frumious", "qwertz", "zxcvb", "snorgle", "plugh", "vorpix", "kjhgfd"),
    *("wibblat", "grompf", "tralquist", "bazinth", "oomlex", "fnord", "yivvle", "dreptoc"),
    *("asdfgh", "nurblid", "chelzig", "mxyzptlk", "quonkle", "sprondel", "uvavu"),
)


class Named(NamedTuple):
    """What names find among true segments, and whether nonsense can be told from them."""

    name_map: Figure | None
    nonsense: Figure | None  # how often a name's best score exceeds that of a made-up word
    by_name: dict[str, float]  # average precision of each name


def by_name(encoder: Encoder, masks: Iterable[NamedMask]) -> Named:
    """Ask for each kind that has at least LEAST_OF_A_KIND segments, among the segments of these."""
    shown = list(masks)
    counts = Counter(mask.name for mask in shown)
    kinds = sorted(name for name, count in counts.items() if count >= LEAST_OF_A_KIND)
    asked = [mask for mask in shown if mask.name in kinds]
    if not asked:
        return Named(None, None, {})
    vectors = segment_vectors(encoder, asked)
    names = np.array([mask.name for mask in asked])
    scores = queries(encoder, kinds) @ vectors.T  # (kinds, n)
    precision = {
        kind: measures.average_precision(row, names == kind)
        for kind, row in zip(kinds, scores, strict=True)
    }
    strange = (queries(encoder, NONSENSE) @ vectors.T).max(axis=1)
    told = [np.mean(best > strange) for best in scores.max(axis=1)]
    return Named(
        measures.pooled([[value] for value in precision.values()]),
        measures.pooled([[float(share)] for share in told]),
        precision,
    )


def same_again(
    encoder: Encoder, instances: Iterable[NamedMask], others: Sequence[NamedMask]
) -> Figure | None:
    """Ask with each instance's segment for the other segments of it, among those and others."""
    shown = list(instances)
    if not shown:
        return None
    names = np.array([mask.name for mask in shown])
    ours = segment_vectors(encoder, shown, AGAIN_RECIPE)
    rest = segment_vectors(encoder, others, AGAIN_RECIPE)
    scores = ours @ np.concatenate([ours, rest]).T
    right = np.zeros(scores.shape, bool)
    right[:, : len(shown)] = names[:, None] == names
    found: dict[str, list[float]] = {name: [] for name in names.tolist()}
    for place, name in enumerate(names.tolist()):
        other = np.arange(scores.shape[1]) != place
        precision = measures.average_precision(scores[place, other], right[place, other])
        found[name].append(precision)
    return measures.pooled(list(found.values()))


def segment_vectors(
    encoder: Encoder, masks: Sequence[NamedMask], recipe: CropRecipe = RECIPE
) -> Vectors:
    """Return (n, dim) unit rows of segments, as the product makes them."""
    rows: list[NDArray[np.float32]] = [np.empty((0, encoder.dim), np.float32)]
    for start in range(0, len(masks), SEGMENTS_AT_ONCE):
        part = masks[start : start + SEGMENTS_AT_ONCE]
        rows.append(
            encode_segments(encoder, [segment_views(encoder, mask, recipe) for mask in part])
        )
    return np.concatenate(rows)


def segment_views(encoder: Encoder, mask: NamedMask, recipe: CropRecipe) -> list[View]:
    """Return what the encoder sees of a segment."""
    size_px, fill_rgb = encoder.input_px, encoder.mean_rgb
    box = bbox_xywh_from_array(mask.mask)
    return views(mask.rgb, mask.mask, box, recipe, size_px=size_px, fill_rgb=fill_rgb)
