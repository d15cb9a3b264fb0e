"""Photos of the library: facts, pictures, segments."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api import pictures
from api.browsing import PhotosQuery, photos_page
from api.routes.shared import (
    UNCHANGING,
    JpegResponse,
    LibraryHere,
    LongSide,
    PngResponse,
    problems,
)
from api.schemas import PhotoOut, PhotosResponse, SegmentsResponse
from api.searching import photo_out, photo_pixels, segment_out
from search.masks import array_from_mask
from search.records import Id, RgbImage

router = APIRouter(prefix="/v1/photos", tags=["photos"])


@router.get("", summary="Photos, newest first", responses=problems(422))
def photos(library: LibraryHere, query: Annotated[PhotosQuery, Query()]) -> PhotosResponse:
    """Return one page of the photos that a filter lets through; hidden ones are left out."""
    return photos_page(library, query)


@router.get("/{photo_id}", summary="One photo", responses=problems(404, 422))
def photo(library: LibraryHere, photo_id: Id) -> PhotoOut:
    """Return what is known of a photo, hidden or not."""
    return photo_out(library.ledger().photo(photo_id))


@router.get(
    "/{photo_id}/image",
    summary="The photo itself, upright",
    response_class=JpegResponse,
    responses=problems(404, 422),
)
def image(library: LibraryHere, photo_id: Id, size: LongSide = None) -> JpegResponse:
    """Return the upright photo as JPEG, without its metadata."""
    rgb = _scaled(photo_pixels(library, library.ledger().photo(photo_id)), size)
    return JpegResponse(pictures.jpeg_bytes(rgb), headers=UNCHANGING)


@router.get("/{photo_id}/segments", summary="Its segments", responses=problems(404, 422))
def segments(library: LibraryHere, photo_id: Id, with_masks: bool = False) -> SegmentsResponse:
    """Return every segment of a photo, largest first."""
    library.ledger().photo(photo_id)
    found = library.index().segments_of(photo_id, with_masks=with_masks)
    return SegmentsResponse(segments=tuple(segment_out(segment) for segment in found))


@router.get(
    "/{photo_id}/overlay.png",
    summary="The photo with its segments painted on it",
    response_class=PngResponse,
    responses=problems(404, 422),
)
def overlay(library: LibraryHere, photo_id: Id, size: LongSide = None) -> PngResponse:
    """Return the photo with each segment in a colour of its own, nested ones on top."""
    rgb = _scaled(photo_pixels(library, library.ledger().photo(photo_id)), size)
    found = library.index().segments_of(photo_id, with_masks=True)
    masks = [array_from_mask(segment.mask) for segment in found if segment.mask]
    return PngResponse(pictures.png_bytes(pictures.overlay(rgb, masks)))


def _scaled(rgb: RgbImage, long_side_px: int | None) -> RgbImage:
    return rgb if long_side_px is None else pictures.thumbnail(rgb, long_side_px)
