"""What every request passes on its way in: where from, how much, how long, and what goes wrong.

Serving on loopback is no protection by itself: any page that a browser has open can send requests
there. So the Host must be one of our own names (else a foreign name was pointed at 127.0.0.1), and
an Origin, which browsers add to whatever a page reads or writes elsewhere, must be our own too.
Plain ASGI, so that nothing is buffered.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterable, Mapping

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import RETRY_AFTER_S, UNEXPECTED, ProblemResponse
from api.tracing import current
from search.errors import BusyError, SegsearchError, TooLargeError, UsageError

OWN_NAMES = frozenset(("127.0.0.1", "localhost", "[::1]"))
AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(?::(\d{1,5}))?", re.IGNORECASE)
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",  # or a page elsewhere could show our pictures
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
}
OTHER_HOST = (
    "this server answers to its own names only, as in 127.0.0.1; the setting allowed_hosts adds to "
    "them"
)
_logger = logging.getLogger(__name__)


class SecurityHeaders:
    """Adds headers that keep a browser careful; what may be cached says so itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with these headers added."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, send_with_headers)


class OwnHostOnly:
    """Refuses requests for other hosts, and those that a page of another host makes."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self.app = app
        self.names = OWN_NAMES | {_as_in_urls(name) for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer our own; refuse the others."""
        refused = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        await (refused or self.app)(scope, receive, send)

    def _refusal(self, headers: Headers) -> ProblemResponse | None:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        host = authority(hosts[0]) if len(hosts) == 1 else None
        if host is None or host[0] not in self.names:
            return ProblemResponse(421, OTHER_HOST, UsageError.__name__)
        if not all(self._is_own(origin, host[1]) for origin in origins):
            detail = "a page of another site may not ask here"
            return ProblemResponse(403, detail, UsageError.__name__)
        return None

    def _is_own(self, origin: str, port: str) -> bool:
        scheme, _, rest = origin.partition("://")
        found = authority(rest)
        return (
            scheme in ("http", "https")
            and found is not None
            and found[0] in self.names
            and found[1] == port
        )


def names_from_text(text: str | None) -> list[str]:
    """Return host names that stand between commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _as_in_urls(name: str) -> str:
    return f"[{name.lower()}]" if ":" in name and not name.startswith("[") else name.lower()


def authority(text: str) -> tuple[str, str] | None:
    """Split `name:port` to lower-case name and port ("" if none); None if it is neither."""
    found = AUTHORITY.fullmatch(text)
    return (found[1].lower(), found[2] or "") if found else None


class BodyLimit:
    """Refuses bodies over a limit: by their announced length at once, else when they reach it."""

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        by_path: Mapping[str, int],
        by_prefix: Mapping[str, int],
    ) -> None:
        """Limit bodies to `max_bytes`, but for these paths and what begins with these prefixes."""
        self.app = app
        self.max_bytes = max_bytes
        self.by_path, self.by_prefix = dict(by_path), dict(by_prefix)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as long as the body stays within the limit."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdecimal() or int(announced) > limit:
            response = ProblemResponse(413, _too_large(limit), TooLargeError.__name__)
            await response(scope, receive, send)
            return
        await self.app(scope, _counted(receive, limit), send)

    def _limit(self, path: str) -> int:
        if path in self.by_path:
            return self.by_path[path]
        own = (limit for prefix, limit in self.by_prefix.items() if path.startswith(prefix))
        return next(own, self.max_bytes)


def _counted(receive: Receive, limit: int) -> Receive:
    """Return `receive`, but failing once more than `limit` bytes have come."""
    received = 0

    async def receive_counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, _too_large(limit))
        return message

    return receive_counted


def _too_large(limit: int) -> str:
    return f"the request has more than the {limit / 1e6:,.1f} MB that are taken; send less"


class HeadAsGet:
    """Answers HEAD as GET without the body; not for streams, which have no end."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; of HEAD only what comes before the body."""
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        if not is_head or scope["path"].endswith("/events"):
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if "body" in message else message)

        await self.app({**scope, "method": "GET"}, receive, send_without_body)


class TimeLimit:
    """Answers 503 for a request whose answer has not begun in time.

    A thread can't be stopped: what works for that request goes on until its next stage, where it
    sees that its time is over (`api.tracing`). What only waits is stopped at once. An answer that
    has begun may take as long as it likes.
    """

    def __init__(self, app: ASGIApp, timeout_s: float, exempt: str) -> None:
        self.app = app
        self.timeout_s = timeout_s
        self.exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in time."""
        if scope["type"] != "http" or scope["path"].startswith(self.exempt):
            await self.app(scope, receive, send)
            return
        clock = _Clock(scope, receive, send, self.timeout_s)
        with clock.work:
            try:
                await self.app(scope, receive, clock.send)
            finally:
                clock.stop()
        if clock.late is not None:
            await clock.late


class _Clock:
    """Runs while a request waits for its answer; after that the answer comes from here."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, timeout_s: float) -> None:
        self._asgi = scope, receive, send
        self._timeout_s = timeout_s
        self._alarm = asyncio.get_running_loop().call_later(timeout_s, self._ring)
        self._trace = current()
        self.work = anyio.CancelScope()
        self.late: asyncio.Task[None] | None = None
        if self._trace is not None:
            self._trace.deadline = time.monotonic() + timeout_s

    async def send(self, message: Message) -> None:
        """Send what comes in time, and drop what comes too late."""
        if self.late is None:
            self.stop()
            await self._asgi[2](message)

    def stop(self) -> None:
        """Let the answer take as long as it likes from here on."""
        self._alarm.cancel()
        if self._trace is not None and self.late is None:
            self._trace.deadline = None

    def _ring(self) -> None:
        detail = f"the answer took longer than {self._timeout_s:g} s; try again"
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        answer = ProblemResponse(503, detail, BusyError.__name__, headers)
        self.late = asyncio.create_task(answer(*self._asgi))
        self.work.cancel()


class UnhandledErrorMiddleware:
    """Answers what nobody foresaw with 500 and no word of what is inside; the log has it all."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, whatever happens."""
        begun = False

        async def send_noting(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_noting)
        except Exception:
            if begun or scope["type"] != "http":
                raise  # too late for an answer: the server logs it and cuts the connection
            _logger.exception("%s %s failed", scope["method"], scope["path"])
            trace = current()
            detail = f"{UNEXPECTED} about request {trace.request_id}" if trace else UNEXPECTED
            response = ProblemResponse(500, detail, SegsearchError.__name__)
            await response(scope, receive, send)
