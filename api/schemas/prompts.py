"""Segmentation prompts and candidate masks."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from search.masks.rle import runs_from_counts
from search.records import Box, Id, Mask, Record

MAX_MASK_PIXELS = 100_000_000  # of a mask prompt; a few characters of RLE can claim any size
# A 12-megapixel mask has some 20,000. Decoding blocks the event loop: 4 ms at this length.
MAX_MASK_CHARS = 200_000
MAX_POINTS = 100


class Point(Record):
    """A click: x,y in pixels of the upright photo; label 1 means inside, 0 outside."""

    x: float
    y: float
    label: Annotated[int, Field(ge=0, le=1)] = 1


class PromptIn(Record):
    """A prompt on an image: points, a box, a mask to refine, or any combination."""

    points: Annotated[tuple[Point, ...], Field(max_length=MAX_POINTS)] = ()
    box_xywh: Box | None = None
    mask: Mask | None = None

    @field_validator("mask")
    @classmethod
    def _check_mask(cls, mask: Mask | None) -> Mask | None:
        if mask is not None:
            width, height = mask.size_wh
            if len(mask.counts) > MAX_MASK_CHARS:
                raise ValueError(
                    f"the counts of a mask may have at most {MAX_MASK_CHARS:,} characters"
                )
            if width * height > MAX_MASK_PIXELS:
                raise ValueError(f"a mask may have at most {MAX_MASK_PIXELS:,} pixels")
            if runs_from_counts(mask.counts).sum() != width * height:
                raise ValueError(f"the runs of the mask do not fill {width} x {height} pixels")
        return mask

    @property
    def is_empty(self) -> bool:
        """Whether there is no prompt: the whole image counts."""
        return not (self.points or self.box_xywh or self.mask)


class CandidateOut(Record):
    """A candidate mask for a prompt, at the photo's full size."""

    segmentation: dict[str, Any]  # COCO's compressed RLE
    bbox_xywh: Box
    area_px: int
    predicted_iou: float
    stability_score: float


class SegmentRequest(Record):
    """A prompt on a photo of the library or on an image, and the number of candidates."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "photo_id": "0e3f6f0c-3f5e-5b55-8d0b-5b3c0f0d9a77",
                    "prompt": {"points": [{"x": 320, "y": 240}, {"x": 10, "y": 10, "label": 0}]},
                },
                {"image_base64": "/9j/4AAQ...", "prompt": {"box_xywh": [40, 60, 200, 180]}},
            ]
        }
    )

    photo_id: Id | None = None
    image_base64: str | None = None
    prompt: PromptIn
    candidates: Annotated[int, Field(ge=1, le=3)] = 3

    @model_validator(mode="after")
    def _check_one_image(self) -> SegmentRequest:
        if (self.photo_id is None) == (self.image_base64 is None):
            raise ValueError("give a photo_id or an image_base64")
        if self.prompt.is_empty:
            raise ValueError("give at least one point, a box or a mask")
        return self


class SegmentResponse(Record):
    """Candidate masks, best predicted IoU first."""

    size_wh: tuple[int, int]
    candidates: tuple[CandidateOut, ...]
