"""Search requests and responses."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from api.schemas.problems import Problem
from api.schemas.prompts import PromptIn
from api.schemas.segments import SegmentOut
from search.query import MAX_LIMIT
from search.records import Fraction, Id, Record, SearchFilter

MAX_SEARCHES = 32  # in a batch
MAX_BATCH_HITS = 2 * MAX_LIMIT  # of all searches in a batch: some MB of JSON
MAX_CURSOR_CHARS = 13  # `after-` and seven digits


def _not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty: give a text to search for")
    return text


SearchWords = Annotated[str, Field(max_length=1000), AfterValidator(_not_empty)]


class ExampleIn(Record):
    """One example: a text, a segment, a photo of the library, or an image.

    With a prompt, a photo or image stands for the segment that the prompt selects.
    """

    text: SearchWords | None = None
    segment_id: Id | None = None
    photo_id: Id | None = None
    image_base64: str | None = None
    prompt: PromptIn = PromptIn()
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0

    @model_validator(mode="after")
    def _check_one_kind(self) -> ExampleIn:
        given = [self.text, self.segment_id, self.photo_id, self.image_base64]
        if sum(each is not None for each in given) != 1:
            raise ValueError("an example is one of text, segment_id, photo_id and image_base64")
        if not self.prompt.is_empty and (self.text or self.segment_id):
            raise ValueError("a prompt goes with a photo_id or an image_base64")
        return self


class SearchOptions(Record):
    """Filter, paging and presentation of results."""

    filter: SearchFilter = SearchFilter()
    group_by_photo: bool = False
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 20
    cursor: Annotated[str, Field(max_length=MAX_CURSOR_CHARS)] | None = None
    min_score: Annotated[float, Field(ge=-1, le=1)] | None = None
    distinct: Annotated[
        bool,
        Field(description="Omit segments that overlap a better one of the same photo."),
    ] = False
    diversity: Fraction = 0.0
    with_masks: bool = False


class SearchRequest(SearchOptions):
    """A search by `text` and by `positive` examples, away from `negative` ones."""

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
    def _check_has_example(self) -> SearchRequest:
        if self.text is None and not self.positive:
            raise ValueError("give a text or at least one positive example")
        return self

    @property
    def decodes(self) -> bool:
        """Whether images must be decoded or segmented, which is slow and needs much memory."""
        return any(
            each.image_base64 is not None or not each.prompt.is_empty
            for each in (*self.positive, *self.negative)
        )


class HitOut(SegmentOut):
    """A segment with its score."""

    path: str | None  # of a file of the photo; null if none is available
    score: float


class GroupOut(Record):
    """A photo and its best hits."""

    photo_id: str
    path: str | None
    hits: tuple[HitOut, ...]


class WholePhotoOut(Record):
    """A hit on a photo without segments so far, by its whole image."""

    photo_id: str
    path: str | None
    score: float
    size_wh: tuple[int, int]


class CoverageOut(Record):
    """How much of the library a search covers before an ingest is complete."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"photos": 9000, "photos_segmented": 120, "files_waiting": 1000}]
        }
    )

    photos: int  # searchable at least as whole photos
    photos_segmented: int
    files_waiting: int  # not read yet


class SearchResponse(Record):
    """One page of results: `hits`, or `groups` with `group_by_photo`."""

    hits: tuple[HitOut, ...]
    groups: tuple[GroupOut, ...] | None = None
    cursor: str | None = None  # of the next page; null on the last one
    uncut: tuple[WholePhotoOut, ...] = ()  # best first, on the first page only
    coverage: CoverageOut | None = None  # null: all photos are segmented


class BatchRequest(Record):
    """Several searches; their limits may add up to at most 2,000."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"searches": [{"text": "red mug"}, {"text": "bicycle", "limit": 5}]}]
        }
    )

    searches: Annotated[tuple[SearchRequest, ...], Field(min_length=1, max_length=MAX_SEARCHES)]

    @model_validator(mode="after")
    def _check_limits(self) -> BatchRequest:
        total = sum(search.limit for search in self.searches)
        if total > MAX_BATCH_HITS:
            raise ValueError(f"the limits add up to {total}; at most {MAX_BATCH_HITS} are allowed")
        return self


class BatchResult(Record):
    """The response of one search in a batch, or its problem."""

    response: SearchResponse | None = None
    problem: Problem | None = None


class BatchResponse(Record):
    """The results of a batch, in the order of its searches."""

    results: tuple[BatchResult, ...]
