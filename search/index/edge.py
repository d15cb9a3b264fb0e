"""EdgeIndex: the embedded engine, Qdrant Edge, with its files in a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from threading import RLock
from typing import NamedTuple

import numpy as np
import qdrant_edge as edge
from typing_extensions import override

from search.errors import MismatchError, MissingIndexError, StoreError
from search.index.base import Collection
from search.index.filters import Condition, HasVector, Match, NumberRange, TimeRange
from search.index.payload import FIELDS, MASK_KEYS, Payload, PayloadField
from search.index.points import HNSW_EF_SEARCH, UNREAD, NearestQuery, Point, PointIndex, Reading

SCROLL_PAGE = 512  # points; with masks a few MB
# optimize() also quantizes vectors to int8: the graph is built 10 times faster on these. A search
# takes 2 x as many candidates as requested and rescores them with the float vectors. On 50,000 x
# 512 they hold all of the true top 10; without rescoring 95%.
INT8_QUANTILE = 0.99  # from Qdrant's documentation: outliers must not widen the 256 steps
OVERSAMPLING = 2.0
HNSW_M, HNSW_EF_CONSTRUCT = 16, 100  # Qdrant's own defaults
# Qdrant adds HNSW links for each value of each indexed payload key, so that filtered searches stay
# connected. With nine keys that made the graph six times as slow to build and a search three times
# as slow. ACORN, which also visits neighbors of neighbors, needs no such links; and small results
# of a filter are scanned: int8 vectors of 30,000 x 512 take as long as ACORN does.
HNSW_PAYLOAD_M = 0
FULL_SCAN_KB = 60_000
ACORN_MAX_SELECTIVITY = 0.4  # fraction of points that pass the filter; Qdrant's default

# Memory-mapped: reading them at once was more than half of the CPU time of opening.
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
    hnsw_ef=HNSW_EF_SEARCH,
    quantization=edge.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING),
    acorn=edge.AcornSearchParams(enable=True, max_selectivity=ACORN_MAX_SELECTIVITY),
)


class Limits(NamedTuple):
    """When a graph is built, and which free resources the engine needs."""

    # An exact scan of 20,000 x 512 takes 2 ms, less than encoding the text of a query. With the
    # graph and int8 vectors it is 1 to 3 ms at any size (docs/scale.md).
    min_graph_points: int = 20_000
    # Edge maps its files into memory: on a full disk the next write or open kills the process with
    # SIGBUS and no error to catch (seen with 0.9.0), so both are refused before that.
    min_free_bytes: int = 200_000_000
    # An empty collection maps 300 MB. Under a lower limit (`ulimit -v`) Edge's allocator fails,
    # and the process exits or, seen with 0.9.0, hangs.
    min_address_space_bytes: int = 1_000_000_000


DEFAULT_LIMITS = Limits()
PANIC = "PanicException"  # raised by pyo3 where Rust panics, as on damaged files


class EdgeIndex(PointIndex):
    """A SegmentIndex in a folder. Threads may share it; only one process can open the folder."""

    def __init__(
        self,
        folder: Path,
        shards: dict[Collection, edge.EdgeShard],
        *,
        vector_name: str,
        dim: int,
        limits: Limits,
        shared: EdgeIndex | None = None,
    ) -> None:
        super().__init__(vector_name, dim)
        self._folder = folder
        self._shards = shards
        # Lengths of named vectors that are known to exist.
        self._dims: dict[str, int] = shared._dims if shared else {vector_name: dim}
        self._limits = limits
        # Edge 0.9.0 holds the GIL in every call, so calls can't overlap, but its documentation
        # promises nothing about threads. Should a later version release it, this lock keeps
        # close() and writes apart from queries. Uncontended it costs nothing.
        self._lock: AbstractContextManager[object] = shared._lock if shared else RLock()

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
            folder: parent folder of the collections.
            vector_name: the named vector to write and search.
            dim: its length.
            create: create missing collections.
            limits: when a graph is built, and which free resources are needed.

        Raises:
            MissingIndexError: a collection does not exist and `create` is false.
            StoreError: another process has the folder open, the disk is full, or the files can't
                be read.
            MismatchError: the vectors have another name or length.
        """
        config = _config(vector_name, dim)
        missing = [each for each in FIELDS if not (folder / each).exists()]
        if missing and not create:
            raise MissingIndexError(f"{folder} has no collection {' and no '.join(missing)}")
        _check_address_space(limits)
        with _translated_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        _check_room(folder, limits)
        shards: dict[Collection, edge.EdgeShard] = {}
        with ExitStack() as on_failure, _translated_errors(folder):
            for collection, fields in FIELDS.items():
                shards[collection] = _open_shard(folder / collection, fields, config)
                on_failure.callback(shards[collection].close)
                _check_vectors(shards[collection], vector_name, dim)
            on_failure.pop_all()
        return cls(folder, shards, vector_name=vector_name, dim=dim, limits=limits)

    @override
    def with_vectors(self, vector_name: str, dim: int) -> EdgeIndex:
        if self._dims.get(vector_name) != dim:
            added = edge.UpdateOperation.create_dense_vector(vector_name, dim, edge.Distance.Cosine)
            for collection in FIELDS:
                self._update(collection, added)
            self._dims[vector_name] = dim
        other = EdgeIndex(
            self._folder,
            self._shards,
            vector_name=vector_name,
            dim=dim,
            limits=self._limits,
            shared=self,
        )
        other.payload_format = self.payload_format
        return other

    @override
    def create_payload_indexes(self) -> None:
        for collection, fields in FIELDS.items():
            with self._using(collection) as shard:
                _check_room(self._folder, self._limits)
                _index_fields(shard, fields)

    @override
    def optimize(self) -> bool:
        """Build the HNSW graph of large collections; True if anything was done.

        Holds the GIL for all of it, so it must not run in a process that serves.
        """
        with self._using_all() as shards:
            large = [s for s in shards if s.info().points_count >= self._limits.min_graph_points]
            return any([shard.optimize() for shard in large])  # a list: all of them, not the first

    @override
    def flush(self) -> None:
        with self._using_all() as shards:
            for shard in shards:
                shard.flush()

    @override
    def close(self) -> None:
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
        self._dims.pop(vector_name, None)
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
            with self._using(collection) as shard:  # not held over the yields
                records, page_start = shard.scroll(request)
            yield from map(self._point, records)
            if page_start is None:
                return

    def _nearest(self, collection: Collection, query: NearestQuery) -> list[Point]:
        request = edge.QueryRequest(
            query=edge.Query.Nearest(query.vector.tolist(), using=self.vector_name),
            filter=_edge_filter(query.conditions),
            limit=query.limit,
            offset=query.offset,
            score_threshold=query.min_score,
            with_payload=_PAYLOAD[query.reading],
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
        with self._lock, _translated_errors(self._folder):
            yield self._shards[collection]

    @contextmanager
    def _using_all(self) -> Iterator[list[edge.EdgeShard]]:
        with self._lock, _translated_errors(self._folder):
            yield list(self._shards.values())


def _config(vector_name: str, dim: int) -> edge.EdgeConfig:
    # Memory-mapped and read on demand: reading all vectors was most of the time of opening.
    params = edge.EdgeVectorParams(size=dim, distance=edge.Distance.Cosine, memory=edge.Memory.Cold)
    int8 = edge.ScalarQuantizationConfig(
        edge.ScalarType.Int8, quantile=INT8_QUANTILE, memory=edge.Memory.Cold
    )
    graph = edge.HnswIndexConfig(HNSW_M, HNSW_EF_CONSTRUCT, FULL_SCAN_KB, payload_m=HNSW_PAYLOAD_M)
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
    return edge.EdgeShard.load(str(folder))  # with all its named vectors


def _index_fields(shard: edge.EdgeShard, fields: Sequence[PayloadField]) -> None:
    known = shard.info().payload_schema
    for field in fields:
        if field.key not in known:
            shard.update(edge.UpdateOperation.create_field_index(field.key, _INDEXES[field.kind]))


def _check_vectors(shard: edge.EdgeShard, vector_name: str, dim: int) -> None:
    """Raise if the named vector does not exist or has another length: only a query tells."""
    none = edge.Filter(must=[edge.HasIdCondition(set())])
    probe = edge.Query.Nearest([1.0] * dim, using=vector_name)
    shard.query(edge.QueryRequest(query=probe, filter=none, limit=1))


def _create_shard(folder: Path, fields: Sequence[PayloadField], config: edge.EdgeConfig) -> None:
    """Create a shard under a temporary name and rename it, so that a kill leaves none half-made."""
    draft = folder.with_name(f"{folder.name}.new")
    if draft.exists():
        shutil.rmtree(draft)
    shard = edge.EdgeShard.create(str(draft), config)
    _index_fields(shard, fields)
    shard.close()  # before the rename: an open shard keeps its path
    draft.rename(folder)


def _edge_filter(conditions: Sequence[Condition]) -> edge.Filter:
    return edge.Filter(must=[_edge_condition(condition) for condition in conditions])


def _edge_condition(
    condition: Condition,
) -> edge.FieldCondition | edge.HasVectorCondition | edge.Filter:
    if isinstance(condition, HasVector):
        has_vector = edge.HasVectorCondition(condition.name)
        return has_vector if condition.present else edge.Filter(must_not=[has_vector])
    if isinstance(condition, Match):
        # MatchValue is free where all points have the value; MatchAny checks each of them, which
        # costs twice the search itself.
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
def _translated_errors(folder: Path) -> Iterator[None]:
    """Turn Edge's errors (plain Exceptions, whatever happened) into StoreError or MismatchError."""
    try:
        yield
    except BaseException as error:
        is_panic = type(error).__name__ == PANIC  # a BaseException, not an Exception
        if type(error) is not Exception and not isinstance(error, OSError) and not is_panic:
            raise  # one of ours, or a bug
        raise _error_from_text(folder, str(error)) from error


def _error_from_text(folder: Path, text: str) -> StoreError | MismatchError:
    if "WouldBlock" in text:  # the lock on its write-ahead log
        return StoreError(
            f"{folder} is open in another process, and only one can open it",
            remedy="share_index",
        )
    if "Not existing vector" in text or "different param" in text or "dimension error" in text:
        return MismatchError(
            f"the vectors in {folder} are of another encoder or crop recipe ({text})",
            remedy="other_library",
        )
    return StoreError(f"the vectors in {folder} can't be used: {text}", remedy="move_index_away")


def _check_address_space(limits: Limits) -> None:
    """Refuse to map files if the address space of the process is limited too much."""
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
