"""The web page: its HTML document at every client-side route, and its assets."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

router = APIRouter(include_in_schema=False)

WEB = Path(__file__).parents[2] / "web"
DOCUMENT = "index.html"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Revalidated each time, mostly with a 304, so that no stale module stays after an upgrade.
REVALIDATED = "no-cache"
GET = ["GET", "HEAD"]


class PageFile(NamedTuple):
    """A file of the web page."""

    content: bytes
    media_type: str
    etag: str


@router.api_route("/", methods=GET)
@router.api_route("/search", methods=GET)
@router.api_route("/photo/{_photo_id}", methods=GET)
@router.api_route("/picture/{_picture_id}", methods=GET)
async def page(request: Request) -> Response:
    """Return the document; its script routes by the rest of the URL."""
    return _response(request, DOCUMENT)


@router.api_route("/web/{name:path}", methods=GET)
async def asset(request: Request, name: str) -> Response:
    """Return a script, style sheet or image of the page."""
    return _response(request, name)


def _response(request: Request, name: str) -> Response:
    found = page_files().get(name)
    if found is None:
        raise HTTPException(404)
    headers = {"ETag": found.etag, "Cache-Control": REVALIDATED}
    if found.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)


@cache
def page_files() -> dict[str, PageFile]:
    """Every file of the page by its relative path; no other file can be requested."""
    paths = (path for path in WEB.rglob("*") if path.suffix in MEDIA_TYPES)
    return {path.relative_to(WEB).as_posix(): _page_file(path) for path in paths}


def _page_file(path: Path) -> PageFile:
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
    return PageFile(content, MEDIA_TYPES[path.suffix], etag)
