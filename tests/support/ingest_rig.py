"""A folder of photos, a library with the real index and ledger, and fake models that count calls.

Run as a script it ingests a folder slowly, so that test_crash.py can kill it.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api.settings import Settings
from ingest import pipeline
from ingest.catalog.ledger import Ledger, folder_key
from ingest.context import FLUSH_EVERY_S, IngestContext
from ingest.imaging.decode import decode_photo
from ingest.imaging.sandbox import Decode
from ingest.segmentation.types import MaskParameters, SegmentedMask
from ingest.stats import IngestSummary
from search.index.base import SegmentIndex
from search.index.edge import EdgeIndex
from search.records import RgbImage, SearchFilter, Segment, Vectors
from starter.drawing.photo_file import Camera, Capture, save_photo
from support.fakes import ColorEncoder, ColorSegmenter, Quiet

VECTOR_NAME = "color"
SIZE_WH = (48, 36)
GRAY = np.ones((1, 3), np.float32) / np.sqrt(3).astype(np.float32)  # equally similar to all colors
_moments = itertools.count(1_700_000_000)  # modification times: each file one second after the last


@dataclass
class SlowSegmenter(ColorSegmenter):
    """Counts photos; can be slow, and raise KeyboardInterrupt at a given photo."""

    photos_segmented: int = 0
    seconds: float = 0.0
    interrupt_at: int | None = None

    def automatic(self, rgb: RgbImage, parameters: MaskParameters) -> list[SegmentedMask]:
        self.photos_segmented += 1
        if self.photos_segmented == self.interrupt_at:
            raise KeyboardInterrupt
        time.sleep(self.seconds)
        return super().automatic(rgb, parameters)


@dataclass
class Loaded:
    """What a run loaded."""

    segmenters: int = 0
    encoders: int = 0
    indexes: int = 0


@dataclass(eq=False)
class Rig:
    """Photos in `photos`, a library in `library`."""

    folder: Path
    segmenter: SlowSegmenter = field(default_factory=SlowSegmenter)
    encoder: ColorEncoder = field(default_factory=ColorEncoder)
    loaded: Loaded = field(default_factory=Loaded)
    decode: Decode = decode_photo
    flush_every_s: float = FLUSH_EVERY_S

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def library(self) -> Path:
        return self.folder / "library"

    def ingest_context(self, **settings: Any) -> IngestContext:
        def index() -> SegmentIndex:
            self.loaded.indexes = 1
            return self.index

        def segmenter() -> SlowSegmenter:
            self.loaded.segmenters += 1
            return self.segmenter

        def encoder() -> ColorEncoder:
            self.loaded.encoders += 1
            return self.encoder

        # Decode without child processes, which are slow to start: test_sandbox.py has them.
        chosen = Settings(library=self.library, **{"decode_workers": 0, **settings})
        return IngestContext(
            chosen,
            lambda: Ledger(self.library),
            index,
            segmenter,
            encoder,
            self.decode,
            flush_every_s=self.flush_every_s,
        )

    def ingest(
        self,
        *paths: Path,
        resegment: bool = False,
        retry_skipped: bool = False,
        reread: bool = False,
        **settings: Any,
    ) -> IngestSummary:
        """Run ingest; `loaded` and `segmenter.photos_segmented` count its work."""
        self.loaded = Loaded()
        self.segmenter.photos_segmented = 0
        return pipeline.ingest(
            paths or (self.photos,),
            self.ingest_context(**settings),
            Quiet(),
            resegment=resegment,
            retry_skipped=retry_skipped,
            reread=reread,
        )

    @cached_property
    def index(self) -> EdgeIndex:
        """The index, open until `close`."""
        return EdgeIndex.open(
            self.library / "index", vector_name=VECTOR_NAME, dim=self.encoder.dim, create=True
        )

    def close(self) -> None:
        """Close the index; the next access opens it again."""
        if index := self.__dict__.pop("index", None):
            index.close()

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        ledger = Ledger(self.library)
        try:
            yield ledger
        finally:
            ledger.close()

    def shown(self, folder: Path | None = None) -> list[str]:
        """Paths of the visible photos below a folder, relative to the rig, one per photo.

        Checks that browsing and search agree.
        """
        with self.ledger() as ledger:
            where = SearchFilter(folder=folder_key(ledger, folder) if folder else None)
            rows = {row.photo.photo_id: row for row in ledger.photos(where, limit=10_000)}
        assert set(rows) == self.found(where)
        paths = sorted(str(row.path) for row in rows.values())
        return [str(Path(path).relative_to(self.folder)) for path in paths]

    def found(self, where: SearchFilter) -> set[str]:
        """Ids of the photos found by search; checks that photos and segments agree."""
        photos = self.index.nearest_photos(GRAY, where, limit=10_000)
        segments = self.index.nearest_segments(GRAY, where, limit=100_000)
        found = {hit.photo.photo_id for hit in photos}
        assert {hit.segment.photo_id for hit in segments} == found
        return found


def picture(seed: int, size_wh: tuple[int, int] = SIZE_WH) -> RgbImage:
    """Draw four uniform blocks on a uniform background, (h, w, 3)."""
    rng = np.random.default_rng(seed)
    width, height = size_wh
    rgb = np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(4):
        x, y = int(rng.integers(0, width - 8)), int(rng.integers(0, height - 8))
        rgb[y : y + 8, x : x + 8] = rng.integers(0, 256, 3)
    return rgb


def write(path: Path, seed: int, *, size_wh: tuple[int, int] = SIZE_WH, **capture: Any) -> Path:
    """Write the picture of a seed, with given EXIF facts."""
    taken_at = capture.pop("taken_at", datetime(2024, 5, 1, 12))
    camera = Camera("Test", capture.pop("camera", "One"), "+00:00")
    save_photo(picture(seed, size_wh), Capture(taken_at, camera, **capture), path)
    return stamped(path)


def stamped(path: Path) -> Path:
    """Give a file a unique modification time."""
    moment = next(_moments)
    os.utime(path, (moment, moment))
    return path


@dataclass(frozen=True)
class Snapshot:
    """The content of a library, for comparison with another one."""

    rows: dict[str, list[tuple[Any, ...]]]  # of the ledger, without timestamps
    photos: list[dict[str, Any]]
    segments: list[dict[str, Any]]
    vectors: Vectors


def snapshot(rig: Rig) -> Snapshot:
    with rig.ledger() as ledger:
        rows = {
            "roots": _rows(ledger, "SELECT root_id, path FROM roots"),
            "photos": _rows(ledger, "SELECT * FROM photos"),
            "files": _rows(
                ledger,
                "SELECT root_id, path, folder, bytes, mtime_ns, sha256, photo_id, state, reason "
                "FROM files",
            ),
        }
    photo_ids = [row[0] for row in rows["photos"]]
    index = rig.index
    segments = list(index.iter_segments(with_masks=True))
    photos = index.photos(photo_ids)
    assert index.count("photos") == len(photos)
    assert {s.segment_id for s in segments} == {
        each for photo in photos for each in index.segment_ids_of(photo.photo_id)
    }
    of_segments = index.segment_vectors([segment.segment_id for segment in segments])
    of_photos = index.photo_vectors([photo.photo_id for photo in photos])
    return Snapshot(
        rows,
        [photo.model_dump() for photo in photos],
        [_payload(index, segment) for segment in segments],
        np.concatenate([of_segments, of_photos]),
    )


def _payload(index: EdgeIndex, segment: Segment) -> dict[str, Any]:
    """A segment's payload, which includes the facts of its photo."""
    point = index._retrieve("segments", [segment.segment_id], "all")[0]
    return {**point.payload, "id": segment.segment_id}


