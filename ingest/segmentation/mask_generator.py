"""Automatic mask generation: sam2's SAM2AutomaticMaskGenerator on low-resolution logits.

Prompts, filters and non-maximum suppression are those of SAM2AutomaticMaskGenerator, and so are the
masks. But masks are measured without upsampling them (see `ingest.segmentation.upsampling`) and
encoded only if they pass all filters, so memory does not grow with the photo. Points are decoded by
`ingest.segmentation.mask_decoder`. Only `adaptive_points`, which skips points in masks found
before, is not from sam2.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.utils.amg import (
    build_point_grid,
    generate_crop_boxes,
    is_box_near_crop_edge,
)
from torchvision.ops.boxes import batched_nms, box_area

from ingest.segmentation import upsampling
from ingest.segmentation.mask_decoder import PhotoTokens, PointDecoder, check_finite
from ingest.segmentation.types import MaskParameters, SegmentedMask
from ingest.segmentation.upsampling import Logits
from search.masks.rle import array_from_mask, mask_from_array
from search.records import Box, Mask, RgbImage
from search.threads import shared_map

# Adaptive points prompt every fourth point of the grid, then every second outside the masks found
# so far, then every one. Masks of more than this fraction of the photo don't count, since smaller
# segments may lie in them.
PASS_STEPS = (4, 2, 1)
COVERING_FRACTION = 0.1
LOGIT_LIMIT = 32.0  # sam2 clamps logits to this before it uses them as prompts


class Crop(NamedTuple):
    """A part of the photo that is segmented separately; layer 0 is the whole photo."""

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
    candidate: NDArray[np.int64]  # (n,) index among the masks of its point

    def __len__(self) -> int:
        return len(self.predicted_iou)

    def select(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Candidates:
        """Select masks by indices or by a boolean array."""
        return Candidates(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    @classmethod
    def concatenate(cls, parts: list[Candidates]) -> Candidates:
        """Concatenate one or more parts."""
        names = cls.__dataclass_fields__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class Sam(NamedTuple):
    """The parts of SAM 2 that automatic mask generation uses."""

    predictor: SAM2ImagePredictor  # encodes photos; from `low_res_predictor`
    decoder: PointDecoder
    covering_fraction: float = COVERING_FRACTION

    def autocast(self) -> torch.autocast:
        """Return autocast to the decoder's precision, for sam2's own modules."""
        dtype = self.decoder.dtype
        return torch.autocast(self.predictor.device.type, dtype, dtype != torch.float32)


def automatic_masks(
    sam: Sam, rgb: RgbImage, parameters: MaskParameters, points_per_batch: int
) -> list[SegmentedMask]:
    """Generate the masks of a photo (h, w, 3), in the order of sam2's generator."""
    size_hw = (rgb.shape[0], rgb.shape[1])
    crops = _crops(size_hw, parameters)
    grids = _grids(parameters, crops[-1].layer)
    found = [
        _crop_candidates(sam, rgb, crop, grids[crop.layer], parameters, points_per_batch)
        for crop in crops
    ]
    owners = np.repeat(np.arange(len(crops)), [len(part) for part in found])
    everything = Candidates.concatenate(found)
    kept = np.arange(len(owners))
    if len(crops) > 1:
        kept = _without_crop_duplicates(everything, crops, owners, parameters.crop_nms_thresh)
    record = partial(_mask_record, everything, size_hw=size_hw, threshold=parameters.mask_threshold)
    return shared_map(record, kept.tolist(), [crops[owners[i]] for i in kept])


