"""Names and instances through automatic masks: what a user of the product gets to see.

The product cuts and embeds each photo. A mask is right if its IoU with a true segment of what was
asked for is at least 0.5. Average precision is over the right masks; or, with misses, over the true
segments: then the best-ranked mask of one counts, further ones of it count neither for nor against,
and true segments that no mask matches count as missed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.segmentation.sam2 import Sam2Segmenter
from ingest.segmentation.types import MaskParameters
from search.masks.rle import array_from_mask
from search.models.encoder import Encoder
from search.records import Vectors
from training.evaluation import measures
from training.evaluation.finding import queries
from training.evaluation.measures import Figure
from training.evaluation.naming import LEAST_OF_A_KIND, segment_vectors
from training.evaluation.photos import NamedMask

MATCHES_NONE = -1


class CutPhoto(NamedTuple):
    """A photo's automatic masks and its true segments."""

    vectors: Vectors  # (n, dim)
    matched: NDArray[np.intp]  # (n,) place of the true segment that a mask matches, or MATCHES_NONE
    ious: NDArray[np.float32]  # (n,) with it
    names: list[str]  # of the true segments


def cut_photos(
    segmenter: Sam2Segmenter,
    encoder: Encoder,
    parameters: MaskParameters,
    things: Iterable[NamedMask],
) -> list[CutPhoto]:
    """Cut and embed the photos of true segments, which come photo by photo."""
    photos = []
    for _, group in groupby(things, key=lambda thing: id(thing.rgb)):
        truths = list(group)
        rgb = truths[0].rgb
        masks = [array_from_mask(cut.mask) for cut in segmenter.automatic(rgb, parameters)]
        vectors = segment_vectors(encoder, [NamedMask(rgb, mask, "") for mask in masks])
        ious = measures.iou_matrix(masks, [truth.mask for truth in truths])
        best = ious.max(axis=1, initial=0.0)
        matched = np.where(best >= measures.FOUND_IOU, ious.argmax(axis=1), MATCHES_NONE)
        photos.append(CutPhoto(vectors, matched, best, [truth.name for truth in truths]))
    return photos


class Found(NamedTuple):
    """Mean average precision, and the same with what no mask matches counted as missed."""

    precision: Figure | None
    with_misses: Figure | None


def by_name(encoder: Encoder, photos: Sequence[CutPhoto]) -> Found:
    """Ask for each kind that has at least LEAST_OF_A_KIND true segments."""
    counts = Counter(name for photo in photos for name in photo.names)
    kinds = sorted(kind for kind, count in counts.items() if count >= LEAST_OF_A_KIND)
    if not kinds:
        return Found(None, None)
    scores = queries(encoder, kinds) @ np.concatenate([photo.vectors for photo in photos]).T
    precision, with_misses = [], []
    for kind, row in zip(kinds, scores, strict=True):
        truths = _truths(photos, kind)
        precision.append([_precision(row, truths)])
        with_misses.append([first_matches_precision(row, truths, counts[kind])])
    return Found(measures.pooled(precision), measures.pooled(with_misses))


def same_again(frames: Sequence[CutPhoto], others: Sequence[CutPhoto]) -> Found:
    """Ask with each frame's best mask of its thing for the same thing in other frames.

    Args:
        frames: of one true segment each, named by what it is.
        others: further photos, in which nothing is right.

    """
    everything = [*frames, *others]
    vectors = np.concatenate([photo.vectors for photo in everything])
    owners = np.repeat(np.arange(len(everything)), [len(photo.vectors) for photo in everything])
    precision: defaultdict[str, list[float]] = defaultdict(list)
    with_misses: defaultdict[str, list[float]] = defaultdict(list)
    for place, frame in enumerate(frames):
        (name,) = frame.names
        again = sum(other.names == [name] for other in frames) - 1
        if not again:
            continue
        right = np.flatnonzero(frame.matched != MATCHES_NONE)
        if not len(right):
            precision[name].append(0.0)
            with_misses[name].append(0.0)
            continue
        query = frame.vectors[right[frame.ious[right].argmax()]]
        elsewhere = owners != place
        truths = _truths(everything, name, beside=len(frames))[elsewhere]
        scores = (vectors @ query)[elsewhere]
        precision[name].append(_precision(scores, truths))
        with_misses[name].append(first_matches_precision(scores, truths, again))
    return Found(*(measures.pooled(list(part.values())) for part in (precision, with_misses)))


def _precision(scores: NDArray[np.float32], truths: NDArray[np.intp]) -> float:
    """Return average precision over the right masks; 0 if there is none."""
    right = truths != MATCHES_NONE
    return measures.average_precision(scores, right) if right.any() else 0.0


def _truths(photos: Sequence[CutPhoto], kind: str, beside: int | None = None) -> NDArray[np.intp]:
    """Return for each mask a number of the true segment of that kind it matches, or MATCHES_NONE.

    Nothing is right in photos from number `beside` on.
    """
    numbers, first = [], 0
    for place, photo in enumerate(photos):
        wanted = np.array([name == kind for name in photo.names], bool)
        is_kind = (photo.matched != MATCHES_NONE) & wanted[photo.matched]
        if beside is not None and place >= beside:
            is_kind[:] = False
        numbers.append(np.where(is_kind, first + photo.matched, MATCHES_NONE))
        first += len(photo.names)
    return np.concatenate(numbers)


def first_matches_precision(
    scores: NDArray[np.float32], truths: NDArray[np.intp], total: int
) -> float:
    """Return average precision over `total` true segments.

    Args:
        scores: (n,) of masks.
        truths: (n,) the number of the true segment that each matches, or MATCHES_NONE.
        total: true segments, those that nothing matches among them.

    """
    ranked = truths[np.argsort(-scores, kind="stable")]
    _, firsts = np.unique(ranked, return_index=True)
    counts = ranked == MATCHES_NONE
    counts[firsts] = True
    kept = ranked[counts]
    places = np.flatnonzero(kept != MATCHES_NONE) + 1
    return float((np.arange(1, len(places) + 1) / places).sum() / total)
