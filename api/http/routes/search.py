"""Looking for segments, and cutting new ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.concurrency import run_in_threadpool

from api.http.admission import AdmissionLimiter
from api.http.problems import problem_of
from api.http.routes.forms import SearchForm, SegmentForm
from api.http.routes.shared import LibraryHere, QuickJson, problems
from api.library.library import Library
from api.render.photo_pixels import decode_upload
from api.schemas.prompts import SegmentRequest, SegmentResponse
from api.schemas.search import (
    BatchRequest,
    BatchResponse,
    BatchResult,
    SearchRequest,
    SearchResponse,
)
from api.services.search import answer, picture_example
from api.services.search import search as search_library
from api.services.segment import segment as segment_request
from api.services.segment import segment_picture
from search.errors import BusyError, SegsearchError

router = APIRouter(prefix="/v1", tags=["search"], route_class=QuickJson)


async def _turns(request: Request) -> AdmissionLimiter:
    """Return the turns at the segmenter, once the models are not being loaded any more."""
    await request.app.state.readiness.loaded()
    turns: AdmissionLimiter = request.app.state.turns
    return turns


TurnsHere = Annotated[AdmissionLimiter, Depends(_turns)]


@router.post("/search", summary="Find segments", responses=problems(404, 413, 422, 503))
async def search(library: LibraryHere, turns: TurnsHere, request: SearchRequest) -> SearchResponse:
    """Find segments by words, by segments, by photos or pictures, or by any mix of them."""
    run = turns.run if request.decodes else run_in_threadpool
    return await run(search_library, library, request)


@router.post("/search/batch", summary="Several searches at once", responses=problems(413, 422))
async def search_batch(
    library: LibraryHere, turns: TurnsHere, request: BatchRequest
) -> BatchResponse:
    """Answer searches one after the other; each has its own results, or its own problem."""
    results: list[BatchResult] = []
    for decodes, searches in groupby(request.searches, lambda search: search.decodes):
        if decodes:  # each waits its turn
            results += [await _in_turn(library, turns, search) for search in searches]
        else:  # all at once, so that they wait for a thread once
            results += await run_in_threadpool(_results, library, list(searches))
    return BatchResponse(results=tuple(results))


async def _in_turn(library: Library, turns: AdmissionLimiter, search: SearchRequest) -> BatchResult:
    try:
        return await turns.run(_result, library, search)
    except BusyError as error:
        return BatchResult(problem=problem_of(error, "POST"))


def _results(library: Library, searches: Sequence[SearchRequest]) -> list[BatchResult]:
    return [_result(library, search) for search in searches]


def _result(library: Library, search: SearchRequest) -> BatchResult:
    try:
        return BatchResult(response=search_library(library, search))
    except SegsearchError as error:
        return BatchResult(problem=problem_of(error, "POST"))


@router.post(
    "/search/image",
    summary="Find segments like a picture, or like what is meant in it",
    responses=problems(413, 422, 503),
)
async def search_image(
    library: LibraryHere,
    turns: TurnsHere,
    form: Annotated[SearchForm, Form(media_type="multipart/form-data")],
) -> SearchResponse:
    """Find what is like the whole picture or, with points or a box, like the segment there."""
    return await turns.run(_search_image, library, form)  # decoding many at once fills the memory


def _search_image(library: Library, form: SearchForm) -> SearchResponse:
    rgb = decode_upload(library, form.file.file.read(), form.name)
    return answer(library, [picture_example(library, rgb, form.meant())], form)


@router.post("/segment", summary="Cut by a prompt", responses=problems(404, 413, 422, 503))
async def segment(
    library: LibraryHere, turns: TurnsHere, request: SegmentRequest
) -> SegmentResponse:
    """Return candidate masks for points, a box or a mask on a photo or a picture."""
    return await turns.run(segment_request, library, request)


@router.post(
    "/segment/image", summary="Cut a picture by a prompt", responses=problems(413, 422, 503)
)
async def segment_image(
    library: LibraryHere,
    turns: TurnsHere,
    form: Annotated[SegmentForm, Form(media_type="multipart/form-data")],
) -> SegmentResponse:
    """Return candidate masks for points or a box on a picture that is sent as a form."""
    return await turns.run(_segment_image, library, form)


def _segment_image(library: Library, form: SegmentForm) -> SegmentResponse:
    rgb = decode_upload(library, form.file.file.read(), form.name)
    return segment_picture(library, rgb, form.meant(), form.candidates)
