"""Search results on one picture: each segment lit within its photo."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from api.library import Library
from api.schemas import HitOut, SearchResponse
from api.searching import photo_pixels
from search.crops import square_around
from search.errors import PhotoError, UnknownIdError, UsageError
from search.masks import array_from_mask, resized
from search.records import Box, Mask, RgbImage

TILE_PX = 220
CAPTION_PX = 26
COLUMNS = 6
AROUND = 2.0  # side of a tile in longer sides of the segment's box: the segment and where it is
DIMMED = 0.45  # brightness of what is not the segment
PAPER = (250, 249, 246)
INK = (60, 58, 54)
AROUND_RGB = (232, 230, 224)  # where a tile reaches beyond its photo
EMPTY_TILE = np.full((TILE_PX, TILE_PX, 3), PAPER, np.uint8)


def save_sheet(library: Library, response: SearchResponse, path: Path) -> None:
    """Draw the hits of a response and write them as a picture; the suffix says the format.

    Raises:
        UsageError: the path can't be written, or its suffix is no picture's.
    """
    hits = list(response.hits)
    hits += [hit for group in response.groups or () for hit in group.hits]
    tiles = _tiles(library, hits)
    sheet = sheet_of([(f"{hit.score:.2f}", tiles[hit.segment_id]) for hit in hits])
    try:
        sheet.save(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"the sheet can't be written to {path}: {error}") from error


def sheet_of(tiles: Sequence[tuple[str, RgbImage]], columns: int = COLUMNS) -> Image.Image:
    """Return captioned tiles, each (TILE_PX, TILE_PX, 3), row by row on one picture."""
    columns = max(1, min(columns, len(tiles)))
    rows = max(1, -(-len(tiles) // columns))
    gap = 10
    step_x, step_y = TILE_PX + gap, TILE_PX + CAPTION_PX + gap
    sheet = Image.new("RGB", (columns * step_x + gap, rows * step_y + gap), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for number, (caption, tile) in enumerate(tiles):
        left, top = gap + number % columns * step_x, gap + number // columns * step_y
        sheet.paste(Image.fromarray(tile), (left, top))
        draw.text((left + 2, top + TILE_PX + 4), caption, INK, font)
    return sheet


def _tiles(library: Library, hits: Sequence[HitOut]) -> dict[str, RgbImage]:
    """Return each hit as a square picture, by segment id. A photo is decoded once, then let go."""
    stored = library.index().segments([hit.segment_id for hit in hits], with_masks=True)
    masks = {segment.segment_id: segment.mask for segment in stored}
    tiles: dict[str, RgbImage] = {}
    for photo_id, found in groupby(sorted(hits, key=_photo_of), _photo_of):
        rgb = _pixels_if_any(library, photo_id)
        for hit in found:
            mask = masks.get(hit.segment_id)
            if rgb is None or mask is None:
                tiles[hit.segment_id] = EMPTY_TILE
            else:
                tiles[hit.segment_id] = lit_tile(rgb, mask, hit.bbox_xywh)
    return tiles


def _photo_of(hit: HitOut) -> str:
    return hit.photo_id


def _pixels_if_any(library: Library, photo_id: str) -> RgbImage | None:
    """Return the pixels of a photo; None if its file is out of reach."""
    try:
        return photo_pixels(library, library.ledger().photo(photo_id))
    except (PhotoError, UnknownIdError):
        return None


def lit_tile(rgb: RgbImage, mask: Mask, bbox_xywh: Box, size_px: int = TILE_PX) -> RgbImage:
    """Return the surroundings of a segment, dimmed, and the segment as it is: a square."""
    height, width = rgb.shape[:2]
    square = square_around(bbox_xywh, AROUND)
    side = min(square.side, max(width, height))
    left = min(max(0, square.left), max(0, width - side))
    top = min(max(0, square.top), max(0, height - side))
    part = (slice(top, top + side), slice(left, left + side))
    inside = resized(array_from_mask(mask), (width, height))[part]
    lit = Image.fromarray((rgb[part] * np.where(inside[..., None], 1.0, DIMMED)).astype(np.uint8))
    lit = ImageOps.contain(lit, (size_px, size_px), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (size_px, size_px), AROUND_RGB)
    tile.paste(lit, ((size_px - lit.width) // 2, (size_px - lit.height) // 2))
    return np.asarray(tile)
