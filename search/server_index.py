"""ServerIndex: photos and segments kept by a Qdrant server or cluster, through qdrant-client."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import grpc  # type: ignore[import-untyped]
import httpx
import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_before_delay,
    wait_random_exponential,
)

from search.errors import MismatchError, StoreError, StoreUnreachableError
from search.index import (
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
from search.points import GRAPH_CANDIDATES, UNREAD, Nearest, Point, PointIndex, Reading
from search.settings import Settings

# Somebody waits for a search: it is asked again only if the answer may come at once, as when the
# server was started anew and kept-alive connections lead nowhere.
READ_WAIT_S = 1.0
FIRST_PAUSE_S = 0.25  # doubled with each try, and a random part of it is waited
LONGEST_PAUSE_S = 8.0
SCROLL_PAGE = 512  # points; masks and all it is a few MB
INT8_QUANTILE = 0.99  # from Qdrant's documentation: outliers must not stretch the 256 steps
# Candidates that are rescored with the full vectors, as a multiple of the hits asked for; Qdrant's
# documentation gives 2 to 4, the more the coarser the quantisation.
OVERSAMPLING = {"int8": 2.0, "binary": 4.0}

_SCHEMA = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "float": models.PayloadSchemaType.FLOAT,
    "datetime": models.PayloadSchemaType.DATETIME,
    "geo": models.PayloadSchemaType.GEO,
}
_PAYLOAD: dict[Reading, bool | models.PayloadSelector] = {
    "ids": False,
    "vectors": False,
    "photo": models.PayloadSelectorInclude(include=["photo_id"]),
    "light": models.PayloadSelectorExclude(exclude=list(MASK_KEYS)),
    "all": True,
}
_FAILURES = (ApiException, QdrantException, grpc.RpcError)
_PASSING_STATUS = (408, 429)  # and all from 500 on
_PASSING_GRPC = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "ABORTED")
_logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")


def open_server_index(
    settings: Settings, *, vector_name: str, dim: int, patient: bool = False, add: bool = False
) -> ServerIndex:
    """Connect to the server at `settings.qdrant`, creating the collections that are not there yet.

    Args:
        settings: where it is, and how collections are made.
        vector_name: which vectors are written and searched.
        dim: numbers of a vector.
        patient: ask again for as long as writes are tried, also when reading.
        add: make such vectors where the collections have others only.

    Raises:
        StoreUnreachableError: no answer from the server.
        StoreError: the server refuses, or its URL is not one.
        MismatchError: the collections keep vectors of another name or length.
    """
    try:
        with warnings.catch_warnings():
            # Between two containers of one machine a key goes without TLS.
            warnings.filterwarnings("ignore", "Api key is used with an insecure connection")
            client = QdrantClient(
                url=settings.qdrant,
                api_key=settings.qdrant_api_key,
                prefer_grpc=settings.grpc,
                timeout=settings.qdrant_timeout_s,
                check_compatibility=False,  # it warns from a thread of its own, and only warns
            )
    except ValueError as error:
        raise StoreError(
            f"{settings.qdrant!r} is not the URL of a Qdrant server ({error}). "
            "Give one like --qdrant http://localhost:6333."
        ) from error
    try:
        return ServerIndex.open(
            client, settings, vector_name=vector_name, dim=dim, patient=patient, add=add
        )
    except BaseException:
        client.close()
        raise


class ServerIndex(PointIndex):
    """A SegmentIndex on a server. Threads and processes may share it."""

    def __init__(
        self,
        client: QdrantClient,
        settings: Settings,
        *,
        vector_name: str,
        dim: int,
        patient: bool = False,
    ) -> None:
        super().__init__(vector_name, dim)
        self._client = client
        self._settings = settings
        self._patient = patient
        self._url = settings.qdrant or "memory"

    @classmethod
    def open(
        cls,
        client: QdrantClient,
        settings: Settings,
        *,
        vector_name: str,
        dim: int,
        patient: bool = False,
        add: bool = False,
    ) -> ServerIndex:
        """Use a client that is ready, creating the collections that are not there yet.

        Raises:
            StoreUnreachableError: no answer from the server.
            MismatchError: the collections keep vectors of another name or length.
        """
        index = cls(client, settings, vector_name=vector_name, dim=dim, patient=patient)
        for collection in FIELDS:
            index._prepare(collection, add=add)
        return index

    def beside(self, vector_name: str, dim: int) -> ServerIndex:
        """Return the same points with other vectors, which are kept beside these.

        Raises:
            MismatchError: vectors of that name have another length.
            StoreError: the server is too old for it.
        """
        other = ServerIndex(
            self._client, self._settings, vector_name=vector_name, dim=dim, patient=self._patient
        )
        for collection in FIELDS:
            other._add_vectors(collection)
        return other

    def optimize(self) -> bool:
        """Do nothing, False: a server builds its graphs by itself, beside its other work."""
        return False

    def flush(self) -> None:
        """Do nothing: each write waits until the server has it in its write-ahead log."""

    def close(self) -> None:
        """Let go of the connections; closing twice is no error."""
        self._client.close()

    def _upsert(self, collection: Collection, points: Sequence[Point]) -> None:
        size = self._settings.write_batch
        for start in range(0, len(points), size):
            batch = [self._struct(point) for point in points[start : start + size]]
            self._write(self._client.upsert, collection, batch)

    def _update_vectors(self, collection: Collection, points: Sequence[Point]) -> None:
        size = self._settings.write_batch
        for start in range(0, len(points), size):
            batch = [
                models.PointVectors(id=p.point_id, vector={self.vector_name: p.vector.tolist()})
                for p in points[start : start + size]
            ]
            self._write(self._client.update_vectors, collection, batch)

    def _drop_vectors(self, collection: Collection, vector_name: str) -> None:
        if vector_name in _sizes(self._info(collection)):
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
        records = self._read(
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
            records, page_start = self._read(
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
        answer = self._read(
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
        return self._read(self._client.count, self._name(collection), chosen, exact=True).count

    def _prepare(self, collection: Collection, *, add: bool) -> None:
        name = self._name(collection)
        if not self._read(self._client.collection_exists, name):
            self._read(self._create, name)
        if add:
            self._add_vectors(collection)
        info = self._info(collection)
        self._check_vectors(name, info)
        with warnings.catch_warnings():
            # A client in memory, as tests use it, keeps no payload indexes and warns of it.
            warnings.filterwarnings("ignore", "Payload indexes have no effect in the local Qdrant")
            for field in FIELDS[collection]:
                if field.key not in info.payload_schema:  # also after a start that was cut short
                    schema = _SCHEMA[field.kind]
                    self._write(self._client.create_payload_index, collection, field.key, schema)

    def _info(self, collection: Collection) -> models.CollectionInfo:
        return self._read(self._client.get_collection, self._name(collection))

    def _create(self, name: str) -> None:
        try:
            self._client.create_collection(
                name, **_collection_parameters(self._settings, self.vector_name, self.dim)
            )
        except _FAILURES:
            if not self._client.collection_exists(name):  # another process may have been faster
                raise

    def _add_vectors(self, collection: Collection) -> None:
        name = self._name(collection)
        if self.vector_name not in _sizes(self._info(collection)):
            dense = models.DenseVectorConfig(size=self.dim, distance=models.Distance.COSINE)
            config = models.DenseVectorNameConfig(dense=dense)  # quantised as the collection is
            try:
                self._write(self._client.create_vector_name, collection, self.vector_name, config)
            except StoreUnreachableError:
                raise
            except StoreError as error:
                raise StoreError(f"{error} Vectors beside others need Qdrant 1.18.") from error
            if self._settings.vectors_on_disk:  # it can't be said when they are added
                kept = {self.vector_name: models.VectorParamsDiff(on_disk=True)}
                self._read(self._client.update_collection, name, vectors_config=kept)
        self._check_vectors(name, self._info(collection))

    def _check_vectors(self, name: str, info: models.CollectionInfo) -> None:
        sizes = _sizes(info)
        if sizes.get(self.vector_name) != self.dim:
            raise MismatchError(
                f"the collection {name} at {self._url} keeps vectors {sizes}, not "
                f"{self.vector_name!r} of {self.dim} numbers. Use the models and the crop recipe "
                "that made it, or choose another --collection-prefix."
            )

    def _name(self, collection: Collection) -> str:
        return f"{self._settings.collection_prefix}_{collection}"

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

    def _write(self, send: Callable[..., object], collection: Collection, *what: object) -> None:
        """Send a write until it is taken; all of them can be repeated without harm."""
        wait_s = self._settings.retry_wait_s
        self._ask(wait_s, send, self._name(collection), *what, wait=True)

    def _read(self, ask: Callable[..., Answer], *what: Any, **how: Any) -> Answer:  # noqa: ANN401
        wait_s = self._settings.retry_wait_s if self._patient else READ_WAIT_S
        return self._ask(wait_s, ask, *what, **how)

    def _ask(
        self,
        wait_s: float,
        ask: Callable[..., Answer],
        *what: Any,  # noqa: ANN401
        **how: Any,  # noqa: ANN401
    ) -> Answer:
        """Ask until there is an answer, for about `wait_s`; errors become ones that help."""
        retrying = Retrying(
            retry=retry_if_exception(_is_passing),
            wait=wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
            stop=stop_before_delay(wait_s),
            before_sleep=self._note,
            reraise=True,
        )
        try:
            return retrying(ask, *what, **how)
        except _FAILURES as error:
            if _is_passing(error):
                raise StoreUnreachableError(
                    f"no answer from Qdrant at {self._url}: {_reason(error)}. Check that it runs "
                    "and that the URL is right. Everything written so far is kept: the command "
                    "can be run again."
                ) from error
            raise StoreError(
                f"Qdrant at {self._url} refused: {_reason(error)}. Check --qdrant, "
                "--qdrant-api-key and the server's log."
            ) from error

    def _note(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        reason = _reason(error) if error else ""
        _logger.info("no answer from Qdrant at %s (%s); trying again", self._url, reason)


def _sizes(info: models.CollectionInfo) -> dict[str, int]:
    """Return the numbers of a vector by name; a vector without a name is left out."""
    kept = info.config.params.vectors
    return {name: each.size for name, each in kept.items()} if isinstance(kept, dict) else {}


def _collection_parameters(settings: Settings, vector_name: str, dim: int) -> dict[str, Any]:
    params = models.VectorParams(
        size=dim, distance=models.Distance.COSINE, on_disk=settings.vectors_on_disk
    )
    return {
        "vectors_config": {vector_name: params},
        "shard_number": settings.shard_number,
        "replication_factor": settings.replication_factor,
        "quantization_config": _quantization(settings),
        "on_disk_payload": True,  # masks are most of it; what filters need is indexed in memory
    }


def _quantization(settings: Settings) -> models.QuantizationConfig | None:
    if settings.quantization == "int8":
        int8 = models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=INT8_QUANTILE, always_ram=True
        )
        return models.ScalarQuantization(scalar=int8)
    if settings.quantization == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    return None


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


def _is_passing(error: BaseException) -> bool:
    """Return whether the same request may do later: no answer, too busy, or the server's fault."""
    if isinstance(error, ResponseHandlingException):
        return isinstance(error.source, httpx.TransportError)
    if isinstance(error, UnexpectedResponse):
        status = error.status_code or 0
        return status >= 500 or status in _PASSING_STATUS
    if isinstance(error, grpc.RpcError):
        return error.code().name in _PASSING_GRPC
    return isinstance(error, ResourceExhaustedResponse)


def _reason(error: BaseException) -> str:
    if isinstance(error, ResponseHandlingException):
        return str(error.source) or type(error.source).__name__
    if isinstance(error, grpc.RpcError):
        return f"{error.code().name}: {error.details()}"
    return " ".join(str(error).split())
