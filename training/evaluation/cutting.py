"""How well a segmenter cuts: clicks, boxes and automatic masks, on drawn scenes and photos.

Clicks and boxes go through sam2's own SAM2ImagePredictor, automatic masks through the product's
generator, whose masks are those of SAM2AutomaticMaskGenerator.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor

from ingest.segmentation.sam2 import Sam2Segmenter
from ingest.segmentation.types import MaskParameters
from search.masks.rle import array_from_mask, bbox_xywh_from_array
from search.records import MaskArray, RgbImage
from starter.scenes import segments
from training.evaluation import measures
from training.evaluation.held_out import draw_clicks, iter_scenes
from training.evaluation.measures import Figure
from training.evaluation.photos import TruePhoto

SCENE_FRACTION = 0.005  # smaller segments of a scene are not asked for
PHOTO_FRACTION = 0.004  # smaller proposals could not match a segment of 1% of a photo
Propose = Callable[[RgbImage], list[MaskArray]]


class Prompted(NamedTuple):
    """What clicks and boxes gave, on so many scenes."""

    click_iou: Figure | None
    pick_iou: Figure | None
    box_iou: Figure | None


@dataclass
class Recall:
    """The share of true segments that some proposal matches, added up picture by picture."""

    found: list[measures.Bools] = field(default_factory=list)
    proposals: list[int] = field(default_factory=list)

    def add(self, truths: Sequence[MaskArray], proposals: Sequence[MaskArray]) -> None:
        """Count one more picture."""
        self.found.append(measures.found(truths, proposals))
        self.proposals.append(len(proposals))

    @property
    def figure(self) -> Figure | None:
        """The recall so far; None without any segment."""
        return measures.pooled(self.found)

    @property
    def per_picture(self) -> float:
        """How many proposals a picture got on average."""
        return float(np.mean(self.proposals)) if self.proposals else 0.0


def prompted(model: SAM2Base, seeds: Sequence[int]) -> Prompted:
    """Click into the scenes of these seeds, and give the boxes of their segments.

    A click counts for each mask that it may mean: the best of three candidates. The pick is the
    candidate that the model itself thinks best, against the mask that is nearest to it.
    """
    predictor = image_predictor(model)
    clicks: list[list[float]] = []
    picks: list[list[float]] = []
    boxes: list[list[float]] = []
    for seed, scene in zip(seeds, iter_scenes(seeds), strict=True):
        drawn = draw_clicks(scene, seed)
        asked = [mask for mask, _ in segments(scene, SCENE_FRACTION)]
        with torch.inference_mode():
            predictor.set_image(scene.image)
            masks, scores = _click(predictor, [click.xy for click in drawn])
            boxed = _box(predictor, asked)
        answers = list(zip(drawn, masks, scores, strict=True))
        clicks.append([iou for c, m, _ in answers for iou in measures.best_ious(c.targets, m)])
        picks.append([measures.picked_iou(m, s, c.targets) for c, m, s in answers])
        pairs = zip(asked, boxed, strict=True)
        boxes.append([float(measures.iou_matrix([mask], [cut])[0, 0]) for mask, cut in pairs])
    return Prompted(*(measures.pooled(part) for part in (clicks, picks, boxes)))


def scene_recall(propose: Propose, seeds: Sequence[int]) -> Recall:
    """Propose masks for the scenes of these seeds, and look for their segments among them."""
    recall = Recall()
    for scene in iter_scenes(seeds):
        recall.add([mask for mask, _ in segments(scene, SCENE_FRACTION)], propose(scene.image))
    return recall


def photo_recall(propose: Propose, photos: Iterable[TruePhoto]) -> Recall:
    """Propose masks for photos, and look for the true ones among them."""
    recall = Recall()
    for photo in photos:
        recall.add(photo.masks, propose(photo.rgb))
    return recall


def masks_per_photo(
    segmenter: Sam2Segmenter, parameters: MaskParameters, photos: Iterable[TruePhoto]
) -> Figure | None:
    """Count the masks that the generator keeps of each photo."""
    return measures.pooled([[len(segmenter.automatic(p.rgb, parameters))] for p in photos])


def proposer(
    segmenter: Sam2Segmenter, parameters: MaskParameters, count: int, min_fraction: float = 0.0
) -> Propose:
    """Return what proposes at most so many automatic masks, best predicted IoU first."""

    def propose(rgb: RgbImage) -> list[MaskArray]:
        cut = segmenter.automatic(rgb, parameters)
        large = [mask for mask in cut if mask.area_fraction >= min_fraction]
        large.sort(key=lambda mask: -mask.predicted_iou)
        return [array_from_mask(mask.mask) for mask in large[:count]]

    return propose


def image_predictor(model: SAM2Base) -> SAM2ImagePredictor:
    """Return sam2's predictor, told this model's feature sizes: it assumes those of 1,024 px."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # sam2 scripts its transforms
        predictor = SAM2ImagePredictor(model)
    side = model.image_size
    predictor._bb_feat_sizes = [(side // stride, side // stride) for stride in (4, 8, 16)]
    return predictor


def _click(
    predictor: SAM2ImagePredictor, points_xy: Sequence[tuple[float, float]]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Return three masks for each of n clicks, (n, 3, h, w), and their predicted IoU, (n, 3)."""
    points = np.array(points_xy, np.float32)[:, None]  # (n, 1, 2)
    masks, scores, _ = predictor.predict(
        points, np.ones(points.shape[:2], np.int32), multimask_output=True
    )
    count, hw = len(points), masks.shape[-2:]  # the predictor drops n where it is 1
    return masks.reshape(count, -1, *hw) > 0, scores.reshape(count, -1)


def _box(predictor: SAM2ImagePredictor, masks: Sequence[MaskArray]) -> list[MaskArray]:
    """Return the one mask that the exact box of each mask gives."""
    if not masks:
        return []
    boxes = np.array([bbox_xywh_from_array(mask).xyxy for mask in masks], np.float32)
    cut, _, _ = predictor.predict(box=boxes, multimask_output=False)
    return list(cut.reshape(len(boxes), *cut.shape[-2:]) > 0)
