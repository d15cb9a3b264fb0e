"""The measures themselves: pure functions from masks, scores and truths to numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.records import MaskArray

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

FOUND_IOU = 0.5


class Figure(NamedTuple):
    """A mean, its standard error (None where there is none), and how many values it is of."""

    value: float
    error: float | None
    number: int


def iou_matrix(masks: Sequence[MaskArray], others: Sequence[MaskArray]) -> NDArray[np.float32]:
    """Return (n, m) intersections over unions of masks of one size; two empty masks have 0."""
    if not len(masks) or not len(others):
        return np.zeros((len(masks), len(others)), np.float32)
    ours = np.stack([mask.ravel() for mask in masks]).astype(np.float32)  # (n, h w)
    theirs = np.stack([mask.ravel() for mask in others]).astype(np.float32)  # (m, h w)
    shared = ours @ theirs.T
    either = ours.sum(axis=1)[:, None] + theirs.sum(axis=1) - shared
    return np.asarray(shared / np.maximum(either, 1))


def best_ious(truths: Sequence[MaskArray], proposals: Sequence[MaskArray]) -> NDArray[np.float32]:
    """Return for each true mask the IoU of the proposal that is nearest; 0 without proposals."""
    best: NDArray[np.float32] = iou_matrix(truths, proposals).max(axis=1, initial=0.0)
    return best


def found(truths: Sequence[MaskArray], proposals: Sequence[MaskArray]) -> Bools:
    """Say of each true mask whether any proposal has an IoU of at least 0.5 with it."""
    return np.asarray(best_ious(truths, proposals) >= FOUND_IOU)


def picked_iou(
    candidates: Sequence[MaskArray], scores: Floats, targets: Sequence[MaskArray]
) -> float:
    """Return the IoU of the candidate with the best score and the target nearest to it."""
    picked = candidates[int(np.argmax(scores))]
    return float(best_ious([picked], targets)[0])


def precision_at(scores: Floats, wanted: Bools, k: int) -> float:
    """Return the share of what was wanted among the k best scores."""
    best = np.argsort(-scores, kind="stable")[:k]
    return float(wanted[best].mean())


def found_within(scores: Floats, true: Bools, k: int) -> Bools:
    """Say of each query whether its k best scores hold anything true of it: (q, n) twice."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.asarray(np.take_along_axis(true, best, axis=1).any(axis=1))


def chosen_right(scores: Floats, right: NDArray[np.intp]) -> Bools:
    """Say of each row of (n, names) scores whether the highest is the right name's."""
    return np.asarray(scores.argmax(axis=1) == right)


def pooled(by_picture: Sequence[Sequence[float] | Floats | Bools]) -> Figure | None:
    """Return the mean of all values; None without any.

    The error takes the pictures as drawn at random, and the values of one as belonging together
    (that of a ratio of two sums). One picture has none.
    """
    sums = np.array([np.sum(values) for values in by_picture], float)
    counts = np.array([len(values) for values in by_picture], float)
    total, pictures = counts.sum(), len(sums)
    if not total:
        return None
    mean = sums.sum() / total
    if pictures < 2:
        return Figure(float(mean), None, int(total))
    spread = np.square(sums - mean * counts).sum() * pictures / (pictures - 1)
    return Figure(float(mean), float(np.sqrt(spread) / total), int(total))


def average_precision(scores: Floats, wanted: Bools) -> float:
    """Return the mean precision at the places of what was wanted, best score first."""
    ranked = wanted[np.argsort(-scores, kind="stable")]
    places = np.flatnonzero(ranked) + 1
    return float((np.arange(1, len(places) + 1) / places).mean())
