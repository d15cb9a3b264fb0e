"""Several devices at once, what the stages took, and what a run keeps in memory."""

from __future__ import annotations

import os
import pathlib
import threading
import time
import tracemalloc
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.fakes import ColorEncoder, ColorSegmenter, Quiet, make_library
from support.ingest_rig import Rig, snapshot, write

from ingest import pipeline
from ingest.catalog.ledger import Ledger
from ingest.catalog.records import FileKey
from ingest.context import IngestContext
from ingest.imaging.decode import DecodedPhoto, decode_photo
from ingest.scanning.listing import list_scope
from ingest.scanning.scan import RescanPolicy, Unchanged, iter_outcomes
from ingest.scanning.scopes import scopes_from_paths
from ingest.segmentation.types import MaskParameters, SegmentedMask
from ingest.stats import IngestSummary, StageTime, slowest
from search.errors import StoreError
from search.records import Photo, PhotoFacts, RgbImage, photo_id_from_digest

PHOTOS = 8


@dataclass
class Noting(ColorSegmenter):
    """Takes its time, and notes the threads that it was used by."""

    seconds: float = 0.0
    threads: set[int] = field(default_factory=set)
    fails_at: int | None = None
    photos_segmented: int = 0

    def automatic(self, rgb: RgbImage, parameters: MaskParameters) -> list[SegmentedMask]:
        self.threads.add(threading.get_ident())
        self.photos_segmented += 1
        if self.photos_segmented == self.fails_at:
            raise RuntimeError("the device is gone")
        time.sleep(self.seconds)
        return super().automatic(rgb, parameters)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with closing(Rig(tmp_path)) as rig:
        for seed in range(PHOTOS):
            write(rig.photos / f"{seed}.png", seed)
        yield rig


def ingest_on(rig: Rig, segmenters: list[Noting], **settings: Any) -> IngestSummary:
    def context_of(segmenter: Noting) -> IngestContext:
        context = rig.ingest_context(**settings)
        return replace(context, segmenter=lambda: segmenter, encoder=ColorEncoder)

    first, *others = map(context_of, segmenters)
    context = replace(first, other_devices=tuple(others))
    return pipeline.ingest((rig.photos,), context, Quiet())


