"""Photos of the library: metadata, images, segments."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.http.routes.images import REVALIDATED, image_response, image_responses
from api.http.routes.shared import JsonRoute, LibraryDep, LongSide, problems
from api.render.thumbnails import photo_preview
from api.schemas.photos import PhotoOut, PhotosResponse, RemovedOut
from api.schemas.segments import SegmentsResponse
from api.services.browse import PhotosQuery, photos_page, segments_of_photo
from api.services.images import photo_overlay
from api.services.maintenance.removal import forget
from api.services.responses import photo_out
from ingest.maintenance.removal import missing_photos
from search.records import Id

router = APIRouter(prefix="/v1/photos", tags=["photos"], route_class=JsonRoute)


@router.get("", summary="Photos, newest first", responses=problems(422))
def photos(library: LibraryDep, query: Annotated[PhotosQuery, Query()]) -> PhotosResponse:
    """Return one page of the photos that match a filter, without hidden ones."""
    return photos_page(library, query)


@router.delete(
    "/missing", summary="Forget all photos whose files are gone", responses=problems(409, 503)
)
def forget_missing(library: LibraryDep) -> RemovedOut:
    """Forget hidden photos whose files are gone, with their segments.

    Photos on a disk that is not mounted, photos excluded by patterns, and photos whose files are
    back are kept.
    """
    return forget(library, lambda ledger: missing_photos(ledger).photo_ids)


@router.delete("/{photo_id}", summary="Forget a photo", responses=problems(404, 409, 422, 503))
def forget_photo(library: LibraryDep, photo_id: Id) -> RemovedOut:
    """Remove a photo with its segments from the library; its files are never touched.

    If a file is still there, the next ingest adds it again.
    """
    return forget(library, lambda ledger: [ledger.photo(photo_id).photo.photo_id])


@router.get("/{photo_id}", summary="One photo", responses=problems(404, 422))
def photo(library: LibraryDep, photo_id: Id) -> PhotoOut:
    """Return the metadata of a photo, hidden or not."""
    return photo_out(library.ledger().photo(photo_id))


@router.get(
    "/{photo_id}/image",
    summary="The photo itself, upright",
    response_class=Response,
    responses={**image_responses("jpeg"), **problems(404, 422)},
)
def image(request: Request, library: LibraryDep, photo_id: Id, size: LongSide = None) -> Response:
    """Return the upright photo as JPEG, without its metadata.

    Long sides of 320, 640, 1280 and 2560 pixels are the fastest: they are cached.
    """
    row = library.ledger().photo(photo_id)
    key = ("photo", photo_id, size)
    return image_response(request, "jpeg", key, lambda: photo_preview(library, row, size))


@router.get("/{photo_id}/segments", summary="Its segments", responses=problems(404, 422))
def segments(library: LibraryDep, photo_id: Id, with_masks: bool = False) -> SegmentsResponse:
    """Return every segment of a photo, largest first."""
    return segments_of_photo(library, photo_id, with_masks=with_masks)


@router.get(
    "/{photo_id}/overlay.png",
    summary="The photo with its segments painted on it",
    response_class=Response,
    responses={**image_responses("png"), **problems(404, 422)},
)
def overlay(request: Request, library: LibraryDep, photo_id: Id, size: LongSide = None) -> Response:
    """Return the photo with each segment in its own color, nested ones on top."""
    row = library.ledger().photo(photo_id)
    key = ("overlay", photo_id, row.photo.segmented_with, size)
    return image_response(
        request, "png", key, lambda: photo_overlay(library, row, size), REVALIDATED
    )
