"""Search for segments by text, segments, photos and images, in any combination.

Each example becomes a unit vector; a query is their normalized weighted sum. Nothing here knows
files, HTTP or SAM: an image comes with the mask of the segment to search for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Literal, NamedTuple

import numpy as np

from search.errors import DamagedError, UsageError
from search.index.base import RankedSegment, SegmentIndex
from search.masks.outlines import Outline, Outlines
from search.models.embedding import photo_vector, segment_vectors
from search.models.encoder import Encoder, encode_query
from search.query import (
    MAX_LIMIT,
    Example,
    GroupPage,
    Page,
    PhotoExample,
    PhotoGroup,
    PictureExample,
    Query,
    SegmentExample,
    TextExample,
    cursor_from_offset,
    offset_from_cursor,
)
from search.ranking.diversity import diverse_order
from search.records import Hit, PhotoHit, SearchFilter, Segment, Vectors
from search.settings import CropRecipe

# Sample for the standard deviation of scores, which is then known to 4%.
CALIBRATION_SAMPLE = 512
# Lower bound of that deviation: dividing by less would amplify noise.
MIN_SPREAD = 1e-4
# A weighted sum shorter than this is rounding error: float32 keeps seven digits.
MIN_LENGTH = 1e-6
# With diversity, candidates as a multiple of the limit.
DIVERSITY_POOL = 5

ScoredSegments = list[tuple[str, float]]  # segment ids and scores, best first
Timer = Callable[[Literal["encode", "find"]], AbstractContextManager[None]]


class ReadSizes(NamedTuple):
    """How many ranked segments grouped and distinct searches read from the index at once.

    A grouped search starts with `per_group` for each group and doubles that until it has seen
    enough photos.
    """

    per_group: int = 4
    per_distinct: int = 6  # for each hit of a page without overlaps
    most: int = 2_000  # in one request
    most_per_page: int = 20_000  # a page without overlaps may then have fewer hits than its limit


DEFAULT_READ_SIZES = ReadSizes()


def _untimed(_: str) -> AbstractContextManager[None]:
    return nullcontext()


class Finder:
    """Answers queries from an index; the encoder is loaded when a query first needs it."""

    def __init__(
        self,
        index: SegmentIndex,
        encoder: Callable[[], Encoder],
        recipe: CropRecipe = "fusion",
        outlines: Outlines | None = None,
        *,
        timer: Timer = _untimed,
        read_sizes: ReadSizes = DEFAULT_READ_SIZES,
    ) -> None:
        """Search an index.

        Args:
            index: the segments.
            encoder: loads the encoder, or returns the loaded one.
            recipe: how segments of images are cropped for the encoder.
            outlines: a cache to share with other finders.
            timer: wraps each use of the encoder ("encode") and each search of the index ("find").
            read_sizes: how much to read from the index at once.
        """
        self._index = index
        self._encoder = encoder
        self._recipe = recipe
        self._outlines = outlines or Outlines()
        self._timer = timer
        self._sizes = read_sizes

    def search(self, query: Query) -> Page:
        """One page of segments.

        Raises:
            UsageError: no example, a limit out of range, an invalid cursor, or a second page of
                diverse results.
            UnknownIdError: an example is a segment or photo that is not in the library.
        """
        _check(query)
        vector, offset = self.query_vector(query.examples), offset_from_cursor(query.cursor)
        if query.diversity > 0:
            if offset:
                raise UsageError("diverse results have one page: ask for a higher limit instead")
            return Page(self._diverse(query, vector), None, self._uncut(query, vector))
        hits, following = self._page(query, vector, query.limit, offset)
        cursor = None if following is None else cursor_from_offset(following)
        return Page(hits, cursor, self._uncut(query, vector))

    def _page(
        self, query: Query, vector: Vectors, limit: int, offset: int
    ) -> tuple[list[Hit], int | None]:
        """`limit` hits from rank `offset`, and the rank of the next one, if there is one."""
        if query.distinct:
            return self._distinct(query, vector, limit, offset)
        found = self._nearest(query, vector, limit + 1, offset)
        return found[:limit], offset + limit if len(found) > limit else None

    def _distinct(
        self, query: Query, vector: Vectors, limit: int, offset: int
    ) -> tuple[list[Hit], int | None]:
        """The same without hits that overlap a better one of the same photo.

        What is left out depends only on better ranks, so consecutive pages are consistent. After
        `read_sizes.most_per_page` ranks a page ends, even with fewer hits than its limit.
        """
        found: list[tuple[int, str, float]] = []  # rank, segment, score
        better: dict[str, list[Outline]] = {}
        earlier: list[RankedSegment] = []
        rank, following = offset, None
        for block in self._blocks(query, vector, offset, limit + 1):
            new = {photo_id for _, photo_id, _ in block} - better.keys()
            if new and offset and not earlier:
                earlier = self._ranked(query, vector, offset)
            better |= {photo_id: [] for photo_id in new}
            self._settle([each for each in earlier if each[1] in new], better)
            found += [
                (rank + place, segment_id, score)
                for place, (segment_id, _, score) in self._settle(block, better)
            ]
            rank += len(block)
            if len(found) > limit or rank >= offset + self._sizes.most_per_page:
                following = found[limit][0] if len(found) > limit else rank
                break
        scores = {segment_id: score for _, segment_id, score in found[:limit]}
        read = self._index.segments(list(scores), with_masks=query.with_masks)
        return [Hit(score=scores[each.segment_id], segment=each) for each in read], following

    def _blocks(
        self, query: Query, vector: Vectors, start: int, size: int
    ) -> Iterator[list[RankedSegment]]:
        """Ranked segments from rank `start`, in blocks of `size`."""
        step = min(size * self._sizes.per_distinct, self._sizes.most)
        while True:
            read = self._rank(query, query.where, vector, step, start)
            yield from (read[at : at + size] for at in range(0, len(read), size))
            if len(read) < step:
                return
            start += step

    def _ranked(self, query: Query, vector: Vectors, end: int) -> list[RankedSegment]:
        """The first `end` ranked segments."""
        ranked: list[RankedSegment] = []
        for start in range(0, end, self._sizes.most):
            size = min(end - start, self._sizes.most)
            ranked += self._rank(query, query.where, vector, size, start)
        return ranked

    def _settle(
        self, ranked: Sequence[RankedSegment], better: dict[str, list[Outline]]
    ) -> list[tuple[int, RankedSegment]]:
        """Segments that overlap no better one of their photo, with their positions in `ranked`.

        Each is added to `better`.
        """
        from search.masks.overlap import overlaps  # it imports numba, which takes half a second

        outlines = self._outlines.of([each[0] for each in ranked], self._readable)
        distinct = []
        for place, each in enumerate(ranked):
            outline, others = outlines.get(each[0]), better[each[1]]
            if outline is None:  # deleted in the meantime, or damaged
                continue
            if not any(overlaps(outline, other) for other in others):
                others.append(outline)
                distinct.append((place, each))
        return distinct

    def _readable(self, segment_ids: Sequence[str]) -> list[Segment]:
        """Segments with their masks, or without where these are damaged."""
        try:
            return self._index.segments(segment_ids, with_masks=True)
        except DamagedError:  # of one of them: read them one by one
            return [segment for each in segment_ids for segment in self._readable_one(each)]

    def _readable_one(self, segment_id: str) -> list[Segment]:
        for with_masks in (True, False):
            with suppress(DamagedError):
                return self._index.segments([segment_id], with_masks=with_masks)
        return []

    def search_grouped(self, query: Query, *, hits_per_photo: int = 3) -> GroupPage:
        """`limit` photos with up to `hits_per_photo` hits each.

        Raises:
            UsageError, UnknownIdError: as `search`; also with diversity or distinct, which can't be
            combined with groups.
        """
        _check(query)
        if query.diversity > 0 or query.distinct:
            option = "diversity" if query.diversity > 0 else "distinct"
            raise UsageError(f"{option} can't be combined with grouping by photo")
        vector, start = self.query_vector(query.examples), offset_from_cursor(query.cursor)
        end = start + query.limit
        ranked = self._ranked_by_photo(query, vector, end + 1)
        best = {
            photo_id: self._best_of(photo_id, seen, query, vector, hits_per_photo)
            for photo_id, seen in list(ranked.items())[start:end]
        }
        ids = [segment_id for of_photo in best.values() for segment_id, _ in of_photo]
        segments = {
            segment.segment_id: segment
            for segment in self._index.segments(ids, with_masks=query.with_masks)
        }
        groups = [
            PhotoGroup(
                photo_id, [Hit(score=score, segment=segments[each]) for each, score in of_photo]
            )
            for photo_id, of_photo in best.items()
            if all(each in segments for each, _ in of_photo)  # not deleted in the meantime
        ]
        cursor = cursor_from_offset(end) if len(ranked) > end else None
        return GroupPage(groups, cursor, self._uncut(query, vector))

    def _ranked_by_photo(
        self, query: Query, vector: Vectors, photos: int
    ) -> dict[str, ScoredSegments]:
        """Scored segments of `photos` or more photos, best photo first, as far as read."""
        found: dict[str, ScoredSegments] = {}
        offset, step = 0, min(photos * self._sizes.per_group, self._sizes.most)
        while len(found) < photos:
            ranked = self._rank(query, query.where, vector, step, offset)
            for segment_id, photo_id, score in ranked:
                found.setdefault(photo_id, []).append((segment_id, score))
            if len(ranked) < step:
                break
            if not offset:  # a small library has fewer photos than asked for
                photos = min(photos, self._index.count("photos", query.where))
            offset, step = offset + step, min(2 * step, self._sizes.most)
        return found

    def _best_of(
        self, photo_id: str, seen: ScoredSegments, query: Query, vector: Vectors, wanted: int
    ) -> ScoredSegments:
        """The best segments of a photo; searches for those that were not read yet."""
        if len(seen) >= wanted:
            return seen[:wanted]
        here = query.where.model_copy(update={"photo_ids": (photo_id,)})
        ranked = self._rank(query, here, vector, wanted)
        return [(segment_id, score) for segment_id, _, score in ranked]

    def _uncut(self, query: Query, vector: Vectors) -> list[PhotoHit]:
        """Whole photos that have no segments yet, if the query includes them.

        They score lower than segments, as the object is only a part of each. So they are not
        ranked among the hits, and come with the first page only.
        """
        if not query.with_uncut or query.cursor is not None or query.where.is_about_segments:
            return []
        return self._nearest_photos(query, vector, unsegmented=True)

    def search_photos(self, query: Query) -> list[PhotoHit]:
        """Whole photos, best first.

        Raises:
            UsageError, UnknownIdError: as `search`.
        """
        _check(query)
        vector, offset = self.query_vector(query.examples), offset_from_cursor(query.cursor)
        return self._nearest_photos(query, vector, offset)

    def query_vector(self, examples: Sequence[Example]) -> Vectors:
        """(1, dim) normalized weighted sum of the examples' unit vectors.

        If text and images are mixed, each weight is divided by the standard deviation of that
        example's scores over a sample of the library: cosines of text and crops vary several times
        less than those of two crops, and would otherwise hardly count.

        Raises:
            UsageError: no example, or they cancel each other out.
        """
        if not examples:
            raise UsageError("a query needs text, a segment, a photo or an image to search for")
        rows = np.concatenate([self._vector(example) for example in examples])  # (n, dim)
        weights = np.array([example.weight for example in examples], np.float32)
        if len({isinstance(example, TextExample) for example in examples}) > 1:
            weights /= self._spreads(rows)
        mixed = weights @ rows
        length = float(np.linalg.norm(mixed))
        if not length >= MIN_LENGTH:  # so that NaN, too, ends here
            raise UsageError("the examples cancel each other out: nothing is left to search for")
        return np.asarray(mixed[None] / length, np.float32)

    def _vector(self, example: Example) -> Vectors:
        match example:
            case TextExample(text=text):
                encoder = self._encoder()
                with self._timer("encode"):
                    return encode_query(encoder, text)
            case SegmentExample(segment_id=segment_id):
                return self._index.segment_vectors([segment_id])
            case PhotoExample(photo_id=photo_id):
                return self._index.photo_vectors([photo_id])
            case PictureExample():
                return self._picture_vector(example)

    def _picture_vector(self, example: PictureExample) -> Vectors:
        encoder = self._encoder()
        with self._timer("encode"):
            if example.mask is None or example.bbox_xywh is None:
                return photo_vector(encoder, example.rgb)
            segment = [(example.mask, example.bbox_xywh)]
            return segment_vectors(encoder, example.rgb, segment, self._recipe)

    def _spreads(self, rows: Vectors) -> Vectors:
        """(n,) standard deviation of each row's scores over a sample."""
        sample = self._index.sample_vectors(CALIBRATION_SAMPLE)
        if len(sample) < 2:
            return np.ones(len(rows), np.float32)
        spreads = (sample @ rows.T).std(axis=0)
        return np.asarray(np.maximum(spreads, MIN_SPREAD), np.float32)

    def _nearest(self, query: Query, vector: Vectors, limit: int, offset: int) -> list[Hit]:
        with self._timer("find"):
            return self._index.nearest_segments(
                vector,
                query.where,
                limit=limit,
                offset=offset,
                min_score=query.min_score,
                with_masks=query.with_masks,
            )

    def _nearest_photos(
        self, query: Query, vector: Vectors, offset: int = 0, *, unsegmented: bool = False
    ) -> list[PhotoHit]:
        with self._timer("find"):
            return self._index.nearest_photos(
                vector,
                query.where,
                limit=query.limit,
                offset=offset,
                min_score=query.min_score,
                unsegmented=unsegmented,
            )

    def _rank(
        self, query: Query, where: SearchFilter, vector: Vectors, limit: int, offset: int = 0
    ) -> list[RankedSegment]:
        with self._timer("find"):
            return self._index.ranked_segments(
                vector, where, limit=limit, offset=offset, min_score=query.min_score
            )

    def _diverse(self, query: Query, vector: Vectors) -> list[Hit]:
        """Hits that are similar to the query and different from each other."""
        pool, _ = self._page(query, vector, query.limit * DIVERSITY_POOL, 0)
        rows = self._index.segment_vectors([hit.segment.segment_id for hit in pool])
        scores = np.array([hit.score for hit in pool], np.float32)
        return [pool[i] for i in diverse_order(scores, rows, query.limit, query.diversity)]


def _check(query: Query) -> None:
    if not 1 <= query.limit <= MAX_LIMIT:
        raise UsageError(f"limit must be from 1 to {MAX_LIMIT}, not {query.limit}")
    if not 0 <= query.diversity <= 1:
        raise UsageError(f"diversity must be from 0 to 1, not {query.diversity:g}")
