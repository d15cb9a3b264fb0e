"""Segments: facts, crops, masks."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from api import pictures
from api.routes.shared import (
    UNCHANGING,
    JpegResponse,
    LibraryHere,
    PngResponse,
    problems,
    stored_segment,
)
from api.schemas import SegmentOut
from api.searching import photo_pixels, segment_out
from api.sheet import TILE_PX, lit_tile
from search.masks import array_from_mask, resized
from search.records import Id, MaskArray, Segment

router = APIRouter(prefix="/v1/segments", tags=["segments"])


@router.get("/{segment_id}", summary="One segment", responses=problems(404, 422))
def segment(library: LibraryHere, segment_id: Id) -> SegmentOut:
    """Return a segment with its mask, as COCO's compressed RLE at the size that it is stored at."""
    return segment_out(stored_segment(library, segment_id))


@router.get(
    "/{segment_id}/crop.png",
    summary="What its box shows",
    response_class=PngResponse,
    responses=problems(404, 422),
)
def crop(
    library: LibraryHere, segment_id: Id, background: pictures.Background = "keep"
) -> PngResponse:
    """Return the photo's own pixels in the segment's box: w + 1 by h + 1 of them.

    (SAM's box goes from the middle of the outermost pixels, so that w is right - left.)
    """
    found = stored_segment(library, segment_id)
    rgb = photo_pixels(library, library.ledger().photo(found.photo_id))
    shown = pictures.crop(rgb, found, background)
    return PngResponse(pictures.png_bytes(shown), headers=UNCHANGING)


@router.get(
    "/{segment_id}/tile.jpg",
    summary="The segment lit within its photo",
    response_class=JpegResponse,
    responses=problems(404, 422),
)
def tile(
    library: LibraryHere, segment_id: Id, size: Annotated[int, Query(ge=16, le=1024)] = TILE_PX
) -> JpegResponse:
    """Return a square of `size` pixels: the segment as it is, and dimmed what is around it."""
    found = stored_segment(library, segment_id)
    rgb = photo_pixels(library, library.ledger().photo(found.photo_id))
    assert found.mask is not None  # it was asked for
    shown = lit_tile(rgb, found.mask, found.bbox_xywh, size)
    return JpegResponse(pictures.jpeg_bytes(shown), headers=UNCHANGING)


@router.get(
    "/{segment_id}/mask.png",
    summary="Its mask",
    response_class=PngResponse,
    responses=problems(404, 422),
)
def mask(
    library: LibraryHere, segment_id: Id, size: Literal["stored", "full"] = "stored"
) -> PngResponse:
    """Return the mask as 8-bit grey, 255 inside: as stored, or at the photo's size."""
    found = stored_segment(library, segment_id)
    inside = _mask_array(found)
    if size == "full":
        inside = resized(inside, library.ledger().photo(found.photo_id).photo.size_wh)
    return PngResponse(pictures.mask_png(inside), headers=UNCHANGING)


def _mask_array(segment: Segment) -> MaskArray:
    assert segment.mask is not None  # it was asked for
    return array_from_mask(segment.mask)
