"""RemoteIndex: the index of a library whose owner is another process, over HTTP.

Each method is one request to the owner's route `/internal/index/METHOD`, which `call_index`
answers. Only the embedded index has an owner (see `api.library.index.ownership`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

from typing_extensions import override

from api.library.index.ownership import OwnerInfo
from api.library.index.wire import value_from_wire, wire_from_value
from search import errors
from search.errors import SegsearchError, StoreError, StoreUnreachableError, UsageError
from search.index.base import Collection, RankedSegment, SegmentIndex
from search.records import Hit, Photo, PhotoFacts, PhotoHit, SearchFilter, Segment, Vectors

if TYPE_CHECKING:  # its import takes 0.1 s, which only commands with a remote index need
    import httpx

CALL_PATH = "/internal/index"
CALL_TIMEOUT_S = 120.0
# Methods that are not forwarded: every call names its vectors; the owner optimizes and closes.
LOCAL_METHODS = frozenset(("with_vectors", "optimize", "close"))
REMOTE_METHODS = SegmentIndex.__abstractmethods__ - LOCAL_METHODS
NONE = type(None)
T = TypeVar("T")


class RemoteIndex(SegmentIndex):
    """A SegmentIndex that forwards each call to the process that has the index open."""

    def __init__(
        self,
        owner: OwnerInfo,
        vectors: tuple[str, int] | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        """Connect to an owner.

        Args:
            owner: the process that has the index open.
            vectors: name and length of the named vector; None: the one that the owner uses.
            http: a client to share.
        """
        self._owner = owner
        self._vectors = vectors
        self._http = http or _client(owner)

    def _call(self, returns: type[T], method: str, *args: object, **kwargs: object) -> T:
        """Send a call to the owner.

        Raises:
            StoreUnreachableError: the owner does not answer.
            StoreError: its answer has another type than `returns`.
            SegsearchError: the error that the owner met.
        """
        call = {"args": list(args), "kwargs": kwargs, "vectors": self._vectors}
        body = wire_from_value(call)
        answer = _post(self._http, self._owner, f"{CALL_PATH}/{method}", body)
        found = value_from_wire(json.loads(answer))
        if not isinstance(found, get_origin(returns) or returns):
            raise StoreError(f"the owner answered {method} with a {type(found).__name__}")
        return found

    @override
    def put_segments(self, photo: Photo, segments: Sequence[Segment], vectors: Vectors) -> None:
        self._call(NONE, "put_segments", photo, segments, vectors)

    @override
    def put_photo(self, photo: Photo, vector: Vectors) -> None:
        self._call(NONE, "put_photo", photo, vector)

    @override
    def delete_segments(self, segment_ids: Sequence[str]) -> None:
        self._call(NONE, "delete_segments", segment_ids)

    @override
    def delete_photo(self, photo_id: str) -> None:
        self._call(NONE, "delete_photo", photo_id)

    @override
    def update_facts(self, photo_id: str, facts: PhotoFacts) -> None:
        self._call(NONE, "update_facts", photo_id, facts)

    @override
    def photos(self, photo_ids: Sequence[str]) -> list[Photo]:
        return self._call(list[Photo], "photos", photo_ids)

    @override
    def segments(self, segment_ids: Sequence[str], *, with_masks: bool = False) -> list[Segment]:
        return self._call(list[Segment], "segments", segment_ids, with_masks=with_masks)

    @override
    def segments_of(self, photo_id: str, *, with_masks: bool = False) -> list[Segment]:
        return self._call(list[Segment], "segments_of", photo_id, with_masks=with_masks)

    @override
    def segment_ids_of(self, photo_id: str) -> set[str]:
        return self._call(set[str], "segment_ids_of", photo_id)

    @override
    def segment_vectors(self, segment_ids: Sequence[str]) -> Vectors:
        return self._call(Vectors, "segment_vectors", segment_ids)

    @override
    def photo_vectors(self, photo_ids: Sequence[str]) -> Vectors:
        return self._call(Vectors, "photo_vectors", photo_ids)

    @override
    def sample_vectors(self, limit: int) -> Vectors:
        return self._call(Vectors, "sample_vectors", limit)

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
        return self._call(
            list[Hit],
            "nearest_segments",
            vector,
            where,
            limit=limit,
            offset=offset,
            min_score=min_score,
            with_masks=with_masks,
        )

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
        rows = self._call(
            list[RankedSegment],
            "ranked_segments",
            vector,
            where,
            limit=limit,
            offset=offset,
            min_score=min_score,
        )
        return [(segment_id, photo_id, score) for segment_id, photo_id, score in rows]

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
        return self._call(
            list[PhotoHit],
            "nearest_photos",
            vector,
            where,
            limit=limit,
            offset=offset,
            min_score=min_score,
            unsegmented=unsegmented,
        )

    @override
    def count(self, collection: Collection, where: SearchFilter | None = None) -> int:
        return self._call(int, "count", collection, where)

    @override
    def iter_photos(self) -> Iterator[Photo]:
        return iter(self._call(list[Photo], "iter_photos"))

    @override
    def iter_ids(self, collection: Collection) -> Iterator[tuple[str, str]]:
        rows = self._call(list[tuple[str, str]], "iter_ids", collection)
        return iter([(point_id, photo_id) for point_id, photo_id in rows])

    @override
    def iter_segments(self, *, with_masks: bool = False) -> Iterator[Segment]:
        return iter(self._call(list[Segment], "iter_segments", with_masks=with_masks))

    @override
    def with_vectors(self, vector_name: str, dim: int) -> RemoteIndex:
        other = RemoteIndex(self._owner, (vector_name, dim), self._http)
        other.count_vectors("photos")  # any call makes the owner create them
        return other

    @override
    def put_vectors(self, collection: Collection, ids: Sequence[str], vectors: Vectors) -> None:
        self._call(NONE, "put_vectors", collection, ids, vectors)

    @override
    def iter_without_vectors(self, collection: Collection) -> Iterator[str]:
        return iter(self._call(list[str], "iter_without_vectors", collection))

    @override
    def count_vectors(self, collection: Collection) -> int:
        return self._call(int, "count_vectors", collection)

    @override
    def drop_vectors(self, vector_name: str) -> None:
        self._call(NONE, "drop_vectors", vector_name)

    @override
    def create_payload_indexes(self) -> None:
        self._call(NONE, "create_payload_indexes")

    @override
    def optimize(self) -> bool:
        """Do nothing: building a graph would block the process that serves."""
        return False

    @override
    def flush(self) -> None:
        self._call(NONE, "flush")

    @override
    def close(self) -> None:
        """Close the connection; the owner keeps the index open."""
        self._http.close()


def call_index(index: SegmentIndex, method: str, body: Any) -> Any:  # noqa: ANN401  (any JSON)
    """Answer a call of a RemoteIndex.

    Raises:
        UsageError: there is no such method.
    """
    if method not in REMOTE_METHODS:
        raise UsageError(f"the index has no method {method!r}")
    call = value_from_wire(body)
    if call.get("vectors"):
        index = index.with_vectors(*call["vectors"])
    found = getattr(index, method)(*call["args"], **call["kwargs"])
    return wire_from_value(list(found) if isinstance(found, Iterator) else found)


def ask_owner(owner: OwnerInfo, path: str, body: Any) -> bytes:  # noqa: ANN401  (any JSON)
    """Post to a public route of the process that serves a library.

    Raises:
        SegsearchError: the error that the owner met, or it does not answer.
    """
    with _client(owner) as http:
        return _post(http, owner, path, body)


def _client(owner: OwnerInfo) -> httpx.Client:
    import httpx

    return httpx.Client(
        base_url=owner.address or "",
        headers={"Authorization": f"Bearer {owner.token}"},
        timeout=CALL_TIMEOUT_S,
        trust_env=False,  # no proxy between two processes of one machine
    )


def _post(http: httpx.Client, owner: OwnerInfo, path: str, body: Any) -> bytes:  # noqa: ANN401
    """Post to the owner; its errors are raised as if they had happened here."""
    import httpx

    try:
        answer = http.post(path, json=body)
    except httpx.TransportError as error:
        raise StoreUnreachableError(
            f"`segsearch {owner.command}` (process {owner.pid}), which has the library open, does "
            f"not answer at {owner.address}: {error}. What was written so far is kept; run the "
            "command again."
        ) from error
    if not answer.is_success:
        raise _error_from_answer(answer)
    return answer.content


def _error_from_answer(answer: httpx.Response) -> SegsearchError | ValueError:
    """Rebuild the error that the owner met from its RFC 9457 problem."""
    try:
        problem = answer.json()
        kind, detail = str(problem["error"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return StoreError(f"the owner answered {answer.status_code}")
    if kind == ValueError.__name__:  # vectors of the wrong shape, say
        return ValueError(detail)
    known = getattr(errors, kind, None)
    if not (isinstance(known, type) and issubclass(known, SegsearchError)):
        known = StoreError
    return known(detail, remedy=problem.get("remedy"))
