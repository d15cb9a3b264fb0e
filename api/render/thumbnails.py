"""Thumbnails of photos and segments: cached in a few sizes, other sizes are scaled down."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

from api.library.library import Library
from api.render.contact_sheet import highlight_tile, tile_region
from api.render.draw import jpeg_bytes, thumbnail
from api.render.photo_pixels import photo_pixels
from ingest.catalog.records import PhotoRow
from search.records import RgbImage, Segment

# Long sides in pixels, including the web page's own sizes at device pixel ratios 1 and 2. Other
# sizes are scaled down from the next larger one.
PHOTO_STEPS_PX = (320, 640, 1280, 2560)
TILE_STEPS_PX = (220, 440, 1024)


def photo_preview(library: Library, row: PhotoRow, long_side_px: int | None) -> bytes:
    """A photo as JPEG with at most this long side; None: full size.

    Raises:
        PhotoError: its file is unavailable or can't be decoded, and no thumbnail is cached.
    """
    full = max(row.photo.size_wh)
    if long_side_px is None or long_side_px >= full:
        return jpeg_bytes(photo_pixels(library, row))

    def render(size_px: int) -> RgbImage:
        return thumbnail(photo_pixels(library, row, size_px), size_px)

    steps = [step for step in PHOTO_STEPS_PX if long_side_px <= step < full]
    if not steps:
        return jpeg_bytes(render(long_side_px))
    photo_id = row.photo.photo_id
    return _at_size(library, f"photo {photo_id}", photo_id, long_side_px, steps[0], render)


def segment_tile(library: Library, segment: Segment, size_px: int) -> bytes:
    """A segment in its dimmed surroundings as JPEG, with at most this long side.

    Raises:
        PhotoError: the photo is unavailable or can't be decoded, and no thumbnail is cached.
    """

    def render(size_px: int) -> RgbImage:
        row = library.ledger().photo(segment.photo_id)
        region = tile_region(segment.bbox_xywh, row.photo.size_wh)
        rgb = photo_pixels(library, row, region.photo_px(size_px))
        assert segment.mask is not None  # loaded with masks
        return highlight_tile(rgb, segment.mask, region, size_px)

    step = next(step for step in TILE_STEPS_PX if size_px <= step)
    name = f"lit {segment.segment_id}"
    return _at_size(library, name, segment.photo_id, size_px, step, render)


def _at_size(
    library: Library,
    name: str,
    photo_id: str,
    size_px: int,
    step_px: int,
    render: Callable[[int], RgbImage],
) -> bytes:
    """An image of this size, scaled down from the cached one of `step_px`."""
    cached = library.pictures.get(
        f"{name} {step_px}", photo_id, lambda: jpeg_bytes(render(step_px))
    )
    if size_px == step_px:
        return cached
    with Image.open(BytesIO(cached)) as image:
        return jpeg_bytes(thumbnail(np.asarray(image), size_px))
