"""RemoteIndex: the index of a library whose owner is another process, over HTTP.

Each method is one request to the owner's route `/internal/index/METHOD`, which `call_index`
answers. Only the embedded index has an owner (see `api.library.index.ownership`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, get_origin, get_type_hints

from typing_extensions import override

from api.library.index.ownership import OwnerInfo
from api.library.index.wire import value_from_wire, wire_from_value
from search import errors
from search.errors import SegsearchError, StoreError, StoreUnreachableError, UsageError
from search.index.base import SegmentIndex

if TYPE_CHECKING:  # its import takes 0.1 s, which only commands with a remote index need
    import httpx

CALL_PATH = "/internal/index"
CALL_TIMEOUT_S = 120.0
# Methods that are not forwarded: every call names its vectors; the owner optimizes and closes.
LOCAL_METHODS = frozenset(("with_vectors", "optimize", "close"))
REMOTE_METHODS = SegmentIndex.__abstractmethods__ - LOCAL_METHODS
T = TypeVar("T")
P = ParamSpec("P")


def _forwarded(
    method: Callable[Concatenate[SegmentIndex, P], T], convert: Callable[[Any], Any] | None = None
) -> Callable[Concatenate[RemoteIndex, P], T]:
    """Implement a method of the contract, with its signature, by a call to the owner.

    Args:
        method: of SegmentIndex.
        convert: applied to the answer, which is JSON except for records and arrays.
    """
    returns = get_type_hints(method)["return"]
    expected, is_lazy = get_origin(returns) or returns, get_origin(returns) is Iterator
    name = method.__name__

    def forward(self: RemoteIndex, /, *args: P.args, **kwargs: P.kwargs) -> T:
        found = self._call(name, args, kwargs)
        if not isinstance(found, list if is_lazy else expected):
            raise StoreError(f"the owner answered {name} with a {type(found).__name__}")
        converted: Any = convert(found) if convert else found
        if is_lazy:
            converted = iter(converted)
        answer: T = converted
        return answer

    return forward


def _tuples(rows: list[list[Any]]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in rows]


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

    def _call(self, method: str, args: Sequence[object], kwargs: dict[str, object]) -> Any:  # noqa: ANN401
        """Send a call to the owner; return its answer.

        Raises:
            StoreUnreachableError: the owner does not answer.
            SegsearchError: the error that the owner met.
        """
        body = wire_from_value({"args": list(args), "kwargs": kwargs, "vectors": self._vectors})
        return value_from_wire(
            json.loads(_post(self._http, self._owner, f"{CALL_PATH}/{method}", body))
        )

    put_segments = _forwarded(SegmentIndex.put_segments)
    put_photo = _forwarded(SegmentIndex.put_photo)
    delete_segments = _forwarded(SegmentIndex.delete_segments)
    delete_photo = _forwarded(SegmentIndex.delete_photo)
    update_facts = _forwarded(SegmentIndex.update_facts)
    photos = _forwarded(SegmentIndex.photos)
    segments = _forwarded(SegmentIndex.segments)
    segments_of = _forwarded(SegmentIndex.segments_of)
    segment_ids_of = _forwarded(SegmentIndex.segment_ids_of)
    segment_vectors = _forwarded(SegmentIndex.segment_vectors)
    photo_vectors = _forwarded(SegmentIndex.photo_vectors)
    sample_vectors = _forwarded(SegmentIndex.sample_vectors)
    nearest_segments = _forwarded(SegmentIndex.nearest_segments)
    nearest_photos = _forwarded(SegmentIndex.nearest_photos)
    count = _forwarded(SegmentIndex.count)
    iter_photos = _forwarded(SegmentIndex.iter_photos)
    iter_segments = _forwarded(SegmentIndex.iter_segments)
    put_vectors = _forwarded(SegmentIndex.put_vectors)
    iter_without_vectors = _forwarded(SegmentIndex.iter_without_vectors)
    count_vectors = _forwarded(SegmentIndex.count_vectors)
    drop_vectors = _forwarded(SegmentIndex.drop_vectors)
    create_payload_indexes = _forwarded(SegmentIndex.create_payload_indexes)
    flush = _forwarded(SegmentIndex.flush)
    ranked_segments = _forwarded(SegmentIndex.ranked_segments, _tuples)
    iter_ids = _forwarded(SegmentIndex.iter_ids, _tuples)

    @override
    def with_vectors(self, vector_name: str, dim: int) -> RemoteIndex:
        other = RemoteIndex(self._owner, (vector_name, dim), self._http)
        other.count_vectors("photos")  # any call makes the owner create them
        return other

    @override
    def optimize(self) -> bool:
        """Do nothing: building a graph would block the process that serves."""
        return False

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
