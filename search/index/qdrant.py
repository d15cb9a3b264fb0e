"""ServerIndex: photos and segments kept by a Qdrant server or cluster, through qdrant-client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from qdrant_client import QdrantClient, models

from search.index.base import (
    FIELDS,
    MASK_KEYS,
    Collection,
    Condition,
    Match,
    NumberRange,
    Payload,
    TimeRange,
    Vector,
)
from search.index.claim import LibraryClaim
from search.index.points import GRAPH_CANDIDATES, UNREAD, Nearest, Point, PointIndex, Reading
from search.index.qdrant_collections import ServerCollections
from search.index.qdrant_connection import QdrantConnection, RequestTooLargeError
from search.settings import Settings

SCROLL_PAGE = 512  # points; masks and all it is a few MB
# A server takes 32 MB at once by default; a proxy before it often 1 MB.
WRITE_BYTES = 8_000_000
NUMBER_BYTES = 22  # a float32 as JSON
PAYLOAD_BYTES = 1_000  # without the mask
# Candidates that are rescored with the full vectors, as a multiple of the hits asked for; Qdrant's
# documentation gives 2 to 4, the more the coarser the quantization.
OVERSAMPLING = {"int8": 2.0, "binary": 4.0}

_PAYLOAD: dict[Reading, bool | models.PayloadSelector] = {
    "ids": False,
    "vectors": False,
    "photo": models.PayloadSelectorInclude(include=["photo_id"]),
    "light": models.PayloadSelectorExclude(exclude=list(MASK_KEYS)),
    "all": True,
}


def open_server_index(
    settings: Settings,
    *,
    vector_name: str,
    dim: int,
    claim: LibraryClaim | None = None,
    create: bool = False,
    add: bool = False,
    patient: bool = False,
) -> ServerIndex:
    """Connect to the server at `settings.qdrant` and open the library's collections.

    Args:
        settings: where it is, and how collections are made.
        vector_name: which vectors are written and searched.
        dim: numbers of a vector.
        claim: the library that the collections should belong to; None: any.
        create: create the collections that are missing.
        add: make such vectors where the collections have others only.
        patient: ask again for as long as writes are tried, also when reading.

    Raises:
        StoreUnreachableError: no answer from the server.
        StoreError: the server refuses, its URL is not one, or no Qdrant server is there.
        MissingIndexError: a collection is missing and is not to be created.
        ForeignIndexError: the collections belong to another library.
        MismatchError: the collections keep vectors of another name or length.
    """
    connection = QdrantConnection.to_server(settings, patient=patient)
    index = ServerIndex(connection, settings, vector_name=vector_name, dim=dim)
    try:
        index.collections.open(claim, create=create, add=add)
    except BaseException:
        connection.close()
        raise
    return index


class ServerIndex(PointIndex):
    """A SegmentIndex on a server. Threads and processes may share it."""

    def __init__(
        self, connection: QdrantConnection, settings: Settings, *, vector_name: str, dim: int
    ) -> None:
        """Use a connection whose collections were opened, or will be, by `collections`."""
        super().__init__(vector_name, dim)
        self._connection, self._client = connection, connection.client
        self._settings = settings
        self._write_bytes = WRITE_BYTES
        self.collections = ServerCollections(connection, settings, vector_name, dim)

    @classmethod
    def open(
        cls, client: QdrantClient, settings: Settings, *, vector_name: str, dim: int
    ) -> ServerIndex:
        """Use a client that is ready, creating the collections that are missing.

        Raises:
            StoreUnreachableError: no answer from the server.
            MismatchError: the collections keep vectors of another name or length.
        """
        index = cls(QdrantConnection(client, settings), settings, vector_name=vector_name, dim=dim)
        index.collections.open(None, create=True, add=False)
        return index

    def beside(self, vector_name: str, dim: int) -> ServerIndex:
        """Return the same points with other vectors, which are kept beside these.

        Raises:
            MismatchError: vectors of that name have another length.
            StoreError: the server is too old for it.
        """
        other = ServerIndex(self._connection, self._settings, vector_name=vector_name, dim=dim)
        other.payload_format = self.payload_format
        for collection in FIELDS:
            other.collections.add_vectors(collection)
        return other

    def add_fields(self) -> None:
        """Index the payload keys that filters use and that are not indexed yet."""
        self.collections.add_fields()

    def optimize(self) -> bool:
        """Do nothing, False: a server builds its graphs by itself, beside its other work."""
        return False

    def flush(self) -> None:
        """Do nothing: each write waits until the server has it in its write-ahead log."""

    def close(self) -> None:
        """Let go of the connections; closing twice is no error."""
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
        """Write points in requests of bounded size, smaller ones where that is refused.

        Raises:
            RequestTooLargeError: a single point is refused for its size.
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
        chosen = models.FilterSelector(filter=_server_filter(conditions))
        self._write(self._client.delete, collection, chosen)

    def _set_payload(
        self, collection: Collection, conditions: Sequence[Condition], payload: Payload
    ) -> None:
        self._write(self._client.set_payload, collection, payload, _server_filter(conditions))

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
                scroll_filter=_server_filter(conditions),
                limit=SCROLL_PAGE,
                offset=page_start,
                with_payload=_PAYLOAD[reading],
                with_vectors=self._with_vectors(reading),
            )
            yield from map(self._point, records)
            if page_start is None:
                return

    def _nearest(self, collection: Collection, question: Nearest) -> list[Point]:
        answer = self._connection.read(
            self._client.query_points,
            self._name(collection),
            query=question.vector.tolist(),
            using=self.vector_name,
            query_filter=_server_filter(question.conditions),
            search_params=_search_params(self._settings),
            limit=question.limit,
            offset=question.offset,
            score_threshold=question.min_score,
            with_payload=_PAYLOAD[question.reading],
        )
        return [Point(str(f.id), f.payload or {}, score=f.score) for f in answer.points]

    def _count(self, collection: Collection, conditions: Sequence[Condition]) -> int:
        chosen = _server_filter(conditions)
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
    """Return how many of the points, one at least, fit into a request."""
    sizes = np.cumsum([_size_bytes(point) for point in points[:at_most]])
    return max(1, int(np.searchsorted(sizes, max_bytes, side="right")))


def _size_bytes(point: Point) -> int:
    """Estimate a point's size as JSON."""
    mask = point.payload.get("mask_rle", "")
    return PAYLOAD_BYTES + len(mask) + NUMBER_BYTES * point.vector.size


def _search_params(settings: Settings) -> models.SearchParams:
    rescored = None
    if settings.quantization != "none":
        rescored = models.QuantizationSearchParams(
            rescore=True, oversampling=OVERSAMPLING[settings.quantization]
        )
    return models.SearchParams(hnsw_ef=GRAPH_CANDIDATES, quantization=rescored)


def _server_filter(conditions: Sequence[Condition]) -> models.Filter:
    return models.Filter(must=[_server_condition(condition) for condition in conditions])


def _server_condition(
    condition: Condition,
) -> models.FieldCondition | models.HasVectorCondition | models.Filter:
    if isinstance(condition, Vector):
        there = models.HasVectorCondition(has_vector=condition.name)
        return there if condition.is_there else models.Filter(must_not=[there])
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
