"""One owner per library: the embedded store can be open in one process only.

Whoever opens it holds `owner.lock` and writes `owner.json`: pid, what it is, and, if it serves,
where, with a token that only this user can read. Other commands then speak to the owner over HTTP:
`OwnedIndex` is the same SegmentIndex, each call one request.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import filelock
from pydantic import ValidationError

from api.library.wire import value_from_wire, wire_from_value
from search import errors
from search.errors import OwnedError, SegsearchError, StoreUnreachableError
from search.index.base import SegmentIndex
from search.records import Record

if TYPE_CHECKING:  # a tenth of a second, which only those who ask an owner need
    import httpx

LOCK_NAME = "owner.lock"
INFO_NAME = "owner.json"
CALL_PATH = "/internal/index"
CALL_TIMEOUT_S = 120.0
BRIEF_COMMANDS = frozenset(("search", "show", "remove"))
PATIENCE_S = 20.0  # a search that loads full-size models takes about ten seconds on a slow disk
RETRY_S = 0.05
# What may be called from outside; close() and optimize() are the owner's own.
METHODS = frozenset(
    (
        "put_segments",
        "put_photo",
        "delete_segments",
        "delete_photo",
        "update_facts",
        "photos",
        "segments",
        "segments_of",
        "segment_ids_of",
        "iter_photos",
        "iter_segments",
        "iter_ids",
        "add_fields",
        "count",
        "segment_vectors",
        "photo_vectors",
        "sample_vectors",
        "nearest_segments",
        "ranked_segments",
        "nearest_photos",
        "put_vectors",
        "iter_without_vectors",
        "count_vectors",
        "drop_vectors",
        "flush",
    )
)


class OwnerInfo(Record):
    """Who owns a library."""

    pid: int
    command: str
    address: str | None = None  # http://127.0.0.1:8765, if it serves
    token: str


class Ownership:
    """Held while this process has the embedded store open."""

    def __init__(self, folder: Path, lock: filelock.BaseFileLock, info: OwnerInfo) -> None:
        self._folder, self._lock, self.info = folder, lock, info

    def announce(self, address: str) -> None:
        """Say where other commands find this process."""
        self.info = self.info.model_copy(update={"address": address})
        _write_info(self._folder, self.info)

    def release(self) -> None:
        """Let others own the library."""
        (self._folder / INFO_NAME).unlink(missing_ok=True)
        self._lock.release()


def take_ownership(folder: Path, command: str) -> Ownership | None:
    """Become the owner of a library; None if another process is, and stays so.

    One that will be through in a moment (another search) is waited for.
    """
    lock = filelock.FileLock(folder / LOCK_NAME)
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except filelock.Timeout:
            info = _read_info(folder)
            if (info and info.command not in BRIEF_COMMANDS) or time.monotonic() > until:
                return None
        time.sleep(RETRY_S)
    info = OwnerInfo(pid=os.getpid(), command=command, token=secrets.token_urlsafe(32))
    _write_info(folder, info)
    return Ownership(folder, lock, info)


def current_owner(folder: Path) -> OwnerInfo:
    """Return who owns a library that could not be taken.

    Raises:
        OwnedError: the owner does not serve, so that nothing can be asked of it.
    """
    info = _read_info(folder)
    if info is None or info.address is None:
        who = f"`segsearch {info.command}` (process {info.pid})" if info else "another process"
        raise OwnedError(
            f"the library {folder} is in use by {who}. Wait until it ends; while `segsearch serve` "
            "runs, other commands work beside it."
        )
    return info


def served_owner(folder: Path) -> OwnerInfo | None:
    """Return the owner of a library if it serves, else None."""
    info = _read_info(folder)
    if info is None or info.address is None:
        return None
    lock = filelock.FileLock(folder / LOCK_NAME)  # free if the one that served was killed
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return info
    lock.release()
    return None


def _read_info(folder: Path) -> OwnerInfo | None:
    """Return what the owner wrote of itself; None if there is nothing to be read."""
    try:
        return OwnerInfo.model_validate_json((folder / INFO_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def _write_info(folder: Path, info: OwnerInfo) -> None:
    """Write the owner's card so that only this user can read its token."""
    draft = folder / f"{INFO_NAME}.new"
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(info.model_dump_json())
    draft.replace(folder / INFO_NAME)


