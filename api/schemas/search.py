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
MAX_BATCH_HITS = 2 * MAX_LIMIT  # of all its searches: some MB of JSON
MAX_CURSOR_CHARS = 13  # `after-` and seven digits: nobody pages further, and a store may not either


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


class HitOut(SegmentOut):
    """A segment that was found."""

    path: str | None  # of a file that shows the photo; null while none is in reach
    score: float


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
