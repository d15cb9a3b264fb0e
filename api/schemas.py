"""What goes over HTTP, and what `--json` prints: requests, answers, problems."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, model_validator

from search.finder import MAX_LIMIT
from search.records import Box, Fraction, Id, Mask, Place, Record, SearchFilter


class Point(Record):
    """A click: x,y in pixels of the upright photo; label 1 means inside, 0 outside."""

    x: float
    y: float
    label: Annotated[int, Field(ge=0, le=1)] = 1


class PromptIn(Record):
    """What is meant in a picture: points, a box, a mask to refine, or a mix."""

    points: tuple[Point, ...] = ()
    box_xywh: Box | None = None
    mask: Mask | None = None

    @property
    def is_empty(self) -> bool:
        """Say whether the whole picture is meant."""
        return not (self.points or self.box_xywh or self.mask)


class ExampleIn(Record):
    """One thing to look for: words, a segment, a photo of the library, or a picture.

    A photo or picture may come with a prompt: then the segment under it is meant.
    """

    text: Annotated[str, Field(max_length=1000)] | None = None
    segment_id: Id | None = None
    photo_id: Id | None = None
    image_base64: str | None = None
    prompt: PromptIn = PromptIn()
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0

    @model_validator(mode="after")
    def _is_one_thing(self) -> ExampleIn:
        given = [self.text, self.segment_id, self.photo_id, self.image_base64]
        if sum(each is not None for each in given) != 1:
            raise ValueError("an example is one of text, segment_id, photo_id and image_base64")
        if not self.prompt.is_empty and (self.text or self.segment_id):
            raise ValueError("a prompt goes with a photo_id or an image_base64")
        return self


class SearchRequest(Record):
    """A search: words in `text`, more examples in `positive`, what it must not be in `negative`."""

    text: Annotated[str, Field(max_length=1000)] | None = None
    positive: Annotated[tuple[ExampleIn, ...], Field(max_length=32)] = ()
    negative: Annotated[tuple[ExampleIn, ...], Field(max_length=32)] = ()
    filter: SearchFilter = SearchFilter()
    group_by_photo: bool = False
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 20
    cursor: str | None = None
    min_score: Annotated[float, Field(ge=-1, le=1)] | None = None
    diversity: Fraction = 0.0
    with_masks: bool = False

    @model_validator(mode="after")
    def _looks_for_something(self) -> SearchRequest:
        if self.text is None and not self.positive:
            raise ValueError("give a text or at least one positive example to look for")
        return self


class HitOut(Record):
    """A segment that was found."""

    segment_id: str
    photo_id: str
    path: str | None  # of a file that shows the photo; null while none is in reach
    score: float
    bbox_xywh: Box
    area_px: int
    area_fraction: float
    predicted_iou: float
    stability_score: float
    point_xy: tuple[float, float]
    mask: dict[str, Any] | None = None  # COCO's compressed RLE, {"size": [h, w], "counts": "..."}


class GroupOut(Record):
    """A photo and the best hits within it."""

    photo_id: str
    path: str | None
    hits: tuple[HitOut, ...]


class SearchResponse(Record):
    """One page of results: `hits`, or `groups` where grouping was asked for."""

    hits: tuple[HitOut, ...]
    groups: tuple[GroupOut, ...] | None = None
    cursor: str | None = None  # of the next page; null: that was all


class PhotoOut(Record):
    """A photo of the library."""

    photo_id: str
    path: str | None
    size_wh: tuple[int, int]
    sort_at: datetime
    camera: str | None
    location: Place | None
    hidden: bool
    segment_count: int


class PhotosResponse(Record):
    """One page of photos, newest first."""

    photos: tuple[PhotoOut, ...]
    cursor: str | None = None


class SegmentOut(Record):
    """A segment with its mask, in SAM's words."""

    segment_id: str
    photo_id: str
    bbox_xywh: Box
    area_px: int
    area_fraction: float
    predicted_iou: float
    stability_score: float
    point_xy: tuple[float, float]
    mask: dict[str, Any] | None = None


class CandidateOut(Record):
    """A mask that a prompt asked for, at the photo's full size."""

    segmentation: dict[str, Any]  # COCO's compressed RLE
    bbox_xywh: Box
    area_px: int
    predicted_iou: float
    stability_score: float


class SegmentRequest(Record):
    """A prompt on a photo of the library or on a picture; how many candidates to return."""

    photo_id: Id | None = None
    image_base64: str | None = None
    prompt: PromptIn
    candidates: Annotated[int, Field(ge=1, le=3)] = 3

    @model_validator(mode="after")
    def _has_one_picture(self) -> SegmentRequest:
        if (self.photo_id is None) == (self.image_base64 is None):
            raise ValueError("give a photo_id or an image_base64")
        if self.prompt.is_empty:
            raise ValueError("give at least one point, a box or a mask")
        return self


class SegmentResponse(Record):
    """Candidate masks, best predicted IoU first."""

    size_wh: tuple[int, int]
    candidates: tuple[CandidateOut, ...]


class RootOut(Record):
    """A folder that photos are taken from."""

    root_id: str
    path: str
    present: bool


class LibraryOut(Record):
    """What a library holds and what made it."""

    library: str
    segmenter: str
    encoder: str
    crop_recipe: str
    starter_models: bool  # the bundled small models know colours and shapes, not object names
    engine: str
    photos: int
    photos_hidden: int
    segments: int
    files: int
    files_vanished: int
    files_skipped: int
    roots: tuple[RootOut, ...]


class Problem(Record):
    """An error as RFC 9457 says it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    error: str  # the class of search/errors.py, for programs
