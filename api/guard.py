"""What every request passes on its way in: who may ask, how much may be sent, what may go wrong.

Serving on loopback is no protection by itself: any page that a browser has open can send requests
there. So the Host must be one of our own names (else a foreign name was pointed at 127.0.0.1), and
an Origin, which browsers add to whatever a page reads or writes elsewhere, must be our own too.
Plain ASGI, so that nothing is buffered.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import UNEXPECTED, ProblemResponse
from search.errors import SegsearchError, TooLargeError, UsageError

OWN_NAMES = frozenset(("127.0.0.1", "localhost", "[::1]"))
AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(?::(\d{1,5}))?", re.IGNORECASE)
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",  # or a page elsewhere could show our pictures
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
}
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

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app = app
        self.names = OWN_NAMES | {f"[{host}]" if ":" in host else host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer our own; refuse the others."""
        refused = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        await (refused or self.app)(scope, receive, send)

    def _refusal(self, headers: Headers) -> ProblemResponse | None:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        host = authority(hosts[0]) if len(hosts) == 1 else None
        if host is None or host[0] not in self.names:
            detail = "this server answers to its own name only, as in 127.0.0.1"
            return ProblemResponse(421, detail, UsageError.__name__)
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


def authority(text: str) -> tuple[str, str] | None:
    """Split `name:port` to lower-case name and port ("" if none); None if it is neither."""
    found = AUTHORITY.fullmatch(text)
    return (found[1].lower(), found[2] or "") if found else None


class BodyLimit:
    """Refuses bodies over a limit: by their announced length at once, else when they reach it."""

    def __init__(self, app: ASGIApp, max_bytes: int, by_prefix: Iterable[tuple[str, int]]) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.by_prefix = tuple(by_prefix)

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
        own = (limit for prefix, limit in self.by_prefix if path.startswith(prefix))
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


class NoSurprises:
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
            response = ProblemResponse(500, UNEXPECTED, SegsearchError.__name__)
            await response(scope, receive, send)
