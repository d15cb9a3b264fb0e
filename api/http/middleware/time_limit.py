"""Limit the time until a response starts."""

from __future__ import annotations

import asyncio
import time

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import RETRY_AFTER_S, ProblemResponse
from api.tracing import current
from search.errors import BusyError


class TimeLimitMiddleware:
    """Answers 503 if a response has not started in time.

    Awaits are canceled at once. A thread can't be stopped: it runs until its next stage, which
    checks the deadline (`api.tracing`). A response that has started has no time limit.
    """

    def __init__(self, app: ASGIApp, timeout_s: float, exempt: str) -> None:
        """Limit requests to `timeout_s`, except for paths that start with `exempt`."""
        self.app = app
        self.timeout_s = timeout_s
        self.exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request with a deadline."""
        if scope["type"] != "http" or scope["path"].startswith(self.exempt):
            await self.app(scope, receive, send)
            return
        deadline = _Deadline(scope, receive, send, self.timeout_s)
        with deadline.cancel_scope:
            try:
                await self.app(scope, receive, deadline.send)
            finally:
                deadline.stop()
        if deadline.timeout_response is not None:
            await deadline.timeout_response


class _Deadline:
    """The timer of one request; when it fires, it sends the 503 and cancels the request."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, timeout_s: float) -> None:
        self._asgi = scope, receive, send
        self._timeout_s = timeout_s
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._time_out)
        self._trace = current()
        self.cancel_scope = anyio.CancelScope()
        self.timeout_response: asyncio.Task[None] | None = None
        if self._trace is not None:
            self._trace.deadline = time.monotonic() + timeout_s

    async def send(self, message: Message) -> None:
        """Send a message and stop the timer; after a timeout, drop it."""
        if self.timeout_response is None:
            self.stop()
            await self._asgi[2](message)

    def stop(self) -> None:
        """Cancel the timer."""
        self._timer.cancel()
        if self._trace is not None and self.timeout_response is None:
            self._trace.deadline = None

    def _time_out(self) -> None:
        detail = f"the request took longer than {self._timeout_s:g} s; try again"
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        response = ProblemResponse(503, detail, BusyError.__name__, headers)
        self.timeout_response = asyncio.create_task(response(*self._asgi))
        self.cancel_scope.cancel()
