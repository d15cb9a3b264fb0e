"""Segmentation with SAM 2 (package sam2): automatic masks, and masks from prompts.

The model and its weights are sam2's; automatic mask generation is in
`ingest.segmentation.mask_generator`. `min_mask_region_area`, which sam2 ignores without its
compiled extension, is implemented here.
"""

from __future__ import annotations

import copy
import logging
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.utils.amg import calculate_stability_score
from torchvision.ops import batched_nms

from ingest.segmentation.checkpoints import load_model
from ingest.segmentation.mask_decoder import PointDecoder, check_finite
from ingest.segmentation.mask_decoder_cpu import TiledDecoder
from ingest.segmentation.mask_generator import (
    COVERING_FRACTION,
    Sam,
    automatic_masks,
    low_res_predictor,
)
from ingest.segmentation.types import MaskParameters, Prompt, SegmentedMask
from search.errors import ModelError
from search.masks.rle import (
    array_from_mask,
    bbox_xywh_from_array,
    interior_points,
    mask_from_array,
    without_small_regions,
)
from search.records import Box, Mask, RgbImage
from search.settings import Precision

_logger = logging.getLogger(__name__)
T = TypeVar("T")

# Large batches exceed the CPU's cache, and glibc returns blocks of 32 MB to the system when freed.
# At 1,024 px batches of 2 points are twice as fast as of 8, and those 1.9 times as fast as of 64
# (hiera-tiny on 2 cores); a smaller model has proportionally smaller features.
CPU_POINTS_AT_1024 = 2
# The decoder returns empty masks for a mask prompt without a point. Three spread points refine
# better than one (starter models on COCO, masks dilated, eroded, shifted: IoU .57 against .44; on
# drawn scenes .83 against .82); more points, or points outside, do not help.
MASK_POINTS = 3
PROMPT_LOGIT = 10.0  # logit of a binary mask prompt; SAM clamps to +-32


