"""Who is let in: keys in a header, sessions of browsers, and how often a wrong key may be tried."""

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
TRIES = 10  # wrong keys from one address, within ...
TRIES_WITHIN_S = 60.0
MAX_ADDRESSES = 1_000
SCHEME = "bearer "
KEY_NEEDED = (
    "this server asks for a key: send it as `Authorization: Bearer KEY`, or sign in on its page"
)
WRONG_KEY = "there is no such key; whoever runs the server has the right one"
READ_ONLY = "this key allows to search and to look, not to change anything"
Clock = Callable[[], float]


class Sessions:
    """Signed-in browsers. Kept in memory: a restart signs everybody out."""

    def __init__(self, now: Clock = time.monotonic) -> None:
        self._open: TTLCache[bytes, Access] = TTLCache(MAX_SESSIONS, SESSION_S, timer=now)

    def begin(self, access: Access) -> str:
        """Return the id of a new session; beyond MAX_SESSIONS the oldest one ends."""
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
        self._tries: TLRUCache[str, tuple[int, float]] = TLRUCache(  # how many, until when
            MAX_ADDRESSES, ttu=lambda _address, tries, _now: tries[1], timer=now
        )

    def wait_s(self, address: str) -> float:
        """How long an address has to wait; 0 if it may try."""
        count, until = self._tries.get(address, (0, 0.0))
        return until - self._now() if count >= TRIES else 0.0

    def add(self, address: str) -> None:
        """Count a wrong key."""
        count, until = self._tries.get(address, (0, self._now() + TRIES_WITHIN_S))
        self._tries[address] = (count + 1, until)


class Door:
    """Knows who may come in; used on the event loop only."""

    def __init__(self, keyring: Keyring, token: str | None = None) -> None:
        """Know the keys, and the token that other commands of this user show instead."""
        self.keyring = keyring
        self._token = digest(token) if token else None
        self.sessions = Sessions()
        self._wrong_keys = WrongKeys()

    def try_key(self, key: str, address: str) -> Access | ProblemResponse:
        """Return what a key allows, or the refusal.

        The token is no guess: an ingest goes on while somebody tries keys from the same address.
        """
        if self._token is not None and hmac.compare_digest(digest(key), self._token):
            return Access.FULL
        wait_s = math.ceil(self._wrong_keys.wait_s(address))
        if wait_s:
            detail = f"too many wrong keys came from {address}: wait {wait_s} s"
            headers = {"Retry-After": str(wait_s)}
            return ProblemResponse(429, detail, AccessError.__name__, headers)
        access = self.keyring.access(key)
        if access is None:
            self._wrong_keys.add(address)
            return unauthorized(WRONG_KEY)
        return access

    def access_of(self, headers: Headers, address: str) -> Access | ProblemResponse | None:
        """Return what the sender of these headers may do, or why not; None if it shows nothing."""
        if not self.keyring:
            return Access.FULL
        key = key_from_headers(headers)
        if key is not None:
            return self.try_key(key, address)
        session_id = session_from_headers(headers)
        return self.sessions.access(session_id) if session_id else None


def key_from_headers(headers: Headers) -> str | None:
    """Return the key in an Authorization header; None if there is none."""
    sent = headers.get("authorization", "")
    return sent[len(SCHEME) :].strip() if sent.lower().startswith(SCHEME) else None


def session_from_headers(headers: Headers) -> str | None:
    """Return the session's id in a Cookie header; None if there is none."""
    # Not the standard library's: one strange cookie of another server here, and it sees none.
    return cookie_parser(headers.get("cookie", "")).get(COOKIE)


def unauthorized(detail: str) -> ProblemResponse:
    """Answer one who has no key, or a wrong one."""
    headers = {"WWW-Authenticate": "Bearer"}
    return ProblemResponse(401, detail, AccessError.__name__, headers)


def address_of_client(scope: Scope) -> str:
    """Return the address that a request came from."""
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else "an unknown address"


class KeysOnly:
    """Refuses requests that no key allows; what the sender may do stands in the request's state."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app = app
        self.door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer who may ask; refuse the others, before their body is read."""
        refused = self._refusal(scope) if scope["type"] == "http" else None
        await (refused or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ProblemResponse | None:
        needed = needed_access(scope["method"], scope["path"])
        access = self.door.access_of(Headers(scope=scope), address_of_client(scope))
        known = access if isinstance(access, Access) else None
        scope.setdefault("state", {})["access"] = known
        if needed is None or (known is not None and known >= needed):
            return None
        if known is not None:
            return ProblemResponse(403, READ_ONLY, AccessError.__name__)
        return access if isinstance(access, ProblemResponse) else unauthorized(KEY_NEEDED)
