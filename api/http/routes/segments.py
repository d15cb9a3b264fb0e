"""Segments: metadata, crops, masks."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.http.routes.images import image_response, image_responses, negotiate_format
from api.http.routes.shared import JsonRoute, LibraryDep, problems
from api.render.contact_sheet import TILE_PX
from api.render.draw import Background, Lossless
from api.render.thumbnails import TILE_STEPS_PX, segment_tile
from api.schemas.segments import MaskPolygonsOut, MaskRleOut, SegmentOut
from api.services.browse import segment_by_id
from api.services.images import MaskFormat, segment_crop, segment_mask
from api.services.responses import segment_out
from search.records import Id

router = APIRouter(prefix="/v1/segments", tags=["segments"], route_class=JsonRoute)

MaskSize = Literal["stored", "full"]
CROP_FORMATS: tuple[Lossless, ...] = ("png", "webp")
MASK_FORMATS: tuple[MaskFormat, ...] = ("png", "webp", "rle")  # those that Accept can tell apart
FormatQuery = Query(alias="format", description="Default: the best match of `Accept`.")


@router.get("/{segment_id}", summary="One segment", responses=problems(404, 422))
def segment(library: LibraryDep, segment_id: Id) -> SegmentOut:
    """Return a segment with its mask, as COCO's compressed RLE at the stored size."""
    return segment_out(segment_by_id(library, segment_id))


@router.get(
    "/{segment_id}/crop",
    summary="The crop of its box",
    response_class=Response,
    responses={**image_responses("png", "webp"), **problems(404, 422)},
)
def crop(
    request: Request,
    library: LibraryDep,
    segment_id: Id,
    background: Background = "keep",
    requested: Annotated[Lossless | None, FormatQuery] = None,
) -> Response:
    """Return the photo's own pixels in the segment's box: w + 1 by h + 1 of them.

    (SAM's box connects the centers of the outermost pixels: w is right - left.)
    """
    found = segment_by_id(library, segment_id)
    image_format = negotiate_format(request, requested, CROP_FORMATS)
    return image_response(
        request,
        image_format,
        ("crop", segment_id, background),
        lambda: segment_crop(library, found, background, image_format),
    )


@router.get(
    "/{segment_id}/crop.png",
    summary="The crop of its box, as PNG",
    response_class=Response,
    responses={**image_responses("png"), **problems(404, 422)},
)
def crop_png(
    request: Request, library: LibraryDep, segment_id: Id, background: Background = "keep"
) -> Response:
    """Return the photo's own pixels in the segment's box."""
    return crop(request, library, segment_id, background, "png")


@router.get(
    "/{segment_id}/tile.jpg",
    summary="The segment highlighted in its photo",
    response_class=Response,
    responses={**image_responses("jpeg"), **problems(404, 422)},
)
def tile(
    request: Request,
    library: LibraryDep,
    segment_id: Id,
    size: Annotated[int, Query(ge=16, le=TILE_STEPS_PX[-1])] = TILE_PX,
) -> Response:
    """Return the segment with its dimmed surroundings: a square unless the photo ends before.

    The long side is `size`. Sizes of 220, 440 and 1024 pixels are the fastest: they are cached.
    """
    found = segment_by_id(library, segment_id)
    key = ("lit", segment_id, size)
    return image_response(request, "jpeg", key, lambda: segment_tile(library, found, size))


@router.get(
    "/{segment_id}/mask",
    summary="Its mask: image, run lengths or polygons",
    response_model=MaskRleOut | MaskPolygonsOut,
    responses={
        304: image_responses()[304],
        200: {"content": image_responses("png", "webp")[200]["content"]},
        **problems(404, 422),
    },
)
def mask(
    request: Request,
    library: LibraryDep,
    segment_id: Id,
    size: MaskSize = "stored",
    requested: Annotated[MaskFormat | None, FormatQuery] = None,
) -> Response:
    """Return the mask at its stored size or at the photo's size.

    `png` and `webp` are 255 inside and 0 outside; `rle` is COCO's compressed RLE; `polygon` are
    outlines along pixel edges, filled by the even-odd rule. `Accept: application/json` gives `rle`.
    """
    found = segment_by_id(library, segment_id)
    mask_format = negotiate_format(request, requested, MASK_FORMATS)
    return image_response(
        request,
        mask_format,
        ("mask", segment_id, size),
        lambda: segment_mask(library, found, mask_format, full_size=size == "full"),
    )


@router.get(
    "/{segment_id}/mask.png",
    summary="Its mask, as PNG",
    response_class=Response,
    responses={**image_responses("png"), **problems(404, 422)},
)
def mask_png(
    request: Request, library: LibraryDep, segment_id: Id, size: MaskSize = "stored"
) -> Response:
    """Return the mask as 8-bit gray, 255 inside, at its stored size or at the photo's size."""
    return mask(request, library, segment_id, size, "png")
