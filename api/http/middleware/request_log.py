"""Every request gets an id, is counted and timed, and has a line in the log if that is wanted."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.auth.authentication import address_of_client
from api.http.metrics import Metrics
from api.tracing import Trace, begin, end

ID_HEADER = "X-Request-ID"
OWN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what a client may choose: nothing that forges lines
NO_ROUTE = "none"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_logger = logging.getLogger(__name__)


@dataclass
class _Answer:
    """What is known of an answer while it is sent."""

    status: int = 500  # if none comes
    first_byte_s: float | None = None
    bytes: int = 0


class Observed:
    """The outermost of all: it sees what the others answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and keep the books."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        trace = Trace(request_id_from(Headers(scope=scope)), self.metrics.stage_took)
        token, begun, answer = begin(trace), time.perf_counter(), _Answer()
        noted = _noting(send, answer, trace.request_id, lambda: time.perf_counter() - begun)
        try:
            await self.app(scope, receive, noted)
        finally:
            seconds = time.perf_counter() - begun
            self._note(scope, trace, answer, seconds)
            end(token)

    def _note(self, scope: Scope, trace: Trace, answer: _Answer, seconds: float) -> None:
        route = str(getattr(scope.get("route"), "path", NO_ROUTE))
        method = scope["method"] if scope["method"] in METHODS else "other"
        first_byte_s = seconds if answer.first_byte_s is None else answer.first_byte_s
        self.metrics.answered(route, method, answer.status, first_byte_s)
        if _logger.isEnabledFor(logging.INFO):
            fields = _fields(scope, trace, answer, seconds) | {"route": route}
            said = "%s %s %d, %.0f ms"
            about = (scope["method"], scope["path"], answer.status, seconds * 1e3)
            _logger.info(said, *about, extra={"fields": fields})


def _noting(send: Send, answer: _Answer, request_id: str, elapsed: Callable[[], float]) -> Send:
    """Return `send`, but noting what goes by, and with the request's id among the headers."""

    async def send_noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.first_byte_s = message["status"], elapsed()
            MutableHeaders(scope=message)[ID_HEADER] = request_id
        answer.bytes += len(message.get("body", b""))
        await send(message)

    return send_noting


def _fields(scope: Scope, trace: Trace, answer: _Answer, seconds: float) -> dict[str, Any]:
    """Return what a program wants to know of a request; no query: it may hold what is private."""
    stages = {f"{stage}_ms": round(took * 1e3, 1) for stage, took in trace.seconds.items()}
    return {
        "method": scope["method"],
        "path": scope["path"],
        "status": answer.status,
        "ms": round(seconds * 1e3, 1),
        "bytes": answer.bytes,
        "client": address_of_client(scope),
        **stages,
    }


def request_id_from(headers: Headers) -> str:
    """Return the id that a client or a proxy gave a request, or a new one."""
    sent = headers.get(ID_HEADER, "")
    return sent if OWN_ID.fullmatch(sent) else uuid4().hex
