"""Segments: facts, crops, masks."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.http.routes.images import form_for, picture, pictures_out
from api.http.routes.shared import LibraryHere, QuickJson, problems, stored_segment
from api.library.library import Library
from api.render import draw as pictures
from api.render.contact_sheet import TILE_PX
from api.render.photo_pixels import photo_pixels
from api.render.thumbnails import TILE_STEPS_PX, segment_tile
from api.schemas.segments import MaskPolygonsOut, MaskRleOut, SegmentOut
from api.services.responses import segment_out
from search.masks.rle import array_from_mask, coco_rle_from_mask, enlarged, polygons_from_array
from search.records import Id, Mask, Segment

router = APIRouter(prefix="/v1/segments", tags=["segments"], route_class=QuickJson)

MaskForm = Literal["png", "webp", "rle", "polygon"]
MaskSize = Literal["stored", "full"]
CROP_FORMS: tuple[pictures.Lossless, ...] = ("png", "webp")
MASK_FORMS: tuple[MaskForm, ...] = ("png", "webp", "rle")  # those that Accept can tell apart
FormQuery = Query(alias="format", description="Absent: what `Accept` likes best.")


@router.get("/{segment_id}", summary="One segment", responses=problems(404, 422))
def segment(library: LibraryHere, segment_id: Id) -> SegmentOut:
    """Return a segment with its mask, as COCO's compressed RLE at the size that it is stored at."""
    return segment_out(stored_segment(library, segment_id))


@router.get(
    "/{segment_id}/crop",
    summary="What its box shows",
    response_class=Response,
    responses={**pictures_out("png", "webp"), **problems(404, 422)},
)
def crop(
    request: Request,
    library: LibraryHere,
    segment_id: Id,
    background: pictures.Background = "keep",
    form: Annotated[pictures.Lossless | None, FormQuery] = None,
) -> Response:
    """Return the photo's own pixels in the segment's box: w + 1 by h + 1 of them.

    (SAM's box goes from the middle of the outermost pixels, so that w is right - left.)
    """
    found = stored_segment(library, segment_id)
    chosen = form_for(request, form, CROP_FORMS)

    def make() -> bytes:
        rgb = photo_pixels(library, library.ledger().photo(found.photo_id))
        return pictures.lossless_bytes(pictures.crop(rgb, found, background), chosen)

    return picture(request, chosen, ("crop", segment_id, background), make)


@router.get(
    "/{segment_id}/crop.png",
    summary="What its box shows, as PNG",
    response_class=Response,
    responses={**pictures_out("png"), **problems(404, 422)},
)
def crop_png(
    request: Request,
    library: LibraryHere,
    segment_id: Id,
    background: pictures.Background = "keep",
) -> Response:
    """Return the photo's own pixels in the segment's box."""
    return crop(request, library, segment_id, background, "png")


@router.get(
    "/{segment_id}/tile.jpg",
    summary="The segment lit within its photo",
    response_class=Response,
    responses={**pictures_out("jpeg"), **problems(404, 422)},
)
def tile(
    request: Request,
    library: LibraryHere,
    segment_id: Id,
    size: Annotated[int, Query(ge=16, le=TILE_STEPS_PX[-1])] = TILE_PX,
) -> Response:
    """Return the segment as it is, and dimmed what is around it: a square, where the photo goes on.

    The long side is `size`. Those of 220, 440 and 1024 pixels come fastest: they are kept.
    """
    found = stored_segment(library, segment_id)
    what = ("lit", segment_id, size)
    return picture(request, "jpeg", what, lambda: segment_tile(library, found, size))


@router.get(
    "/{segment_id}/mask",
    summary="Its mask: a picture, run lengths or outlines",
    response_model=MaskRleOut | MaskPolygonsOut,
    responses={
        304: pictures_out()[304],
        200: {"content": pictures_out("png", "webp")[200]["content"]},
        **problems(404, 422),
    },
)
def mask(
    request: Request,
    library: LibraryHere,
    segment_id: Id,
    size: MaskSize = "stored",
    form: Annotated[MaskForm | None, FormQuery] = None,
) -> Response:
    """Return the mask as stored, or at the photo's size.

    `png` and `webp` are 255 inside and 0 outside; `rle` is COCO's compressed RLE; `polygon` are
    outlines along pixel edges, to be filled by the even-odd rule. JSON that no form is named for
    is `rle`.
    """
    found = stored_segment(library, segment_id)
    chosen = form_for(request, form, MASK_FORMS)

    def make() -> bytes:
        return _mask_in_form(chosen, _mask(library, found, size))

    return picture(request, chosen, ("mask", segment_id, size), make)


@router.get(
    "/{segment_id}/mask.png",
    summary="Its mask, as PNG",
    response_class=Response,
    responses={**pictures_out("png"), **problems(404, 422)},
)
def mask_png(
    request: Request, library: LibraryHere, segment_id: Id, size: MaskSize = "stored"
) -> Response:
    """Return the mask as 8-bit grey, 255 inside: as stored, or at the photo's size."""
    return mask(request, library, segment_id, size, "png")


def _mask(library: Library, segment: Segment, size: MaskSize) -> Mask:
    assert segment.mask is not None  # it was asked for
    if size == "stored":
        return segment.mask
    return enlarged(segment.mask, library.ledger().photo(segment.photo_id).photo.size_wh)


def _mask_in_form(form: MaskForm, mask: Mask) -> bytes:
    if form == "rle":
        return MaskRleOut.model_validate(coco_rle_from_mask(mask)).model_dump_json().encode()
    inside = array_from_mask(mask)
    if form == "polygon":
        polygons = tuple(
            tuple(edge for corner in polygon for edge in corner)
            for polygon in polygons_from_array(inside)
        )
        return MaskPolygonsOut(size=inside.shape, polygons=polygons).model_dump_json().encode()
    return pictures.mask_bytes(inside, form)
