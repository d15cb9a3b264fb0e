"""A disk that fills while photos come in: it is said at once, and the next run goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.fakes import Quiet
from support.ingest_rig import Rig, assert_equal, snapshot, undisturbed, write

from ingest import pipeline
from ingest.catalog.ledger import Ledger
from search.errors import LibraryError, StoreError

PHOTOS = 6
WITH_LONG_NAMES = 8  # besides; a page of the ledger holds a few of them


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    # Flush after each photo, so that some are finished before the disk is full.
    with closing(Rig(tmp_path / "full", flush_every_s=0.0)) as rig:
        for seed in range(PHOTOS):
            write(rig.photos / f"{seed}.png", seed)
        yield rig


def test_a_full_disk_under_the_index_stops_ingest_and_loses_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage, looks = shutil.disk_usage, iter(range(1000))

    def filling(path: Path) -> Any:  # what the index asks before it writes
        return usage(path)._replace(free=10**12 if next(looks) < 8 else 0)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", filling)
        with pytest.raises(StoreError, match=r"disk of .* is full.*Make room.*everything written"):
            rig.ingest()
    assert 0 < finished(rig) < PHOTOS
    rig.close()
    again = rig.ingest()
    assert again.photos_ingested + again.photos_unchanged == PHOTOS
    assert_equal(snapshot(rig), undisturbed(rig))


def test_a_full_disk_under_the_ledger_stops_ingest_and_loses_nothing(rig: Rig) -> None:
    def small_ledger() -> Ledger:
        ledger = Ledger(rig.library)
        pages = ledger._execute("PRAGMA page_count").fetchone()[0]
        ledger._execute(f"PRAGMA max_page_count = {pages + 1}")  # more is what a full disk refuses
        return ledger

    for seed in range(PHOTOS, PHOTOS + WITH_LONG_NAMES):
        write(rig.photos / f"long-{'name' * 50}/{seed}.png", seed)
    with pytest.raises(LibraryError, match=r"disk is full.*make room"):
        pipeline.ingest(
            [rig.photos], replace(rig.ingest_context(), open_ledger=small_ledger), Quiet()
        )
    assert 0 < finished(rig) < PHOTOS + WITH_LONG_NAMES
    rig.close()
    assert rig.ingest().photos_ingested > 0
    assert_equal(snapshot(rig), undisturbed(rig))


def finished(rig: Rig) -> int:
    with rig.ledger() as ledger:
        return sum(row.photo.segmented_with is not None for row in ledger.iter_photos())
