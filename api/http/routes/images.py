"""Pictures as answers: in the form that is asked for, and only if the client has not got it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response

MEDIA_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "rle": "application/json",
    "polygon": "application/json",
}
# Ids derive from content: what they name never changes, and only this user's browser keeps it.
UNCHANGING = "private, max-age=86400, immutable"
# What is painted on a photo changes when it is cut anew.
REVALIDATED = "private, no-cache"
Form = TypeVar("Form", bound=str)
DRAWN_AS = 2  # goes up when the same request is to give another picture than before


def picture(
    request: Request,
    form: str,
    what: Sequence[object],
    make: Callable[[], bytes],
    cache_control: str = UNCHANGING,
) -> Response:
    """Answer with a picture, or with 304 if the client has it.

    Args:
        request: names the forms that the client takes, and the picture that it has.
        form: a key of `MEDIA_TYPES`.
        what: all that the picture depends on; equal parts give the same picture.
        make: makes it, if it must be sent.
        cache_control: how long it may be kept without asking again.
    """
    etag = _etag(form, what)
    headers = {"ETag": etag, "Cache-Control": cache_control}
    if "format" not in request.query_params:
        headers["Vary"] = "Accept"
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(make(), media_type=MEDIA_TYPES[form], headers=headers)


def _etag(form: str, what: Sequence[object]) -> str:
    text = repr((DRAWN_AS, form, *what))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:24]}"'


def form_for(request: Request, asked: Form | None, offered: Sequence[Form]) -> Form:
    """Return the form to answer in: the one asked for, else what the client likes best.

    If it likes none of those offered, the first one.
    """
    if asked is not None:
        return asked
    accept = request.headers.get("accept", "*/*")
    return max(offered, key=lambda form: _liking(accept, MEDIA_TYPES[form]))


def _liking(accept: str, media_type: str) -> tuple[float, int]:
    """Return the q of a media type in an Accept header, 0..1, and how narrowly it is named.

    The narrowest of its ranges counts. Of two types that are liked alike, the one that is named
    goes before the one that is only let through: so browsers ask for WebP.
    """
    kind = media_type.partition("/")[0]
    narrowness = {media_type: 3, f"{kind}/*": 2, "*/*": 1}
    found = [_range_and_q(part) for part in accept.lower().split(",")]
    known = [(narrowness[name], q) for name, q in found if name in narrowness]
    narrowest, q = max(known, default=(0, 0.0))
    return (q, narrowest) if q else (0.0, 0)


def _range_and_q(part: str) -> tuple[str, float]:
    name, *parameters = (each.strip() for each in part.split(";"))
    quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    try:
        return name, min(1.0, max(0.0, float(quality)))
    except ValueError:
        return name, 0.0


def pictures_out(*forms: str) -> dict[int | str, dict[str, Any]]:
    """Describe pictures in these forms, and 304, for OpenAPI."""
    body = {"schema": {"type": "string", "format": "binary"}}
    content = {MEDIA_TYPES[form]: body for form in forms}
    return {
        200: {"description": "The picture.", "content": content},
        304: {"description": "The client has it already (`If-None-Match`)."},
    }
