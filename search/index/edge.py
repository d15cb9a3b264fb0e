"""EdgeIndex: photos and segments kept by Qdrant Edge, in this process and a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from threading import RLock
from typing import NamedTuple

import numpy as np
import qdrant_edge as edge

from search.errors import MismatchError, MissingIndexError, StoreError
from search.index.base import (
    FIELDS,
    MASK_KEYS,
    Collection,
    Condition,
    Match,
    NumberRange,
    Payload,
    PayloadField,
    TimeRange,
    Vector,
)
from search.index.points import GRAPH_CANDIDATES, UNREAD, Nearest, Point, PointIndex, Reading

SCROLL_PAGE = 512  # points; masks and all it is a few MB
# optimize() writes each number of a vector as 8 bits, too: the graph is built 10 times faster with
# these, and found are 2 x as many candidates as asked for, which the full numbers then rank. On
# 50,000 x 512 all of the true top 10 are among them; without the ranking 95% are.
INT8_QUANTILE = 0.99  # from Qdrant's documentation: outliers must not stretch the 256 steps
OVERSAMPLING = 2.0
HNSW_M, HNSW_EF_CONSTRUCT = 16, 100  # Qdrant's own defaults
# Qdrant links the points of each value of each indexed field once more, so that filtered searches
# find their way. With nine fields that made the graph six times as slow to build and a search three
# times as slow. ACORN, which looks at neighbors of neighbors, finds its way without; and few points
# are scanned: in 8 bits 30,000 x 512 take as long as ACORN does.
LINKS_BY_FIELD = 0
FULL_SCAN_KB = 60_000
ACORN_BELOW = 0.4  # part of the points that a filter leaves; Qdrant's default

# Mapped as files: reading them into memory was more than half of the processor time of opening.
_INDEXES: dict[str, edge.PayloadSchemaParams] = {
    "keyword": edge.KeywordIndexParams(memory=edge.Memory.Cached),
    "float": edge.FloatIndexParams(memory=edge.Memory.Cached),
    "datetime": edge.DatetimeIndexParams(memory=edge.Memory.Cached),
    "geo": edge.GeoIndexParams(memory=edge.Memory.Cached),
}
_PAYLOAD: dict[Reading, bool | edge.PayloadSelector] = {
    "ids": False,
    "vectors": False,
    "photo": edge.PayloadSelector.Include(["photo_id"]),
    "light": edge.PayloadSelector.Exclude(list(MASK_KEYS)),
    "all": True,
}
_SEARCH_PARAMS = edge.SearchParams(
    hnsw_ef=GRAPH_CANDIDATES,
    quantization=edge.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING),
    acorn=edge.AcornSearchParams(enable=True, max_selectivity=ACORN_BELOW),
)


class Limits(NamedTuple):
    """When to hold back."""

    # An exact scan of 20,000 x 512 takes 2 ms, less than encoding the words of a query. With the
    # graph and 8-bit numbers it is 1 to 3 ms, whatever the size (docs/scale.md).
    graph_pays_from_points: int = 20_000
    # Edge maps its files into memory: on a full disk the next write or opening ends the process
    # with SIGBUS and no error to catch (seen with 0.9.0), so both stop while there is room.
    min_free_bytes: int = 200_000_000
    # An empty collection alone maps 300 MB. Where a limit (`ulimit -v`) leaves too little, Edge's
    # allocator fails, and the process ends or, seen with 0.9.0, hangs.
    min_address_space_bytes: int = 1_000_000_000


DEFAULT_LIMITS = Limits()
PANIC = "PanicException"  # what pyo3 raises where Rust panics, as on damaged files


class EdgeIndex(PointIndex):
    """A SegmentIndex in a folder. Threads may share it; only one process may open the folder."""

    def __init__(
        self,
        folder: Path,
        shards: dict[Collection, edge.EdgeShard],
        *,
        vector_name: str,
        dim: int,
        limits: Limits,
        beside: EdgeIndex | None = None,
    ) -> None:
        super().__init__(vector_name, dim)
        self._folder = folder
        self._shards = shards
        # Vectors that are there, as far as was asked.
        self._there: dict[str, int] = beside._there if beside else {vector_name: dim}
        self._limits = limits
        # Edge 0.9.0 keeps Python's interpreter lock in every call, so calls can't overlap today,
        # but its documentation promises nothing about threads. Should a later one let go of it,
        # this lock keeps close() and writes from meeting a query. Uncontended it costs nothing.
        self._lock: AbstractContextManager[object] = beside._lock if beside else RLock()

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        vector_name: str,
        dim: int,
        create: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> EdgeIndex:
        """Open the collections in a folder.

        Args:
            folder: where they are.
            vector_name: which vectors are written and searched.
            dim: numbers of a vector.
            create: create the collections that are missing.
            limits: when to hold back.

        Raises:
            MissingIndexError: a collection is missing and is not to be created.
            StoreError: another process has the folder open, the disk is full, or the folder can't
                be used.
            MismatchError: the folder keeps vectors of another name or length.
        """
        config = _config(vector_name, dim)
        missing = [each for each in FIELDS if not (folder / each).exists()]
        if missing and not create:
            raise MissingIndexError(f"{folder} has no collection {' and no '.join(missing)}")
        _check_address_space(limits)
        with _telling(folder):
            folder.mkdir(parents=True, exist_ok=True)
        _check_room(folder, limits)
        shards: dict[Collection, edge.EdgeShard] = {}
        with ExitStack() as on_failure, _telling(folder):
            for collection, fields in FIELDS.items():
                shards[collection] = _open_shard(folder / collection, fields, config)
                on_failure.callback(shards[collection].close)
                _check_vectors(shards[collection], vector_name, dim)
            on_failure.pop_all()
        return cls(folder, shards, vector_name=vector_name, dim=dim, limits=limits)

    def beside(self, vector_name: str, dim: int) -> EdgeIndex:
        """Return the same points with other vectors, which are kept beside these.

        Raises:
            MismatchError: vectors of that name have another length.
        """
        if self._there.get(vector_name) != dim:  # nothing happens where they are there already
            added = edge.UpdateOperation.create_dense_vector(vector_name, dim, edge.Distance.Cosine)
            for collection in FIELDS:
                self._update(collection, added)
            self._there[vector_name] = dim
        other = EdgeIndex(
            self._folder,
            self._shards,
            vector_name=vector_name,
            dim=dim,
            limits=self._limits,
            beside=self,
        )
        other.payload_format = self.payload_format
        return other

    def add_fields(self) -> None:
        """Index the payload keys that filters use and that are not indexed yet."""
        for collection, fields in FIELDS.items():
            with self._using(collection) as shard:
                _check_room(self._folder, self._limits)
                _index_fields(shard, fields)

    def optimize(self) -> bool:
        """Build the nearest-neighbor graph where it pays; True if anything was done.

        Slow, and no other thread of the process gets to run meanwhile: never in one that serves.
        """
        with self._using_all() as shards:
            large = [
                s for s in shards if s.info().points_count >= self._limits.graph_pays_from_points
            ]
            return any([shard.optimize() for shard in large])  # a list: all of them, not the first

    def flush(self) -> None:
        """Put everything written so far on disk."""
        with self._using_all() as shards:
            for shard in shards:
                shard.flush()

    def close(self) -> None:
        """Flush and let go of the folder; closing twice is no error."""
        with self._using_all() as shards:
            for shard in shards:
                shard.close()

    def _upsert(self, collection: Collection, points: Sequence[Point]) -> None:
        self._update(
            collection,
            edge.UpdateOperation.upsert_points([self._edge_point(point) for point in points]),
        )

    def _update_vectors(self, collection: Collection, points: Sequence[Point]) -> None:
        vectors = [
            edge.PointVectors(p.point_id, {self.vector_name: p.vector.tolist()}) for p in points
        ]
        self._update(collection, edge.UpdateOperation.update_vectors(vectors))

    def _drop_vectors(self, collection: Collection, vector_name: str) -> None:
        self._there.pop(vector_name, None)
        self._update(collection, edge.UpdateOperation.delete_vector_name(vector_name))

    def _delete(self, collection: Collection, ids: Sequence[str]) -> None:
        self._update(collection, edge.UpdateOperation.delete_points(list(ids)))

    def _delete_where(self, collection: Collection, conditions: Sequence[Condition]) -> None:
        chosen = _edge_filter(conditions)
        self._update(collection, edge.UpdateOperation.delete_points_by_filter(chosen))

    def _set_payload(
        self, collection: Collection, conditions: Sequence[Condition], payload: Payload
    ) -> None:
        chosen = _edge_filter(conditions)
        self._update(collection, edge.UpdateOperation.set_payload_by_filter(chosen, payload))

    def _update(self, collection: Collection, operation: edge.UpdateOperation) -> None:
        with self._using(collection) as shard:
            _check_room(self._folder, self._limits)
            shard.update(operation)

    def _retrieve(
        self, collection: Collection, ids: Sequence[str], reading: Reading
    ) -> list[Point]:
        with self._using(collection) as shard:
            records = shard.retrieve(
                list(ids), with_payload=_PAYLOAD[reading], with_vector=self._with_vector(reading)
            )
        return [self._point(record) for record in records]

    def _scroll(
        self, collection: Collection, conditions: Sequence[Condition], reading: Reading
    ) -> Iterator[Point]:
        page_start: edge.PointId | None = None
        while True:
            request = edge.ScrollRequest(
                offset=page_start,
                limit=SCROLL_PAGE,
                filter=_edge_filter(conditions),
                with_payload=_PAYLOAD[reading],
                with_vector=self._with_vector(reading),
            )
            with self._using(collection) as shard:  # not over the yields: a reader may take hours
                records, page_start = shard.scroll(request)
            yield from map(self._point, records)
            if page_start is None:
                return

    def _nearest(self, collection: Collection, question: Nearest) -> list[Point]:
        request = edge.QueryRequest(
            query=edge.Query.Nearest(question.vector.tolist(), using=self.vector_name),
            filter=_edge_filter(question.conditions),
            limit=question.limit,
            offset=question.offset,
            score_threshold=question.min_score,
            with_payload=_PAYLOAD[question.reading],
            with_vector=False,
            params=_SEARCH_PARAMS,
        )
        with self._using(collection) as shard:
            found = shard.query(request)
        return [Point(str(f.id), f.payload or {}, score=f.score) for f in found]

    def _count(self, collection: Collection, conditions: Sequence[Condition]) -> int:
        with self._using(collection) as shard:
            return shard.count(edge.CountRequest(exact=True, filter=_edge_filter(conditions)))

    def _with_vector(self, reading: Reading) -> bool | list[str]:
        return [self.vector_name] if reading == "vectors" else False

    def _edge_point(self, point: Point) -> edge.Point:
        return edge.Point(point.point_id, {self.vector_name: point.vector.tolist()}, point.payload)

    def _point(self, record: edge.Record) -> Point:
        vector = UNREAD
        if isinstance(record.vector, dict) and self.vector_name in record.vector:
            vector = np.asarray(record.vector[self.vector_name], dtype=np.float32)
        return Point(str(record.id), record.payload or {}, vector)

    @contextmanager
    def _using(self, collection: Collection) -> Iterator[edge.EdgeShard]:
        with self._lock, _telling(self._folder):
            yield self._shards[collection]

    @contextmanager
    def _using_all(self) -> Iterator[list[edge.EdgeShard]]:
        with self._lock, _telling(self._folder):
            yield list(self._shards.values())


def _config(vector_name: str, dim: int) -> edge.EdgeConfig:
    # Mapped and read when asked for: reading all vectors first was most of what opening took.
    params = edge.EdgeVectorParams(size=dim, distance=edge.Distance.Cosine, memory=edge.Memory.Cold)
    int8 = edge.ScalarQuantizationConfig(
        edge.ScalarType.Int8, quantile=INT8_QUANTILE, memory=edge.Memory.Cold
    )
    graph = edge.HnswIndexConfig(HNSW_M, HNSW_EF_CONSTRUCT, FULL_SCAN_KB, payload_m=LINKS_BY_FIELD)
    return edge.EdgeConfig(
        vectors={vector_name: params},
        quantization_config=int8,
        hnsw_config=graph,
        wal_enabled=True,
    )


def _open_shard(
    folder: Path, fields: Sequence[PayloadField], config: edge.EdgeConfig
) -> edge.EdgeShard:
    if not folder.exists():
        _create_shard(folder, fields, config)
    return edge.EdgeShard.load(str(folder))  # with all the vectors that it keeps


def _index_fields(shard: edge.EdgeShard, fields: Sequence[PayloadField]) -> None:
    known = shard.info().payload_schema
    for field in fields:
        if field.key not in known:
            shard.update(edge.UpdateOperation.create_field_index(field.key, _INDEXES[field.kind]))


def _check_vectors(shard: edge.EdgeShard, vector_name: str, dim: int) -> None:
    """Refuse vectors of another name or length: a question to the shard is how to know."""
    none = edge.Filter(must=[edge.HasIdCondition(set())])
    asked = edge.Query.Nearest([1.0] * dim, using=vector_name)
    shard.query(edge.QueryRequest(query=asked, filter=none, limit=1))


def _create_shard(folder: Path, fields: Sequence[PayloadField], config: edge.EdgeConfig) -> None:
    """Create a shard aside and name it when it is whole: a kill leaves nothing half-made behind."""
    draft = folder.with_name(f"{folder.name}.new")
    if draft.exists():
        shutil.rmtree(draft)
    shard = edge.EdgeShard.create(str(draft), config)
    _index_fields(shard, fields)
    shard.close()  # before it is renamed: an open shard remembers its path
    draft.rename(folder)


def _edge_filter(conditions: Sequence[Condition]) -> edge.Filter:
    return edge.Filter(must=[_edge_condition(condition) for condition in conditions])


def _edge_condition(
    condition: Condition,
) -> edge.FieldCondition | edge.HasVectorCondition | edge.Filter:
    if isinstance(condition, Vector):
        there = edge.HasVectorCondition(condition.name)
        return there if condition.is_there else edge.Filter(must_not=[there])
    if isinstance(condition, Match):
        # A single value takes no time where all points have it; MatchAny looks at each of them,
        # which costs twice the search itself.
        words = list(condition.values)
        match = edge.MatchValue(words[0]) if len(words) == 1 else edge.MatchAny(words)
        return edge.FieldCondition(condition.key, match=match)
    if isinstance(condition, NumberRange):
        numbers = edge.RangeFloat(gte=condition.gte, lte=condition.lte)
        return edge.FieldCondition(condition.key, range=numbers)
    if isinstance(condition, TimeRange):
        gte = condition.gte.isoformat() if condition.gte else None
        lt = condition.lt.isoformat() if condition.lt else None
        return edge.FieldCondition(condition.key, range=edge.RangeDateTime(gte=gte, lt=lt))
    center = edge.GeoPoint(lon=condition.circle.center.lon, lat=condition.circle.center.lat)
    circle = edge.GeoRadius(center, condition.circle.radius_m)
    return edge.FieldCondition(condition.key, geo_radius=circle)


@contextmanager
def _telling(folder: Path) -> Iterator[None]:
    """Turn what Edge raises (a plain Exception, whatever it is) into an error that helps."""
    try:
        yield
    except BaseException as error:
        is_panic = type(error).__name__ == PANIC  # no Exception, so that nobody catches it
        if type(error) is not Exception and not isinstance(error, OSError) and not is_panic:
            raise  # ours, or a mistake in this program
        raise _error_from_text(folder, str(error)) from error


def _error_from_text(folder: Path, text: str) -> StoreError | MismatchError:
    if "WouldBlock" in text:  # the lock on its write-ahead log
        return StoreError(
            f"{folder} is open in another process, and only one may open it. Stop that one, or let "
            "it be `segsearch serve`: then the other commands go through it."
        )
    if "Not existing vector" in text or "different param" in text or "dimension error" in text:
        return MismatchError(
            f"{folder} keeps vectors of another encoder or crop recipe than asked for ({text}). "
            "Use the models that made it, or choose another --library."
        )
    return StoreError(
        f"the vectors in {folder} can't be used: {text}. "
        "Restore the library from a backup; or move that folder away and run `segsearch ingest`, "
        "which segments the photos again."
    )


def _check_address_space(limits: Limits) -> None:
    """Refuse to map files where the system lets this process have too little memory."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY and allowed < limits.min_address_space_bytes:
        raise StoreError(
            f"this process may use {allowed // 1_000_000} MB of memory (`ulimit -v`), and the "
            f"index needs {limits.min_address_space_bytes // 1_000_000} MB: raise the limit."
        )


def _check_room(folder: Path, limits: Limits) -> None:
    if shutil.disk_usage(folder).free < limits.min_free_bytes:
        raise StoreError(
            f"the disk of {folder} is full: less than {limits.min_free_bytes // 1_000_000} MB are "
            "free. Make room and run the command again: everything written so far is kept."
        )
