"""What goes over HTTP, and what `--json` prints: requests, answers, problems."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from search.masks.rle import runs_from_counts
from search.query import MAX_LIMIT
from search.records import Box, DateSource, Fraction, Id, Mask, Place, Record, SearchFilter

MAX_MASK_PIXELS = 100_000_000  # of a mask that is sent; a few characters can claim any size
# A 12-megapixel mask has some 20,000; unpacking holds up all other requests: 4 ms at this length.
MAX_MASK_CHARS = 200_000
MAX_POINTS = 100
MAX_SEARCHES = 32  # in a batch
MAX_BATCH_HITS = 2 * MAX_LIMIT  # of all its searches: some MB of JSON
MAX_CURSOR_CHARS = 13  # `after-` and seven digits: nobody pages further, and a store may not either


class Problem(Record):
    """An error as RFC 9457 says it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "there is nothing at /v1/nothing; /openapi.json lists what is",
                    "error": "UsageError",
                }
            ]
        }
    )

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    error: str  # the class of search/errors.py, for programs


class Point(Record):
    """A click: x,y in pixels of the upright photo; label 1 means inside, 0 outside."""

    x: float
    y: float
    label: Annotated[int, Field(ge=0, le=1)] = 1


class PromptIn(Record):
    """What is meant in a picture: points, a box, a mask to refine, or a mix."""

    points: Annotated[tuple[Point, ...], Field(max_length=MAX_POINTS)] = ()
    box_xywh: Box | None = None
    mask: Mask | None = None

    @field_validator("mask")
    @classmethod
    def _is_whole(cls, mask: Mask | None) -> Mask | None:
        if mask is not None:
            width, height = mask.size_wh
            if len(mask.counts) > MAX_MASK_CHARS:
                raise ValueError(f"the counts of a mask may have {MAX_MASK_CHARS:,} characters")
            if width * height > MAX_MASK_PIXELS:
                raise ValueError(f"a mask may have {MAX_MASK_PIXELS:,} pixels at most")
            if runs_from_counts(mask.counts).sum() != width * height:
                raise ValueError(f"the runs of the mask do not fill {width} x {height} pixels")
        return mask

    @property
    def is_empty(self) -> bool:
        """Say whether the whole picture is meant."""
        return not (self.points or self.box_xywh or self.mask)


def _not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty: say what to look for")
    return text


SearchWords = Annotated[str, Field(max_length=1000), AfterValidator(_not_empty)]


class ExampleIn(Record):
    """One thing to look for: words, a segment, a photo of the library, or a picture.

    A photo or picture may come with a prompt: then the segment under it is meant.
    """

    text: SearchWords | None = None
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


class SearchOptions(Record):
    """Where to look, and how the results should come."""

    filter: SearchFilter = SearchFilter()
    group_by_photo: bool = False
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 20
    cursor: Annotated[str, Field(max_length=MAX_CURSOR_CHARS)] | None = None
    min_score: Annotated[float, Field(ge=-1, le=1)] | None = None
    distinct: Annotated[
        bool,
        Field(description="Leave out segments that overlap a better one of the same photo."),
    ] = False
    diversity: Fraction = 0.0
    with_masks: bool = False


class SearchRequest(SearchOptions):
    """A search: words in `text`, more examples in `positive`, what it must not be in `negative`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"text": "red mug", "limit": 10},
                {
                    "positive": [{"segment_id": "6f1c2a52-5d0e-5c3b-9c0a-0c2f3f0f7a11"}],
                    "negative": [{"text": "wood", "weight": 0.5}],
                    "filter": {"taken_from": "2024-05-01"},
                    "group_by_photo": True,
                },
            ]
        }
    )

    text: SearchWords | None = None
    positive: Annotated[tuple[ExampleIn, ...], Field(max_length=32)] = ()
    negative: Annotated[tuple[ExampleIn, ...], Field(max_length=32)] = ()

    @model_validator(mode="after")
    def _looks_for_something(self) -> SearchRequest:
        if self.text is None and not self.positive:
            raise ValueError("give a text or at least one positive example to look for")
        return self

    @property
    def decodes(self) -> bool:
        """Say whether pictures have to be decoded, and perhaps cut: slow, and much memory."""
        return any(
            each.image_base64 is not None or not each.prompt.is_empty
            for each in (*self.positive, *self.negative)
        )


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


class WholePhotoOut(Record):
    """A photo that was found as a whole: it has no segments yet."""

    photo_id: str
    path: str | None
    score: float
    size_wh: tuple[int, int]


class CoverageOut(Record):
    """How much of the library a search goes over while an ingest is not through."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"photos": 9000, "photos_segmented": 120, "files_waiting": 1000}]
        }
    )

    photos: int  # found as whole photos, those with segments among them
    photos_segmented: int
    files_waiting: int  # not looked at yet


class SearchResponse(Record):
    """One page of results: `hits`, or `groups` where grouping was asked for."""

    hits: tuple[HitOut, ...]
    groups: tuple[GroupOut, ...] | None = None
    cursor: str | None = None  # of the next page; null: that was all
    uncut: tuple[WholePhotoOut, ...] = ()  # best first, with the first page
    coverage: CoverageOut | None = None  # null: all photos are searched by their segments


