"""Which access a request needs: the one place that says so, for every route.

What is not named here is safe: reading takes a key that reads, anything else a key that may change.
"""

from __future__ import annotations

import re
from typing import Any

from api.http.auth.keys import Access
from api.http.problems import MEDIA_TYPE

SESSION_PATH = "/v1/session"
COOKIE = "segsearch_session"
# The page and its files say nothing of a library. Whether the server is well, its keeper asks.
OPEN = re.compile(r"/|/search|/(?:photo|picture)/[^/]+|/web/.+|/health|/ready")
LOOKING = frozenset(("GET", "HEAD"))
# These send a question in their body; nothing is kept of it.
ASKING = frozenset(
    (
        "/v1/search",
        "/v1/search/batch",
        "/v1/search/image",
        "/v1/segment",
        "/v1/segment/image",
    )
)


def needed_access(method: str, path: str) -> Access | None:
    """Return what a key must allow for this request; None if it takes none."""
    if method in LOOKING:
        return None if OPEN.fullmatch(path) else Access.READ
    if path == SESSION_PATH:
        return None
    return Access.READ if method == "POST" and path in ASKING else Access.FULL


SCHEMES = {
    "key": {"type": "http", "scheme": "bearer"},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
}
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_REFUSALS = {
    "401": {"description": "A key is needed, or it is a wrong one.", "content": _PROBLEM},
    "403": {"description": "The key allows to look only.", "content": _PROBLEM},
    "429": {"description": "Too many wrong keys came from this address.", "content": _PROBLEM},
}


def describe_access(document: dict[str, Any]) -> None:
    """Say in an OpenAPI document which access each route takes, where the server has keys."""
    document["components"]["securitySchemes"] = SCHEMES
    for path, routes in document["paths"].items():
        for method, route in routes.items():
            needed = needed_access(method.upper(), path)
            if needed is None:
                route["security"] = []
                continue
            route["security"] = [{scheme: []} for scheme in SCHEMES]
            statuses = ("401", "429") if needed is Access.READ else _REFUSALS
            for status in statuses:
                route["responses"].setdefault(status, _REFUSALS[status])
