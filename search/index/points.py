"""PointIndex: SegmentIndex implemented on top of a few operations on points.

The meaning of an answer (order, unknown ids, which payload keys are read) is decided here once, so
that engines can't differ in it; an engine only reads and writes points.
"""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
from typing_extensions import override

from search.errors import UnknownIdError, UsageError
from search.index.base import Collection, RankedSegment, SegmentIndex
from search.index.filters import Condition, HasVector, Match, conditions_from_filter
from search.index.payload import (
    PAYLOAD_FORMAT,
    WHOLE,
    Payload,
    payload_from_facts,
    payload_from_photo,
    payload_from_segment,
    photo_from_payload,
    photo_id_from_payload,
    segment_from_payload,
)
from search.records import (
    Hit,
    Photo,
    PhotoFacts,
    PhotoHit,
    SearchFilter,
    Segment,
    Vectors,
    checked_vectors,
)

# Text vectors lie outside the distribution of image vectors; for such queries the usual hnsw_ef of
# 100 finds half of the true top 10 or a little more, 512 three quarters to all of it, at about 1 ms
# more (12,000 x 256 in 8 to 200 clusters). Exact scans don't use it.
HNSW_EF_SEARCH = 512
# Payloads of this many points are read in 10 ms, during which the embedded engine lets no other
# thread of the process run.
RETRIEVE_BATCH = 100

# What to read of a point. photo: the key photo_id alone. light: the payload without its mask.
Reading = Literal["ids", "vectors", "photo", "light", "all"]
UNREAD: Vectors = np.empty(0, dtype=np.float32)


class Point(NamedTuple):
    """A point in Qdrant's sense: id, payload and (dim,) vector; what was not read is empty."""

    point_id: str
    payload: Payload
    vector: Vectors = UNREAD
    score: float = 0.0


class NearestQuery(NamedTuple):
    """A nearest-neighbor search for a (dim,) vector."""

    vector: Vectors
    conditions: list[Condition]
    limit: int
    offset: int
    min_score: float | None
    reading: Reading