class BatchRequest(Record):
    """Several searches at once; their limits may not add up to more than 2,000."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"searches": [{"text": "red mug"}, {"text": "bicycle", "limit": 5}]}]
        }
    )

    searches: Annotated[tuple[SearchRequest, ...], Field(min_length=1, max_length=MAX_SEARCHES)]

    @model_validator(mode="after")
    def _is_not_too_much(self) -> BatchRequest:
        wanted = sum(search.limit for search in self.searches)
        if wanted > MAX_BATCH_HITS:
            raise ValueError(f"the limits add up to {wanted}, and may to {MAX_BATCH_HITS}")
        return self


class BatchResult(Record):
    """What one search of several found, or why it could not be done: one of the two."""

    response: SearchResponse | None = None
    problem: Problem | None = None


class BatchResponse(Record):
    """What each search found, in the order that they were asked."""

    results: tuple[BatchResult, ...]


class PhotoOut(Record):
    """A photo of the library."""

    photo_id: str
    path: str | None
    size_wh: tuple[int, int]
    sort_at: datetime  # when it was taken; where nothing says so, the file's time
    taken_at: datetime | None  # null if nothing says so
    date_source: DateSource  # file: nothing says it; unknown: noted before sources were
    camera: str | None
    location: Place | None
    hidden: bool
    segment_count: int
    segmented: bool  # false: it is found as a whole, its segments are still to come


class PhotosResponse(Record):
    """One page of photos, newest first."""

    photos: tuple[PhotoOut, ...]
    cursor: str | None = None


class Count(Record):
    """How many photos have this value."""

    value: str
    count: int


class FolderCount(Record):
    """How many photos are in a folder or below it."""

    folder: str  # as filters name it
    name: str
    count: int


class FacetsOut(Record):
    """What there is to filter by, and how many photos each choice has."""

    cameras: tuple[Count, ...]
    months: tuple[Count, ...]  # by the photos' own clocks, undated ones left out
    undated: int  # photos of which nothing says when they were taken
    folders: tuple[FolderCount, ...]


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


class MaskRleOut(Record):
    """A mask as COCO's compressed RLE."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"size": [768, 1024], "counts": "fTc21_g01O0O1"}]}
    )

    size: tuple[int, int]  # height, width
    counts: str


class MaskPolygonsOut(Record):
    """A mask as closed outlines along pixel edges, holes among them: fill by the even-odd rule."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"size": [768, 1024], "polygons": [[2, 1, 9, 1, 9, 5, 2, 5]]}]
        }
    )

    size: tuple[int, int]  # height, width
    polygons: tuple[tuple[int, ...], ...]  # each x, y, x, y, ...


class RemovedOut(Record):
    """Photos that the library has forgotten."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"photos_removed": ["0e3f6f0c-3f5e-5b55-8d0b-5b3c0f0d9a77"]}]
        }
    )

    photos_removed: tuple[str, ...]


class SegmentsResponse(Record):
    """Every segment of a photo, largest first."""

    segments: tuple[SegmentOut, ...]


class CandidateOut(Record):
    """A mask that a prompt asked for, at the photo's full size."""

    segmentation: dict[str, Any]  # COCO's compressed RLE
    bbox_xywh: Box
    area_px: int
    predicted_iou: float
    stability_score: float


class SegmentRequest(Record):
    """A prompt on a photo of the library or on a picture; how many candidates to return."""

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
    photos: int  # found as whole photos, those with segments among them
    photos_segmented: int
    photos_hidden: int
    photos_excluded: int = 0  # of those: their files are there and left out, by patterns or default
    segments: int
    files: int
    files_waiting: int  # not looked at yet
    files_vanished: int
    files_excluded: int = 0
    files_unread: int = 0  # pictures and videos in formats that are not read
    unread: dict[str, int] = Field(default_factory=dict)  # how many of each extension, most first
    files_skipped: int
    roots: tuple[RootOut, ...]
    may_change: bool = True  # whether who asks may add and remove; a read-only key may not


class IngestRequest(Record):
    """What to bring up to date: everything, one root, or a folder or file below a root."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{}, {"root_id": "9197b730"}, {"root_id": "9197b730", "path": "2024/trip"}]
        }
    )

    root_id: Annotated[
        str | None, Field(max_length=64, description="As `/v1/library` lists it; null: all roots.")
    ] = None
    path: Annotated[
        str, Field(max_length=4096, description="Below that root, with `/`; empty: all of it.")
    ] = ""

    @model_validator(mode="after")
    def _path_has_a_root(self) -> IngestRequest:
        if self.path and self.root_id is None:
            raise ValueError("a path is below a root: give root_id too")
        return self


class JobOut(Record):
    """An ingest, and how far it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "job_id": "7b0f2f1e-6d8c-4c55-9d0e-2f6f2a6a7f10",
                    "state": "running",
                    "root_id": "9197b730",
                    "path": "2024/trip",
                    "started_at": "2024-05-01T12:00:00Z",
                    "photos_seen": 40,
                    "photos_through": 10,
                    "photos_ingested": 8,
                    "photos_skipped": 1,
                    "segments": 300,
                    "seconds": 5.2,
                    "message": None,
                }
            ]
        }
    )

    job_id: str
    state: Literal["running", "done", "failed", "cancelled"]
    root_id: str | None
    path: str
    started_at: datetime
    photos_seen: int = 0
    photos_through: int = 0  # done with, one way or another
    photos_whole: int = 0  # of photos_new: can be found as a whole
    photos_new: int = 0
    photos_ingested: int = 0
    photos_skipped: int = 0
    segments: int = 0
    seconds: float = 0.0
    message: str | None = None  # why it failed, or what there is to know besides


class JobsOut(Record):
    """The job that runs and those that ended last, newest first."""

    jobs: tuple[JobOut, ...]


class KeyIn(Record):
    """The key that a person signs in with."""

    key: Annotated[str, Field(max_length=1000)]


class HealthOut(Record):
    """The process is alive."""

    alive: bool = True


class ReadyOut(Record):
    """Whether searches would be answered now; parts are `ready`, `loading`, or say what failed."""

    ready: bool
    parts: dict[str, str]