class EncodedPhoto(Protocol):
    """A photo encoded once for many prompts."""

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the photo."""

    def masks(self, prompt: Prompt, *, candidates: int = 3) -> list[SegmentedMask]:
        """Predict up to three masks, or one; best predicted IoU first, empty ones dropped."""


class Segmenter(Protocol):
    """A segmentation model."""

    @property
    def fingerprint(self) -> str:
        """Hash of the weights and the configuration."""

    def automatic(self, rgb: RgbImage, parameters: MaskParameters) -> list[SegmentedMask]:
        """Generate the masks of a photo (h, w, 3), best predicted IoU first."""

    def encode(self, rgb: RgbImage) -> EncodedPhoto:
        """Encode a photo (h, w, 3) for prompts."""


class Sam2Segmenter:
    """SAM 2 on one device. Not thread-safe."""

    def __init__(
        self,
        model: SAM2Base,
        fingerprint: str,
        *,
        dtype: torch.dtype = torch.float32,
        covering_fraction: float = COVERING_FRACTION,
    ) -> None:
        self.model = model
        self.fingerprint = fingerprint
        self._predictor = _predictor(model)
        exact_on_cpu = model.device.type == "cpu" and dtype == torch.float32
        decoder = TiledDecoder(model) if exact_on_cpu else PointDecoder(model, dtype)
        self._sam = Sam(low_res_predictor(self._predictor), decoder, covering_fraction)

    def automatic(self, rgb: RgbImage, parameters: MaskParameters) -> list[SegmentedMask]:
        """Generate the masks of a photo (h, w, 3), best predicted IoU first."""
        batch = self._points_per_batch(parameters)
        masks = self._in_range(lambda: automatic_masks(self._sam, rgb, parameters, batch))
        if parameters.min_mask_region_area > 0:
            masks = without_small_mask_regions(
                masks,
                parameters.min_mask_region_area,
                max(parameters.box_nms_thresh, parameters.crop_nms_thresh),
            )
        low, high = parameters.min_area_fraction, parameters.max_area_fraction
        return [m for m in masks if m.area_px and low <= m.area_fraction <= high]

    def encode(self, rgb: RgbImage) -> Sam2EncodedPhoto:
        """Encode a photo (h, w, 3) for prompts."""
        predictor = copy.copy(self._predictor)  # shares the model, has its own features
        self._in_range(lambda: self._set_photo(predictor, rgb))
        return Sam2EncodedPhoto(self, predictor, (rgb.shape[1], rgb.shape[0]))

    def _set_photo(self, predictor: SAM2ImagePredictor, rgb: RgbImage) -> None:
        """Encode a photo and keep its features in float32, the precision of prompts."""
        with self._sam.autocast():
            predictor.set_image(rgb.copy())  # torch wants it writable
        features = predictor._features
        embedding, levels = features["image_embed"], features["high_res_feats"]
        for level in (embedding, *levels):
            check_finite(level)
        predictor._features = {
            "image_embed": embedding.float(),
            "high_res_feats": [level.float() for level in levels],
        }

    def _in_range(self, work: Callable[[], T]) -> T:
        """Run inference; switch from float16 to bfloat16 when a result overflows.

        Raises:
            ModelError: a result is not finite in another precision than float16.
        """
        try:
            with torch.inference_mode():
                return work()
        except FloatingPointError as error:
            if self._sam.decoder.dtype != torch.float16:
                raise ModelError(
                    "the segmenter gave values that are not finite. Its weights may be damaged; "
                    "with reduced precision, try --precision float32."
                ) from error
        _logger.warning(
            "values of the segmenter exceed the range of float16; it continues in bfloat16"
        )
        self._sam = self._sam._replace(decoder=PointDecoder(self.model, torch.bfloat16))
        return self._in_range(work)

    def _points_per_batch(self, parameters: MaskParameters) -> int:
        """Return the batch size of points."""
        if self.model.device.type != "cpu":
            return parameters.points_per_batch
        fit = int(CPU_POINTS_AT_1024 * (1024 / self.model.image_size) ** 2)
        return max(1, min(parameters.points_per_batch, fit))


def load_segmenter(
    name: str,
    *,
    config: str | Path | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
) -> Sam2Segmenter:
    """Load a segmenter by hub name or from a checkpoint file; see `checkpoints.load_model`.

    Args:
        name: hub name, or path of a checkpoint.
        config: name or path of its config; None: determined from its shapes.
        device: cpu, cuda or mps.
        precision: float16 and bfloat16 run the model under autocast.

    Raises:
        HubError: the hub can't be reached and the cache has no copy.
        ModelError: no such model, or the file is not a checkpoint of that config.
    """
    model, fingerprint = load_model(name, config)
    return Sam2Segmenter(model.to(device), fingerprint, dtype=getattr(torch, precision))


class Sam2EncodedPhoto:
    """A photo's SAM 2 features; a prompt takes one pass of the mask decoder."""

    def __init__(
        self, segmenter: Sam2Segmenter, predictor: SAM2ImagePredictor, size_wh: tuple[int, int]
    ) -> None:
        self._segmenter = segmenter
        self._predictor = predictor
        self.size_wh = size_wh

    def masks(self, prompt: Prompt, *, candidates: int = 3) -> list[SegmentedMask]:
        """Predict up to three masks, or one; best predicted IoU first, empty ones dropped.

        Points, boxes and masks with them are passed to sam2's predictor. For a mask alone SAM 2's
        decoder returns nothing, so points inside the mask are added.

        Raises:
            UsageError: the prompt is empty, inconsistent, or outside the photo.
        """
        prompt = with_points_of_mask(prompt.checked(self.size_wh), self.size_wh)
        with torch.inference_mode():
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
        masks = (_mask_from_logits(logits[i], float(predicted_iou[i]), point_xy) for i in order)
        return [mask for mask in masks if mask.area_px > 0]

    def _logits_from_mask(self, mask: Mask) -> NDArray[np.float32]:
        """Convert a mask to (1, s, s) logits at the size of SAM's mask prompts."""
        side = self._segmenter.model.image_size // 4
        inside = torch.from_numpy(array_from_mask(mask)).float()[None, None]  # (1, 1, h, w)
        small = torch.nn.functional.interpolate(inside, (side, side), mode="area")
        return ((small[0] * 2 - 1) * PROMPT_LOGIT).numpy()


