"""What is looked for, and what comes back: examples, queries, pages and their cursors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from search.errors import UsageError
from search.records import Box, Hit, Mask, PhotoHit, RgbImage, SearchFilter

MAX_LIMIT = 1000
CURSOR_PREFIX = "after-"


@dataclass(frozen=True)
class TextExample:
    """Words."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class SegmentExample:
    """A segment of the library."""

    segment_id: str
    weight: float = 1.0


@dataclass(frozen=True)
class PhotoExample:
    """A whole photo of the library."""

    photo_id: str
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class PictureExample:
    """Any picture: the segment under `mask`, or without one the whole of it."""

    rgb: RgbImage
    mask: Mask | None = None
    bbox_xywh: Box | None = None
    weight: float = 1.0


Example = TextExample | SegmentExample | PhotoExample | PictureExample


@dataclass(frozen=True)
class Query:
    """What to look for, where, and how much of it.

    A negative weight means: less like this. Scores are cosines of the mixed vector; those of words
    and of pictures differ in scale (words score lower), so choose `min_score` by kind of query.
    """

    examples: Sequence[Example]
    where: SearchFilter = field(default_factory=SearchFilter)
    limit: int = 20
    cursor: str | None = None
    min_score: float | None = None
    distinct: bool = False  # leave out what overlaps a better hit of the same photo
    diversity: float = 0.0  # 0: by similarity alone; towards 1: the more unlike each other
    with_masks: bool = False
    with_uncut: bool = False  # whole photos, too, that have no segments yet


@dataclass(frozen=True)
class Page:
    """Hits, best first, and where the next page begins (None: that was all)."""

    hits: list[Hit]
    cursor: str | None
    uncut: list[PhotoHit] = field(default_factory=list)  # best first, on the first page


@dataclass(frozen=True)
class PhotoGroup:
    """The hits within one photo, best first."""

    photo_id: str
    hits: list[Hit]


@dataclass(frozen=True)
class GroupPage:
    """Photos with their hits, the photo of the best hit first."""

    groups: list[PhotoGroup]
    cursor: str | None
    uncut: list[PhotoHit] = field(default_factory=list)


def offset_from_cursor(cursor: str | None) -> int:
    """Return how many ranks a cursor skips; None skips none.

    Raises:
        UsageError: it is not a cursor of ours.
    """
    if cursor is None:
        return 0
    number = cursor.removeprefix(CURSOR_PREFIX)
    if number == cursor or not number.isdecimal():
        raise UsageError(f"{cursor!r} is not a cursor; pass on the one of the page before")
    return int(number)


def cursor_from_offset(offset: int) -> str:
    """Return the cursor of the page that begins after `offset` results."""
    return f"{CURSOR_PREFIX}{offset}"
