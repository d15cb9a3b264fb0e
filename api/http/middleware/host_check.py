"""Protection against DNS rebinding and cross-site requests.

A loopback address alone protects nothing: any page open in a browser can send requests to it. So
the Host header must be one of the server's own names (otherwise a foreign name resolved to
127.0.0.1), and an Origin header, which browsers add to cross-site requests, must be our own too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.problems import ProblemResponse
from search.errors import UsageError

OWN_NAMES = frozenset(("127.0.0.1", "localhost", "[::1]"))
AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(?::(\d{1,5}))?", re.IGNORECASE)
UNKNOWN_HOST = (
    "this server only accepts requests for its own host names, such as 127.0.0.1; the setting "
    "allowed_hosts adds names"
)
CROSS_SITE = "requests from pages of other sites are refused"


class HostCheckMiddleware:
    """Refuses requests for unknown hosts (421) and from other origins (403)."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self.app = app
        self.names = OWN_NAMES | {_as_in_urls(name) for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refusal = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, headers: Headers) -> ProblemResponse | None:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        host = authority(hosts[0]) if len(hosts) == 1 else None
        if host is None or host[0] not in self.names:
            return ProblemResponse(421, UNKNOWN_HOST, UsageError.__name__)
        if not all(self._is_own(origin, host[1]) for origin in origins):
            return ProblemResponse(403, CROSS_SITE, UsageError.__name__)
        return None

    def _is_own(self, origin: str, port: str) -> bool:
        scheme, _, rest = origin.partition("://")
        parsed = authority(rest)
        return (
            scheme in ("http", "https")
            and parsed is not None
            and parsed[0] in self.names
            and parsed[1] == port
        )


def names_from_text(text: str | None) -> list[str]:
    """Split comma-separated host names."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _as_in_urls(name: str) -> str:
    return f"[{name.lower()}]" if ":" in name and not name.startswith("[") else name.lower()


def authority(text: str) -> tuple[str, str] | None:
    """Split `name:port` into lower-case name and port ("" if absent); None if malformed."""
    match = AUTHORITY.fullmatch(text)
    return (match[1].lower(), match[2] or "") if match else None
