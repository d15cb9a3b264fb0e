"""SAM 2 (package sam2): every mask of a photo, or the masks that prompts ask for.

The model and its weights are sam2's own; so is the automatic mask generator, called here with
batches small enough that memory stays bounded whatever the photo's size. What sam2 leaves out
without its compiled extension (`min_mask_region_area`) is done here.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.utils.amg import MaskData, calculate_stability_score, generate_crop_boxes
from torchvision.ops import batched_nms

from search.errors import UsageError
from search.masks import (
    array_from_mask,
    bbox_xywh_from_array,
    mask_from_array,
    without_small_regions,
)
from search.records import Box, Mask, Record, RgbImage
from search.settings import Settings

# While sam2's generator holds a batch it keeps about three float copies of each upsampled mask
# (logits, the filtered copy, stability's comparisons): at 12 MP 430 MB a point.
UPSAMPLED_BATCH_BYTES = 1_500_000_000
COPIES_PER_MASK = 3
# On a CPU large batches thrash memory: 8 points at 1,024 px decode 1.9 times faster a point than
# 64 (measured with hiera-tiny on 2 cores); a smaller model has proportionally smaller features.
CPU_POINTS_AT_1024 = 8
PROMPT_LOGIT = 10.0  # what a given binary mask becomes as a logit; SAM clamps to +-32


@dataclass(frozen=True)
class MaskParameters:
    """SAM2AutomaticMaskGenerator's parameters under their own names, and limits by area."""

    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    mask_threshold: float = 0.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0
    use_m2m: bool = False
    multimask_output: bool = True
    min_area_fraction: float = 0.0
    max_area_fraction: float = 1.0

    @classmethod
    def from_settings(cls, settings: Settings) -> MaskParameters:
        """Take the settings of the same names."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})

    def for_generator(self) -> dict[str, Any]:
        """Return what sam2's generator takes; small regions are removed here, not there."""
        ours = {"min_area_fraction", "max_area_fraction", "min_mask_region_area"}
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ours}


class CutMask(Record):
    """A mask as cut from a photo, at the photo's full size, in SAM's own words."""

    mask: Mask
    bbox_xywh: Box
    area_px: int
    predicted_iou: float
    stability_score: float
    point_xy: tuple[float, float] | None
    crop_box_xywh: Box

    @property
    def area_fraction(self) -> float:
        """Part of the photo that the mask covers."""
        return self.area_px / (self.mask.size_wh[0] * self.mask.size_wh[1])


class Prompt(Record):
    """What to cut: points (label 1: inside, 0: outside), a box, a mask to refine, or a mix."""

    points_xy: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box_xywh: Box | None = None
    mask: Mask | None = None

    def checked(self, size_wh: tuple[int, int]) -> Prompt:
        """Return the prompt itself.

        Raises:
            UsageError: it is empty, its labels don't fit, or it lies outside the photo.
        """
        if not (self.points_xy or self.box_xywh or self.mask):
            raise UsageError("a prompt needs at least one point, a box or a mask")
        if len(self.labels) != len(self.points_xy) or not set(self.labels) <= {0, 1}:
            raise UsageError("every point needs a label: 1 for inside, 0 for outside")
        width, height = size_wh
        for x, y in self.points_xy:
            if not (0 <= x <= width and 0 <= y <= height):
                raise UsageError(f"point {x:g},{y:g} is outside the photo of {width} x {height}")
        if self.box_xywh is not None:
            x0, y0, x1, y1 = self.box_xywh.xyxy
            if not (x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0 and x0 < width and y0 < height):
                raise UsageError(
                    f"box {x0:g},{y0:g},{x1 - x0:g},{y1 - y0:g} covers nothing of the photo of "
                    f"{width} x {height} (a box is left,top,width,height)"
                )
        return self


class EncodedPhoto(Protocol):
    """A photo that is encoded once and then answers prompts."""

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the photo."""

    def masks(self, prompt: Prompt, *, candidates: int = 3) -> list[CutMask]:
        """Return three candidate masks or one, best predicted IoU first."""


class Segmenter(Protocol):
    """Cuts photos into masks."""

    @property
    def fingerprint(self) -> str:
        """Hash of the weights and the configuration."""

    def automatic(self, rgb: RgbImage, parameters: MaskParameters) -> list[CutMask]:
        """Return every mask of the photo, in the generator's order."""

    def encode(self, rgb: RgbImage) -> EncodedPhoto:
        """Encode a photo, so that it answers prompts."""


