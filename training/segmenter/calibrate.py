"""Make the IoU estimate mean what it says on photos that training has not seen, and export.

    python -m training.segmenter.calibrate --photos FOLDER --run FOLDER --out FOLDER

Training asks for the IoU with the nearest of several people's regions, which is what ranking
wants. A mask that the generator keeps is judged by one person's, and masks that match nobody's
are many among them. So the estimate's logit is scaled and shifted, which changes no order, until
its mean distance from the IoU with one person's nearest region is smallest.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sam2.modeling.sam2_base import SAM2Base
from torch import nn

from ingest.segmentation.sam2 import Sam2Segmenter
from ingest.segmentation.types import MaskParameters
from search.masks.rle import array_from_mask
from training.evaluation.measures import iou_matrix
from training.segmenter.export import export, sharpen
from training.segmenter.on_photos import CONFIG, build
from training.segmenter.photos import HELD_OUT_EVERY, LabeledPhoto, load_photos

PHOTO_PX = 384  # long side at which photos are cut
SCALES = np.arange(0.6, 2.01, 0.05)
SHIFTS = np.arange(-2.0, 1.01, 0.05)
CERTAIN = 1e-4  # estimates are held this far from 0 and 1

Floats = NDArray[np.float64]


class Correction(NamedTuple):
    """What the estimate's logit is multiplied by, then what is added, and the errors."""

    scale: float
    shift: float
    error_before: float
    error: float  # mean distance of predicted and true IoU


def kept_masks(
    segmenter: Sam2Segmenter, parameters: MaskParameters, photos: Iterable[LabeledPhoto]
) -> tuple[Floats, Floats]:
    """Return predicted IoU (n,) and the true one with one person's regions (n,).

    Every mask that the generator keeps counts once for each person.
    """
    predicted: list[float] = []
    true: list[float] = []
    for photo in photos:
        small = _at_cutting_size(photo)
        cut = segmenter.automatic(small.rgb, parameters)
        masks = [array_from_mask(mask.mask) for mask in cut]
        for labels in small.maps:
            regions = [labels == value for value in np.unique(labels[labels > 0])]
            true += iou_matrix(masks, regions).max(axis=1, initial=0.0).tolist()
            predicted += [mask.predicted_iou for mask in cut]
    return np.array(predicted), np.array(true)


def _at_cutting_size(photo: LabeledPhoto) -> LabeledPhoto:
    height, width = photo.rgb.shape[:2]
    scale = PHOTO_PX / max(height, width)
    size_wh = (round(width * scale), round(height * scale))
    rows = ((np.arange(size_wh[1]) + 0.5) / scale).astype(int).clip(max=height - 1)
    columns = ((np.arange(size_wh[0]) + 0.5) / scale).astype(int).clip(max=width - 1)
    rgb = np.asarray(Image.fromarray(photo.rgb).resize(size_wh, Image.Resampling.BOX))
    maps = tuple(labels[rows][:, columns] for labels in photo.maps)
    return LabeledPhoto(photo.source, rgb, maps, photo.by_many)


def fitted(predicted: Floats, true: Floats) -> Correction:
    """Return the scale and shift of the logit that leave the smallest mean distance."""
    p = predicted.clip(CERTAIN, 1 - CERTAIN)
    logit = np.log(p / (1 - p))

    def error(scale: float, shift: float) -> float:
        return float(np.abs(1 / (1 + np.exp(-(scale * logit + shift))) - true).mean())

    scale, shift = min(itertools.product(SCALES, SHIFTS), key=lambda pair: error(*pair))
    return Correction(float(scale), float(shift), error(1.0, 0.0), error(scale, shift))


@torch.no_grad()
def correct(model: SAM2Base, correction: Correction) -> None:
    """Scale and shift the logits of the model's IoU estimate."""
    last = cast(nn.Linear, model.sam_mask_decoder.iou_prediction_head.layers[-1])
    last.weight.mul_(correction.scale)
    last.bias.mul_(correction.scale).add_(correction.shift)


def main(argv: list[str] | None = None) -> None:
    """Calibrate a run's averaged weights and write what the product loads."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    add = parser.add_argument
    add("--photos", type=Path, required=True, help="folder with truth.json; see photos.py")
    add("--leave-out", action="append", default=[], help="sources that begin so are left out")
    add("--run", type=Path, required=True, help="folder with the checkpoint.pt of on_photos")
    add("--out", type=Path, required=True, help="folder for segmenter.pt, .yaml and .json")
    add("--sharpness", type=float, default=3.0, help="of mask logits; see export.sharpen")
    add("--points", type=int, default=12, help="points a side of the masks that are looked at")
    add("--iou", type=float, default=0.15, help="predicted IoU that they have before")
    add("--stability", type=float, default=0.7, help="their stability")
    add("--nms", type=float, default=0.9, help="IoU of boxes from which the worse one is dropped")
    asked = parser.parse_args(argv)
    photos = load_photos(asked.photos, leave_out=asked.leave_out)[::HELD_OUT_EVERY]
    state = torch.load(asked.run / "checkpoint.pt", map_location="cpu", weights_only=True)
    model = build(CONFIG)
    model.load_state_dict(state["average"])
    sharpen(model, asked.sharpness)
    parameters = MaskParameters(
        points_per_side=asked.points,
        pred_iou_thresh=asked.iou,
        stability_score_thresh=asked.stability,
        box_nms_thresh=asked.nms,
    )
    segmenter = Sam2Segmenter(model.eval(), "being calibrated")
    correction = fitted(*kept_masks(segmenter, parameters, (p for p in photos if p.by_many)))
    print(json.dumps(correction._asdict()), flush=True)
    sharpen(model, 1 / asked.sharpness)
    correct(model, correction)
    asked.out.mkdir(parents=True, exist_ok=True)
    stages = [*state["stages"], {"calibration": correction._asdict(), "steps_done": 0,
                                 "pictures": 0, "minutes": 0.0}]  # fmt: skip
    export(model, CONFIG, asked.out, sharpness=asked.sharpness, stages=stages)


if __name__ == "__main__":
    main()