def with_points_of_mask(prompt: Prompt, size_wh: tuple[int, int]) -> Prompt:
    """Add points inside the mask of a prompt that has neither a box nor a point inside."""
    if prompt.mask is None or prompt.box_xywh or 1 in prompt.labels:
        return prompt
    x_scale, y_scale = (
        photo / own for photo, own in zip(size_wh, prompt.mask.size_wh, strict=True)
    )
    inside = interior_points(array_from_mask(prompt.mask), MASK_POINTS)
    points_xy = tuple(((x + 0.5) * x_scale - 0.5, (y + 0.5) * y_scale - 0.5) for x, y in inside)
    return prompt.model_copy(
        update={
            "points_xy": (*points_xy, *prompt.points_xy),
            "labels": (*(1 for _ in points_xy), *prompt.labels),
        }
    )


def without_small_mask_regions(
    masks: Sequence[SegmentedMask], min_area_px: int, nms_thresh: float
) -> list[SegmentedMask]:
    """Fill small holes, drop small islands, then drop masks that have become duplicates.

    Like `postprocess_small_regions` of sam2's generator (which sam2 no longer calls), with one
    decoded mask in memory at a time. Of duplicates, masks that did not change win.
    """
    if not masks:
        return []
    cleaned = [_cleaned(mask, min_area_px) for mask in masks]
    boxes = torch.tensor([m.bbox_xywh.xyxy for m, _ in cleaned], dtype=torch.float32)
    unchanged = torch.tensor([0.0 if changed else 1.0 for _, changed in cleaned])
    kept = batched_nms(boxes, unchanged, torch.zeros(len(masks)), nms_thresh)
    return [cleaned[int(i)][0] for i in kept]


def _cleaned(mask: SegmentedMask, min_area_px: int) -> tuple[SegmentedMask, bool]:
    """Return the mask without small holes and islands, and whether it changed."""
    mask_hw, filled = without_small_regions(array_from_mask(mask.mask), min_area_px, "holes")
    mask_hw, dropped = without_small_regions(mask_hw, min_area_px, "islands")
    if not (filled or dropped):
        return mask, False
    changes = {
        "mask": mask_from_array(mask_hw),
        "bbox_xywh": bbox_xywh_from_array(mask_hw),
        "area_px": int(mask_hw.sum()),
    }
    return mask.model_copy(update=changes), True


_SCRIPTING = threading.Lock()  # neither torch.jit.script nor catch_warnings is thread-safe


def _predictor(model: SAM2Base) -> SAM2ImagePredictor:
    """Create sam2's predictor with the feature sizes of this model."""
    with _SCRIPTING, warnings.catch_warnings():
        # sam2 uses torch.jit.script, which is deprecated in new versions of torch
        warnings.simplefilter("ignore", FutureWarning)
        predictor = SAM2ImagePredictor(model)
    size = model.image_size  # the predictor assumes 1,024 px
    predictor._bb_feat_sizes = [(size // stride, size // stride) for stride in (4, 8, 16)]
    return predictor


def _mask_from_logits(
    logits_hw: NDArray[np.float32], predicted_iou: float, point_xy: tuple[float, float] | None
) -> SegmentedMask:
    """Convert full-size logits (h, w) to a mask record."""
    mask_hw = logits_hw > 0
    stability = calculate_stability_score(torch.from_numpy(logits_hw)[None], 0.0, 1.0)
    height, width = mask_hw.shape
    return SegmentedMask(
        mask=mask_from_array(mask_hw),
        bbox_xywh=bbox_xywh_from_array(mask_hw),
        area_px=int(mask_hw.sum()),
        predicted_iou=predicted_iou,
        stability_score=float(np.nan_to_num(stability.item())),
        point_xy=point_xy,
        crop_box_xywh=Box(0, 0, width, height),
    )
