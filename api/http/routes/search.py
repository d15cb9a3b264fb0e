"""Search, and segmentation by prompts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.concurrency import run_in_threadpool

from api.http.admission import AdmissionLimiter
from api.http.problems import problem_of
from api.http.routes.forms import SearchForm, SegmentForm
from api.http.routes.shared import JsonRoute, LibraryDep, problems
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
from api.services import search as search_service
from api.services import segment as segment_service
from search.errors import BusyError, SegsearchError

router = APIRouter(prefix="/v1", tags=["search"], route_class=JsonRoute)


async def _limiter(request: Request) -> AdmissionLimiter:
    """The limiter of slow requests, once no model is loading."""
    await request.app.state.readiness.wait_until_loaded()
    limiter: AdmissionLimiter = request.app.state.limiter
    return limiter


LimiterDep = Annotated[AdmissionLimiter, Depends(_limiter)]


@router.post("/search", summary="Find segments", responses=problems(404, 413, 422, 503))
async def search(
    library: LibraryDep, limiter: LimiterDep, request: SearchRequest
) -> SearchResponse:
    """Find segments by text, segments, photos or images, or by any combination of them."""
    run = limiter.run if request.decodes else run_in_threadpool
    return await run(search_service.search, library, request)


@router.post("/search/batch", summary="Several searches at once", responses=problems(413, 422))
async def search_batch(
    library: LibraryDep, limiter: LimiterDep, request: BatchRequest
) -> BatchResponse:
    """Run searches one after the other; each has its own results, or its own problem."""
    results: list[BatchResult] = []
    for decodes, searches in groupby(request.searches, lambda search: search.decodes):
        if decodes:
            results += [await _limited_result(library, limiter, search) for search in searches]
        else:  # in one thread, so that they wait for a thread once
            results += await run_in_threadpool(_results, library, list(searches))
    return BatchResponse(results=tuple(results))


async def _limited_result(
    library: Library, limiter: AdmissionLimiter, search: SearchRequest
) -> BatchResult:
    try:
        return await limiter.run(_result, library, search)
    except BusyError as error:
        return BatchResult(problem=problem_of(error, "POST"))


def _results(library: Library, searches: Sequence[SearchRequest]) -> list[BatchResult]:
    return [_result(library, search) for search in searches]


def _result(library: Library, search: SearchRequest) -> BatchResult:
    try:
        return BatchResult(response=search_service.search(library, search))
    except SegsearchError as error:
        return BatchResult(problem=problem_of(error, "POST"))


@router.post(
    "/search/image",
    summary="Find segments similar to an image, or to a segment of it",
    responses=problems(413, 422, 503),
)
async def search_image(
    library: LibraryDep,
    limiter: LimiterDep,
    form: Annotated[SearchForm, Form(media_type="multipart/form-data")],
) -> SearchResponse:
    """Find segments similar to the whole image or, with points or a box, to the segment there."""
    return await limiter.run(_search_image, library, form)


def _search_image(library: Library, form: SearchForm) -> SearchResponse:
    rgb = decode_upload(library, form.file.file.read(), form.name)
    example = search_service.image_example(library, rgb, form.parse_prompt())
    return search_service.search_examples(library, [example], form)


@router.post("/segment", summary="Segment by a prompt", responses=problems(404, 413, 422, 503))
async def segment(
    library: LibraryDep, limiter: LimiterDep, request: SegmentRequest
) -> SegmentResponse:
    """Return candidate masks for points, a box or a mask on a photo or an image."""
    return await limiter.run(segment_service.segment, library, request)


@router.post(
    "/segment/image", summary="Segment an image by a prompt", responses=problems(413, 422, 503)
)
async def segment_image(
    library: LibraryDep,
    limiter: LimiterDep,
    form: Annotated[SegmentForm, Form(media_type="multipart/form-data")],
) -> SegmentResponse:
    """Return candidate masks for points or a box on an uploaded image."""
    return await limiter.run(_segment_image, library, form)


def _segment_image(library: Library, form: SegmentForm) -> SegmentResponse:
    rgb = decode_upload(library, form.file.file.read(), form.name)
    return segment_service.segment_image(library, rgb, form.parse_prompt(), form.candidates)
