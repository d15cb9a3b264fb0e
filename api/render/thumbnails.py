"""Small pictures of photos and segments: made in a few sizes, kept, and cut down from there."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

from api.library.library import Library
from api.render.contact_sheet import lit_tile, surroundings
from api.render.draw import jpeg_bytes, thumbnail
from api.render.photo_pixels import photo_pixels
from ingest.catalog.records import PhotoRow
from search.records import RgbImage, Segment

# Long sides, in pixels. The page's own sizes are among them, on screens of one and of two pixels a
# CSS pixel; what lies between is scaled down from the next larger one.
PHOTO_STEPS_PX = (320, 640, 1280, 2560)
TILE_STEPS_PX = (220, 440, 1024)


def photo_preview(library: Library, row: PhotoRow, long_side_px: int | None) -> bytes:
    """Return a photo as JPEG, its long side at most so long; None: full size.

    Raises:
        PhotoError: its file is out of reach or can't be decoded, and no such picture is kept.
    """
    full = max(row.photo.size_wh)
    if long_side_px is None or long_side_px >= full:
        return jpeg_bytes(photo_pixels(library, row))

    def at(size_px: int) -> RgbImage:
        return thumbnail(photo_pixels(library, row, size_px), size_px)

    steps = [step for step in PHOTO_STEPS_PX if long_side_px <= step < full]
    if not steps:
        return jpeg_bytes(at(long_side_px))
    photo_id = row.photo.photo_id
    return _at_size(library, f"photo {photo_id}", photo_id, long_side_px, steps[0], at)


def segment_tile(library: Library, segment: Segment, size_px: int) -> bytes:
    """Return a segment lit within its dimmed surroundings, at most so many pixels long, as JPEG.

    Raises:
        PhotoError: the photo is out of reach or can't be decoded, and no such picture is kept.
    """

    def at(size_px: int) -> RgbImage:
        row = library.ledger().photo(segment.photo_id)
        around = surroundings(segment.bbox_xywh, row.photo.size_wh)
        rgb = photo_pixels(library, row, around.photo_px(size_px))
        assert segment.mask is not None  # it was asked for
        return lit_tile(rgb, segment.mask, around, size_px)

    step = next(step for step in TILE_STEPS_PX if size_px <= step)
    name = f"lit {segment.segment_id}"
    return _at_size(library, name, segment.photo_id, size_px, step, at)


def _at_size(
    library: Library,
    name: str,
    photo_id: str,
    size_px: int,
    step_px: int,
    at: Callable[[int], RgbImage],
) -> bytes:
    """Return a picture at a size, scaled down from the kept one of the next step."""
    kept = library.pictures.get(f"{name} {step_px}", photo_id, lambda: jpeg_bytes(at(step_px)))
    if size_px == step_px:
        return kept
    with Image.open(BytesIO(kept)) as image:
        return jpeg_bytes(thumbnail(np.asarray(image), size_px))
