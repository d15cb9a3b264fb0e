"""The HTTP API of one library, as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.guard import BodyLimit, NoSurprises, OwnHostOnly, SecurityHeaders
from api.library import Library
from api.owner import CALL_PATH, Ownership
from api.problems import answer_with_problems
from api.readiness import Readiness
from api.routes import library as library_routes
from api.routes import owner, photos, search, segments, web
from api.schemas import Problem
from search.settings import Settings

THREADS = 8  # requests answered at once; each may hold a decoded photo, 36 MB at 12 megapixels
BASE64_GROWTH = 4 / 3
MAX_JSON_BYTES = 1_000_000  # what a request may hold besides its picture
MAX_CALL_BYTES = 256_000_000  # of another command of this user: a photo's segments and vectors
# Recent versions of FastAPI speak OpenTelemetry if the environment says so; this one is silent.
NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def create_app(
    library: Library, *, ownership: Ownership | None = None, warm: bool = False
) -> FastAPI:
    """Return the application; the library stays the caller's, to be closed after it.

    Args:
        library: what is served.
        ownership: held by this process; then other commands of its user may use the index too.
        warm: begin to load index and models at the start, instead of when they are first needed.
    """
    app = FastAPI(
        title="segsearch",
        summary="Search a photo library by segment.",
        version=version("segsearch"),
        lifespan=_lifespan,
        docs_url=None,  # FastAPI's pages fetch their scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    app.state.library = library
    app.state.token = ownership.info.token if ownership else None
    app.state.readiness = Readiness(library)
    app.state.warm = warm
    for routes in (library_routes, photos, segments, search, owner, web):
        app.include_router(routes.router)
    answer_with_problems(app)
    _guard(app, library.settings)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _guard(app: FastAPI, settings: Settings) -> None:
    """Put the middleware around the routes; the last one added is the outermost."""
    max_bytes = int(settings.max_upload_bytes * BASE64_GROWTH) + MAX_JSON_BYTES
    app.add_middleware(NoSurprises)
    app.add_middleware(BodyLimit, max_bytes=max_bytes, by_prefix=[(CALL_PATH, MAX_CALL_BYTES)])
    app.add_middleware(OwnHostOnly, host=settings.host)
    app.add_middleware(SecurityHeaders)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    if app.state.warm:
        app.state.readiness.begin()
    yield


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the problems that routes refer to."""
    if app.openapi_schema is None:
        app.openapi_schema = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        app.openapi_schema["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    return app.openapi_schema
