"""How well a segmenter cuts real photos: what it finds, how clean, how honest, and clicks.

Automatic masks come from the product's generator. Those that count are the ones of a hundred with
the best predicted IoU, and what they are compared with are true segments of at least 1%.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ingest.segmentation.sam2 import Sam2Segmenter
from ingest.segmentation.types import MaskParameters, SegmentedMask
from search.masks.rle import array_from_mask, interior_points
from search.records import MaskArray
from training.evaluation import measures
from training.evaluation.cutting import PHOTO_FRACTION, image_predictor
from training.evaluation.measures import Figure
from training.evaluation.photos import TruePhoto

BOUNDARY_TOLERANCE = 0.0075  # of the photo's diagonal, as DAVIS has it


@dataclass
class PhotoFigures:
    """What was measured on automatic masks, one list a photo."""

    found: list[measures.Bools] = field(default_factory=list)
    right: list[measures.Bools] = field(default_factory=list)
    boundary: list[list[float]] = field(default_factory=list)
    off: list[NDArray[np.float32]] = field(default_factory=list)
    masks: list[list[int]] = field(default_factory=list)

    def add(self, photo: TruePhoto, cut: Sequence[SegmentedMask], count: int) -> None:
        """Count one more photo, of whose automatic masks so many are compared."""
        large = sorted(
            (mask for mask in cut if mask.area_fraction >= PHOTO_FRACTION),
            key=lambda mask: -mask.predicted_iou,
        )[:count]
        proposals = [array_from_mask(mask.mask) for mask in large]
        matrix = measures.iou_matrix(photo.masks, proposals)  # (truths, proposals)
        best = matrix.max(axis=1, initial=0.0)
        found = np.asarray(best >= measures.FOUND_IOU)
        self.found.append(found)
        self.boundary.append(
            [
                boundary_f(photo.masks[truth], proposals[int(matrix[truth].argmax())])
                for truth in np.flatnonzero(found)
            ]
        )
        true_iou = matrix.max(axis=0, initial=0.0)
        self.right.append(np.asarray(true_iou >= measures.FOUND_IOU))
        predicted = np.array([mask.predicted_iou for mask in large], np.float32)
        self.off.append(np.abs(predicted - true_iou))
        self.masks.append([len(cut)])

    @property
    def recall(self) -> Figure | None:
        """The share of true segments that some mask matches with an IoU of 0.5."""
        return measures.pooled(self.found)

    @property
    def precision(self) -> Figure | None:
        """The share of masks that match a true segment with an IoU of 0.5."""
        return measures.pooled(self.right)

    @property
    def boundary_f(self) -> Figure | None:
        """The mean F measure of outlines, of true segments that were found."""
        return measures.pooled(self.boundary)

    @property
    def calibration(self) -> Figure | None:
        """The mean distance of predicted IoU and the best true one."""
        return measures.pooled(self.off)

    @property
    def per_photo(self) -> float:
        """How many masks the generator kept of a photo on average."""
        return float(np.mean(self.masks)) if self.masks else 0.0


def boundary_f(mask: MaskArray, other: MaskArray) -> float:
    """Return the F measure of two masks' outlines (DAVIS): 1 if all lie within the tolerance."""
    reach = BOUNDARY_TOLERANCE * float(np.hypot(*mask.shape))
    ours, theirs = _outline(mask), _outline(other)
    if not (ours.any() and theirs.any()):
        return float(ours.any() == theirs.any())
    near_ours = ndimage.distance_transform_edt(~ours) <= reach
    near_theirs = ndimage.distance_transform_edt(~theirs) <= reach
    precision, recall = float(near_ours[theirs].mean()), float(near_theirs[ours].mean())
    return 2 * precision * recall / max(precision + recall, 1e-9)


def _outline(mask: MaskArray) -> MaskArray:
    """Return the mask's own pixels beside others; the photo's edge is no outline."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask, border_value=1))


def automatic(
    segmenter: Sam2Segmenter, parameters: MaskParameters, photos: Iterable[TruePhoto], count: int
) -> PhotoFigures:
    """Cut photos and compare at most so many masks of each with the true ones."""
    figures = PhotoFigures()
    for photo in photos:
        figures.add(photo, segmenter.automatic(photo.rgb, parameters), count)
    return figures


def clicked(segmenter: Sam2Segmenter, photos: Iterable[TruePhoto]) -> Figure | None:
    """Click on the inmost point of every true mask; the best of three candidates counts."""
    predictor = image_predictor(segmenter.model)
    by_photo: list[list[float]] = []
    for photo in photos:
        points = [interior_points(mask, 1)[0] for mask in photo.masks]
        with torch.inference_mode():
            predictor.set_image(photo.rgb)
            masks, _, _ = predictor.predict(
                np.array(points, np.float32)[:, None] + 0.5,
                np.ones((len(points), 1), np.int32),
                multimask_output=True,
            )
        candidates = masks.reshape(len(points), 3, *photo.rgb.shape[:2]) > 0
        by_photo.append(
            [
                float(measures.best_ious([truth], list(three))[0])
                for truth, three in zip(photo.masks, candidates, strict=True)
            ]
        )
    return measures.pooled(by_photo)