def _grids(parameters: MaskParameters, layers: int) -> list[NDArray[np.float64]]:
    """Return the point grid of each layer's crops, (n, 2) in 0..1; at least one point."""
    fewer = parameters.crop_n_points_downscale_factor
    return [
        build_point_grid(max(1, parameters.points_per_side // fewer**layer))
        for layer in range(layers + 1)
    ]


def low_res_predictor(predictor: SAM2ImagePredictor) -> SAM2ImagePredictor:
    """Copy a predictor so that it returns masks at low resolution."""
    predictor = copy.copy(predictor)
    predictor._transforms = copy.copy(predictor._transforms)
    predictor._transforms.postprocess_masks = _not_upsampled
    return predictor


def _not_upsampled(masks: torch.Tensor, orig_hw: tuple[int, int]) -> torch.Tensor:
    """Replace sam2's upsampling to `orig_hw`."""
    return masks.float()


def _crops(size_hw: tuple[int, int], parameters: MaskParameters) -> list[Crop]:
    """Return the whole photo and its crops, layer by layer.

    Layers with an empty crop (as of a photo of 1 x 50) are dropped; sam2 fails on them.
    """
    for layers in range(parameters.crop_n_layers, -1, -1):
        boxes, of_layer = generate_crop_boxes(size_hw, layers, parameters.crop_overlap_ratio)
        crops = [Crop(tuple(box), layer) for box, layer in zip(boxes, of_layer, strict=True)]
        if all(min(crop.size_wh) > 0 for crop in crops):
            break
    return crops


def _crop_candidates(
    sam: Sam,
    rgb: RgbImage,
    crop: Crop,
    grid: NDArray[np.float64],
    parameters: MaskParameters,
    points_per_batch: int,
) -> Candidates:
    """Generate the masks of one crop that pass all filters, without duplicates."""
    x0, y0, x1, y1 = crop.box_xyxy
    predictor = copy.copy(sam.predictor)  # keeps the features of this crop
    with sam.autocast():
        predictor.set_image(rgb[y0:y1, x0:x1].copy())  # torch wants it writable
    photo = sam.decoder.photo_tokens(predictor._features)
    points_xy = torch.as_tensor(
        grid * np.array(crop.size_wh), dtype=torch.float32, device=predictor.device
    )  # (n, 2)
    own = sam._replace(predictor=predictor)

    @torch.inference_mode()  # threads don't inherit it
    def find(prompts_xy: torch.Tensor) -> Candidates:
        decoded = _decoded(own, photo, prompts_xy, crop, parameters)
        return _measured(*decoded, crop, (rgb.shape[1], rgb.shape[0]), parameters)

    covered = partial(
        _covered,
        max_area_px=sam.covering_fraction * crop.size_wh[0] * crop.size_wh[1],
        crop=crop,
        threshold=parameters.mask_threshold,
    )
    parts: list[Candidates] = []
    for indices in _grid_passes(len(grid)) if parameters.adaptive_points else [slice(None)]:
        prompts_xy = points_xy[indices]
        if parts:
            prompts_xy = prompts_xy[~covered(parts, prompts_xy)]
        if not len(prompts_xy):
            continue
        batches = torch.split(prompts_xy, points_per_batch)
        on_cpu = predictor.device.type == "cpu"
        parts += shared_map(find, batches) if on_cpu else map(find, batches)
    passed = Candidates.concatenate(parts)
    kept = _nms(passed.boxes_xyxy, passed.predicted_iou, parameters.box_nms_thresh)
    return passed.select(kept)


def _grid_passes(points: int) -> list[NDArray[np.int64]]:
    """Divide the points of a square grid into passes, each twice as fine; return their indices."""
    side = math.isqrt(points)
    row, column = np.divmod(np.arange(points), side)
    pass_of = np.full(points, len(PASS_STEPS) - 1)
    for index, step in reversed(list(enumerate(PASS_STEPS))):
        pass_of[(row % step == step // 2) & (column % step == step // 2)] = index
    found = (np.flatnonzero(pass_of == index) for index in range(len(PASS_STEPS)))
    return [indices for indices in found if len(indices)]


def _covered(
    found: list[Candidates],
    points_xy: torch.Tensor,
    *,
    max_area_px: float,
    crop: Crop,
    threshold: float,
) -> torch.Tensor:
    """Return (n,) bool: whether each point (n, 2) lies in a mask of at most `max_area_px`."""
    width, height = crop.size_wh
    xy = points_xy.cpu().numpy()
    covered = np.zeros(len(xy), np.bool_)
    for part in found:
        side = part.logits.shape[-1]
        x = np.minimum((xy[:, 0] / width * side).astype(np.int64), side - 1)
        y = np.minimum((xy[:, 1] / height * side).astype(np.int64), side - 1)
        small = part.area_px <= max_area_px
        covered |= (part.logits[small][:, y, x] > threshold).any(axis=0)
    return torch.from_numpy(covered).to(points_xy.device)


def _decoded(
    sam: Sam, photo: PhotoTokens, points_xy: torch.Tensor, crop: Crop, parameters: MaskParameters
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Decode b points (b, 2); drop masks below the IoU threshold.

    Returns:
        logits (n, s, s), predicted IoU (n,), points (n, 2), and the index of each mask among the
        masks of its point (n,).
    """
    transforms = sam.predictor._transforms
    hw = crop.size_wh[::-1]
    prompts = transforms.transform_coords(points_xy, normalize=True, orig_hw=hw)[:, None]
    labels = torch.ones((len(prompts), 1), dtype=torch.int, device=prompts.device)
    embedded, _ = sam.predictor.model.sam_prompt_encoder((prompts, labels), None, None)
    left, logits, predicted_iou = sam.decoder.candidates(
        photo,
        embedded,
        multimask=parameters.multimask_output,
        pred_iou_thresh=0.0 if parameters.use_m2m else parameters.pred_iou_thresh,
    )
    each = logits.shape[1]
    candidate = torch.arange(each, device=left.device).repeat(len(left))
    left = left.repeat_interleave(each)
    logits, predicted_iou = logits.flatten(0, 1), predicted_iou.flatten(0, 1)
    if parameters.use_m2m:
        logits, predicted_iou = _refined(sam, prompts[left], logits, each * len(points_xy))
    if parameters.pred_iou_thresh > 0.0:
        good = predicted_iou > parameters.pred_iou_thresh
        left, logits, predicted_iou = left[good], logits[good], predicted_iou[good]
        candidate = candidate[good]
    return logits, predicted_iou, points_xy[left], candidate


def _refined(
    sam: Sam, prompts: torch.Tensor, logits: torch.Tensor, batch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Predict each mask (n, s, s) again with its point (n, 1, 2) and itself as prompts.

    With mask prompts image tokens differ between points, so sam2's own decoder is used.
    """
    labels = torch.ones(prompts.shape[:2], dtype=torch.int, device=prompts.device)
    masks = logits[:, None].clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
    with sam.autocast():
        parts = [
            sam.predictor._predict(
                prompts[i : i + batch],
                labels[i : i + batch],
                mask_input=masks[i : i + batch],
                multimask_output=False,
                return_logits=True,
            )[:2]
            for i in range(0, len(prompts), batch)
        ]
    refined, predicted_iou = (torch.cat(each)[:, 0].float() for each in zip(*parts, strict=True))
    check_finite(refined)
    check_finite(predicted_iou)
    return refined, predicted_iou


def _measured(
    logits: torch.Tensor,
    predicted_iou: torch.Tensor,
    points_xy: torch.Tensor,
    candidate: torch.Tensor,
    crop: Crop,
    photo_wh: tuple[int, int],
    parameters: MaskParameters,
) -> Candidates:
    """Measure masks at the crop's size; drop unstable ones and those cut off by the crop's edge."""
    logits = logits.float()
    measured = upsampling.measure(
        logits, crop.size_wh, parameters.mask_threshold, parameters.stability_score_offset
    )
    whole = [0, 0, *photo_wh]
    boxes = torch.from_numpy(measured.boxes_xyxy)
    good = ~is_box_near_crop_edge(boxes, list(crop.box_xyxy), whole).numpy()
    if parameters.stability_score_thresh > 0.0:
        good &= measured.stability_score >= parameters.stability_score_thresh
    left = torch.from_numpy(np.flatnonzero(good)).to(logits.device)
    return Candidates(
        logits[left].cpu().numpy(),
        predicted_iou[left].float().cpu().numpy(),
        measured.stability_score[good],
        measured.boxes_xyxy[good],
        points_xy[left].cpu().numpy(),
        measured.area_px[good],
        candidate[left].cpu().numpy(),
    )


def _nms(
    boxes_xyxy: NDArray[np.int64], scores: NDArray[np.float32], iou_threshold: float
) -> NDArray[np.int64]:
    """Return the indices kept by non-maximum suppression of boxes, best score first."""
    boxes = torch.from_numpy(boxes_xyxy).float()
    kept: NDArray[np.int64] = batched_nms(
        boxes, torch.from_numpy(scores), torch.zeros_like(boxes[:, 0]), iou_threshold
    ).numpy()
    return kept


def _without_crop_duplicates(
    found: Candidates, crops: list[Crop], owners: NDArray[np.int64], iou_threshold: float
) -> NDArray[np.int64]:
    """Return the indices kept by suppression across crops; masks of smaller crops win."""
    crop_boxes = torch.tensor([crops[i].box_xyxy for i in owners]).reshape(-1, 4)
    offsets = crop_boxes[:, [0, 1, 0, 1]].numpy()
    scores = (1 / box_area(crop_boxes)).float().numpy()
    return _nms(found.boxes_xyxy + offsets, scores, iou_threshold)


def _mask_record(
    found: Candidates, i: int, crop: Crop, *, size_hw: tuple[int, int], threshold: float
) -> SegmentedMask:
    """Convert one mask to a record, in pixels of the photo."""
    x0, y0, x1, y1 = crop.box_xyxy
    left, top, right, bottom = (int(edge) for edge in found.boxes_xyxy[i])
    point_xy = found.points_xy[i] + np.array([x0, y0], np.float32)
    return SegmentedMask(
        mask=_mask(found.logits[i], crop, size_hw, threshold),
        bbox_xywh=Box(left + x0, top + y0, right - left, bottom - top),
        area_px=int(found.area_px[i]),
        predicted_iou=float(found.predicted_iou[i]),
        stability_score=float(np.nan_to_num(found.stability_score[i])),
        point_xy=(float(point_xy[0]), float(point_xy[1])),
        crop_box_xywh=Box(x0, y0, x1 - x0, y1 - y0),
        candidate=int(found.candidate[i]),
    )


def _mask(logits_hw: Logits, crop: Crop, size_hw: tuple[int, int], threshold: float) -> Mask:
    """Encode a crop's mask at the size of the photo."""
    width, height = crop.size_wh
    mask = upsampling.mask_from_logits(logits_hw, (width, height), threshold)
    if (height, width) == size_hw:
        return mask
    x0, y0, x1, y1 = crop.box_xyxy
    whole = np.zeros(size_hw, np.bool_)
    whole[y0:y1, x0:x1] = array_from_mask(mask)
    return mask_from_array(whole)
