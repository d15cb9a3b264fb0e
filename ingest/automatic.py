"""Every mask of a photo: sam2's automatic mask generator, step for step, from low-res logits.

The prompts, the order of filters and the non-maximum suppression are those of
SAM2AutomaticMaskGenerator (package sam2); the masks are the same. What differs is where they are
measured: never upsampled (see `ingest.upsampling`), and written as runs only if they survive. So
memory does not grow with the photo.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.utils.amg import (
    build_all_layer_point_grids,
    generate_crop_boxes,
    is_box_near_crop_edge,
)
from torchvision.ops.boxes import batched_nms, box_area

from ingest import upsampling
from ingest.cutting import CutMask, MaskParameters
from ingest.upsampling import Logits
from search.masks import array_from_mask, mask_from_array, mask_from_runs
from search.records import Box, Mask, RgbImage


class Crop(NamedTuple):
    """A part of the photo that is looked at by itself; layer 0 is the whole photo."""

    box_xyxy: tuple[int, int, int, int]
    layer: int

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the crop, in pixels."""
        x0, y0, x1, y1 = self.box_xyxy
        return x1 - x0, y1 - y0


@dataclass(frozen=True, eq=False)
class Candidates:
    """n masks of one crop, as arrays; boxes and points in pixels of that crop."""

    logits: Logits  # (n, s, s)
    predicted_iou: NDArray[np.float32]  # (n,)
    stability_score: NDArray[np.float32]  # (n,)
    boxes_xyxy: NDArray[np.int64]  # (n, 4)
    points_xy: NDArray[np.float32]  # (n, 2)
    area_px: NDArray[np.int64]  # (n,)

    def __len__(self) -> int:
        return len(self.predicted_iou)

    def chosen(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Candidates:
        """Return some of them, by index or by a boolean array."""
        return Candidates(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: list[Candidates]) -> Candidates:
        """Return all of several; there must be at least one part."""
        names = cls.__dataclass_fields__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def automatic_masks(
    predictor: SAM2ImagePredictor,
    rgb: RgbImage,
    parameters: MaskParameters,
    points_per_batch: int,
) -> list[CutMask]:
    """Return every mask of the photo (h, w, 3), in the order of sam2's generator."""
    predictor = low_res_predictor(predictor)
    size_hw = (rgb.shape[0], rgb.shape[1])
    crops = _crops(size_hw, parameters)
    grids = build_all_layer_point_grids(
        parameters.points_per_side,
        crops[-1].layer,
        parameters.crop_n_points_downscale_factor,
    )
    found = [
        _crop_candidates(predictor, rgb, crop, grids[crop.layer], parameters, points_per_batch)
        for crop in crops
    ]
    owners = np.repeat(np.arange(len(crops)), [len(part) for part in found])
    everything = Candidates.joined(found)
    kept = np.arange(len(owners))
    if len(crops) > 1:
        kept = _without_crop_duplicates(everything, crops, owners, parameters.crop_nms_thresh)
    return [
        _cut(everything, int(i), crops[owners[i]], size_hw, parameters.mask_threshold) for i in kept
    ]


def low_res_predictor(predictor: SAM2ImagePredictor) -> SAM2ImagePredictor:
    """Return a copy of the predictor, without features, that leaves masks at low resolution."""
    predictor = copy.copy(predictor)
    predictor.reset_predictor()
    predictor._transforms = copy.copy(predictor._transforms)
    predictor._transforms.postprocess_masks = _not_upsampled
    return predictor


def _not_upsampled(masks: torch.Tensor, orig_hw: tuple[int, int]) -> torch.Tensor:
    """Stand in for sam2's upsampling to `orig_hw`."""
    return masks.float()


def _crops(size_hw: tuple[int, int], parameters: MaskParameters) -> list[Crop]:
    """Return the whole photo and its crops, layer by layer.

    Layers with an empty crop (as in a photo of 1 x 50) are left out; sam2 fails on them.
    """
    for layers in range(parameters.crop_n_layers, -1, -1):
        boxes, of_layer = generate_crop_boxes(size_hw, layers, parameters.crop_overlap_ratio)
        crops = [Crop(tuple(box), layer) for box, layer in zip(boxes, of_layer, strict=True)]
        if all(min(crop.size_wh) > 0 for crop in crops):
            break
    return crops


def _crop_candidates(
    predictor: SAM2ImagePredictor,
    rgb: RgbImage,
    crop: Crop,
    grid: NDArray[np.float64],
    parameters: MaskParameters,
    points_per_batch: int,
) -> Candidates:
    """Return the masks of one crop that pass all filters, without duplicates."""
    x0, y0, x1, y1 = crop.box_xyxy
    predictor.set_image(rgb[y0:y1, x0:x1].copy())  # torch wants it writable
    points_xy = grid * np.array(crop.size_wh)  # (n, 2)
    parts = [
        _batch_candidates(predictor, points_xy[i : i + points_per_batch], crop, rgb, parameters)
        for i in range(0, len(points_xy), points_per_batch)
    ]
    predictor.reset_predictor()
    passed = Candidates.joined(parts)
    kept = _nms(passed.boxes_xyxy, passed.predicted_iou, parameters.box_nms_thresh)
    return passed.chosen(kept)


def _batch_candidates(
    predictor: SAM2ImagePredictor,
    points_xy: NDArray[np.float64],
    crop: Crop,
    rgb: RgbImage,
    parameters: MaskParameters,
) -> Candidates:
    """Return the masks of one batch of points that pass the filters of IoU, stability and edge."""
    points = torch.as_tensor(points_xy, dtype=torch.float32, device=predictor.device)  # (b, 2)
    hw = crop.size_wh[::-1]
    prompts = predictor._transforms.transform_coords(points, normalize=True, orig_hw=hw)
    labels = torch.ones(len(prompts), dtype=torch.int, device=predictor.device)
    logits, predicted_iou, as_prompts = predictor._predict(
        prompts[:, None],
        labels[:, None],
        multimask_output=parameters.multimask_output,
        return_logits=True,
    )  # (b, m, s, s), (b, m), (b, m, s, s)
    each = logits.shape[1]
    points = points.repeat_interleave(each, dim=0)
    logits, predicted_iou = logits.flatten(0, 1), predicted_iou.flatten(0, 1)
    if parameters.use_m2m:
        prompts = prompts.repeat_interleave(each, dim=0)
        logits, predicted_iou = _refined(predictor, prompts, as_prompts.flatten(0, 1), len(labels))
    if parameters.pred_iou_thresh > 0.0:  # first, so that nothing else is measured in vain
        good = predicted_iou > parameters.pred_iou_thresh
        logits, predicted_iou, points = logits[good], predicted_iou[good], points[good]
    return _measured(
        np.ascontiguousarray(logits.float().cpu().numpy()),
        predicted_iou.float().cpu().numpy(),
        points.cpu().numpy(),
        crop,
        (rgb.shape[1], rgb.shape[0]),
        parameters,
    )


def _refined(
    predictor: SAM2ImagePredictor, prompts: torch.Tensor, masks: torch.Tensor, batch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Predict each mask (n, s, s) once more with itself as a prompt: (n, s, s) and (n,)."""
    labels = torch.ones((len(prompts), 1), dtype=torch.int, device=prompts.device)
    parts = [
        predictor._predict(
            prompts[i : i + batch, None],
            labels[i : i + batch],
            mask_input=masks[i : i + batch, None],
            multimask_output=False,
            return_logits=True,
        )[:2]
        for i in range(0, len(prompts), batch)
    ]
    logits, predicted_iou = zip(*parts, strict=True)
    return torch.cat(logits)[:, 0], torch.cat(predicted_iou)[:, 0]


def _measured(
    logits: Logits,
    predicted_iou: NDArray[np.float32],
    points_xy: NDArray[np.float32],
    crop: Crop,
    photo_wh: tuple[int, int],
    parameters: MaskParameters,
) -> Candidates:
    """Measure masks at the crop's size; keep those that are stable and not cut by its edge."""
    measured = upsampling.measure(
        logits, crop.size_wh, parameters.mask_threshold, parameters.stability_score_offset
    )
    found = Candidates(
        logits,
        predicted_iou,
        measured.stability_score,
        measured.boxes_xyxy,
        points_xy,
        measured.area_px,
    )
    if parameters.stability_score_thresh > 0.0:
        found = found.chosen(found.stability_score >= parameters.stability_score_thresh)
    whole = [0, 0, *photo_wh]
    boxes = torch.from_numpy(found.boxes_xyxy)
    return found.chosen(~is_box_near_crop_edge(boxes, list(crop.box_xyxy), whole).numpy())


def _nms(
    boxes_xyxy: NDArray[np.int64], scores: NDArray[np.float32], iou_threshold: float
) -> NDArray[np.int64]:
    """Return the indices that box non-maximum suppression keeps, best score first."""
    boxes = torch.from_numpy(boxes_xyxy).float()
    kept: NDArray[np.int64] = batched_nms(
        boxes, torch.from_numpy(scores), torch.zeros_like(boxes[:, 0]), iou_threshold
    ).numpy()
    return kept


def _without_crop_duplicates(
    found: Candidates, crops: list[Crop], owners: NDArray[np.int64], iou_threshold: float
) -> NDArray[np.int64]:
    """Return the indices that remain when masks of smaller crops win over those of larger ones."""
    crop_boxes = torch.tensor([crops[i].box_xyxy for i in owners]).reshape(-1, 4)
    offsets = crop_boxes[:, [0, 1, 0, 1]].numpy()
    scores = (1 / box_area(crop_boxes)).float().numpy()
    return _nms(found.boxes_xyxy + offsets, scores, iou_threshold)


def _cut(
    found: Candidates, i: int, crop: Crop, size_hw: tuple[int, int], threshold: float
) -> CutMask:
    """Return one surviving mask as a record, in pixels of the photo."""
    x0, y0, x1, y1 = crop.box_xyxy
    left, top, right, bottom = (int(edge) for edge in found.boxes_xyxy[i])
    point_xy = found.points_xy[i] + np.array([x0, y0], np.float32)
    return CutMask(
        mask=_mask(found.logits[i], crop, size_hw, threshold),
        bbox_xywh=Box(left + x0, top + y0, right - left, bottom - top),
        area_px=int(found.area_px[i]),
        predicted_iou=float(found.predicted_iou[i]),
        stability_score=float(np.nan_to_num(found.stability_score[i])),
        point_xy=(float(point_xy[0]), float(point_xy[1])),
        crop_box_xywh=Box(x0, y0, x1 - x0, y1 - y0),
    )


def _mask(logits_hw: Logits, crop: Crop, size_hw: tuple[int, int], threshold: float) -> Mask:
    """Return the mask over the whole photo."""
    width, height = crop.size_wh
    runs = upsampling.runs(np.ascontiguousarray(logits_hw), (width, height), threshold)
    mask = mask_from_runs(runs, (height, width))
    if (height, width) == size_hw:
        return mask
    x0, y0, x1, y1 = crop.box_xyxy
    whole = np.zeros(size_hw, np.bool_)
    whole[y0:y1, x0:x1] = array_from_mask(mask)
    return mask_from_array(whole)
