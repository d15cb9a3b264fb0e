"""Images of segments: overlays, crops and masks."""

from __future__ import annotations

from typing import Literal

from api.library.library import Library
from api.render.draw import (
    Background,
    Lossless,
    crop,
    lossless_bytes,
    mask_bytes,
    overlay,
    png_bytes,
    thumbnail,
)
from api.render.photo_pixels import photo_pixels
from api.schemas.segments import MaskPolygonsOut, MaskRleOut
from ingest.catalog.records import PhotoRow
from search.masks.rle import array_from_mask, coco_rle_from_mask, enlarged, polygons_from_array
from search.records import MaskArray, Segment

MaskFormat = Literal["png", "webp", "rle", "polygon"]


def photo_overlay(library: Library, row: PhotoRow, long_side_px: int | None) -> bytes:
    """Draw all segments of a photo over it, as PNG; None: full size.

    Raises:
        PhotoError: its file is unavailable or can't be decoded.
    """
    rgb = photo_pixels(library, row)
    if long_side_px is not None:
        rgb = thumbnail(rgb, long_side_px)
    segments = library.index().segments_of(row.photo.photo_id, with_masks=True)
    masks = [array_from_mask(segment.mask) for segment in segments if segment.mask]
    return png_bytes(overlay(rgb, masks))


def segment_crop(
    library: Library, segment: Segment, background: Background, image_format: Lossless
) -> bytes:
    """Crop a segment's box out of its photo.

    Raises:
        PhotoError: the photo's file is unavailable or can't be decoded.
    """
    rgb = photo_pixels(library, library.ledger().photo(segment.photo_id))
    return lossless_bytes(crop(rgb, segment, background), image_format)


def segment_mask(
    library: Library, segment: Segment, mask_format: MaskFormat, *, full_size: bool
) -> bytes:
    """Encode a segment's mask, at the size of its photo or as it is stored."""
    mask = segment.mask
    assert mask is not None  # segment_by_id loads it
    if full_size:
        mask = enlarged(mask, library.ledger().photo(segment.photo_id).photo.size_wh)
    if mask_format == "rle":
        return MaskRleOut.model_validate(coco_rle_from_mask(mask)).model_dump_json().encode()
    mask_hw = array_from_mask(mask)
    if mask_format == "polygon":
        return _polygons(mask_hw).model_dump_json().encode()
    return mask_bytes(mask_hw, mask_format)


def _polygons(mask_hw: MaskArray) -> MaskPolygonsOut:
    polygons = (
        tuple(edge for corner in polygon for edge in corner)
        for polygon in polygons_from_array(mask_hw)
    )
    return MaskPolygonsOut(size=mask_hw.shape, polygons=tuple(polygons))
