"""Resolve prompts to masks, and masks to stored segments."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from api.schemas.prompts import PromptIn
from ingest.segmentation.types import Prompt, SegmentedMask, with_pixels
from search.masks.rle import array_from_mask, box_iou, iou, mask_from_array, resized
from search.records import Box, Mask, Segment

if TYPE_CHECKING:
    from ingest.segmentation.sam2 import EncodedPhoto

# A mask with at least this IoU with a stored segment is that segment.
SAME_MASK_IOU = 0.8
# If no candidate's own box has at least this IoU with a box prompt, the segmenter has missed, and
# the box itself is the mask.
BOX_MISSED_IOU = 0.5


def prompt_from_request(prompt: PromptIn) -> Prompt:
    """Convert a request's prompt to a segmenter prompt."""
    return Prompt(
        points_xy=tuple((point.x, point.y) for point in prompt.points),
        labels=tuple(point.label for point in prompt.points),
        box_xywh=prompt.box_xywh,
        mask=prompt.mask,
    )


def best_mask(photo: EncodedPhoto, prompt: PromptIn) -> SegmentedMask:
    """The best mask for a prompt.

    With a box, the candidate that fits it best; if none does, the box itself, clipped to the photo.

    Raises:
        UsageError: the prompt is outside the photo.
        NoMaskError: there is no mask for it.
    """
    checked = prompt_from_request(prompt).checked(photo.size_wh)
    candidates, box = photo.masks(checked), checked.box_xywh
    if box is None:
        return with_pixels(candidates)[0]
    candidates = [mask for mask in candidates if mask.area_px > 0]
    best = max(candidates, key=lambda mask: box_iou(mask.bbox_xywh, box), default=None)
    if best is not None and box_iou(best.bbox_xywh, box) >= BOX_MISSED_IOU:
        return best
    return _box_as_mask(box, photo.size_wh)


def _box_as_mask(box: Box, size_wh: tuple[int, int]) -> SegmentedMask:
    """The box as a mask, clipped to the photo."""
    width, height = size_wh
    x0, y0, x1, y1 = (round(edge) for edge in box.xyxy)
    inside = np.zeros((height, width), np.bool_)
    inside[max(0, y0) : y1 + 1, max(0, x0) : x1 + 1] = True
    return SegmentedMask(
        mask=mask_from_array(inside),
        bbox_xywh=box,
        area_px=max(1, int(inside.sum())),
        predicted_iou=0.0,
        stability_score=0.0,
        point_xy=None,
        crop_box_xywh=Box(0, 0, width, height),
    )


def segment_in_box(stored: Sequence[Segment], prompt: PromptIn) -> Segment | None:
    """The stored segment with nearly the box of a prompt; None with points or a mask."""
    box = prompt.box_xywh
    if box is None or prompt.points or prompt.mask:
        return None
    best = max(stored, key=lambda s: box_iou(s.bbox_xywh, box), default=None)
    return best if best and box_iou(best.bbox_xywh, box) >= SAME_MASK_IOU else None


def segment_of_mask(stored: Sequence[Segment], found: SegmentedMask) -> Segment | None:
    """The stored segment with nearly this mask, if there is one."""
    overlapping = [
        s for s in stored if s.mask and box_iou(s.bbox_xywh, found.bbox_xywh) >= SAME_MASK_IOU / 2
    ]
    scored = [(_mask_iou(found.mask, s.mask), s) for s in overlapping if s.mask]
    best_iou, same = max(scored, key=lambda pair: pair[0], default=(0.0, None))
    return same if best_iou >= SAME_MASK_IOU else None


def _mask_iou(full: Mask, stored: Mask) -> float:
    """The IoU at the stored mask's size; 0 if the stored mask is damaged."""
    with suppress(ValueError):
        return iou(resized(array_from_mask(full), stored.size_wh), array_from_mask(stored))
    return 0.0
