"""`segsearch verify` on files that are damaged: it goes on, and says what to ingest again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.commands import Commands
from support.ingest_rig import write
from support.scripts.two_encoders import PHOTOS, run  # noqa: F401  (a fixture)

from api.library.library import Library
from api.settings import Settings

INDEX = Path("library/index")


@pytest.fixture
def library(run: Commands) -> Commands:  # noqa: F811
    """Commands in a folder with an embedded library of five photos."""
    run("ingest", "photos")
    return run


def overwrite(name: str, offset: int, content: bytes) -> None:
    """Damage the one file of this name in the collection of segments."""
    [path] = (INDEX / "segments").rglob(name)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def test_an_id_map_that_crashes_the_reader_is_a_fault(library: Commands) -> None:
    overwrite("mutable_id_tracker.mappings", 17, b"\xff" * 8)
    ran = library("verify", code=1)
    assert "opening it crashes the process (SIGABRT)" in ran.out
    assert f"All {len(PHOTOS)} photos have to be ingested again" in ran.out
    [fault] = library("verify", "--json", code=1).json["faults"]
    assert fault["kind"] == "index"
    assert "move that folder away" in library("verify", "--repair", code=1).out
    assert "move that folder away" in library.refused("search", "red", code=1)
    INDEX.rename("away")
    assert "5 ingested" in library("ingest", "photos").out
    assert library("verify").out.splitlines()[-1] == "all is well"


def test_an_index_that_can_not_be_opened_is_one_clear_error(library: Commands) -> None:
    overwrite("segment.json", 0, b"\0" * 40)
    said = library.refused("verify", code=1)
    assert "move that folder away" in said
    assert said == library.refused("search", "red", code=1)


def test_records_that_can_not_be_read_are_named_one_by_one(library: Commands) -> None:
    with Library(Settings(library=Path("library")), command="test") as opened:
        index = opened.index()
        photos = [photo.photo_id for photo in index.iter_photos()]
        unread = photos[1:3]
        for photo_id in unread:
            [*_, last] = sorted(index.segment_ids_of(photo_id))
            index.put_vectors("segments", [last], np.eye(1, index.dim, dtype=np.float32))  # type: ignore[attr-defined]
            index.delete_segments([last])
    health = library("verify", "--json", code=1).json
    assert [fault["photo_id"] for fault in health["faults"]] == unread
    assert {fault["kind"] for fault in health["faults"]} == {"broken"}


def test_a_photo_that_crashes_the_reader_is_broken_and_the_others_are_checked(
    library: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path("crashing").absolute()
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CRASHES_AT_THE_SECOND_PHOTO)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    health = library("verify", "--json", code=1).json
    [fault] = health["faults"]
    assert fault["kind"] == "broken"
    assert "ends the process (SIGKILL)" in fault["problem"]
    assert health["photos"] == len(PHOTOS)
    assert "photos marked for the next ingest" in library("verify", "--repair").out


CRASHES_AT_THE_SECOND_PHOTO = """
import os, signal
import search.index.points as points
read = points.PointIndex.photos
asked = []
def photos(self, photo_ids):
    asked.extend(photo_ids)
    if len(asked) == 2 and not os.path.exists("crashed"):
        open("crashed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return read(self, photo_ids)
points.PointIndex.photos = photos
"""


def test_many_orphans_are_deleted_only_on_request(library: Commands) -> None:
    for seed in range(20, 32):
        write(Path(f"more/{seed}.png"), seed)
    library("ingest", "more", "--whole-first-from", "0")
    with Library(Settings(library=Path("library")), command="test") as opened:
        ledger = opened.ledger()
        for row in list(ledger.iter_photos()):
            if row.path is not None and row.path.parent.name == "more":
                ledger.forget_photo(row.photo.photo_id)
    ran = library("verify", "--repair", code=1)
    assert "0 orphans deleted" in ran.out
    assert "--delete-orphans" in ran.out
    assert "12 orphans deleted" in library("verify", "--repair", "--delete-orphans").out
    assert library("verify").out.splitlines()[-1] == "all is well"
    assert "goes with --repair" in library.refused("verify", "--delete-orphans")