class OwnedIndex:
    """A SegmentIndex that lives in another process.

    Each call says which vectors it is about: the owner may have others in use by now.
    """

    def __init__(
        self,
        info: OwnerInfo,
        vectors: tuple[str, int] | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        self._info = info
        self._vectors = vectors
        self._http = http or _client(info)

    def beside(self, vector_name: str, dim: int) -> OwnedIndex:
        """Return the same points with other vectors, which the owner makes if they are not there.

        Raises:
            MismatchError: vectors of that name have another length.
        """
        other = OwnedIndex(self._info, (vector_name, dim), self._http)
        other.count_vectors("photos")  # any call makes them
        return other

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401  (whatever the protocol says)
        if method not in METHODS:
            raise AttributeError(method)

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            return self._call(method, args, kwargs)

        return call

    def _call(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        asked = {"args": list(args), "kwargs": dict(kwargs), "vectors": self._vectors}
        body = wire_from_value(asked)
        found = value_from_wire(
            json.loads(_post(self._http, self._info, f"{CALL_PATH}/{method}", body))
        )
        return iter(found) if method.startswith("iter_") else found

    def optimize(self) -> bool:
        """Leave it: the graph is never built in a process that serves."""
        return False

    def close(self) -> None:
        """Let go of the connection; the owner keeps the store open."""
        self._http.close()


def _client(info: OwnerInfo) -> httpx.Client:
    import httpx

    return httpx.Client(
        base_url=info.address or "",
        headers={"Authorization": f"Bearer {info.token}"},
        timeout=CALL_TIMEOUT_S,
        trust_env=False,  # a proxy has no business between two processes of one machine
    )


def _post(http: httpx.Client, info: OwnerInfo, path: str, body: Any) -> bytes:  # noqa: ANN401
    """Return the owner's answer; what it could not do is raised as if it had happened here."""
    import httpx

    try:
        answer = http.post(path, json=body)
    except httpx.TransportError as error:
        raise StoreUnreachableError(
            f"`segsearch {info.command}` (process {info.pid}), which has the library open, does "
            f"not answer at {info.address}: {error}. What was written so far is kept; run the "
            "command again."
        ) from error
    if not answer.is_success:
        raise _error_from_answer(answer)
    return answer.content


def ask_owner(info: OwnerInfo, path: str, body: Any) -> bytes:  # noqa: ANN401
    """Ask the process that serves a library, by one of its public routes.

    Raises:
        SegsearchError: what it met, or that it does not answer.
    """
    with _client(info) as http:
        return _post(http, info, path, body)


def owned_index(info: OwnerInfo, vectors: tuple[str, int] | None = None) -> SegmentIndex:
    """Return the index of a library that another process has open.

    Args:
        info: who has it open.
        vectors: name and length of those that are meant; None: those that the owner has in use.
    """
    return cast(SegmentIndex, OwnedIndex(info, vectors))


def call_index(index: SegmentIndex, method: str, body: Any) -> Any:  # noqa: ANN401
    """Answer a call that came over the wire.

    Raises:
        UsageError: there is no such method.
    """
    if method not in METHODS:
        raise errors.UsageError(f"the index has no method {method!r}")
    asked = value_from_wire(body)
    if asked.get("vectors"):
        index = index.beside(*asked["vectors"])
    found = getattr(index, method)(*asked["args"], **asked["kwargs"])
    return wire_from_value(list(found) if isinstance(found, Iterator) else found)


def _error_from_answer(answer: httpx.Response) -> SegsearchError | ValueError:
    """Return the error that the owner met, as if it had happened here."""
    try:
        problem = answer.json()
        if problem["error"] == ValueError.__name__:  # vectors that are not what the index keeps
            return ValueError(problem["detail"])
        kind = getattr(errors, problem["error"], errors.StoreError)
        detail = str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        kind, detail = errors.StoreError, f"the owner answered {answer.status_code}"
    error: SegsearchError = kind(detail)
    return error