def test_two_lanes_share_the_photos_and_end_with_the_library_of_one(rig: Rig) -> None:
    (rig.photos / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    write(rig.photos / "3-again.png", 3)
    two = [Noting(seconds=0.05), Noting(seconds=0.05)]
    summary = ingest_on(rig, two)
    assert (summary.photos_ingested, summary.photos_updated, summary.photos_skipped) == (8, 1, 1)
    assert all(segmenter.photos_segmented > 0 for segmenter in two)
    assert all(len(segmenter.threads) == 1 for segmenter in two)  # models know no second thread
    assert not two[0].threads & two[1].threads
    assert summary.segments == rig.index.count("segments")
    with closing(Rig(rig.folder / "one")) as one:
        one.ingest(rig.photos)
        assert snapshot(one).rows == snapshot(rig).rows
        assert snapshot(one).segments == snapshot(rig).segments


def test_a_lane_that_fails_ends_the_run_and_the_next_completes_it(rig: Rig) -> None:
    with pytest.raises(RuntimeError, match="the device is gone"):
        ingest_on(rig, [Noting(seconds=0.02), Noting(fails_at=2)])
    with rig.ledger() as ledger:
        finished = ledger.counts()["photos_segmented"]
    assert 0 < finished < PHOTOS
    assert rig.ingest().photos_ingested == PHOTOS - finished


def test_a_store_that_fails_behind_a_lane_ends_the_run(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise StoreError("the store is gone")

    monkeypatch.setattr(rig.index, "put_photo", fail)
    segmenters = [Noting(), Noting()]
    with pytest.raises(StoreError, match="the store is gone"):
        ingest_on(rig, segmenters)


def test_a_library_has_a_workshop_with_models_of_its_own_for_each_device(tmp_path: Path) -> None:
    with make_library(tmp_path, device="cpu,cpu,cpu") as library:
        context = library.ingest_context()
        assert len(context.other_devices) == 2
        assert [each.settings.device for each in context.other_devices] == ["cpu", "cpu"]
        assert context.other_devices[0].segmented_with() == context.segmented_with()
    with make_library(tmp_path / "auto") as library:
        assert library.ingest_context().other_devices == ()


# back-pressure


@pytest.mark.parametrize("lanes", [1, 2])
def test_photos_are_not_decoded_far_ahead_of_a_slow_segmenter(rig: Rig, lanes: int) -> None:
    ahead, decoded = 2, 0
    most = 0
    segmenters = [Noting(seconds=0.05) for _ in range(lanes)]

    def decode(path: Path, **limits: Any) -> DecodedPhoto:
        nonlocal decoded, most
        decoded += 1
        most = max(most, decoded - sum(segmenter.photos_segmented for segmenter in segmenters))
        return decode_photo(path, **limits)

    for seed in range(PHOTOS, 24):
        write(rig.photos / f"{seed}.png", seed)
    rig.decode = decode
    ingest_on(rig, segmenters, decode_ahead=ahead, whole_first_from=0)
    held = ahead + 2  # one is being asked for, one is just begun
    assert most <= held + (2 * lanes if lanes > 1 else 0)


# what the stages took


def test_a_summary_says_what_each_stage_could_do_and_which_one_the_others_waited_for(
    rig: Rig,
) -> None:
    summary = ingest_on(rig, [Noting(seconds=0.05), Noting(seconds=0.05)], whole_first_from=2)
    by_stage = {stage.stage: stage for stage in summary.stages}
    assert list(by_stage) == ["decode", "whole", "cut", "embed", "write"]
    assert by_stage["decode"].photos == 2 * PHOTOS
    assert by_stage["cut"].photos == by_stage["whole"].photos == PHOTOS
    assert by_stage["cut"].workers == 2
    assert by_stage["cut"].busy_s >= PHOTOS * 0.05
    assert by_stage["cut"].photos_per_s <= 2 / 0.05
    assert summary.slowest in ("cut", "embed", "write")  # which one is up to the machine
    assert rig.ingest().stages == ()
    assert rig.ingest().slowest is None


def test_embedding_and_writing_count_together_since_they_take_turns() -> None:
    def stage(name: Any, photos_per_s: float) -> StageTime:
        return StageTime(
            stage=name, photos=10, busy_s=10 / photos_per_s, workers=1, photos_per_s=photos_per_s
        )

    cut = stage("cut", 6)
    assert slowest((stage("decode", 50), cut, stage("embed", 10), stage("write", 10))) == "embed"
    assert slowest((stage("decode", 50), cut, stage("embed", 20), stage("write", 10))) == "cut"
    assert slowest((stage("decode", 2), cut, stage("embed", 20), stage("write", 10))) == "decode"
    assert slowest((stage("decode", 2), stage("whole", 2))) is None


# memory


def test_a_scan_keeps_no_list_of_all_files(tmp_path: Path) -> None:
    """A set of 10,000 paths takes 1.5 MB; what a scan keeps does not grow with them."""
    _kept_by_scan(tmp_path / "first", 200)  # loads what is loaded when it is first needed
    few = _kept_by_scan(tmp_path / "few", 200)
    assert _kept_by_scan(tmp_path / "many", 10_000) - few < 5e5


def _kept_by_scan(folder: Path, files: int) -> int:
    """Return the bytes that are in use when the last file has been looked at."""
    for number in range(files):
        path = folder / f"{number % 200}" / f"a photo with a longish name {number}.jpg"
        if number < 200:
            path.parent.mkdir(parents=True)
        path.touch()
    with closing(Ledger(folder)) as ledger:
        [scope] = scopes_from_paths([folder], ledger)
        _finish_all(ledger, scope.root.path, files)
        tracemalloc.start()
        try:
            listing = list_scope(scope, ledger)
            assert listing.count() == files
            outcomes = iter_outcomes(listing, ledger, RescanPolicy())
            last = deque(outcomes, maxlen=1)
            # pathlib interns names: the table of such strings, no longer used, grows in leaps
            others = tracemalloc.Filter(False, pathlib.__file__)
            taken = tracemalloc.take_snapshot().filter_traces([others])
        finally:
            tracemalloc.stop()
        assert isinstance(last.pop(), Unchanged)
    return sum(trace.size for trace in taken.traces)


def _finish_all(ledger: Ledger, root: Path, files: int) -> None:
    """Note all files as one finished photo."""
    facts = PhotoFacts(sort_at=datetime(2024, 5, 1, tzinfo=UTC))
    photo = Photo(
        photo_id=photo_id_from_digest("one"), size_wh=(1, 1), facts=facts, segmented_with="f00d"
    )
    paths = sorted(root.rglob("*.jpg"))
    with ledger._transaction():
        ledger._put_photo(photo)
        for path in paths:
            key = FileKey(ledger.roots()[0], os.fsencode(path.relative_to(root)))
            status = path.stat()
            ledger._execute(
                "INSERT INTO files (root_id, path, folder, bytes, mtime_ns, sha256, photo_id, "
                "state, noted_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'present', '')",
                (
                    key.root.root_id,
                    key.below,
                    key.folder,
                    status.st_size,
                    status.st_mtime_ns,
                    "5a",
                    photo.photo_id,
                ),
            )
    assert len(paths) == files
