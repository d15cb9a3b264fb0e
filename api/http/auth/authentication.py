"""Authentication by API key or browser session, with a rate limit for wrong keys."""

from __future__ import annotations

import hmac
import math
import secrets
import time
from collections.abc import Callable

from cachetools import TLRUCache, TTLCache
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.auth.access import COOKIE, needed_access
from api.http.auth.keys import Access, Keyring, digest
from api.http.problems import ProblemResponse
from search.errors import AccessError

SESSION_S = 30 * 24 * 3600
MAX_SESSIONS = 1_000
MAX_WRONG_KEYS = 10  # wrong keys from one address within WRONG_KEYS_WINDOW_S
WRONG_KEYS_WINDOW_S = 60.0
MAX_ADDRESSES = 1_000
SCHEME = "bearer "
KEY_NEEDED = (
    "this server needs a key: send it as `Authorization: Bearer KEY`, or sign in on its web page"
)
WRONG_KEY = "wrong key; ask whoever runs the server for one"
READ_ONLY = "this key is read-only: it can't change anything"
Clock = Callable[[], float]


class Sessions:
    """Signed-in browsers. Kept in memory: a restart signs everybody out."""

    def __init__(self, now: Clock = time.monotonic) -> None:
        self._open: TTLCache[bytes, Access] = TTLCache(MAX_SESSIONS, SESSION_S, timer=now)

    def start(self, access: Access) -> str:
        """Start a session and return its id; beyond MAX_SESSIONS the oldest one ends."""
        session_id = secrets.token_urlsafe(32)
        self._open[digest(session_id)] = access
        return session_id

    def access(self, session_id: str) -> Access | None:
        """What a session allows; None if it is unknown or expired."""
        return self._open.get(digest(session_id))

    def end(self, session_id: str) -> None:
        """End a session, if it exists."""
        self._open.pop(digest(session_id), None)


class WrongKeys:
    """Rate limit for wrong keys: an address that sends many has to wait."""

    def __init__(self, now: Clock = time.monotonic) -> None:
        self._now = now
        self._counts: TLRUCache[str, tuple[int, float]] = TLRUCache(  # how many, until when
            MAX_ADDRESSES, ttu=lambda _address, tries, _now: tries[1], timer=now
        )

    def wait_s(self, address: str) -> float:
        """How long an address has to wait; 0 if it may try."""
        count, until = self._counts.get(address, (0, 0.0))
        return until - self._now() if count >= MAX_WRONG_KEYS else 0.0

    def add(self, address: str) -> None:
        """Count a wrong key."""
        count, until = self._counts.get(address, (0, self._now() + WRONG_KEYS_WINDOW_S))
        self._counts[address] = (count + 1, until)


class Authenticator:
    """Checks keys and sessions; used on the event loop only."""

    def __init__(self, keyring: Keyring, token: str | None = None) -> None:
        """Accept the keys of a keyring, and the token of other commands of this user."""
        self.keyring = keyring
        self._token = digest(token) if token else None
        self.sessions = Sessions()
        self._wrong_keys = WrongKeys()

    def try_key(self, key: str, address: str) -> Access | ProblemResponse:
        """The access of a key, or a 401 or 429 response.

        The token is exempt from the rate limit: an ingest continues while somebody tries keys
        from the same address.
        """
        if self._token is not None and hmac.compare_digest(digest(key), self._token):
            return Access.FULL
        wait_s = math.ceil(self._wrong_keys.wait_s(address))
        if wait_s:
            detail = f"too many wrong keys from {address}: wait {wait_s} s"
            headers = {"Retry-After": str(wait_s)}
            return ProblemResponse(429, detail, AccessError.__name__, headers)
        access = self.keyring.access(key)
        if access is None:
            self._wrong_keys.add(address)
            return unauthorized(WRONG_KEY)
        return access

    def access_of(self, headers: Headers, address: str) -> Access | ProblemResponse | None:
        """The access that these headers give, or the refusal; None without key and session."""
        if not self.keyring:
            return Access.FULL
        key = key_from_headers(headers)
        if key is not None:
            return self.try_key(key, address)
        session_id = session_from_headers(headers)
        return self.sessions.access(session_id) if session_id else None


def key_from_headers(headers: Headers) -> str | None:
    """The bearer token of an Authorization header; None if there is none."""
    sent = headers.get("authorization", "")
    return sent[len(SCHEME) :].strip() if sent.lower().startswith(SCHEME) else None


def session_from_headers(headers: Headers) -> str | None:
    """The session id in a Cookie header; None if there is none."""
    # http.cookies drops all cookies if another server on this host set a malformed one.
    return cookie_parser(headers.get("cookie", "")).get(COOKIE)


def unauthorized(detail: str) -> ProblemResponse:
    """A 401 response."""
    headers = {"WWW-Authenticate": "Bearer"}
    return ProblemResponse(401, detail, AccessError.__name__, headers)


def address_of_client(scope: Scope) -> str:
    """The IP address of the client."""
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else "an unknown address"


class AuthenticationMiddleware:
    """Refuses requests without the needed access, which is kept in `request.state.access`."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self.app = app
        self.authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it before its body is read."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ProblemResponse | None:
        needed = needed_access(scope["method"], scope["path"])
        access = self.authenticator.access_of(Headers(scope=scope), address_of_client(scope))
        granted = access if isinstance(access, Access) else None
        scope.setdefault("state", {})["access"] = granted
        if needed is None or (granted is not None and granted >= needed):
            return None
        if granted is not None:
            return ProblemResponse(403, READ_ONLY, AccessError.__name__)
        return access if isinstance(access, ProblemResponse) else unauthorized(KEY_NEEDED)
