"""A connection to a Qdrant server: its address, who answers there, retries, and clear errors."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit, urlunsplit

import grpc  # type: ignore[import-untyped]
import httpx
from pydantic import ValidationError
from qdrant_client import QdrantClient
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

from search.errors import StoreError, StoreUnreachableError
from search.settings import Settings

DEFAULT_PORT = 6333
# Collections carry the id of their library in their metadata, which 1.16 brought.
OLDEST_VERSION = (1, 16)
# Somebody waits for a search: it is asked again only if the answer may come at once, as when the
# server was started anew and kept-alive connections lead nowhere.
READ_WAIT_S = 1.0
FIRST_PAUSE_S = 0.25  # doubled with each try, and a random part of it is waited
LONGEST_PAUSE_S = 8.0

_NOT_QDRANT = (json.JSONDecodeError, UnicodeDecodeError, ValidationError)
_FAILURES = (ApiException, QdrantException, grpc.RpcError, *_NOT_QDRANT)
_PASSING_STATUS = (408, 429)  # and all from 500 on
_PASSING_GRPC = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "ABORTED")
_TOO_LARGE = re.compile(r"larger than allowed|larger than max|too large", re.IGNORECASE)
_DISK_FULL = re.compile(r"no space left|disk.{0,20}full|not enough space", re.IGNORECASE)
_logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class RequestTooLargeError(StoreError):
    """The server, or a proxy before it, refuses a request of this size."""


def server_address(url: str) -> str:
    """Return the URL that is asked: with its port, and without a slash at its end.

    Without a port it is Qdrant's own, 6333. An address with a path is one behind a reverse proxy,
    which listens on the port of the scheme.

    Raises:
        StoreError: it is not the URL of a server.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise _not_an_address(url, str(error)) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _not_an_address(url, "it should begin with http:// or https:// and name a host")
    path = parts.path.rstrip("/")
    if port is None:
        port = {"http": 80, "https": 443}[parts.scheme] if path else DEFAULT_PORT
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return urlunsplit(SplitResult(parts.scheme, f"{host}:{port}", path, "", ""))


def _not_an_address(url: str, why: str) -> StoreError:
    return StoreError(
        f"{url!r} is not the URL of a Qdrant server ({why}). "
        "Give one like --qdrant http://localhost:6333."
    )


