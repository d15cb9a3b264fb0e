"""Photos of the library: facts, pictures, segments."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.http.routes.images import REVALIDATED, picture, pictures_out
from api.http.routes.shared import LibraryHere, LongSide, QuickJson, problems
from api.render import draw as pictures
from api.render.photo_pixels import photo_pixels
from api.render.thumbnails import photo_preview
from api.schemas.photos import PhotoOut, PhotosResponse, RemovedOut
from api.schemas.segments import SegmentsResponse
from api.services.browse import PhotosQuery, photos_page
from api.services.maintenance.removal import forget
from api.services.responses import photo_out, segment_out
from ingest.maintenance.removal import missing_photos
from search.masks.rle import array_from_mask
from search.records import Id

router = APIRouter(prefix="/v1/photos", tags=["photos"], route_class=QuickJson)


@router.get("", summary="Photos, newest first", responses=problems(422))
def photos(library: LibraryHere, query: Annotated[PhotosQuery, Query()]) -> PhotosResponse:
    """Return one page of the photos that a filter lets through; hidden ones are left out."""
    return photos_page(library, query)


@router.delete(
    "/missing", summary="Forget all photos whose files are gone", responses=problems(409, 503)
)
def forget_missing(library: LibraryHere) -> RemovedOut:
    """Forget the hidden photos with their segments: no file shows them any more.

    Not among them: photos of a disk that is not there now, photos that are left out by patterns,
    and those whose files are back.
    """
    return forget(library, lambda ledger: missing_photos(ledger).photo_ids)


@router.delete("/{photo_id}", summary="Forget a photo", responses=problems(404, 409, 422, 503))
def forget_photo(library: LibraryHere, photo_id: Id) -> RemovedOut:
    """Take a photo with its segments out of the library; its files are never touched.

    If a file is still there, the next ingest adds it again.
    """
    return forget(library, lambda ledger: [ledger.photo(photo_id).photo.photo_id])


@router.get("/{photo_id}", summary="One photo", responses=problems(404, 422))
def photo(library: LibraryHere, photo_id: Id) -> PhotoOut:
    """Return what is known of a photo, hidden or not."""
    return photo_out(library.ledger().photo(photo_id))


@router.get(
    "/{photo_id}/image",
    summary="The photo itself, upright",
    response_class=Response,
    responses={**pictures_out("jpeg"), **problems(404, 422)},
)
def image(request: Request, library: LibraryHere, photo_id: Id, size: LongSide = None) -> Response:
    """Return the upright photo as JPEG, without its metadata.

    Long sides of 320, 640, 1280 and 2560 pixels come fastest: they are kept.
    """
    row = library.ledger().photo(photo_id)
    return picture(
        request, "jpeg", ("photo", photo_id, size), lambda: photo_preview(library, row, size)
    )


@router.get("/{photo_id}/segments", summary="Its segments", responses=problems(404, 422))
def segments(library: LibraryHere, photo_id: Id, with_masks: bool = False) -> SegmentsResponse:
    """Return every segment of a photo, largest first."""
    library.ledger().photo(photo_id)
    found = library.index().segments_of(photo_id, with_masks=with_masks)
    return SegmentsResponse(segments=tuple(segment_out(segment) for segment in found))


@router.get(
    "/{photo_id}/overlay.png",
    summary="The photo with its segments painted on it",
    response_class=Response,
    responses={**pictures_out("png"), **problems(404, 422)},
)
def overlay(
    request: Request, library: LibraryHere, photo_id: Id, size: LongSide = None
) -> Response:
    """Return the photo with each segment in a colour of its own, nested ones on top."""
    row = library.ledger().photo(photo_id)

    def make() -> bytes:
        rgb = photo_pixels(library, row)
        small = rgb if size is None else pictures.thumbnail(rgb, size)
        found = library.index().segments_of(photo_id, with_masks=True)
        masks = [array_from_mask(segment.mask) for segment in found if segment.mask]
        return pictures.png_bytes(pictures.overlay(small, masks))

    what = ("overlay", photo_id, row.photo.segmented_with, size)
    return picture(request, "png", what, make, REVALIDATED)
