"""Contact sheets: search hits on one image, each segment highlighted in its photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from api.library.library import Library
from api.render.photo_pixels import photo_pixels
from api.schemas.search import HitOut, SearchResponse
from search.errors import PhotoError, UnknownIdError, UsageError
from search.masks.rle import array_from_mask
from search.models.crops import square_around
from search.records import Box, Mask, RgbImage

TILE_PX = 220
CAPTION_PX = 26
COLUMNS = 6
CONTEXT = 2.0  # side of a tile, as a multiple of the longer side of the segment's box
DIMMED = 0.45  # brightness outside the segment
PAPER = (250, 249, 246)
INK = (60, 58, 54)
EMPTY_TILE = np.full((TILE_PX, TILE_PX, 3), PAPER, np.uint8)


def sheet_bytes(library: Library, response: SearchResponse, suffix: str) -> bytes:
    """Draw the hits of a response as an image file, in the format of its suffix (`.png`).

    Raises:
        UsageError: there are too many hits for the format.
    """
    hits = list(response.hits)
    hits += [hit for group in response.groups or () for hit in group.hits]
    tiles = _tiles(library, hits)
    sheet = draw_sheet([(f"{hit.score:.2f}", tiles[hit.segment_id]) for hit in hits])
    encoded = BytesIO()
    try:
        sheet.save(encoded, Image.registered_extensions()[suffix.lower()])
    except (OSError, ValueError) as error:
        raise UsageError(
            f"a sheet of {len(hits)} hits can't be drawn as {suffix}: {error}. Name a .png, or "
            "lower --limit."
        ) from error
    return encoded.getvalue()


def draw_sheet(tiles: Sequence[tuple[str, RgbImage]], columns: int = COLUMNS) -> Image.Image:
    """Draw captioned tiles, each at most TILE_PX high and wide, row by row."""
    columns = max(1, min(columns, len(tiles)))
    rows = max(1, -(-len(tiles) // columns))
    gap = 10
    step_x, step_y = TILE_PX + gap, TILE_PX + CAPTION_PX + gap
    sheet = Image.new("RGB", (columns * step_x + gap, rows * step_y + gap), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for number, (caption, tile) in enumerate(tiles):
        left, top = gap + number % columns * step_x, gap + number // columns * step_y
        beside, above = (TILE_PX - tile.shape[1]) // 2, (TILE_PX - tile.shape[0]) // 2
        sheet.paste(Image.fromarray(tile), (left + beside, top + above))
        draw.text((left + 2, top + TILE_PX + 4), caption, INK, font)
    return sheet


def _tiles(library: Library, hits: Sequence[HitOut]) -> dict[str, RgbImage]:
    """The tile of each hit, by segment id. Each photo is decoded once; only one is in memory."""
    stored = library.index().segments([hit.segment_id for hit in hits], with_masks=True)
    masks = {segment.segment_id: segment.mask for segment in stored}
    tiles: dict[str, RgbImage] = {}
    for photo_id, photo_hits in groupby(sorted(hits, key=_photo_of), _photo_of):
        rgb = _pixels_if_available(library, photo_id)
        for hit in photo_hits:
            mask = masks.get(hit.segment_id)
            if rgb is None or mask is None:
                tiles[hit.segment_id] = EMPTY_TILE
            else:
                region = tile_region(hit.bbox_xywh, (rgb.shape[1], rgb.shape[0]))
                tiles[hit.segment_id] = highlight_tile(rgb, mask, region)
    return tiles


def _photo_of(hit: HitOut) -> str:
    return hit.photo_id


def _pixels_if_available(library: Library, photo_id: str) -> RgbImage | None:
    """The pixels of a photo; None if its file is unavailable."""
    try:
        return photo_pixels(library, library.ledger().photo(photo_id))
    except (PhotoError, UnknownIdError):
        return None


class TileRegion(NamedTuple):
    """The part of a photo that a tile shows, in px of the photo."""

    left: int
    top: int
    width: int
    height: int
    photo_wh: tuple[int, int]

    def photo_px(self, size_px: int) -> int:
        """The long side of the photo at which this region's long side is `size_px`."""
        return math.ceil(max(self.photo_wh) * size_px / max(self.width, self.height))

    def crop(self, pixels: NDArray[np.uint8], size_px: int) -> Image.Image:
        """Crop this region out of the photo, scaled to any size, with a long side of `size_px`."""
        scale = size_px / max(self.width, self.height)
        tile_wh = (max(1, round(self.width * scale)), max(1, round(self.height * scale)))
        across, down = (
            actual / photo for actual, photo in zip(pixels.shape[1::-1], self.photo_wh, strict=True)
        )
        x0, x1 = self.left * across, (self.left + self.width) * across
        y0, y1 = self.top * down, (self.top + self.height) * down
        left, top = math.floor(x0), math.floor(y0)  # copy only the visible part
        part = Image.fromarray(pixels[top : math.ceil(y1), left : math.ceil(x1)])
        box = (x0 - left, y0 - top, min(x1 - left, part.width), min(y1 - top, part.height))
        return part.resize(tile_wh, Image.Resampling.BICUBIC, box, reducing_gap=2.0)


def tile_region(bbox_xywh: Box, photo_wh: tuple[int, int]) -> TileRegion:
    """The region that a segment's tile shows: a square, clipped to the photo."""
    width, height = photo_wh
    square = square_around(bbox_xywh, CONTEXT)
    side = min(square.side, max(width, height))
    left = min(max(0, square.left), max(0, width - side))
    top = min(max(0, square.top), max(0, height - side))
    return TileRegion(left, top, min(side, width - left), min(side, height - top), photo_wh)


def highlight_tile(
    rgb: RgbImage, mask: Mask, region: TileRegion, size_px: int = TILE_PX
) -> RgbImage:
    """Draw a segment at full brightness in its dimmed surroundings.

    Args:
        rgb: the photo's pixels, at any size.
        mask: the segment's, at any size.
        region: the part of the photo to show.
        size_px: the long side of the tile.
    """
    shown = region.crop(rgb, size_px)
    inside = region.crop(array_from_mask(mask) * np.uint8(255), size_px)
    dimmed = shown.point([round(level * DIMMED) for level in range(256)] * 3)
    return np.asarray(Image.composite(shown, dimmed, inside))
