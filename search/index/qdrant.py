"""QdrantIndex: a Qdrant server or cluster, through qdrant-client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from qdrant_client import QdrantClient, models
from typing_extensions import override

from search.index.base import Collection
from search.index.claim import LibraryClaim
from search.index.filters import Condition, HasVector, Match, NumberRange, TimeRange
from search.index.payload import FIELDS, MASK_KEYS, Payload
from search.index.points import HNSW_EF_SEARCH, UNREAD, NearestQuery, Point, PointIndex, Reading
from search.index.qdrant_collections import QdrantCollections
from search.index.qdrant_connection import QdrantConnection, RequestTooLargeError
from search.settings import SearchSettings

SCROLL_PAGE = 512  # points; with masks a few MB
# Default request limit of a server: 32 MB; of a reverse proxy often 1 MB.
WRITE_BYTES = 8_000_000
NUMBER_BYTES = 22  # a float32 as JSON
PAYLOAD_BYTES = 1_000  # without the mask
# Candidates that are rescored with the full vectors, as a multiple of the limit; Qdrant's
# documentation recommends 2 to 4, more for coarser quantization.
OVERSAMPLING = {"int8": 2.0, "binary": 4.0}

_PAYLOAD: dict[Reading, bool | models.PayloadSelector] = {
    "ids": False,
    "vectors": False,
    "photo": models.PayloadSelectorInclude(include=["photo_id"]),
    "light": models.PayloadSelectorExclude(exclude=list(MASK_KEYS)),
    "all": True,
}


def open_qdrant_index(
    settings: SearchSettings,
    *,
    vector_name: str,
    dim: int,
    claim: LibraryClaim | None = None,
    create: bool = False,
    add: bool = False,
    patient: bool = False,
) -> QdrantIndex:
    """Connect to the server at `settings.qdrant` and open the library's collections.

    Args:
        settings: address, timeouts, and options of new collections.
        vector_name: the named vector to write and search.
        dim: its length.
        claim: the library that the collections must belong to; None: any.
        create: create missing collections.
        add: create the named vector if the collections have only others.
        patient: retry reads for as long as writes.

    Raises:
        StoreUnreachableError: no answer from the server.
        StoreError: the URL is invalid, no Qdrant server answers there, or it refuses.
        MissingIndexError: a collection does not exist and `create` is false.
        ForeignIndexError: the collections belong to another library.
        MismatchError: the vectors have another name or length.
    """
    connection = QdrantConnection.to_server(settings, patient=patient)
    index = QdrantIndex(connection, settings, vector_name=vector_name, dim=dim)
    try:
        index.collections.open(claim, create=create, add=add)
    except BaseException:
        connection.close()
        raise
    return index


class QdrantIndex(PointIndex):
    """A SegmentIndex on a Qdrant server. Threads and processes may share it."""

    def __init__(
        self, connection: QdrantConnection, settings: SearchSettings, *, vector_name: str, dim: int
    ) -> None:
        """Use a connection; `collections.open` must be called before anything else."""
        super().__init__(vector_name, dim)
        self._connection, self._client = connection, connection.client
        self._settings = settings
        self._write_bytes = WRITE_BYTES
        self.collections = QdrantCollections(connection, settings, vector_name, dim)

    @classmethod
    def open(
        cls, client: QdrantClient, settings: SearchSettings, *, vector_name: str, dim: int
    ) -> QdrantIndex:
        """Use an existing client and create missing collections.

        Raises:
            StoreUnreachableError: no answer from the server.
            MismatchError: the vectors have another name or length.
        """
        index = cls(QdrantConnection(client, settings), settings, vector_name=vector_name, dim=dim)
        index.collections.open(None, create=True, add=False)
        return index

    @override
    def with_vectors(self, vector_name: str, dim: int) -> QdrantIndex:
        """The same points with another named vector, which is created if it does not exist.

        Raises:
            MismatchError: the vector of that name has another length.
            StoreError: the server is too old to add named vectors.
        """
        other = QdrantIndex(self._connection, self._settings, vector_name=vector_name, dim=dim)
        other.payload_format = self.payload_format
        for collection in FIELDS:
            other.collections.add_vectors(collection)
        return other

    @override
    def create_payload_indexes(self) -> None:
        self.collections.create_payload_indexes()

    @override
    def optimize(self) -> bool:
        """Do nothing: a server builds its graphs in the background."""
        return False

    @override
    def flush(self) -> None:
        """Do nothing: each write waits for the server's write-ahead log."""

    @override
    def close(self) -> None:
        self._connection.close()

    def _upsert(self, collection: Collection, points: Sequence[Point]) -> None:
        self._write_points(collection, points, self._send_points)

    def _update_vectors(self, collection: Collection, points: Sequence[Point]) -> None:
        self._write_points(collection, points, self._send_vectors)

    def _send_points(self, collection: Collection, points: Sequence[Point]) -> None:
        structs = [self._struct(point) for point in points]
        self._write(self._client.upsert, collection, structs)

    def _send_vectors(self, collection: Collection, points: Sequence[Point]) -> None:
        vectors = [
            models.PointVectors(id=p.point_id, vector={self.vector_name: p.vector.tolist()})
            for p in points
        ]
        self._write(self._client.update_vectors, collection, vectors)

    def _write_points(
        self,
        collection: Collection,
        points: Sequence[Point],
        send: Callable[[Collection, Sequence[Point]], None],
    ) -> None:
        """Write points in requests of bounded size; a refused one is split.

        Raises:
            RequestTooLargeError: the server refuses a request with a single point.
        """
        waiting = list(points)
        while waiting:
            count = _fitting(waiting, self._settings.write_batch, self._write_bytes)
            try:
                send(collection, waiting[:count])
            except RequestTooLargeError:
                if count == 1:
                    raise
                self._write_bytes = sum(map(_size_bytes, waiting[:count])) // 2
                continue
            del waiting[:count]

    def _drop_vectors(self, collection: Collection, vector_name: str) -> None:
        if vector_name in self.collections.sizes(collection):
            self._write(self._client.delete_vector_name, collection, vector_name)

    def _delete(self, collection: Collection, ids: Sequence[str]) -> None:
        self._write(self._client.delete, collection, models.PointIdsList(points=list(ids)))

    def _delete_where(self, collection: Collection, conditions: Sequence[Condition]) -> None:
        chosen = models.FilterSelector(filter=_qdrant_filter(conditions))
        self._write(self._client.delete, collection, chosen)

    def _set_payload(
        self, collection: Collection, conditions: Sequence[Condition], payload: Payload
    ) -> None:
        self._write(self._client.set_payload, collection, payload, _qdrant_filter(conditions))

    def _retrieve(
        self, collection: Collection, ids: Sequence[str], reading: Reading
    ) -> list[Point]:
        records = self._connection.read(
            self._client.retrieve,
            self._name(collection),
            list(ids),
            with_payload=_PAYLOAD[reading],
            with_vectors=self._with_vectors(reading),
        )
        return [self._point(record) for record in records]

    def _scroll(
        self, collection: Collection, conditions: Sequence[Condition], reading: Reading
    ) -> Iterator[Point]:
        page_start = None
        while True:
            records, page_start = self._connection.read(
                self._client.scroll,
                self._name(collection),
                scroll_filter=_qdrant_filter(conditions),
                limit=SCROLL_PAGE,
                offset=page_start,
                with_payload=_PAYLOAD[reading],
                with_vectors=self._with_vectors(reading),
            )
            yield from map(self._point, records)
            if page_start is None:
                return

    def _nearest(self, collection: Collection, query: NearestQuery) -> list[Point]:
        answer = self._connection.read(
            self._client.query_points,
            self._name(collection),
            query=query.vector.tolist(),
            using=self.vector_name,
            query_filter=_qdrant_filter(query.conditions),
            search_params=_search_params(self._settings),
            limit=query.limit,
            offset=query.offset,
            score_threshold=query.min_score,
            with_payload=_PAYLOAD[query.reading],
        )
        return [Point(str(f.id), f.payload or {}, score=f.score) for f in answer.points]

    def _count(self, collection: Collection, conditions: Sequence[Condition]) -> int:
        chosen = _qdrant_filter(conditions)
        name = self._name(collection)
        return self._connection.read(self._client.count, name, chosen, exact=True).count

    def _write(self, send: Callable[..., object], collection: Collection, *what: object) -> None:
        self._connection.write(send, self._name(collection), *what)

    def _name(self, collection: Collection) -> str:
        return self.collections.name(collection)

    def _with_vectors(self, reading: Reading) -> bool | list[str]:
        return [self.vector_name] if reading == "vectors" else False

    def _struct(self, point: Point) -> models.PointStruct:
        vector = {self.vector_name: point.vector.tolist()}
        return models.PointStruct(id=point.point_id, vector=vector, payload=point.payload)

    def _point(self, record: models.Record) -> Point:
        vector = UNREAD
        if isinstance(record.vector, dict) and self.vector_name in record.vector:
            vector = np.asarray(record.vector[self.vector_name], dtype=np.float32)
        return Point(str(record.id), record.payload or {}, vector)


