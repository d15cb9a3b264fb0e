"""Health, readiness, and the contents of the library."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.http.auth.keys import Access
from api.http.routes.shared import JsonRoute, LibraryDep, problems
from api.schemas.library import HealthOut, LibraryOut, ReadyOut
from api.schemas.photos import FacetsOut
from api.services.browse import FacetsQuery, facets_out
from api.services.status import library_out
from api.services.warmup import Readiness, without_reasons

router = APIRouter(tags=["library"], route_class=JsonRoute)


@router.get("/health", summary="Whether the process is alive")
async def health() -> HealthOut:
    """Answer while the process is alive."""
    return HealthOut()


@router.get(
    "/ready",
    summary="Whether the server can answer searches",
    response_model=ReadyOut,
    responses={503: {"model": ReadyOut, "description": "Not yet: `parts` tells what is missing."}},
)
def ready(request: Request) -> Response:
    """Check index and models, and start to load those that are not loaded.

    Needs no key; without one, reasons for failures are left out.
    """
    readiness: Readiness = request.app.state.readiness
    state = readiness.check()
    shown = state if request.state.access else without_reasons(state)
    status = HTTPStatus.OK if state.ready else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(shown.model_dump_json(), status, media_type="application/json")


@router.get("/v1/library", summary="Contents and models of the library")
def library(request: Request, library: LibraryDep) -> LibraryOut:
    """Return models, engine, counts, photo folders, and whether this client may make changes."""
    may_change = request.state.access is Access.FULL
    return library_out(library).model_copy(update={"may_change": may_change})


@router.get("/v1/facets", summary="Values to filter by, with counts", responses=problems(422))
def facets(library: LibraryDep, query: Annotated[FacetsQuery, Query()]) -> FacetsOut:
    """Count the photos that match a filter by camera, month and folder."""
    return facets_out(library, query)
