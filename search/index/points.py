"""PointIndex: all of SegmentIndex, over the few things that a vector engine does with points.

What an answer means (its order, unknown ids, what is read of a payload) is decided here once, so
that the engines can't differ in it; an engine only moves points.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np

from search.errors import UnknownIdError, UsageError
from search.index.base import (
    PAYLOAD_FORMAT,
    WHOLE,
    Collection,
    Condition,
    Match,
    Payload,
    Vector,
    conditions_from_filter,
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

# Candidates looked at in a graph (hnsw_ef). Words lie off the cloud of picture vectors; for vectors
# off the cloud the usual 100 finds half of the true top 10 or a little more, 512 three quarters to
# all of it at about 1 ms more (12,000 x 256 in 8 to 200 clusters). Exact scans don't use it.
GRAPH_CANDIDATES = 512

# What is known of so many points is read in 10 ms; the embedded engine lets no other thread of the
# process run meanwhile.
READ_AT_ONCE = 100

# photo: whose segment it is, alone. light: the payload without its mask.
Reading = Literal["ids", "vectors", "photo", "light", "all"]


UNREAD: Vectors = np.empty(0, dtype=np.float32)


class Point(NamedTuple):
    """What an engine keeps: an id, a payload and a (dim,) vector; empty where it was not read."""

    point_id: str
    payload: Payload
    vector: Vectors = UNREAD
    score: float = 0.0


class Nearest(NamedTuple):
    """A question: which points are most similar to the (dim,) vector."""

    vector: Vectors
    conditions: list[Condition]
    limit: int
    offset: int
    min_score: float | None
    reading: Reading


class PointIndex(ABC):
    """A SegmentIndex for vectors of `dim` numbers; subclasses say how points are moved."""

    def __init__(self, vector_name: str, dim: int) -> None:
        self.vector_name, self.dim = vector_name, dim
        self.payload_format = PAYLOAD_FORMAT  # an earlier one if points of it may be there

    @abstractmethod
    def _upsert(self, collection: Collection, points: Sequence[Point]) -> None:
        """Write points, replacing those with the same ids."""

    @abstractmethod
    def _update_vectors(self, collection: Collection, points: Sequence[Point]) -> None:
        """Write vectors of points that are there, and nothing else of them."""

    @abstractmethod
    def _drop_vectors(self, collection: Collection, vector_name: str) -> None:
        """Delete the vectors of a name, if there are any."""

    @abstractmethod
    def _delete(self, collection: Collection, ids: Sequence[str]) -> None:
        """Delete those of the points that are there."""

    @abstractmethod
    def _delete_where(self, collection: Collection, conditions: Sequence[Condition]) -> None:
        """Delete the points for which all conditions hold."""

    @abstractmethod
    def _set_payload(
        self, collection: Collection, conditions: Sequence[Condition], payload: Payload
    ) -> None:
        """Replace these payload keys, and only these, where all conditions hold; null deletes."""

    @abstractmethod
    def _retrieve(
        self, collection: Collection, ids: Sequence[str], reading: Reading
    ) -> list[Point]:
        """Return those of the points that are there, in any order."""

    @abstractmethod
    def _scroll(
        self, collection: Collection, conditions: Sequence[Condition], reading: Reading
    ) -> Iterator[Point]:
        """Go over the points for which all conditions hold, in the order of their ids."""

    @abstractmethod
    def _nearest(self, collection: Collection, question: Nearest) -> list[Point]:
        """Return the most similar points, best first."""

    @abstractmethod
    def _count(self, collection: Collection, conditions: Sequence[Condition]) -> int:
        """Count exactly."""

    @abstractmethod
    def beside(self, vector_name: str, dim: int) -> PointIndex:
        """Return the same points with other vectors, which are kept beside these."""

    @abstractmethod
    def add_fields(self) -> None:
        """Index the payload keys that filters use and that are not indexed yet."""

    @abstractmethod
    def optimize(self) -> bool:
        """Build the nearest-neighbor graph where it pays; True if anything was done. Slow."""

    @abstractmethod
    def flush(self) -> None:
        """Put everything written so far on disk."""

    @abstractmethod
    def close(self) -> None:
        """Flush and let go of the store."""

    def put_segments(self, photo: Photo, segments: Sequence[Segment], vectors: Vectors) -> None:
        """Write segments (each with its mask) of a photo and their (n, dim) unit vectors."""
        rows = self._checked(vectors, len(segments))
        points = [
            Point(segment.segment_id, _known(payload_from_segment(segment, photo.facts)), row)
            for segment, row in zip(segments, rows, strict=True)
        ]
        if points:
            self._upsert("segments", points)

    def put_photo(self, photo: Photo, vector: Vectors) -> None:
        """Write a photo and its (1, dim) unit vector."""
        row = self._checked(vector, 1)[0]
        self._upsert("photos", [Point(photo.photo_id, _known(payload_from_photo(photo)), row)])

    def delete_segments(self, segment_ids: Sequence[str]) -> None:
        """Delete these segments; ids that are not there are no error."""
        if ids := _uuids(segment_ids):
            self._delete("segments", ids)

    def delete_photo(self, photo_id: str) -> None:
        """Delete a photo with all its segments; an id that is not there is no error."""
        # The photo goes last: if this is cut short, it still names what is left to delete.
        self._delete_where("segments", [Match("photo_id", (photo_id,))])
        self._delete_where("photos", [Match("photo_id", (photo_id,))])

    def update_facts(self, photo_id: str, facts: PhotoFacts) -> None:
        """Replace a photo's facts, there and on all its segments."""
        for collection in ("segments", "photos"):
            self._set_payload(
                collection, [Match("photo_id", (photo_id,))], payload_from_facts(facts)
            )

    def photos(self, photo_ids: Sequence[str]) -> list[Photo]:
        """Return those of the photos that are there, in the order asked for."""
        points = self._in_order("photos", photo_ids, "all")
        return [photo_from_payload(point.payload) for point in points]

    def segments(self, segment_ids: Sequence[str], *, with_masks: bool = False) -> list[Segment]:
        """Return those of the segments that are there, in the order asked for."""
        points = self._in_order("segments", segment_ids, _reading(with_masks))
        return [segment_from_payload(point.point_id, point.payload) for point in points]

    def segments_of(self, photo_id: str, *, with_masks: bool = False) -> list[Segment]:
        """Return a photo's segments, largest first."""
        points = self._scroll("segments", [Match("photo_id", (photo_id,))], _reading(with_masks))
        found = [segment_from_payload(point.point_id, point.payload) for point in points]
        return sorted(found, key=lambda segment: (-segment.area_px, segment.segment_id))

    def segment_ids_of(self, photo_id: str) -> set[str]:
        """Return the ids of a photo's segments."""
        points = self._scroll("segments", [Match("photo_id", (photo_id,))], "ids")
        return {point.point_id for point in points}

    def segment_vectors(self, segment_ids: Sequence[str]) -> Vectors:
        """Return (n, dim) vectors.

        Raises:
            UnknownIdError: one of the segments is not there.
        """
        return self._vectors("segments", segment_ids)

    def photo_vectors(self, photo_ids: Sequence[str]) -> Vectors:
        """Return (n, dim) vectors.

        Raises:
            UnknownIdError: one of the photos is not there.
        """
        return self._vectors("photos", photo_ids)

    def sample_vectors(self, limit: int) -> Vectors:
        """Return the first segment vectors by id, (up to limit, dim).

        Ids are hashes, so the first are as good as drawn by chance, and the same ones every time.
        """
        having = self._scroll("segments", [Vector(self.vector_name, True)], "vectors")
        return self._rows(list(islice(having, limit)))

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
        """Return the segments most similar to the (1, dim) vector, best first."""
        conditions = self._conditions(where, "segments")
        row = self._checked(vector, 1)[0]
        reading = _reading(with_masks)
        if limit > READ_AT_ONCE:  # first which, then, piece by piece, what is known of them
            question = Nearest(row, conditions, limit, offset, min_score, "ids")
            scores = {point.point_id: point.score for point in self._nearest("segments", question)}
            points = self._in_order("segments", list(scores), reading)
        else:
            question = Nearest(row, conditions, limit, offset, min_score, reading)
            points = self._nearest("segments", question)
            scores = {point.point_id: point.score for point in points}
        return [
            Hit(
                score=scores[point.point_id],
                segment=segment_from_payload(point.point_id, point.payload),
            )
            for point in points
        ]

    def ranked_segments(
        self,
        vector: Vectors,
        where: SearchFilter,
        *,
        limit: int,
        offset: int = 0,
        min_score: float | None = None,
    ) -> list[tuple[str, str, float]]:
        """Return (segment id, photo id, score) of the same ones, in a fraction of the time."""
        conditions = self._conditions(where, "segments")
        row = self._checked(vector, 1)[0]
        question = Nearest(row, conditions, limit, offset, min_score, "photo")
        return [
            (point.point_id, photo_id_from_payload(point.point_id, point.payload), point.score)
            for point in self._nearest("segments", question)
        ]

    def nearest_photos(
        self,
        vector: Vectors,
        where: SearchFilter,
        *,
        limit: int,
        offset: int = 0,
        min_score: float | None = None,
        uncut: bool = False,
    ) -> list[PhotoHit]:
        """Return the whole photos most similar to the (1, dim) vector, best first.

        With `uncut` only those that have no segments yet.
        """
        conditions = self._conditions(where, "photos")
        if uncut:
            conditions.append(Match("found_by", (WHOLE,)))
        row = self._checked(vector, 1)[0]
        question = Nearest(row, conditions, limit, offset, min_score, "all")
        return [
            PhotoHit(score=point.score, photo=photo_from_payload(point.payload))
            for point in self._nearest("photos", question)
        ]

    def count(self, collection: Collection, where: SearchFilter | None = None) -> int:
        """Count points exactly; without a filter hidden ones too."""
        return self._count(collection, self._conditions(where, collection) if where else [])

    def iter_photos(self) -> Iterator[Photo]:
        """Go over all photos in the order of their ids, hidden ones too."""
        for point in self._scroll("photos", [], "all"):
            yield photo_from_payload(point.payload)

    def iter_ids(self, collection: Collection) -> Iterator[tuple[str, str]]:
        """Go over the ids of all points, each with its photo's; "" where it names none."""
        for point in self._scroll(collection, [], "photo"):
            yield point.point_id, str(point.payload.get("photo_id", ""))

    def iter_segments(self, *, with_masks: bool = False) -> Iterator[Segment]:
        """Go over all segments in the order of their ids, hidden ones too."""
        for point in self._scroll("segments", [], _reading(with_masks)):
            yield segment_from_payload(point.point_id, point.payload)

    def put_vectors(self, collection: Collection, ids: Sequence[str], vectors: Vectors) -> None:
        """Give points that are there (n, dim) unit vectors; all else of them stays."""
        rows = self._checked(vectors, len(ids))
        if points := [Point(each, {}, row) for each, row in zip(ids, rows, strict=True)]:
            self._update_vectors(collection, points)

    def iter_without_vectors(self, collection: Collection) -> Iterator[str]:
        """Go over the photos with a point in this collection that lacks these vectors."""
        told = set[str]()
        for point in self._scroll(collection, [Vector(self.vector_name, False)], "light"):
            photo_id = str(point.payload["photo_id"])
            if photo_id not in told:
                told.add(photo_id)
                yield photo_id

    def count_vectors(self, collection: Collection) -> int:
        """Count the points that have these vectors."""
        return self._count(collection, [Vector(self.vector_name, True)])

    def drop_vectors(self, vector_name: str) -> None:
        """Delete other vectors than these; a name that is not there is no error."""
        if vector_name == self.vector_name:
            raise UsageError(
                f"the vectors {vector_name} are those in use. Make others the active ones first, "
                "with `segsearch reembed`."
            )
        for collection in ("segments", "photos"):
            self._drop_vectors(collection, vector_name)

    def _conditions(self, where: SearchFilter, collection: Collection) -> list[Condition]:
        return conditions_from_filter(where, collection, self.payload_format)

    def _checked(self, vectors: Vectors, count: int) -> Vectors:
        rows = checked_vectors(vectors, count)
        if rows.shape[1] != self.dim:
            raise ValueError(f"vectors of {rows.shape[1]} numbers, where {self.dim} are kept")
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
            for first in range(0, len(unique), READ_AT_ONCE)
            for point in self._retrieve(collection, unique[first : first + READ_AT_ONCE], reading)
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
                f"the {collection.removesuffix('s')} {bare[0]} has no vector by the encoder in use "
                "yet. `segsearch reembed` makes those that are missing."
            )
        return self._rows(points)

    def _rows(self, points: Sequence[Point]) -> Vectors:
        rows = np.array([point.vector for point in points], dtype=np.float32)
        return rows.reshape(len(points), self.dim)


def _reading(with_masks: bool) -> Reading:
    return "all" if with_masks else "light"


def _known(payload: Payload) -> Payload:
    """Leave nulls out: a point is then the same whether its facts were put or set later."""
    return {key: value for key, value in payload.items() if value is not None}


def _uuids(ids: Sequence[str]) -> list[str]:
    """Return ids as they are stored, without those that no point can have."""
    return [str(known) for known in map(_uuid_or_none, ids) if known]


def _uuid_or_none(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
