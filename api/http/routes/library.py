"""Is it alive, is it ready, what does it hold?"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.http.auth.keys import Access
from api.http.routes.shared import LibraryHere, QuickJson, problems
from api.schemas.library import HealthOut, LibraryOut, ReadyOut
from api.schemas.photos import FacetsOut
from api.services.browse import FacetsQuery, facets_out
from api.services.status import library_out
from api.services.warmup import Readiness, without_reasons

router = APIRouter(tags=["library"], route_class=QuickJson)


@router.get("/health", summary="Whether the process is alive")
async def health() -> HealthOut:
    """Answer as long as the process can answer at all."""
    return HealthOut()


@router.get(
    "/ready",
    summary="Whether searches would be answered now",
    response_model=ReadyOut,
    responses={503: {"model": ReadyOut, "description": "Not yet: `parts` says what is missing."}},
)
def ready(request: Request) -> Response:
    """Look at the index and the models; those that are not loaded begin to load.

    It takes no key; without one, a reason for failing is not told.
    """
    readiness: Readiness = request.app.state.readiness
    found = readiness.now()
    told = found if request.state.access else without_reasons(found)
    status = HTTPStatus.OK if found.ready else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(told.model_dump_json(), status, media_type="application/json")


@router.get("/v1/library", summary="What the library holds and what made it")
def library(request: Request, library: LibraryHere) -> LibraryOut:
    """Return models, engine, counts, the folders of the photos, and what who asks may do."""
    may_change = request.state.access is Access.FULL
    return library_out(library).model_copy(update={"may_change": may_change})


@router.get(
    "/v1/facets", summary="What there is to filter by, with counts", responses=problems(422)
)
def facets(library: LibraryHere, query: Annotated[FacetsQuery, Query()]) -> FacetsOut:
    """Count the photos that a filter lets through by camera, by month and by folder."""
    return facets_out(library, query)