class PointIndex(SegmentIndex):
    """A SegmentIndex over points with a named vector of length `dim`."""

    def __init__(self, vector_name: str, dim: int) -> None:
        self.vector_name, self.dim = vector_name, dim
        self.payload_format = PAYLOAD_FORMAT  # an earlier one if such points may be stored

    @abstractmethod
    def _upsert(self, collection: Collection, points: Sequence[Point]) -> None:
        """Write points, replacing those with the same ids."""

    @abstractmethod
    def _update_vectors(self, collection: Collection, points: Sequence[Point]) -> None:
        """Write the named vector of existing points."""

    @abstractmethod
    def _drop_vectors(self, collection: Collection, vector_name: str) -> None:
        """Delete a named vector from all points, if it exists."""

    @abstractmethod
    def _delete(self, collection: Collection, ids: Sequence[str]) -> None:
        """Delete points; unknown ids are ignored."""

    @abstractmethod
    def _delete_where(self, collection: Collection, conditions: Sequence[Condition]) -> None:
        """Delete points for which all conditions hold."""

    @abstractmethod
    def _set_payload(
        self, collection: Collection, conditions: Sequence[Condition], payload: Payload
    ) -> None:
        """Set these payload keys where all conditions hold; null deletes a key."""

    @abstractmethod
    def _retrieve(
        self, collection: Collection, ids: Sequence[str], reading: Reading
    ) -> list[Point]:
        """Points by id, in any order; unknown ids are left out."""

    @abstractmethod
    def _scroll(
        self, collection: Collection, conditions: Sequence[Condition], reading: Reading
    ) -> Iterator[Point]:
        """Points for which all conditions hold, ordered by id."""

    @abstractmethod
    def _nearest(self, collection: Collection, query: NearestQuery) -> list[Point]:
        """Most similar points, best first."""

    @abstractmethod
    def _count(self, collection: Collection, conditions: Sequence[Condition]) -> int:
        """Exact number of points for which all conditions hold."""

    @override
    @abstractmethod
    def with_vectors(self, vector_name: str, dim: int) -> PointIndex: ...

    @override
    def put_segments(self, photo: Photo, segments: Sequence[Segment], vectors: Vectors) -> None:
        rows = self._checked(vectors, len(segments))
        points = [
            Point(segment.segment_id, _known(payload_from_segment(segment, photo.facts)), row)
            for segment, row in zip(segments, rows, strict=True)
        ]
        if points:
            self._upsert("segments", points)

    @override
    def put_photo(self, photo: Photo, vector: Vectors) -> None:
        row = self._checked(vector, 1)[0]
        self._upsert("photos", [Point(photo.photo_id, _known(payload_from_photo(photo)), row)])

    @override
    def delete_segments(self, segment_ids: Sequence[str]) -> None:
        if ids := _uuids(segment_ids):
            self._delete("segments", ids)

    @override
    def delete_photo(self, photo_id: str) -> None:
        # The photo goes last: if this is cut short, it still names what is left to delete.
        self._delete_where("segments", [Match("photo_id", (photo_id,))])
        self._delete_where("photos", [Match("photo_id", (photo_id,))])

    @override
    def update_facts(self, photo_id: str, facts: PhotoFacts) -> None:
        for collection in ("segments", "photos"):
            self._set_payload(
                collection, [Match("photo_id", (photo_id,))], payload_from_facts(facts)
            )

    @override
    def photos(self, photo_ids: Sequence[str]) -> list[Photo]:
        points = self._in_order("photos", photo_ids, "all")
        return [photo_from_payload(point.payload) for point in points]

    @override
    def segments(self, segment_ids: Sequence[str], *, with_masks: bool = False) -> list[Segment]:
        points = self._in_order("segments", segment_ids, _reading(with_masks))
        return [segment_from_payload(point.point_id, point.payload) for point in points]

    @override
    def segments_of(self, photo_id: str, *, with_masks: bool = False) -> list[Segment]:
        points = self._scroll("segments", [Match("photo_id", (photo_id,))], _reading(with_masks))
        found = [segment_from_payload(point.point_id, point.payload) for point in points]
        return sorted(found, key=lambda segment: (-segment.area_px, segment.segment_id))

    @override
    def segment_ids_of(self, photo_id: str) -> set[str]:
        points = self._scroll("segments", [Match("photo_id", (photo_id,))], "ids")
        return {point.point_id for point in points}

    @override
    def segment_vectors(self, segment_ids: Sequence[str]) -> Vectors:
        return self._vectors("segments", segment_ids)

    @override
    def photo_vectors(self, photo_ids: Sequence[str]) -> Vectors:
        return self._vectors("photos", photo_ids)

    @override
    def sample_vectors(self, limit: int) -> Vectors:
        having = self._scroll("segments", [HasVector(self.vector_name, True)], "vectors")
        return self._rows(list(islice(having, limit)))

    @override
    def nearest_segments(
        self,
        vector: Vectors,
        where: SearchFilter,
        *,
        limit: int,
        offset: int = 0,
        min_score: float | None = None,
        with_masks: bool = False,
    ) -> list[Hit]:
        conditions = self._conditions(where, "segments")
        row = self._checked(vector, 1)[0]
        reading = _reading(with_masks)
        if limit > RETRIEVE_BATCH:  # ids first, then payloads in batches
            query = NearestQuery(row, conditions, limit, offset, min_score, "ids")
            scores = {point.point_id: point.score for point in self._nearest("segments", query)}
            points = self._in_order("segments", list(scores), reading)
        else:
            query = NearestQuery(row, conditions, limit, offset, min_score, reading)
            points = self._nearest("segments", query)
            scores = {point.point_id: point.score for point in points}
        return [
            Hit(
                score=scores[point.point_id],
                segment=segment_from_payload(point.point_id, point.payload),
            )
            for point in points
        ]

    @override
    def ranked_segments(
        self,
        vector: Vectors,
        where: SearchFilter,
        *,
        limit: int,
        offset: int = 0,
        min_score: float | None = None,
    ) -> list[RankedSegment]:
        conditions = self._conditions(where, "segments")
        row = self._checked(vector, 1)[0]
        query = NearestQuery(row, conditions, limit, offset, min_score, "photo")
        return [
            (point.point_id, photo_id_from_payload(point.point_id, point.payload), point.score)
            for point in self._nearest("segments", query)
        ]

    @override
    def nearest_photos(
        self,
        vector: Vectors,
        where: SearchFilter,
        *,
        limit: int,
        offset: int = 0,
        min_score: float | None = None,
        unsegmented: bool = False,
    ) -> list[PhotoHit]:
        conditions = self._conditions(where, "photos")
        if unsegmented:
            conditions.append(Match("found_by", (WHOLE,)))
        row = self._checked(vector, 1)[0]
        query = NearestQuery(row, conditions, limit, offset, min_score, "all")
        return [
            PhotoHit(score=point.score, photo=photo_from_payload(point.payload))
            for point in self._nearest("photos", query)
        ]

    @override
    def count(self, collection: Collection, where: SearchFilter | None = None) -> int:
        return self._count(collection, self._conditions(where, collection) if where else [])

    @override
    def iter_photos(self) -> Iterator[Photo]:
        for point in self._scroll("photos", [], "all"):
            yield photo_from_payload(point.payload)

    @override
    def iter_ids(self, collection: Collection) -> Iterator[tuple[str, str]]:
        for point in self._scroll(collection, [], "photo"):
            yield point.point_id, str(point.payload.get("photo_id", ""))

    @override
    def iter_segments(self, *, with_masks: bool = False) -> Iterator[Segment]:
        for point in self._scroll("segments", [], _reading(with_masks)):
            yield segment_from_payload(point.point_id, point.payload)

    @override
    def put_vectors(self, collection: Collection, ids: Sequence[str], vectors: Vectors) -> None:
        rows = self._checked(vectors, len(ids))
        if points := [Point(each, {}, row) for each, row in zip(ids, rows, strict=True)]:
            self._update_vectors(collection, points)

    @override
    def iter_without_vectors(self, collection: Collection) -> Iterator[str]:
        seen = set[str]()
        for point in self._scroll(collection, [HasVector(self.vector_name, False)], "light"):
            photo_id = str(point.payload["photo_id"])
            if photo_id not in seen:
                seen.add(photo_id)
                yield photo_id

    @override
    def count_vectors(self, collection: Collection) -> int:
        return self._count(collection, [HasVector(self.vector_name, True)])

    @override
    def drop_vectors(self, vector_name: str) -> None:
        if vector_name == self.vector_name:
            raise UsageError(f"the vectors {vector_name} are in use", remedy="reembed")
        for collection in ("segments", "photos"):
            self._drop_vectors(collection, vector_name)

    def _conditions(self, where: SearchFilter, collection: Collection) -> list[Condition]:
        return conditions_from_filter(where, collection, self.payload_format)

    def _checked(self, vectors: Vectors, count: int) -> Vectors:
        rows = checked_vectors(vectors, count)
        if rows.shape[1] != self.dim:
            raise ValueError(f"vectors have length {rows.shape[1]}, expected {self.dim}")
        return rows

    def _in_order(
        self, collection: Collection, ids: Sequence[str], reading: Reading
    ) -> list[Point]:
        asked = _uuids(ids)
        if not asked:
            return []
        unique = list(dict.fromkeys(asked))
        found = {
            point.point_id: point
            for first in range(0, len(unique), RETRIEVE_BATCH)
            for point in self._retrieve(collection, unique[first : first + RETRIEVE_BATCH], reading)
        }
        return [found[point_id] for point_id in asked if point_id in found]

    def _vectors(self, collection: Collection, ids: Sequence[str]) -> Vectors:
        points = self._in_order(collection, ids, "vectors")
        if len(points) < len(ids):
            missing = sorted(set(ids) - {point.point_id for point in points})
            raise UnknownIdError(
                f"no {collection.removesuffix('s')} has the id {missing[0]!r}. "
                "Take ids from search results."
            )
        if bare := [point.point_id for point in points if not point.vector.size]:
            raise UnknownIdError(
                f"the {collection.removesuffix('s')} {bare[0]} has no vector of this encoder yet",
                remedy="reembed",
            )
        return self._rows(points)

    def _rows(self, points: Sequence[Point]) -> Vectors:
        rows = np.array([point.vector for point in points], dtype=np.float32)
        return rows.reshape(len(points), self.dim)


def _reading(with_masks: bool) -> Reading:
    return "all" if with_masks else "light"


def _known(payload: Payload) -> Payload:
    """Without nulls, so that a point is the same whether its metadata was put or set later."""
    return {key: value for key, value in payload.items() if value is not None}


def _uuids(ids: Sequence[str]) -> list[str]:
    """Ids in canonical form; what is no UUID is dropped, since no point has it."""
    return [str(parsed) for parsed in map(_uuid_or_none, ids) if parsed]


def _uuid_or_none(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