def _rows(ledger: Ledger, query: str) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in ledger._execute(query)), key=repr)


# Settings with another fingerprint, to segment photos again.
RESEGMENT_SETTINGS: dict[str, Any] = {"mask_long_side": 64, "min_area_fraction": 0.02}


def undisturbed(rig: Rig) -> Snapshot:
    with closing(Rig(rig.folder / "calm", segmenter=SlowSegmenter())) as calm:
        calm.ingest(rig.photos)
        return snapshot(calm)


def assert_equal(one: Snapshot, other: Snapshot) -> None:
    """Compare ids, payloads and facts exactly, vectors up to rounding."""
    assert one.rows == other.rows
    assert one.photos == other.photos
    assert [s["id"] for s in one.segments] == [s["id"] for s in other.segments]
    for mine, theirs in zip(one.segments, other.segments, strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine:
            # The embedded index stores numbers as JSON.
            close = isinstance(mine[key], float)
            assert mine[key] == (pytest.approx(theirs[key], abs=1e-9) if close else theirs[key])
    assert np.abs(one.vectors - other.vectors).max() < 1e-5


def main(folder: Path, seconds: float, flush_every_s: float, resegment: bool) -> None:
    """Ingest slowly, after printing "begun"."""
    rig = Rig(folder, segmenter=SlowSegmenter(seconds=seconds), flush_every_s=flush_every_s)
    settings: dict[str, Any] = {**(RESEGMENT_SETTINGS if resegment else {}), "whole_first_from": 4}
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    rig.ingest(resegment=resegment, **settings)
    rig.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "resegment")