class QdrantConnection:
    """A client with an address; its calls are repeated and its errors become ones that help."""

    def __init__(self, client: QdrantClient, settings: Settings, *, patient: bool = False) -> None:
        """Use a client.

        Args:
            client: is closed by `close`.
            settings: how long to wait for an answer.
            patient: wait as long for what is read as for what is written.
        """
        self.client = client
        self.address = server_address(settings.qdrant) if settings.qdrant else "memory"
        self._write_wait_s = settings.retry_wait_s
        self._read_wait_s = settings.retry_wait_s if patient else READ_WAIT_S

    @classmethod
    def to_server(cls, settings: Settings, *, patient: bool = False) -> QdrantConnection:
        """Connect to the server at `settings.qdrant`, and ask what answers there.

        Raises:
            StoreUnreachableError: no answer.
            StoreError: no Qdrant server answers, it refuses, it is too old, or the URL is not one.
        """
        address = server_address(settings.qdrant or "")
        with warnings.catch_warnings():
            # Between two containers of one machine a key goes without TLS.
            warnings.filterwarnings("ignore", "Api key is used with an insecure connection")
            client = QdrantClient(
                url=address,
                api_key=settings.qdrant_api_key,
                prefer_grpc=settings.grpc,
                timeout=settings.qdrant_timeout_s,
                check_compatibility=False,  # it warns from a thread of its own, and only warns
            )
        connection = cls(client, settings, patient=patient)
        try:
            connection._check_version()
        except BaseException:
            client.close()
            raise
        return connection

    def version(self) -> str:
        """Return the server's version, `1.18.3`.

        Raises:
            StoreUnreachableError: no answer.
            StoreError: no Qdrant server answers, or it refuses.
        """
        about = self.read(self.client.info)
        if "qdrant" not in about.title.lower():
            raise self._no_qdrant(f"it calls itself {about.title!r}")
        return str(about.version)

    def _check_version(self) -> None:
        version = self.version()
        numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
        if numbers < OLDEST_VERSION:
            oldest = ".".join(map(str, OLDEST_VERSION))
            raise StoreError(
                f"Qdrant at {self.address} is version {version}; segsearch needs {oldest} or "
                "newer. Nothing was written."
            )

    def close(self) -> None:
        """Let go of the connections; closing twice is no error."""
        self.client.close()

    def write(self, send: Callable[..., object], collection: str, *what: object) -> None:
        """Send a write until it is taken; all of them can be repeated without harm."""
        try:
            self._ask(self._write_wait_s, send, collection, *what, wait=True)
        except StoreUnreachableError as error:
            raise StoreUnreachableError(
                f"{error} Everything written so far is kept: the command can be run again."
            ) from error

    def read(self, ask: Callable[..., Answer], *what: Any, **how: Any) -> Answer:  # noqa: ANN401
        """Ask for something."""
        return self._ask(self._read_wait_s, ask, *what, **how)

    def _ask(
        self,
        wait_s: float,
        ask: Callable[..., Answer],
        *what: Any,  # noqa: ANN401
        **how: Any,  # noqa: ANN401
    ) -> Answer:
        """Ask until there is an answer, for about `wait_s`.

        Raises:
            StoreUnreachableError: no answer, or the server can't do it now.
            RequestTooLargeError: the request has to be split.
            StoreError: the server refuses, or is no Qdrant server.
        """
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
            raise self._error_from(error) from error

    def _error_from(self, error: Exception) -> StoreError:
        reason = _reason(error)
        if isinstance(error, _NOT_QDRANT) or _is_unreadable(error):
            return self._no_qdrant("what it answers is not Qdrant's")
        if _is_too_large(error):
            return RequestTooLargeError(
                f"Qdrant at {self.address}, or a proxy before it, refuses a request for its size: "
                f"{reason}. Raise its limit, or lower --write-batch."
            )
        if _DISK_FULL.search(reason):
            return StoreError(
                f"the disk of Qdrant at {self.address} is full: {reason}. Make room there and run "
                "the command again: everything written so far is kept."
            )
        if not _is_passing(error):
            return StoreError(
                f"Qdrant at {self.address} refused: {reason}. Check --qdrant, --qdrant-api-key and "
                "the server's log."
            )
        if isinstance(error, UnexpectedResponse | ResourceExhaustedResponse):
            said, advice = f"Qdrant at {self.address} can't do it now", "See the server's log."
        else:
            said = f"no answer from Qdrant at {self.address}"
            advice = "Check that it runs and that the URL is right."
        return StoreUnreachableError(f"{said}: {reason}. {advice}")

    def _no_qdrant(self, why: str) -> StoreError:
        return StoreError(
            f"no Qdrant server answers at {self.address}: {why}. Check --qdrant: a sign-in page, "
            "a proxy or another program may be there."
        )

    def _note(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        reason = _reason(error) if error else ""
        _logger.info("no answer from Qdrant at %s (%s); trying again", self.address, reason)


def _is_passing(error: BaseException) -> bool:
    """Return whether the same request may do later: no answer, too busy, or the server's fault."""
    if _DISK_FULL.search(_reason(error)):
        return False
    if isinstance(error, ResponseHandlingException):
        return isinstance(error.source, httpx.TransportError)
    if isinstance(error, UnexpectedResponse):
        status = error.status_code or 0
        return status >= 500 or status in _PASSING_STATUS
    if isinstance(error, grpc.RpcError):
        return error.code().name in _PASSING_GRPC and not _is_too_large(error)
    return isinstance(error, ResourceExhaustedResponse)


def _is_unreadable(error: BaseException) -> bool:
    """Return whether there was an answer that can't be read as one of Qdrant's."""
    return isinstance(error, ResponseHandlingException) and isinstance(
        error.source, (*_NOT_QDRANT, httpx.DecodingError)
    )


def _is_too_large(error: BaseException) -> bool:
    if isinstance(error, UnexpectedResponse):
        refused = error.status_code == 400 and _TOO_LARGE.search(_reason(error))
        return error.status_code == 413 or bool(refused)
    return isinstance(error, grpc.RpcError) and bool(_TOO_LARGE.search(_reason(error)))


def _reason(error: BaseException) -> str:
    if isinstance(error, ResponseHandlingException):
        return str(error.source) or type(error.source).__name__
    if isinstance(error, grpc.RpcError):
        return f"{error.code().name}: {error.details()}"
    return " ".join(str(error).split())
