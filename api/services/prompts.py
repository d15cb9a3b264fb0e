"""What is meant in a picture: prompts become masks, and masks the segments that they are."""

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

# A cut this like a stored segment is that segment.
SAME_MASK_IOU = 0.8
# A segmenter that answers a box with masks whose own boxes overlap it less than this has missed:
# then the box itself is meant.
BOX_MISSED_IOU = 0.5


def prompt_from_request(prompt: PromptIn) -> Prompt:
    """Turn a prompt as it is sent into the segmenter's."""
    return Prompt(
        points_xy=tuple((point.x, point.y) for point in prompt.points),
        labels=tuple(point.label for point in prompt.points),
        box_xywh=prompt.box_xywh,
        mask=prompt.mask,
    )


def cut_under_prompt(photo: EncodedPhoto, prompt: PromptIn) -> SegmentedMask:
    """Return the one mask that a prompt means.

    With a box, the candidate that fits it best; if none does, the box itself, within the photo.

    Raises:
        UsageError: the prompt lies outside the photo.
        NoMaskError: nothing there answers it.
    """
    asked = prompt_from_request(prompt).checked(photo.size_wh)
    candidates, box = photo.masks(asked), asked.box_xywh
    if box is None:
        return with_pixels(candidates)[0]
    candidates = [cut for cut in candidates if cut.area_px > 0]
    best = max(candidates, key=lambda cut: box_iou(cut.bbox_xywh, box), default=None)
    if best is not None and box_iou(best.bbox_xywh, box) >= BOX_MISSED_IOU:
        return best
    return _box_cut(box, photo.size_wh)


def _box_cut(box: Box, size_wh: tuple[int, int]) -> SegmentedMask:
    """Return the box itself as a mask, within the photo."""
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
    """Return the stored segment that a prompt's box is drawn around; None with points or a mask."""
    box = prompt.box_xywh
    if box is None or prompt.points or prompt.mask:
        return None
    best = max(stored, key=lambda s: box_iou(s.bbox_xywh, box), default=None)
    return best if best and box_iou(best.bbox_xywh, box) >= SAME_MASK_IOU else None


def segment_of_cut(stored: Sequence[Segment], cut: SegmentedMask) -> Segment | None:
    """Return the stored segment that a cut is, if it is one: by its mask."""
    overlapping = [
        s for s in stored if s.mask and box_iou(s.bbox_xywh, cut.bbox_xywh) >= SAME_MASK_IOU / 2
    ]
    scored = [(_mask_iou(cut.mask, s.mask), s) for s in overlapping if s.mask]
    best_iou, same = max(scored, key=lambda pair: pair[0], default=(0.0, None))
    return same if best_iou >= SAME_MASK_IOU else None


def _mask_iou(full: Mask, stored: Mask) -> float:
    """Return how far a cut mask is a stored one; 0 if that is damaged."""
    with suppress(ValueError):
        return iou(resized(array_from_mask(full), stored.size_wh), array_from_mask(stored))
    return 0.0
