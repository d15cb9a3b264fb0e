"""Looking for segments, and cutting new ones."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form

from api.routes.forms import SearchForm, SegmentForm
from api.routes.shared import LibraryHere, problems
from api.schemas import SearchRequest, SearchResponse, SegmentRequest, SegmentResponse
from api.searching import answer, decode_upload, picture_example
from api.searching import search as search_library
from api.segmenting import segment as segment_request
from api.segmenting import segment_picture

router = APIRouter(prefix="/v1", tags=["search"])


@router.post("/search", summary="Find segments", responses=problems(404, 413, 422, 503))
def search(library: LibraryHere, request: SearchRequest) -> SearchResponse:
    """Find segments by words, by segments, by photos or pictures, or by any mix of them."""
    return search_library(library, request)


@router.post(
    "/search/image",
    summary="Find segments like a picture, or like what is meant in it",
    responses=problems(413, 422, 503),
)
def search_image(
    library: LibraryHere, form: Annotated[SearchForm, Form(media_type="multipart/form-data")]
) -> SearchResponse:
    """Find what is like the whole picture or, with points or a box, like the segment there."""
    rgb = decode_upload(library, form.file.file.read(), form.name)
    return answer(library, [picture_example(library, rgb, form.meant())], form)


@router.post("/segment", summary="Cut by a prompt", responses=problems(404, 413, 422, 503))
def segment(library: LibraryHere, request: SegmentRequest) -> SegmentResponse:
    """Return candidate masks for points, a box or a mask on a photo or a picture."""
    return segment_request(library, request)


@router.post(
    "/segment/image", summary="Cut a picture by a prompt", responses=problems(413, 422, 503)
)
def segment_image(
    library: LibraryHere, form: Annotated[SegmentForm, Form(media_type="multipart/form-data")]
) -> SegmentResponse:
    """Return candidate masks for points or a box on a picture that is sent as a form."""
    rgb = decode_upload(library, form.file.file.read(), form.name)
    return segment_picture(library, rgb, form.meant(), form.candidates)
