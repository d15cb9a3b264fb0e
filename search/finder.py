"""Finding segments: by words, by a segment, by a picture, by any mix of them.

Every example becomes one unit vector; a query is their weighted sum, normalised. Nothing here
knows files, HTTP or SAM: a picture comes with the mask of what is meant in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import numpy as np

from search.errors import DamagedError, UsageError
from search.index.base import SegmentIndex
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
from search.records import Hit, PhotoHit, Segment, Vectors
from search.settings import CropRecipe

# Spread of scores is judged on this many segments: the standard deviation is then known to 4%.
CALIBRATION_SAMPLE = 512
# All scores alike to this degree say nothing; dividing by less would make noise count.
NO_SPREAD = 1e-4
# Grouped search reads this many hits for each group wanted, then twice as many each time, until it
# has seen enough photos; no reading is larger than the last of these.
HITS_A_GROUP = 4
MAX_READING = 2_000
# A mix shorter than this is rounding errors: float32 keeps seven digits.
CANCELLED = 1e-6
# Ranks read at once for each distinct hit that is wanted, and at most for a page of them.
HITS_A_DISTINCT = 6
MOST_RANKS = 20_000
# With diversity, so many times more candidates are looked at than are returned.
DIVERSITY_POOL = 5


Ranked = list[tuple[str, float]]  # segments and their scores, best first
RankedSegment = tuple[str, str, float]  # segment, photo, score


class Finder:
    """Answers queries from an index; the encoder is made when words or pictures first need it."""

    def __init__(
        self,
        index: SegmentIndex,
        encoder: Callable[[], Encoder],
        recipe: CropRecipe = "fusion",
        outlines: Outlines | None = None,
    ) -> None:
        self._index = index
        self._encoder = encoder
        self._recipe = recipe
        self._outlines = outlines or Outlines()

    def search(self, query: Query) -> Page:
        """Return one page of segments.

        Raises:
            UsageError: no example, a limit out of range, a cursor from elsewhere, or a second page
                of diverse results.
            UnknownIdError: an example names a segment or photo that is not in the library.
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
        """Return so many hits from a rank on, and the rank of the next one, if there is one."""
        if query.distinct:
            return self._distinct(query, vector, limit, offset)
        found = self._nearest(query, vector, limit + 1, offset)
        return found[:limit], offset + limit if len(found) > limit else None

    def _distinct(
        self, query: Query, vector: Vectors, limit: int, offset: int
    ) -> tuple[list[Hit], int | None]:
        """Do so without hits that overlap a better one of the same photo.

        What is left out depends on better ranks alone, so that pages fit together. A page on which
        MOST_RANKS leave too few is not full.
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
            if len(found) > limit or rank >= offset + MOST_RANKS:
                following = found[limit][0] if len(found) > limit else rank
                break
        scores = {segment_id: score for _, segment_id, score in found[:limit]}
        read = self._index.segments(list(scores), with_masks=query.with_masks)
        return [Hit(score=scores[each.segment_id], segment=each) for each in read], following

    def _blocks(
        self, query: Query, vector: Vectors, start: int, size: int
    ) -> Iterator[list[RankedSegment]]:
        """Yield segments from a rank on, best first, so many at a time, until there are no more."""
        step = min(size * HITS_A_DISTINCT, MAX_READING)
        while True:
            read = self._index.ranked_segments(
                vector, query.where, limit=step, offset=start, min_score=query.min_score
            )
            yield from (read[at : at + size] for at in range(0, len(read), size))
            if len(read) < step:
                return
            start += step

    def _ranked(self, query: Query, vector: Vectors, end: int) -> list[RankedSegment]:
        """Return so many segments, best first."""
        ranked: list[RankedSegment] = []
        for start in range(0, end, MAX_READING):
            ranked += self._index.ranked_segments(
                vector,
                query.where,
                limit=min(end - start, MAX_READING),
                offset=start,
                min_score=query.min_score,
            )
        return ranked

    def _settle(
        self, ranked: Sequence[RankedSegment], better: dict[str, list[Outline]]
    ) -> list[tuple[int, RankedSegment]]:
        """Return those that overlap no better one of their photo, with their places in `ranked`.

        They become better ones themselves.
        """
        from search.masks.overlap import overlaps  # it imports numba, which takes half a second

        outlines = self._outlines.of([each[0] for each in ranked], self._readable)
        distinct = []
        for place, each in enumerate(ranked):
            outline, others = outlines.get(each[0]), better[each[1]]
            if outline is None:  # deleted meanwhile, or damaged
                continue
            if not any(overlaps(outline, other) for other in others):
                others.append(outline)
                distinct.append((place, each))
        return distinct

    def _readable(self, segment_ids: Sequence[str]) -> list[Segment]:
        """Return segments with their masks, or without where these are damaged."""
        try:
            return self._index.segments(segment_ids, with_masks=True)
        except DamagedError:  # it says of one only
            return [segment for each in segment_ids for segment in self._readable_one(each)]

    def _readable_one(self, segment_id: str) -> list[Segment]:
        for with_masks in (True, False):
            with suppress(DamagedError):
                return self._index.segments([segment_id], with_masks=with_masks)
        return []

    def search_grouped(self, query: Query, *, hits_per_photo: int = 3) -> GroupPage:
        """Return `limit` photos with up to `hits_per_photo` hits each.

        Raises:
            UsageError, UnknownIdError: as `search`; and diversity or distinct, which are for single
            segments.
        """
        _check(query)
        if query.diversity > 0 or query.distinct:
            option = "diversity" if query.diversity > 0 else "distinct"
            raise UsageError(f"{option} is for single segments: leave it out, or the grouping")
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
            if all(each in segments for each, _ in of_photo)  # not deleted meanwhile
        ]
        cursor = cursor_from_offset(end) if len(ranked) > end else None
        return GroupPage(groups, cursor, self._uncut(query, vector))

    def _ranked_by_photo(self, query: Query, vector: Vectors, photos: int) -> dict[str, Ranked]:
        """Return what is known of so many photos or more, best first, as far as it was read."""
        found: dict[str, Ranked] = {}
        offset, step = 0, min(photos * HITS_A_GROUP, MAX_READING)
        while len(found) < photos:
            ranked = self._index.ranked_segments(
                vector, query.where, limit=step, offset=offset, min_score=query.min_score
            )
            for segment_id, photo_id, score in ranked:
                found.setdefault(photo_id, []).append((segment_id, score))
            if len(ranked) < step:
                break
            if not offset:  # all photos are seen sooner than all segments
                photos = min(photos, self._index.count("photos", query.where))
            offset, step = offset + step, min(2 * step, MAX_READING)
        return found

    def _best_of(
        self, photo_id: str, seen: Ranked, query: Query, vector: Vectors, wanted: int
    ) -> Ranked:
        """Return a photo's best; those that were not seen yet are looked for."""
        if len(seen) >= wanted:
            return seen[:wanted]
        here = query.where.model_copy(update={"photo_ids": (photo_id,)})
        ranked = self._index.ranked_segments(vector, here, limit=wanted, min_score=query.min_score)
        return [(segment_id, score) for segment_id, _, score in ranked]

    def _uncut(self, query: Query, vector: Vectors) -> list[PhotoHit]:
        """Return whole photos that no segment can stand for yet, where they are asked for.

        Their scores are lower than those of segments: what is looked for is a part of each. So
        they are no part of the pages, and come with the first one.
        """
        if not query.with_uncut or query.cursor is not None or query.where.is_about_segments:
            return []
        return self._index.nearest_photos(
            vector, query.where, limit=query.limit, min_score=query.min_score, uncut=True
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
        if not length >= CANCELLED:  # so that NaN, too, ends here
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
        return np.asarray(np.maximum(spreads, NO_SPREAD), np.float32)

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
        """Return hits that are like the query and unlike each other."""
        pool, _ = self._page(query, vector, query.limit * DIVERSITY_POOL, 0)
        rows = self._index.segment_vectors([hit.segment.segment_id for hit in pool])
        scores = np.array([hit.score for hit in pool], np.float32)
        return [pool[i] for i in diverse_order(scores, rows, query.limit, query.diversity)]


def diverse_order(scores: Vectors, rows: Vectors, limit: int, diversity: float) -> list[int]:
    """Return up to `limit` places, chosen one by one: like the query and unlike what was chosen.

    Maximal marginal relevance (Carbonell and Goldstein, 1998), from 0: by score, to 1: by
    difference alone, after the best. `scores` are (n,), best first; `rows` (n, dim) unit vectors.
    """
    relevance = (1 - diversity) * scores
    likeness = np.zeros(len(scores), np.float32)  # to the nearest that was chosen
    chosen: list[int] = []
    while len(chosen) < min(limit, len(scores)):
        gain = relevance - diversity * likeness
        gain[chosen] = -np.inf
        best = int(np.argmax(gain))
        likeness = np.maximum(likeness, rows @ rows[best]) if chosen else rows @ rows[best]
        chosen.append(best)
    return chosen


def _check(query: Query) -> None:
    if not 1 <= query.limit <= MAX_LIMIT:
        raise UsageError(f"limit must be from 1 to {MAX_LIMIT}, not {query.limit}")
    if not 0 <= query.diversity <= 1:
        raise UsageError(f"diversity must be from 0 to 1, not {query.diversity:g}")
