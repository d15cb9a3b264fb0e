"""Limit the size of request bodies."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import ProblemResponse
from search.errors import TooLargeError


class BodyLimitMiddleware:
    """Refuses larger bodies: at once by Content-Length, otherwise when the limit is reached."""

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        by_path: Mapping[str, int],
        by_prefix: Mapping[str, int],
    ) -> None:
        """Limit bodies to `max_bytes`, or to the limit of the exact path or of a path prefix."""
        self.app = app
        self.max_bytes = max_bytes
        self.by_path, self.by_prefix = dict(by_path), dict(by_prefix)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on while its body stays within the limit."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        content_length = Headers(scope=scope).get("content-length", "0")
        if not content_length.isdecimal() or int(content_length) > limit:
            response = ProblemResponse(413, _too_large(limit), TooLargeError.__name__)
            await response(scope, receive, send)
            return
        await self.app(scope, _limited(receive, limit), send)

    def _limit(self, path: str) -> int:
        if path in self.by_path:
            return self.by_path[path]
        matching = (limit for prefix, limit in self.by_prefix.items() if path.startswith(prefix))
        return next(matching, self.max_bytes)


def _limited(receive: Receive, limit: int) -> Receive:
    """Wrap `receive` to raise a 413 once more than `limit` bytes have arrived."""
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, _too_large(limit))
        return message

    return receive_limited


def _too_large(limit: int) -> str:
    return f"the request is larger than the limit of {limit / 1e6:,.1f} MB"
