"""Unhandled exceptions."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import UNEXPECTED, ProblemResponse
from api.tracing import current
from search.errors import SegsearchError

_logger = logging.getLogger(__name__)


class UnhandledErrorMiddleware:
    """Returns a generic 500 for unhandled exceptions and logs the traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request; an exception becomes a 500 response."""
        has_started = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_started
            has_started = has_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception:
            if has_started or scope["type"] != "http":
                raise  # too late for a response: uvicorn logs it and closes the connection
            _logger.exception("%s %s failed", scope["method"], scope["path"])
            trace = current()
            detail = f"{UNEXPECTED} about request {trace.request_id}" if trace else UNEXPECTED
            response = ProblemResponse(500, detail, SegsearchError.__name__)
            await response(scope, receive, send)
