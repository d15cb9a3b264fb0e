"""Request ids, request metrics, and an optional log line for each request."""

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
CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # accepted from clients: can't forge log lines
NO_ROUTE = "none"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_logger = logging.getLogger(__name__)


@dataclass
class _Response:
    """Status and size of a response while it is sent."""

    status: int = 500  # until the response starts
    first_byte_s: float | None = None
    bytes: int = 0


class RequestLogMiddleware:
    """The outermost middleware: it also sees the responses of the others."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request, then count and log it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        trace = Trace(request_id_from(Headers(scope=scope)), self.metrics.count_stage)
        token, start, response = begin(trace), time.perf_counter(), _Response()
        send = _recording(send, response, trace.request_id, lambda: time.perf_counter() - start)
        try:
            await self.app(scope, receive, send)
        finally:
            seconds = time.perf_counter() - start
            self._record(scope, trace, response, seconds)
            end(token)

    def _record(self, scope: Scope, trace: Trace, response: _Response, seconds: float) -> None:
        route = str(getattr(scope.get("route"), "path", NO_ROUTE))
        method = scope["method"] if scope["method"] in METHODS else "other"
        first_byte_s = seconds if response.first_byte_s is None else response.first_byte_s
        self.metrics.count_request(route, method, response.status, first_byte_s)
        if _logger.isEnabledFor(logging.INFO):
            fields = _fields(scope, trace, response, seconds) | {"route": route}
            values = (scope["method"], scope["path"], response.status, seconds * 1e3)
            _logger.info("%s %s %d, %.0f ms", *values, extra={"fields": fields})


def _recording(
    send: Send, response: _Response, request_id: str, elapsed: Callable[[], float]
) -> Send:
    """Wrap `send` to record the response and to add the request id to its headers."""

    async def send_recording(message: Message) -> None:
        if message["type"] == "http.response.start":
            response.status, response.first_byte_s = message["status"], elapsed()
            MutableHeaders(scope=message)[ID_HEADER] = request_id
        response.bytes += len(message.get("body", b""))
        await send(message)

    return send_recording


def _fields(scope: Scope, trace: Trace, response: _Response, seconds: float) -> dict[str, Any]:
    """The fields of a JSON log line, without the query, which may be private."""
    stages = {f"{stage}_ms": round(took * 1e3, 1) for stage, took in trace.seconds.items()}
    return {
        "method": scope["method"],
        "path": scope["path"],
        "status": response.status,
        "ms": round(seconds * 1e3, 1),
        "bytes": response.bytes,
        "client": address_of_client(scope),
        **stages,
    }


def request_id_from(headers: Headers) -> str:
    """The valid id in the request header, as a client or proxy set it, otherwise a new one."""
    sent = headers.get(ID_HEADER, "")
    return sent if CLIENT_ID.fullmatch(sent) else uuid4().hex
