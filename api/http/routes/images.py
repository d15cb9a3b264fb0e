"""Image responses: content negotiation and conditional requests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

MEDIA_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "rle": "application/json",
    "polygon": "application/json",
}
# Ids derive from content, so what they name never changes; private: only the browser caches it.
IMMUTABLE = "private, max-age=86400, immutable"
# An overlay changes when its photo is segmented again.
REVALIDATED = "private, no-cache"
RENDER_VERSION = 2  # increase when the same request must give another image
Format = TypeVar("Format", bound=str)


def image_response(
    request: Request,
    image_format: str,
    key: Sequence[object],
    make: Callable[[], bytes],
    cache_control: str = IMMUTABLE,
) -> Response:
    """Answer with an image, or with 304 if the client has it.

    Args:
        request: may name the image that the client has (`If-None-Match`).
        image_format: a key of `MEDIA_TYPES`.
        key: everything the image depends on; equal keys mean equal images.
        make: renders the image, if it must be sent.
        cache_control: the header of that name.
    """
    etag = _etag(image_format, key)
    headers = {"ETag": etag, "Cache-Control": cache_control}
    if "format" not in request.query_params:
        headers["Vary"] = "Accept"
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(make(), media_type=MEDIA_TYPES[image_format], headers=headers)


def _etag(image_format: str, key: Sequence[object]) -> str:
    text = repr((RENDER_VERSION, image_format, *key))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:24]}"'


def negotiate_format(
    request: Request, requested: Format | None, offered: Sequence[Format]
) -> Format:
    """The requested format, else the best match of the Accept header, else the first offered.

    Of equal qualities the more specific range wins: browsers name WebP and get it.
    """
    if requested is not None:
        return requested
    by_media_type = {MEDIA_TYPES[each]: each for each in offered}
    accept = parse_accept_header(request.headers.get("accept"), MIMEAccept)
    return by_media_type.get(accept.best_match(by_media_type) or "", offered[0])


def image_responses(*formats: str) -> dict[int | str, dict[str, Any]]:
    """The responses 200, with images in these formats, and 304, for OpenAPI."""
    body = {"schema": {"type": "string", "format": "binary"}}
    content = {MEDIA_TYPES[each]: body for each in formats}
    return {
        200: {"description": "The image.", "content": content},
        304: {"description": "The client has it already (`If-None-Match`)."},
    }
