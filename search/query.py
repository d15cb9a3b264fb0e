"""Queries, their examples, pages of results and cursors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from search.errors import UsageError
from search.records import Box, Hit, Mask, PhotoHit, RgbImage, SearchFilter

MAX_LIMIT = 1000
CURSOR_PREFIX = "after-"


@dataclass(frozen=True)
class TextExample:
    """Text to search for."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class SegmentExample:
    """A segment of the library to search for."""

    segment_id: str
    weight: float = 1.0


@dataclass(frozen=True)
class PhotoExample:
    """A whole photo of the library to search for."""

    photo_id: str
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class PictureExample:
    """Any image to search for: the segment under `mask`, or without a mask the whole image."""

    rgb: RgbImage
    mask: Mask | None = None
    bbox_xywh: Box | None = None
    weight: float = 1.0


Example = TextExample | SegmentExample | PhotoExample | PictureExample


@dataclass(frozen=True)
class Query:
    """What to search for, filters and paging.

    A negative weight means less similar to this. Scores are cosines to the combined vector; those
    of text are lower than those of images, so `min_score` depends on the kind of query.
    """

    examples: Sequence[Example]
    where: SearchFilter = field(default_factory=SearchFilter)
    limit: int = 20
    cursor: str | None = None
    min_score: float | None = None
    distinct: bool = False  # leave out segments that overlap a better hit of the same photo
    diversity: float = 0.0  # 0: by similarity; towards 1: more different from each other
    with_masks: bool = False
    with_uncut: bool = False  # also whole photos that have no segments yet


@dataclass(frozen=True)
class Page:
    """Hits, best first, and the cursor of the next page; None at the end."""

    hits: list[Hit]
    cursor: str | None
    uncut: list[PhotoHit] = field(default_factory=list)  # best first, on the first page


@dataclass(frozen=True)
class PhotoGroup:
    """The hits in one photo, best first."""

    photo_id: str
    hits: list[Hit]


@dataclass(frozen=True)
class GroupPage:
    """Photos with their hits, the photo with the best hit first."""

    groups: list[PhotoGroup]
    cursor: str | None
    uncut: list[PhotoHit] = field(default_factory=list)


def offset_from_cursor(cursor: str | None) -> int:
    """Number of ranks that a cursor skips; None skips none.

    Raises:
        UsageError: not a valid cursor.
    """
    if cursor is None:
        return 0
    number = cursor.removeprefix(CURSOR_PREFIX)
    if number == cursor or not number.isdecimal():
        raise UsageError(f"{cursor!r} is not a cursor; use the one of the previous page")
    return int(number)


def cursor_from_offset(offset: int) -> str:
    """Cursor of the page after `offset` results."""
    return f"{CURSOR_PREFIX}{offset}"
