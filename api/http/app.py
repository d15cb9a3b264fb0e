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
from api.http.auth.access import READ_ONLY_POSTS, SESSION_PATH, describe_access
from api.http.auth.authentication import AuthenticationMiddleware, Authenticator
from api.http.auth.keys import Keyring
from api.http.metrics import Metrics
from api.http.middleware.body_limit import BodyLimitMiddleware
from api.http.middleware.errors import UnhandledErrorMiddleware
from api.http.middleware.headers import HeadRequestMiddleware, SecurityHeadersMiddleware
from api.http.middleware.host_check import HostCheckMiddleware, names_from_text
from api.http.middleware.query_parameters import check_query_parameters
from api.http.middleware.request_log import RequestLogMiddleware
from api.http.middleware.time_limit import TimeLimitMiddleware
from api.http.problems import add_problem_handlers
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

# Concurrent requests; each may hold a decoded photo, 36 MB at 12 megapixels. Only drawing and
# decoding run in parallel (GIL): on two cores, 8 threads answer a fifth fewer requests/s than 4.
THREADS = min(8, max(4, os.cpu_count() or 1))
BASE64_GROWTH = 4 / 3
MAX_JSON_BYTES = 1_000_000  # of a request besides its image
MAX_KEY_BYTES = 4_000  # of a sign-in request
MAX_CALL_BYTES = 256_000_000  # of an index call by another command: a photo's segments and vectors
# Recent FastAPI versions export OpenTelemetry if the environment configures it; not here.
NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def create_app(
    library: Library,
    *,
    ownership: Ownership | None = None,
    keyring: Keyring | None = None,
    warm: bool = False,
    jobs: Jobs | None = None,
) -> FastAPI:
    """Create the application. The caller closes the library after it.

    Args:
        library: the library to serve.
        ownership: of the index by this process; lets other commands of this user use the index.
        keyring: API keys; an empty one gives everybody full access.
        warm: load index and models at startup instead of on first use.
        jobs: runs the ingests; by default as `segsearch ingest`.
    """
    app = FastAPI(
        title="segsearch",
        summary="Search a photo library by segment.",
        version=version("segsearch"),
        lifespan=_lifespan,
        docs_url=None,  # these pages load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    app.state.library = library
    app.state.token = ownership.info.token if ownership else None
    app.state.readiness = Readiness(library, freeze_gc=warm)
    app.state.limiter = AdmissionLimiter()
    app.state.metrics = Metrics(library, app.state.limiter, app.state.readiness)
    app.state.authenticator = Authenticator(keyring or Keyring(), app.state.token)
    app.state.warm = warm
    app.state.jobs = jobs or Jobs.for_library(library)
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
        app.include_router(routes.router, dependencies=[Depends(check_query_parameters)])
    add_problem_handlers(app)
    _add_middleware(app, library.settings)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Add all middleware; the last one added is the outermost."""
    upload = int(settings.max_upload_bytes * BASE64_GROWTH) + MAX_JSON_BYTES
    limits = {**dict.fromkeys(READ_ONLY_POSTS, upload), SESSION_PATH: MAX_KEY_BYTES}
    names = (settings.host, *names_from_text(settings.allowed_hosts))
    app.add_middleware(HeadRequestMiddleware)
    app.add_middleware(TimeLimitMiddleware, timeout_s=settings.request_timeout_s, exempt=CALL_PATH)
    app.add_middleware(AuthenticationMiddleware, authenticator=app.state.authenticator)
    app.add_middleware(
        BodyLimitMiddleware,
        max_bytes=MAX_JSON_BYTES,
        by_path=limits,
        by_prefix={f"{CALL_PATH}/": MAX_CALL_BYTES},
    )
    app.add_middleware(HostCheckMiddleware, names=names)
    app.add_middleware(UnhandledErrorMiddleware)
    app.add_middleware(SecurityHeadersMiddleware)
    app.add_middleware(RequestLogMiddleware, metrics=app.state.metrics)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    if app.state.warm:
        app.state.readiness.start()
    yield
    await app.state.jobs.close()


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the Problem schema that routes refer to."""
    if app.openapi_schema is None:
        app.openapi_schema = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        app.openapi_schema["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        describe_access(app.openapi_schema)
        describe_failures(app.openapi_schema)
    return app.openapi_schema
