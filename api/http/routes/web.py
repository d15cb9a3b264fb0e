"""The web page: its HTML document at every client-side route, and its assets."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

router = APIRouter(include_in_schema=False)

WEB = Path(__file__).parents[2] / "web"
DOCUMENT = "index.html"
# With a request for each module and style sheet, a first visit would wait for some 50.
SCRIPT, STYLES = "page.js", "page.css"
SCRIPT_ENTRY, STYLES_ENTRY = "js/main.js", "css/main.css"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Revalidated each time, mostly with a 304, so that no stale module stays after an upgrade.
REVALIDATED = "no-cache"
GET = ["GET", "HEAD"]

JS_IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.[^"]+)";$', re.MULTILINE)
JS_EXPORT = re.compile(r"^export (?=(?:async function|function|class|const) (\w+))", re.MULTILINE)
JS_MODULE_SYNTAX = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
CSS_IMPORT = re.compile(r'^@import "([^"]+)";$', re.MULTILINE)


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
    """Return every file of the page by its name below the folder, and the two bundles."""
    paths = (path for path in WEB.rglob("*") if path.suffix in MEDIA_TYPES)
    texts = {path.relative_to(WEB).as_posix(): path.read_text("utf-8") for path in paths}
    texts[SCRIPT] = bundle_modules(texts, SCRIPT_ENTRY)
    texts[STYLES] = bundle_styles(texts, STYLES_ENTRY)
    return {name: _page_file(name, text) for name, text in texts.items()}


def _page_file(name: str, text: str) -> PageFile:
    content = text.encode()
    etag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
    return PageFile(content, MEDIA_TYPES[posixpath.splitext(name)[1]], etag)


def bundle_modules(texts: Mapping[str, str], entry: str) -> str:
    """Return a module and all that it imports as one script, in the order of evaluation.

    Each module becomes a function that returns what it exports, so that equal names in two modules
    stay apart. Only `import { a, b as c } from "./file.js"` and `export` before a function, class
    or const are understood.

    Raises:
        ValueError: modules import each other, or use another form.
    """
    order: list[str] = []

    def visit(name: str, importers: tuple[str, ...]) -> None:
        if name in importers:
            raise ValueError(f"modules import each other: {' -> '.join((*importers, name))}")
        if name in order:
            return
        for _, imported in JS_IMPORT.findall(texts[name]):
            visit(_resolved(imported, name), (*importers, name))
        order.append(name)

    visit(entry, ())
    return "\n".join(_module_function(name, texts[name], order) for name in order)


def _module_function(name: str, text: str, order: list[str]) -> str:
    def destructuring(found: re.Match[str]) -> str:
        imported = order.index(_resolved(found[2], name))
        return f"const {{{found[1].replace(' as ', ': ')}}} = module{imported};"

    exported = JS_EXPORT.findall(text)
    body = JS_EXPORT.sub("", JS_IMPORT.sub(destructuring, text))
    if left := JS_MODULE_SYNTAX.search(body):
        raise ValueError(f"{name}: can't be bundled: {left[0]}")
    start = f"// {name}\nconst module{order.index(name)} = (() => {{"
    return f"{start}\n{body}return {{ {', '.join(exported)} }};\n}})();\n"


def bundle_styles(texts: Mapping[str, str], entry: str) -> str:
    """Return a style sheet with those that it imports in place of its imports."""
    return CSS_IMPORT.sub(lambda found: texts[_resolved(found[1], entry)], texts[entry])


def _resolved(reference: str, importer: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(importer), reference))
