"""The HTTP API of one library, as an ASGI application."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio.to_thread
from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi

from api.http.admission import AdmissionLimiter
from api.http.auth.access import ASKING, SESSION_PATH, describe_access
from api.http.auth.authentication import Door, KeysOnly
from api.http.auth.keys import Keyring
from api.http.metrics import Metrics
from api.http.middleware.guards import (
    BodyLimit,
    HeadAsGet,
    OwnHostOnly,
    SecurityHeaders,
    TimeLimit,
    UnhandledErrorMiddleware,
    names_from_text,
)
from api.http.middleware.known_query import only_known_query
from api.http.middleware.request_log import Observed
from api.http.problems import answer_with_problems
from api.http.routes import export as export_routes
from api.http.routes import jobs as jobs_routes
from api.http.routes import library as library_routes
from api.http.routes import metrics, owner, photos, search, segments, session, web
from api.http.routes.shared import describe_failures
from api.library.index.ownership import Ownership
from api.library.index.remote_index import CALL_PATH
from api.library.library import Library
from api.schemas.problems import Problem
from api.services.jobs import Jobs
from api.services.warmup import Readiness
from api.settings import Settings

# Requests answered at once; each may hold a decoded photo, 36 MB at 12 megapixels. Python runs one
# at a time, pictures are drawn beside it: on two cores 8 answer a fifth less a second than 4.
THREADS = min(8, max(4, os.cpu_count() or 1))
BASE64_GROWTH = 4 / 3
MAX_JSON_BYTES = 1_000_000  # what a request may hold besides its picture
MAX_KEY_BYTES = 4_000  # what signing in takes
MAX_CALL_BYTES = 256_000_000  # of another command of this user: a photo's segments and vectors
# Recent versions of FastAPI speak OpenTelemetry if the environment says so; this one is silent.
NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def create_app(
    library: Library,
    *,
    ownership: Ownership | None = None,
    keyring: Keyring | None = None,
    warm: bool = False,
    jobs: Jobs | None = None,
) -> FastAPI:
    """Return the application; the library stays the caller's, to be closed after it.

    Args:
        library: what is served.
        ownership: held by this process; then other commands of its user may use the index too.
        keyring: who may ask, and what; without keys everybody may everything.
        warm: begin to load index and models at the start, instead of when they are first needed.
        jobs: how ingests are run, if not by `segsearch ingest`.
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
    app.state.readiness = Readiness(library, settle=warm)
    app.state.turns = AdmissionLimiter()
    app.state.metrics = Metrics(library, app.state.turns, app.state.readiness)
    app.state.door = Door(keyring or Keyring(), app.state.token)
    app.state.warm = warm
    app.state.jobs = jobs or Jobs.of(library)
    for routes in (
        library_routes,
        photos,
        segments,
        search,
        export_routes,
        jobs_routes,
        session,
        metrics,
        owner,
        web,
    ):
        app.include_router(routes.router, dependencies=[Depends(only_known_query)])
    answer_with_problems(app)
    _guard(app, library.settings)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _guard(app: FastAPI, settings: Settings) -> None:
    """Put the middleware around the routes; the last one added is the outermost."""
    upload = int(settings.max_upload_bytes * BASE64_GROWTH) + MAX_JSON_BYTES
    limits = {**dict.fromkeys(ASKING, upload), SESSION_PATH: MAX_KEY_BYTES}
    names = (settings.host, *names_from_text(settings.allowed_hosts))
    app.add_middleware(HeadAsGet)
    app.add_middleware(TimeLimit, timeout_s=settings.request_timeout_s, exempt=CALL_PATH)
    app.add_middleware(KeysOnly, door=app.state.door)
    app.add_middleware(
        BodyLimit,
        max_bytes=MAX_JSON_BYTES,
        by_path=limits,
        by_prefix={f"{CALL_PATH}/": MAX_CALL_BYTES},
    )
    app.add_middleware(OwnHostOnly, names=names)
    app.add_middleware(UnhandledErrorMiddleware)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Observed, metrics=app.state.metrics)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    if app.state.warm:
        app.state.readiness.begin()
    yield
    await app.state.jobs.close()


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the problems that routes refer to."""
    if app.openapi_schema is None:
        app.openapi_schema = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        app.openapi_schema["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        describe_access(app.openapi_schema)
        describe_failures(app.openapi_schema)
    return app.openapi_schema
