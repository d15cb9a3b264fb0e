"""What figures don't tell, for the eye: masks drawn on pictures, and what searches find.

Sheets of real photos are for looking at only: their licenses don't let them be passed on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from api.library.library import Library
from api.library.models import torch_device
from api.render.contact_sheet import INK, PAPER, TILE_PX, draw_sheet, highlight_tile, tile_region
from api.render.draw import overlay
from api.render.photo_pixels import photo_pixels
from api.schemas.search import HitOut, SearchRequest
from api.services.search import search
from api.settings import Settings
from ingest.pipeline import ingest
from ingest.segmentation.sam2 import load_segmenter
from ingest.stats import Tally
from search.models.encoder import ClipEncoder
from search.records import MaskArray, RgbImage
from starter.sample_library import draw_sample_library
from starter.scenes import segments
from training.evaluation.cutting import SCENE_FRACTION, Propose
from training.evaluation.held_out import iter_scenes
from training.evaluation.photos import TruePhoto

ROW_PX = 256  # height of a row of an overlay sheet
QUALITY = 85
SAMPLE_PHOTOS = 24
SEARCHES = ("red striped", "a yellow star", "blue dotted", "checked", "dark green", "a red circle")
HITS = 8
SHEET_WIDTH_PX = 1400
SHEET_BYTES = 300_000


class Quiet:
    """No progress."""

    def start(self, photos: int) -> None:
        """Say nothing."""

    def show(self, tally: Tally) -> None:
        """Say nothing."""


def save_scene_overlays(propose: Propose, seeds: Sequence[int], path: Path) -> None:
    """Draw scenes, their true segments, and the masks proposed."""
    rows = (
        (scene.image, [mask for mask, _ in segments(scene, SCENE_FRACTION)])
        for scene in iter_scenes(seeds)
    )
    _save_overlays(propose, rows, path)


def save_photo_overlays(propose: Propose, photos: Iterable[TruePhoto], path: Path) -> None:
    """Draw photos, their true masks, and the masks proposed."""
    _save_overlays(propose, ((photo.rgb, photo.masks) for photo in photos), path)


def save_search_sheet(weights: Path, path: Path) -> None:
    """Draw the sample library, ingest it with these models, search it, draw what is found.

    One row for each of SEARCHES, best segment first, each lit within its photo.
    """
    with tempfile.TemporaryDirectory(prefix="segsearch-sheet-") as made:
        folder = Path(made)
        draw_sample_library(folder / "photos", photos=SAMPLE_PHOTOS)
        with _library(folder / "library", weights) as library:
            ingest([folder / "photos"], library.ingest_context(), Quiet())
            tiles = [tile for text in SEARCHES for tile in _searched(library, text)]
    sheet = draw_sheet(tiles, columns=1 + HITS)
    sheet = sheet.resize((SHEET_WIDTH_PX, round(sheet.height * SHEET_WIDTH_PX / sheet.width)))
    _save_within(sheet, path, SHEET_BYTES)


def _library(folder: Path, weights: Path) -> Library:
    device = torch_device("auto")
    return Library(
        Settings(library=folder, models="starter"),
        command="evaluate",
        create=True,
        segmenter=load_segmenter(
            str(weights / "segmenter.pt"), config=weights / "segmenter.yaml", device=device
        ),
        encoder=ClipEncoder.load(
            str(weights / "encoder"), device=device, precision="float32", batch=64
        ),
    )


def _searched(library: Library, text: str) -> list[tuple[str, RgbImage]]:
    """Return a row of captioned tiles: the words, then what they find."""
    hits = search(library, SearchRequest(text=text, limit=HITS)).hits
    found = [(f"{hit.score:.2f}", _hit_tile(library, hit)) for hit in hits]
    empty = [("", _words_tile(""))] * (HITS - len(found))
    return [("", _words_tile(text)), *found, *empty]


def _hit_tile(library: Library, hit: HitOut) -> RgbImage:
    (segment,) = library.index().segments([hit.segment_id], with_masks=True)
    if segment.mask is None:
        raise ValueError(f"segment {hit.segment_id} came without its mask")
    rgb = photo_pixels(library, library.ledger().photo(hit.photo_id))
    around = tile_region(hit.bbox_xywh, (rgb.shape[1], rgb.shape[0]))
    return highlight_tile(rgb, segment.mask, around)


def _words_tile(text: str) -> RgbImage:
    tile = Image.new("RGB", (TILE_PX, TILE_PX), PAPER)
    lines, font = "\n".join(text.split()), ImageFont.load_default(size=44)
    pen = ImageDraw.Draw(tile)
    pen.multiline_text((TILE_PX / 2, TILE_PX / 2), lines, INK, font, anchor="mm", align="center")
    return np.asarray(tile)


def _save_overlays(
    propose: Propose, rows: Iterable[tuple[RgbImage, list[MaskArray]]], path: Path
) -> None:
    """Save a row for each picture: as it is, its true masks, those proposed."""
    drawn = [_row(rgb, overlay(rgb, truths), overlay(rgb, propose(rgb))) for rgb, truths in rows]
    width = max(row.width for row in drawn)
    sheet = Image.new("RGB", (width, sum(row.height for row in drawn)), PAPER)
    top = 0
    for row in drawn:
        sheet.paste(row, (0, top))
        top += row.height
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=QUALITY)


def _row(*pictures: RgbImage) -> Image.Image:
    row = Image.fromarray(np.concatenate(pictures, axis=1))
    return row.resize((round(row.width * ROW_PX / row.height), ROW_PX), Image.Resampling.LANCZOS)


def _save_within(picture: Image.Image, path: Path, max_bytes: int) -> None:
    """Save as JPEG, as good as fits."""
    for quality in range(QUALITY, 40, -5):
        picture.save(path, "JPEG", quality=quality, optimize=True)
        if path.stat().st_size <= max_bytes:
            return