def _fitting(points: Sequence[Point], at_most: int, max_bytes: int) -> int:
    """Number of points that fit into a request, at least one."""
    sizes = np.cumsum([_size_bytes(point) for point in points[:at_most]])
    return max(1, int(np.searchsorted(sizes, max_bytes, side="right")))


def _size_bytes(point: Point) -> int:
    """Estimated size of a point as JSON."""
    mask = point.payload.get("mask_rle", "")
    return PAYLOAD_BYTES + len(mask) + NUMBER_BYTES * point.vector.size


def _search_params(settings: SearchSettings) -> models.SearchParams:
    rescored = None
    if settings.quantization != "none":
        rescored = models.QuantizationSearchParams(
            rescore=True, oversampling=OVERSAMPLING[settings.quantization]
        )
    return models.SearchParams(hnsw_ef=HNSW_EF_SEARCH, quantization=rescored)


def _qdrant_filter(conditions: Sequence[Condition]) -> models.Filter:
    return models.Filter(must=[_qdrant_condition(condition) for condition in conditions])


def _qdrant_condition(
    condition: Condition,
) -> models.FieldCondition | models.HasVectorCondition | models.Filter:
    if isinstance(condition, HasVector):
        has_vector = models.HasVectorCondition(has_vector=condition.name)
        return has_vector if condition.present else models.Filter(must_not=[has_vector])
    if isinstance(condition, Match):
        words = models.MatchAny(any=list(condition.values))
        return models.FieldCondition(key=condition.key, match=words)
    if isinstance(condition, NumberRange):
        numbers = models.Range(gte=condition.gte, lte=condition.lte)
        return models.FieldCondition(key=condition.key, range=numbers)
    if isinstance(condition, TimeRange):
        times = models.DatetimeRange(gte=condition.gte, lt=condition.lt)
        return models.FieldCondition(key=condition.key, range=times)
    center = models.GeoPoint(lat=condition.circle.center.lat, lon=condition.circle.center.lon)
    circle = models.GeoRadius(center=center, radius=condition.circle.radius_m)
    return models.FieldCondition(key=condition.key, geo_radius=circle)
