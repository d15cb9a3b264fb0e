"""Finding segments: by words, by a segment, by a picture, by any mix of them.

Every example becomes one unit vector; a query is their weighted sum, normalised. Nothing here
knows files, HTTP or SAM: a picture comes with the mask of what is meant in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from search.embedding import photo_vector, segment_vectors
from search.encoder import Encoder, encode_query
from search.errors import UsageError
from search.index import SegmentIndex
from search.outlines import Outline, Outlines
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
from search.records import Hit, PhotoHit, Vectors
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
# Hits read for each distinct one that is wanted; twice as many where they do not do.
HITS_A_DISTINCT = 6
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

        What is left out depends on better ranks alone, so that pages fit together.
        """
        step = (limit + 1) * HITS_A_DISTINCT
        while True:
            ranked = self._ranked(query, vector, offset + step)
            found = self._without_overlaps(ranked, offset)
            if len(found) > limit or len(ranked) < offset + step:
                break
            step *= 2
        scores = {ranked[rank][0]: ranked[rank][2] for rank in found[:limit]}
        read = self._index.segments(list(scores), with_masks=query.with_masks)
        hits = [Hit(score=scores[segment.segment_id], segment=segment) for segment in read]
        return hits, found[limit] if len(found) > limit else None

    def _ranked(self, query: Query, vector: Vectors, end: int) -> list[RankedSegment]:
        """Return so many segments, best first, or all."""
        ranked: list[RankedSegment] = []
        while len(ranked) < end:
            step = min(end - len(ranked), MAX_READING)
            read = self._index.ranked_segments(
                vector, query.where, limit=step, offset=len(ranked), min_score=query.min_score
            )
            ranked += read
            if len(read) < step:
                break
        return ranked

    def _without_overlaps(self, ranked: Sequence[RankedSegment], start: int) -> list[int]:
        """Return the ranks from `start` on that overlap no better one of their photo."""
        from search.overlap import overlaps  # it imports numba, which takes half a second

        photos = {photo_id for _, photo_id, _ in ranked[start:]}
        ranks = [rank for rank, (_, photo_id, _) in enumerate(ranked) if photo_id in photos]
        read = partial(self._index.segments, with_masks=True)
        outlines = self._outlines.of([ranked[rank][0] for rank in ranks], read)
        found: list[int] = []
        better: dict[str, list[Outline]] = defaultdict(list)
        for rank in ranks:
            segment_id, photo_id, _ = ranked[rank]
            outline = outlines.get(segment_id)
            if outline is None:  # deleted meanwhile
                continue
            if any(overlaps(outline, other) for other in better[photo_id]):
                continue
            better[photo_id].append(outline)
            if rank >= start:
                found.append(rank)
        return found

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
