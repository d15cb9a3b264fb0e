"""Which access each route needs.

Routes not listed here are protected: GET needs read access, any other method full access.
"""

from __future__ import annotations

import re
from typing import Any

from api.http.auth.keys import Access
from api.http.problems import MEDIA_TYPE

SESSION_PATH = "/v1/session"
COOKIE = "segsearch_session"
# The web page holds nothing of the library; monitoring asks for health without a key.
PUBLIC_PATHS = re.compile(r"/|/search|/(?:photo|picture)/[^/]+|/web/.+|/health|/ready")
SAFE_METHODS = frozenset(("GET", "HEAD"))
# These only read; the query is in the body.
READ_ONLY_POSTS = frozenset(
    (
        "/v1/search",
        "/v1/search/batch",
        "/v1/search/image",
        "/v1/segment",
        "/v1/segment/image",
    )
)


def needed_access(method: str, path: str) -> Access | None:
    """The access that a request needs; None if it needs no key."""
    if method in SAFE_METHODS:
        return None if PUBLIC_PATHS.fullmatch(path) else Access.READ
    if path == SESSION_PATH:
        return None
    return Access.READ if method == "POST" and path in READ_ONLY_POSTS else Access.FULL


SCHEMES = {
    "key": {"type": "http", "scheme": "bearer"},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
}
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_REFUSALS = {
    "401": {"description": "The key is missing or wrong.", "content": _PROBLEM},
    "403": {"description": "The key is read-only.", "content": _PROBLEM},
    "429": {"description": "Too many wrong keys from this address.", "content": _PROBLEM},
}


def describe_access(document: dict[str, Any]) -> None:
    """Add the access that each route needs to an OpenAPI document."""
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
