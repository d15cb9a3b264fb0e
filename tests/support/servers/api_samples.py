"""A small real library behind a real server: what the tests of the HTTP API ask of."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from api.http.app import create_app
from api.library.library import Library
from ingest.pipeline import ingest
from search.records import RgbImage, SearchFilter
from starter.drawing.photo_file import Camera, Capture
from starter.scenes import draw_scene
from support.fakes import ColorSegmenter, Quiet, add_photos, make_library
from support.servers.served import serving

NOWHERE = "00000000-0000-4000-8000-000000000000"
MASK_LONG_SIDE = 128
MAX_UPLOAD_BYTES = 60_000
MAX_UPLOAD_PIXELS = 50_000
FLAT_WH = (96, 72)
# What stands on the flat photo's grey: colour, and left, top, right, bottom, both ends included.
FLAT_BLOCKS = {
    "red": ((230, 30, 30), (10, 20, 49, 59)),
    "green": ((30, 200, 30), (20, 30, 29, 39)),  # in the red one
    "blue": ((30, 30, 230), (70, 10, 89, 29)),
}


def flat_photo() -> RgbImage:
    """(72, 96, 3): three plain blocks on grey."""
    rgb = np.full((FLAT_WH[1], FLAT_WH[0], 3), 128, np.uint8)
    for color, (x0, y0, x1, y1) in FLAT_BLOCKS.values():
        rgb[y0 : y1 + 1, x0 : x1 + 1] = color
    return rgb


def _capture(day: int, camera: str, place: tuple[float, float] | None = None) -> Capture:
    return Capture(datetime(2024, 5, day, 12), Camera("Test", camera, "+00:00"), 1, place)


SAMPLE = {
    "flat.png": (flat_photo(), _capture(1, "One", (52.52, 13.40))),
    "trip/scene.png": (draw_scene(5, (120, 90)).image, _capture(2, "Two", (48.14, 11.58))),
    "trip/large.png": (draw_scene(8, (400, 300)).image, _capture(3, "Two")),
    "gone.png": (draw_scene(11, (64, 64)).image, _capture(4, "One")),
}


def png(rgb: RgbImage) -> bytes:
    written = BytesIO()
    Image.fromarray(rgb).save(written, "PNG")
    return written.getvalue()


def in_base64(rgb: RgbImage) -> str:
    return base64.b64encode(png(rgb)).decode()


@dataclass
class Served:
    """A library, its server, and a client of it."""

    library: Library
    segmenter: ColorSegmenter
    http: httpx.Client
    photos: dict[str, str]  # ids by file name
    root_id: str

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(path, params=query)

    def segments(self, name: str) -> list[dict[str, Any]]:
        answer = self.get(f"/v1/photos/{self.photos[name]}/segments", with_masks=True)
        found: list[dict[str, Any]] = answer.json()["segments"]
        return found

    def block(self, color: str) -> dict[str, Any]:
        """The segment of a block of the flat photo."""
        x0, y0, x1, y1 = FLAT_BLOCKS[color][1]
        box = [x0, y0, x1 - x0, y1 - y0]
        return next(s for s in self.segments("flat.png") if s["bbox_xywh"] == box)


@contextmanager
def served_sample(folder: Path) -> Iterator[Served]:
    """Ingest the sample, lose the file of one photo, and serve the library."""
    limits: dict[str, Any] = {
        "max_upload_bytes": MAX_UPLOAD_BYTES,
        "max_upload_pixels": MAX_UPLOAD_PIXELS,
    }
    with make_library(folder / "library", mask_long_side=MASK_LONG_SIDE, **limits) as library:
        summary = add_photos(library, folder / "photos", SAMPLE)
        assert summary.photos_ingested == len(SAMPLE)
        rows = library.ledger().photos(SearchFilter(), limit=10)
        (folder / "photos" / "gone.png").unlink()
        ingest([folder / "photos"], library.ingest_context(), Quiet())
        segmenter = library.segmenter()
        assert isinstance(segmenter, ColorSegmenter)
        with (
            serving(create_app(library)) as address,
            httpx.Client(base_url=address, trust_env=False) as http,
        ):
            photos = {row.below: row.photo.photo_id for row in rows if row.below}
            yield Served(library, segmenter, http, photos, str(rows[0].root_id))


def pixels(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(BytesIO(answer.content)))


def assert_problem(answer: httpx.Response, status: int, *words: str) -> None:
    """A problem as RFC 9457 has it, with a sentence that says these words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "error"}
    assert problem["status"] == status
    for word in words:
        assert word in problem["detail"]
