"""A connection to a Qdrant server: address, version check, retries, and errors."""

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

from search.errors import Remedy, StoreError, StoreUnreachableError
from search.settings import SearchSettings

DEFAULT_PORT = 6333
# Collection metadata, which holds the library id, came with 1.16.
OLDEST_VERSION = (1, 16)
# A person waits for a search, so reads are retried only briefly: enough for a restarted server, to
# which kept-alive connections are dead.
READ_WAIT_S = 1.0
FIRST_PAUSE_S = 0.25  # doubled with each attempt, with full jitter
LONGEST_PAUSE_S = 8.0

_NOT_QDRANT = (json.JSONDecodeError, UnicodeDecodeError, ValidationError)
_FAILURES = (ApiException, QdrantException, grpc.RpcError, *_NOT_QDRANT)
_TRANSIENT_STATUS = (408, 429)  # and all from 500 on
_TRANSIENT_GRPC = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "ABORTED")
_TOO_LARGE = re.compile(r"larger than allowed|larger than max|too large", re.IGNORECASE)
_DISK_FULL = re.compile(r"no space left|disk.{0,20}full|not enough space", re.IGNORECASE)
_logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class RequestTooLargeError(StoreError):
    """The server, or a proxy in front of it, refuses a request of this size."""

    remedy: Remedy | None = "lower_write_batch"


def server_address(url: str) -> str:
    """Normalize a URL: with a port, without a trailing slash.

    The default port is Qdrant's own, 6333. A URL with a path is behind a reverse proxy, whose
    default is the port of the scheme.

    Raises:
        StoreError: not an http(s) URL with a host.
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
    return StoreError(f"{url!r} is not the URL of a Qdrant server ({why})", remedy="qdrant_url")


class QdrantConnection:
    """A qdrant-client whose calls are retried and whose errors become StoreErrors."""

    def __init__(
        self, client: QdrantClient, settings: SearchSettings, *, patient: bool = False
    ) -> None:
        """Use a client.

        Args:
            client: closed by `close`.
            settings: address and retry time.
            patient: retry reads for as long as writes.
        """
        self.client = client
        self.address = server_address(settings.qdrant) if settings.qdrant else "memory"
        self._write_wait_s = settings.retry_wait_s
        self._read_wait_s = settings.retry_wait_s if patient else READ_WAIT_S

    @classmethod
    def to_server(cls, settings: SearchSettings, *, patient: bool = False) -> QdrantConnection:
        """Connect to the server at `settings.qdrant` and check that it is a supported Qdrant.

        Raises:
            StoreUnreachableError: no answer.
            StoreError: no Qdrant server answers, it refuses, it is too old, or the URL is invalid.
        """
        address = server_address(settings.qdrant or "")
        with warnings.catch_warnings():
            # Between two containers of one machine an API key without TLS is fine.
            warnings.filterwarnings("ignore", "Api key is used with an insecure connection")
            client = QdrantClient(
                url=address,
                api_key=settings.qdrant_api_key,
                prefer_grpc=settings.grpc,
                timeout=settings.qdrant_timeout_s,
                check_compatibility=False,  # its check only warns, from a thread
            )
        connection = cls(client, settings, patient=patient)
        try:
            connection._check_version()
        except BaseException:
            client.close()
            raise
        return connection

    def version(self) -> str:
        """Version of the server, as in `1.18.3`.

        Raises:
            StoreUnreachableError: no answer.
            StoreError: no Qdrant server answers, or it refuses.
        """
        about = self.read(self.client.info)
        if "qdrant" not in about.title.lower():
            raise self._not_qdrant(f"its title is {about.title!r}")
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
        """Close the connections; closing twice is no error."""
        self.client.close()

    def write(self, send: Callable[..., object], collection: str, *what: object) -> None:
        """Send a write, with retries: all writes are idempotent."""
        try:
            self._ask(self._write_wait_s, send, collection, *what, wait=True)
        except StoreUnreachableError as error:
            raise StoreUnreachableError(
                f"{error} Everything written so far is kept: the command can be run again."
            ) from error

    def read(self, ask: Callable[..., Answer], *what: Any, **how: Any) -> Answer:  # noqa: ANN401
        """Send a read, with retries."""
        return self._ask(self._read_wait_s, ask, *what, **how)

    def _ask(
        self,
        wait_s: float,
        ask: Callable[..., Answer],
        *what: Any,  # noqa: ANN401
        **how: Any,  # noqa: ANN401
    ) -> Answer:
        """Call the client, with retries for about `wait_s`.

        Raises:
            StoreUnreachableError: no answer, or the server is overloaded or failing.
            RequestTooLargeError: the request must be split.
            StoreError: the server refuses, or is not Qdrant.
        """
        retrying = Retrying(
            retry=retry_if_exception(_is_transient),
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
            return self._not_qdrant("the response is not in Qdrant's format")
        if _is_too_large(error):
            return RequestTooLargeError(
                f"Qdrant at {self.address}, or a proxy in front of it, refuses a request for its "
                f"size: {reason}"
            )
        if _DISK_FULL.search(reason):
            return StoreError(
                f"the disk of Qdrant at {self.address} is full: {reason}. Make room there and run "
                "the command again: everything written so far is kept."
            )
        if not _is_transient(error):
            return StoreError(
                f"Qdrant at {self.address} refused: {reason}", remedy="check_qdrant_access"
            )
        if isinstance(error, UnexpectedResponse | ResourceExhaustedResponse):
            said, advice = f"Qdrant at {self.address} can't do it now", "See the server's log."
        else:
            said = f"no answer from Qdrant at {self.address}"
            advice = "Check that it runs and that the URL is right."
        return StoreUnreachableError(f"{said}: {reason}. {advice}")

    def _not_qdrant(self, why: str) -> StoreError:
        return StoreError(
            f"no Qdrant server answers at {self.address}: {why}", remedy="check_qdrant"
        )

    def _note(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        reason = _reason(error) if error else ""
        _logger.info("no answer from Qdrant at %s (%s); trying again", self.address, reason)


def _is_transient(error: BaseException) -> bool:
    """True if a retry may succeed: no answer, overload, or an internal error of the server."""
    if _DISK_FULL.search(_reason(error)):
        return False
    if isinstance(error, ResponseHandlingException):
        return isinstance(error.source, httpx.TransportError)
    if isinstance(error, UnexpectedResponse):
        status = error.status_code or 0
        return status >= 500 or status in _TRANSIENT_STATUS
    if isinstance(error, grpc.RpcError):
        return error.code().name in _TRANSIENT_GRPC and not _is_too_large(error)
    return isinstance(error, ResourceExhaustedResponse)


def _is_unreadable(error: BaseException) -> bool:
    """True if there was a response that can't be parsed as one of Qdrant's."""
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