class Sam2Segmenter:
    """SAM 2 on one device: model, weights and generator are sam2's own.

    Not for several threads at once: callers that serve take turns.
    """

    def __init__(self, model: SAM2Base, fingerprint: str, *, bfloat16: bool = False) -> None:
        self.model = model
        self.fingerprint = fingerprint
        self._bfloat16 = bfloat16
        self._predictor = _predictor(model)

    def automatic(self, rgb: RgbImage, parameters: MaskParameters) -> list[CutMask]:
        """Return every mask of the photo, in the generator's order (best predicted IoU first)."""
        with self._inference():
            cut = [_cut_from_sam(found) for found in self._generator(rgb, parameters).generate(rgb)]
        if parameters.min_mask_region_area > 0:
            cut = without_small_mask_regions(
                cut,
                parameters.min_mask_region_area,
                max(parameters.box_nms_thresh, parameters.crop_nms_thresh),
            )
        low, high = parameters.min_area_fraction, parameters.max_area_fraction
        return [m for m in cut if m.area_px and low <= m.area_fraction <= high]

    def encode(self, rgb: RgbImage) -> Sam2EncodedPhoto:
        """Encode a photo, so that it answers prompts."""
        predictor = copy.copy(self._predictor)  # shares the model, keeps its own features
        with self._inference():
            predictor.set_image(rgb)
        return Sam2EncodedPhoto(self, predictor, (rgb.shape[1], rgb.shape[0]))

    def _generator(self, rgb: RgbImage, parameters: MaskParameters) -> _Generator:
        """Return sam2's generator with batches and crop layers that suit the photo's size."""
        height, width = rgb.shape[:2]
        asked = {
            **parameters.for_generator(),
            "points_per_batch": self._points_per_batch(parameters, width * height),
            "crop_n_layers": _possible_crop_layers((height, width), parameters),
        }
        return _Generator(copy.copy(self._predictor), asked)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        device = self.model.device.type
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, self._bfloat16):
            yield

    def _points_per_batch(self, parameters: MaskParameters, pixels: int) -> int:
        """Return how many points go at once, so that memory stays bounded."""
        candidates = 3 if parameters.multimask_output else 1
        bytes_a_point = candidates * pixels * 4 * COPIES_PER_MASK
        most = [parameters.points_per_batch, UPSAMPLED_BATCH_BYTES // bytes_a_point]
        if self.model.device.type == "cpu":
            most.append(int(CPU_POINTS_AT_1024 * (1024 / self.model.image_size) ** 2))
        return max(1, min(most))


class Sam2EncodedPhoto:
    """A photo's SAM 2 features; each prompt costs one pass of the small mask decoder."""

    def __init__(
        self, segmenter: Sam2Segmenter, predictor: SAM2ImagePredictor, size_wh: tuple[int, int]
    ) -> None:
        self._segmenter = segmenter
        self._predictor = predictor
        self.size_wh = size_wh

    def masks(self, prompt: Prompt, *, candidates: int = 3) -> list[CutMask]:
        """Return three candidate masks or one, best predicted IoU first.

        Raises:
            UsageError: the prompt is empty or lies outside the photo.
        """
        prompt = prompt.checked(self.size_wh)
        with self._segmenter._inference():
            logits, predicted_iou, _ = self._predictor.predict(
                point_coords=np.array(prompt.points_xy, np.float32) if prompt.points_xy else None,
                point_labels=np.array(prompt.labels, np.int32) if prompt.points_xy else None,
                box=np.array(prompt.box_xywh.xyxy, np.float32) if prompt.box_xywh else None,
                mask_input=self._logits_from_mask(prompt.mask) if prompt.mask else None,
                multimask_output=candidates > 1,
                return_logits=True,
            )
        inside = (p for p, label in zip(prompt.points_xy, prompt.labels, strict=True) if label)
        point_xy = next(inside, None)
        order = np.argsort(-predicted_iou, kind="stable")
        return [_cut_from_logits(logits[i], float(predicted_iou[i]), point_xy) for i in order]

    def _logits_from_mask(self, mask: Mask) -> NDArray[np.float32]:
        """Return a mask as (1, s, s) logits at the size of SAM's mask prompts.

        Raises:
            UsageError: the mask has another shape than the photo.
        """
        (width, height), (own_width, own_height) = self.size_wh, mask.size_wh
        if abs(own_width * height - own_height * width) > max(width, height):
            raise UsageError(f"a mask of {mask.size_wh} does not fit a photo of {self.size_wh}")
        side = self._segmenter.model.image_size // 4
        inside = torch.from_numpy(array_from_mask(mask)).float()[None, None]  # (1, 1, h, w)
        small = torch.nn.functional.interpolate(inside, (side, side), mode="area")
        return ((small[0] * 2 - 1) * PROMPT_LOGIT).numpy()


def without_small_mask_regions(
    cut: Sequence[CutMask], min_area_px: int, nms_thresh: float
) -> list[CutMask]:
    """Fill small holes, drop small islands, then drop masks that have become duplicates.

    As `postprocess_small_regions` of sam2's generator (which sam2 itself no longer calls), one mask
    in memory at a time: masks that did not change win over those that did.
    """
    if not cut:
        return []
    mended = [_mended(mask, min_area_px) for mask in cut]
    boxes = torch.tensor([m.bbox_xywh.xyxy for m, _ in mended], dtype=torch.float32)
    unchanged = torch.tensor([0.0 if changed else 1.0 for _, changed in mended])
    kept = batched_nms(boxes, unchanged, torch.zeros(len(cut)), nms_thresh)
    return [mended[int(i)][0] for i in kept]


def _mended(cut: CutMask, min_area_px: int) -> tuple[CutMask, bool]:
    """Return the mask without small holes and islands, and whether it changed."""
    mask_hw, filled = without_small_regions(array_from_mask(cut.mask), min_area_px, "holes")
    mask_hw, dropped = without_small_regions(mask_hw, min_area_px, "islands")
    if not (filled or dropped):
        return cut, False
    facts = {
        "mask": mask_from_array(mask_hw),
        "bbox_xywh": bbox_xywh_from_array(mask_hw),
        "area_px": int(mask_hw.sum()),
    }
    return cut.model_copy(update=facts), True


class _Generator(SAM2AutomaticMaskGenerator):  # type: ignore[misc]  # sam2 has no types
    """sam2's generator, around a predictor that is there already."""

    def __init__(self, predictor: SAM2ImagePredictor, asked: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # see _predictor
            super().__init__(predictor.model, output_mode="coco_rle", **asked)
        self.predictor = predictor

    def _process_crop(self, *args: Any) -> MaskData:  # noqa: ANN401
        """Give the crop boxes of a crop without masks two dimensions.

        sam2 1.1 makes them one-dimensional, and fails if that goes for every crop.
        """
        found = super()._process_crop(*args)
        if not found["rles"]:
            found["crop_boxes"] = torch.zeros((0, 4), dtype=torch.int64)
        return found


def _predictor(model: SAM2Base) -> SAM2ImagePredictor:
    """Return sam2's predictor, set to the feature sizes of this model."""
    with warnings.catch_warnings():
        # sam2 scripts its transforms with torch.jit.script, which new torch calls deprecated
        warnings.simplefilter("ignore", FutureWarning)
        predictor = SAM2ImagePredictor(model)
    size = model.image_size  # the predictor itself assumes 1,024 px
    predictor._bb_feat_sizes = [(size // stride, size // stride) for stride in (4, 8, 16)]
    return predictor


def _possible_crop_layers(size_hw: tuple[int, int], parameters: MaskParameters) -> int:
    """Return how many of the crop layers asked for have no empty crop (as in a 1 x 50 photo)."""
    for layers in range(parameters.crop_n_layers, 0, -1):
        boxes, _ = generate_crop_boxes(size_hw, layers, parameters.crop_overlap_ratio)
        if all(x1 > x0 and y1 > y0 for x0, y0, x1, y1 in boxes):
            return layers
    return 0


def _cut_from_sam(found: dict[str, Any]) -> CutMask:
    """Turn sam2's record into ours. Not-a-number stability (an empty union) becomes 0."""
    height, width = found["segmentation"]["size"]
    return CutMask(
        mask=Mask(size_wh=(width, height), counts=found["segmentation"]["counts"]),
        bbox_xywh=Box(*found["bbox"]),
        area_px=int(found["area"]),
        predicted_iou=found["predicted_iou"],
        stability_score=float(np.nan_to_num(found["stability_score"])),
        point_xy=tuple(found["point_coords"][0]),
        crop_box_xywh=Box(*found["crop_box"]),
    )


def _cut_from_logits(
    logits_hw: NDArray[np.float32], predicted_iou: float, point_xy: tuple[float, float] | None
) -> CutMask:
    """Turn one candidate's full-size logits into a mask record."""
    mask_hw = logits_hw > 0
    stability = calculate_stability_score(torch.from_numpy(logits_hw)[None], 0.0, 1.0)
    height, width = mask_hw.shape
    return CutMask(
        mask=mask_from_array(mask_hw),
        bbox_xywh=bbox_xywh_from_array(mask_hw),
        area_px=int(mask_hw.sum()),
        predicted_iou=predicted_iou,
        stability_score=float(np.nan_to_num(stability.item())),
        point_xy=point_xy,
        crop_box_xywh=Box(0, 0, width, height),
    )
