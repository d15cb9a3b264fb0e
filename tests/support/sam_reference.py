"""sam2's own classes, set up for any model size: what our segmenter must agree with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

import torch
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.utils.amg import MaskData, coco_encode_rle, mask_to_rle_pytorch

from ingest.segmentation.types import MaskParameters, SegmentedMask
from search.masks.rle import array_from_mask
from search.records import Mask, RgbImage

OURS = ("min_area_fraction", "max_area_fraction", "min_mask_region_area", "adaptive_points")
Annotation = Mapping[str, Any]


def reference_generator(model: SAM2Base, parameters: MaskParameters) -> SAM2AutomaticMaskGenerator:
    """Return sam2's generator with these parameters; it does not remove small regions."""
    asked = {name: value for name, value in asdict(parameters).items() if name not in OURS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit.script is deprecated
        generator = SAM2AutomaticMaskGenerator(model, output_mode="coco_rle", **asked)
    set_feature_sizes(generator.predictor)
    return generator


def reference_predictor(model: SAM2Base) -> SAM2ImagePredictor:
    """Return sam2's predictor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        predictor = SAM2ImagePredictor(model)
    set_feature_sizes(predictor)
    return predictor


def set_feature_sizes(predictor: SAM2ImagePredictor) -> None:
    size = predictor.model.image_size
    predictor._bb_feat_sizes = [(size // stride,) * 2 for stride in (4, 8, 16)]


def reference_masks(
    model: SAM2Base, rgb: RgbImage, parameters: MaskParameters
) -> Sequence[Annotation]:
    """Return what sam2's generator finds."""
    found = reference_generator(model, parameters).generate(rgb.copy())
    return cast(Sequence[Annotation], found)


def reference_without_small_regions(
    model: SAM2Base, rgb: RgbImage, parameters: MaskParameters
) -> Sequence[tuple[str, list[float]]]:
    """Return counts and box (xyxy) after sam2's own opencv step, which sam2 no longer calls."""
    found = reference_masks(model, rgb, parameters)
    masks = [array_from_mask(_mask(each)) for each in found]
    boxes = [[x, y, x + w, y + h] for x, y, w, h in (each["bbox"] for each in found)]
    rles = [mask_to_rle_pytorch(torch.from_numpy(mask)[None])[0] for mask in masks]
    held = MaskData(rles=rles, boxes=torch.tensor(boxes))
    done = SAM2AutomaticMaskGenerator.postprocess_small_regions(
        held,
        parameters.min_mask_region_area,
        max(parameters.box_nms_thresh, parameters.crop_nms_thresh),
    )
    return [
        (coco_encode_rle(rle)["counts"], [float(edge) for edge in box])
        for rle, box in zip(done["rles"], done["boxes"], strict=True)
    ]


def differences(reference: Sequence[Annotation], ours: Sequence[SegmentedMask]) -> list[str]:
    """Return what differs, in words; scores may differ by 1e-4, or by one pixel of the mask.

    Stability counts pixels on either side of two thresholds: where rounding, 1e-6 of a logit, moves
    a pixel over one of them, the score of a small mask moves by one part in its area. For the same
    reason one mask in 200 (one of fewer) may have a pixel more or less, no more.
    """
    if len(reference) != len(ours):
        return [f"{len(reference)} masks by sam2, {len(ours)} by us"]
    found = []
    near_ties = max(1, len(ours) // 200)
    for number, (theirs, mine) in enumerate(zip(reference, ours, strict=True)):
        if near_ties and _pixels_apart(theirs, mine) == 1:
            near_ties -= 1
            continue
        exact = {
            "segmentation": (theirs["segmentation"]["counts"], mine.mask.counts),
            "bbox": (tuple(theirs["bbox"]), tuple(mine.bbox_xywh)),
            "area": (theirs["area"], mine.area_px),
            "point_coords": (tuple(theirs["point_coords"][0]), mine.point_xy),
            "crop_box": (tuple(theirs["crop_box"]), tuple(mine.crop_box_xywh)),
        }
        found += [f"mask {number}: {name} {a} != {b}" for name, (a, b) in exact.items() if a != b]
        allowed = {"predicted_iou": 1e-4, "stability_score": max(1e-4, 1.0 / theirs["area"])}
        for name, most in allowed.items():
            if abs(theirs[name] - getattr(mine, name)) > most:
                found.append(f"mask {number}: {name} {theirs[name]} != {getattr(mine, name)}")
    return found


def _pixels_apart(theirs: Annotation, mine: SegmentedMask) -> int:
    return int((array_from_mask(_mask(theirs)) ^ array_from_mask(mine.mask)).sum())


def _mask(found: Annotation) -> Mask:
    height, width = found["segmentation"]["size"]
    return Mask(size_wh=(width, height), counts=found["segmentation"]["counts"])
