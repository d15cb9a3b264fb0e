"""Finding segments: by words, by a segment, by a picture, by any mix of them.

Every example becomes one unit vector; a query is their weighted sum, normalised. Nothing here
knows files, HTTP or SAM: a picture comes with the mask of what is meant in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from search.embedding import photo_vector, segment_vectors
from search.encoder import Encoder, encode_query
from search.errors import UsageError
from search.index import SegmentIndex
from search.records import (
    Box,
    Hit,
    Mask,
    PhotoHit,
    RgbImage,
    SearchFilter,
    Vectors,
)
from search.settings import CropRecipe

MAX_LIMIT = 1000
CURSOR_PREFIX = "after-"
# Spread of scores is judged on this many segments: the standard deviation is then known to 4%.
CALIBRATION_SAMPLE = 512
# Group search reads pages of this many hits a group wanted until it has enough groups.
HITS_A_GROUP = 4
# With diversity, so many times more candidates are looked at than are returned.
DIVERSITY_POOL = 5


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
    diversity: float = 0.0  # 0: by similarity alone; towards 1: the more unlike each other
    with_masks: bool = False


@dataclass(frozen=True)
class Page:
    """Hits, best first, and where the next page begins (None: that was all)."""

    hits: list[Hit]
    cursor: str | None


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


class Finder:
    """Answers queries from an index; the encoder is made when words or pictures first need it."""

    def __init__(
        self, index: SegmentIndex, encoder: Callable[[], Encoder], recipe: CropRecipe = "fusion"
    ) -> None:
        self._index = index
        self._encoder = encoder
        self._recipe = recipe

    def search(self, query: Query) -> Page:
        """Return one page of segments.

        Raises:
            UsageError: no example, a limit out of range, or a cursor from elsewhere.
            UnknownIdError: an example names a segment or photo that is not in the library.
        """
        _check(query)
        vector, offset = self.query_vector(query.examples), offset_from_cursor(query.cursor)
        if query.diversity > 0:
            return Page(self._diverse(query, vector), None)
        found = self._nearest(query, vector, query.limit + 1, offset)
        hits = found[: query.limit]
        more = len(found) > query.limit
        return Page(hits, cursor_from_offset(offset + query.limit) if more else None)

    def search_grouped(self, query: Query, *, hits_per_photo: int = 3) -> GroupPage:
        """Return `limit` photos with up to `hits_per_photo` hits each.

        Raises:
            UsageError, UnknownIdError: as `search`.
        """
        _check(query)
        vector, start = self.query_vector(query.examples), offset_from_cursor(query.cursor)
        seen: dict[str, list[Hit]] = {}
        step = (query.limit + start) * HITS_A_GROUP
        offset = 0
        while len(seen) <= start + query.limit:
            page = self._nearest(query, vector, step, offset)
            for hit in page:
                seen.setdefault(hit.segment.photo_id, []).append(hit)
            offset += len(page)
            if len(page) < step:
                break
        groups = [PhotoGroup(photo, hits[:hits_per_photo]) for photo, hits in seen.items()]
        more = len(groups) > start + query.limit
        return GroupPage(
            groups[start : start + query.limit],
            cursor_from_offset(start + query.limit) if more else None,
        )

    def search_photos(self, query: Query) -> list[PhotoHit]:
        """Return whole photos, best first.

        Raises:
            UsageError, UnknownIdError: as `search`.
        """
        _check(query)
        return self._index.nearest_photos(
            self.query_vector(query.examples),
            query.where,
            limit=query.limit,
            offset=offset_from_cursor(query.cursor),
            min_score=query.min_score,
        )

    def query_vector(self, examples: Sequence[Example]) -> Vectors:
        """Return the normalised weighted sum of the examples' unit vectors, (1, dim).

        Where kinds mix, each weight is divided by the spread of that example's scores over a
        sample of the library: cosines between words and crops vary several times less than those
        between crops, and would otherwise hardly count.

        Raises:
            UsageError: there is no example, or they cancel each other out.
        """
        if not examples:
            raise UsageError("a query needs words, a segment, a photo or a picture to look for")
        rows = np.concatenate([self._vector(example) for example in examples])  # (n, dim)
        weights = np.array([example.weight for example in examples], np.float32)
        if len({isinstance(example, TextExample) for example in examples}) > 1:
            weights /= self._spreads(rows)
        mixed = weights @ rows
        length = float(np.linalg.norm(mixed))
        if length < 1e-6:
            raise UsageError("the examples cancel each other out: nothing is left to look for")
        return np.asarray(mixed[None] / length, np.float32)

    def _vector(self, example: Example) -> Vectors:
        match example:
            case TextExample(text=text):
                return encode_query(self._encoder(), text)
            case SegmentExample(segment_id=segment_id):
                return self._index.segment_vectors([segment_id])
            case PhotoExample(photo_id=photo_id):
                return self._index.photo_vectors([photo_id])
            case PictureExample():
                return self._picture_vector(example)

    def _picture_vector(self, example: PictureExample) -> Vectors:
        encoder = self._encoder()
        if example.mask is None or example.bbox_xywh is None:
            return photo_vector(encoder, example.rgb)
        segment = [(example.mask, example.bbox_xywh)]
        return segment_vectors(encoder, example.rgb, segment, self._recipe)

    def _spreads(self, rows: Vectors) -> Vectors:
        """Return the standard deviation of each row's scores over a sample, (n,)."""
        sample = self._index.sample_vectors(CALIBRATION_SAMPLE)
        if len(sample) < 2:
            return np.ones(len(rows), np.float32)
        spreads = (sample @ rows.T).std(axis=0)
        return np.maximum(spreads, 1e-4, dtype=np.float32)

    def _nearest(self, query: Query, vector: Vectors, limit: int, offset: int) -> list[Hit]:
        return self._index.nearest_segments(
            vector,
            query.where,
            limit=limit,
            offset=offset,
            min_score=query.min_score,
            with_masks=query.with_masks,
        )

    def _diverse(self, query: Query, vector: Vectors) -> list[Hit]:
        """Choose one by one what is like the query and unlike what was chosen.

        Maximal marginal relevance (Carbonell and Goldstein, 1998).
        """
        pool = self._nearest(query, vector, query.limit * DIVERSITY_POOL, 0)
        rows = self._index.segment_vectors([hit.segment.segment_id for hit in pool])
        relevance = (1 - query.diversity) * np.array([hit.score for hit in pool], np.float32)
        nearest_chosen = np.zeros(len(pool), np.float32)
        chosen: list[int] = []
        while len(chosen) < min(query.limit, len(pool)):
            gain = relevance - query.diversity * nearest_chosen
            gain[chosen] = -np.inf
            best = int(np.argmax(gain))
            chosen.append(best)
            nearest_chosen = np.maximum(nearest_chosen, rows @ rows[best])
        return [pool[i] for i in chosen]


def offset_from_cursor(cursor: str | None) -> int:
    """Return how many results a cursor skips; None skips none.

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


def _check(query: Query) -> None:
    if not 1 <= query.limit <= MAX_LIMIT:
        raise UsageError(f"limit must be from 1 to {MAX_LIMIT}, not {query.limit}")
    if not 0 <= query.diversity <= 1:
        raise UsageError(f"diversity must be from 0 to 1, not {query.diversity:g}")
