"""What search and status say while an ingest is not through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import Commands
from support.fakes import WORDS, Quiet, make_library

from api.library.library import Library
from api.schemas.search import SearchRequest
from api.services.responses import photo_out
from api.services.search import search
from api.services.status import library_out
from ingest.pipeline import ingest
from ingest.stats import Tally
from search.records import SearchFilter
from starter.drawing.photo_file import Camera, Capture, save_photo

CAPTURE = Capture(datetime(2024, 5, 1, 12), Camera("Test", "One", "+00:00"))


class Stopping(Quiet):
    """Presses Ctrl-C once all whole photos are in, or when the next photo has been cut."""

    def __init__(self, after: int = 0) -> None:
        self.after = after

    def show(self, tally: Tally) -> None:
        if not tally.is_coarse_pass and tally.ingested >= self.after:
            raise KeyboardInterrupt


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """Four photos, each of one colour with a grey edge; none is cut."""
    with make_library(tmp_path / "library", whole_first_from=2) as library:
        for word, color in WORDS.items():
            rgb = np.full((36, 48, 3), 128, np.uint8)
            rgb[6:30, 6:42] = color
            save_photo(rgb, CAPTURE, tmp_path / "photos" / f"{word}.png")
        assert ingest([tmp_path / "photos"], library.ingest_context(), Stopping()).interrupted
        yield library


def cut_all(library: Library) -> None:
    ingest([library.folder.parent / "photos"], library.ingest_context(), Quiet())


def test_a_search_reports_its_coverage_and_finds_whole_photos(library: Library) -> None:
    answer = search(library, SearchRequest(text="green", limit=2))
    assert answer.hits == ()
    assert Path(str(answer.uncut[0].path)).name == "green.png"
    assert len(answer.uncut) == 2
    assert answer.coverage is not None
    assert answer.coverage.model_dump() == {
        "photos": 4,
        "photos_segmented": 0,
        "files_waiting": 0,
    }
    grouped = search(library, SearchRequest(text="green", group_by_photo=True))
    assert (grouped.groups, len(grouped.uncut)) == ((), 4)


def test_a_search_over_all_segments_has_no_coverage(library: Library) -> None:
    cut_all(library)
    answer = search(library, SearchRequest(text="green"))
    assert (answer.coverage, answer.uncut) == (None, ())
    assert len(answer.hits) >= 4


def test_unread_files_are_part_of_the_coverage(library: Library, tmp_path: Path) -> None:
    cut_all(library)
    for seed in (1, 2):
        rgb = np.full((36, 48, 3), seed, np.uint8)
        save_photo(rgb, CAPTURE, tmp_path / "photos" / f"{seed}.png")
    stopped = replace(
        library.ingest_context(),
        settings=library.settings.model_copy(update={"whole_first_from": 0}),
    )
    ingest([tmp_path / "photos"], stopped, Stopping())
    coverage = search(library, SearchRequest(text="green")).coverage
    assert coverage is not None
    assert (coverage.photos, coverage.photos_segmented, coverage.files_waiting) == (4, 4, 2)


def test_library_and_photos_show_what_is_segmented(library: Library) -> None:
    overview = library_out(library)
    assert (overview.photos, overview.photos_segmented, overview.files_waiting) == (4, 0, 0)
    rows = library.ledger().photos(SearchFilter(), limit=9)
    assert {photo_out(row).segmented for row in rows} == {False}
    cut_all(library)
    assert library_out(library).photos_segmented == 4
    rows = library.ledger().photos(SearchFilter(), limit=9)
    assert {photo_out(row).segmented for row in rows} == {True}


@pytest.fixture
def run(
    library: Library, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Commands on the library; words are looked up with its own models."""
    monkeypatch.setattr(
        "api.services.search.search_through_owner", lambda _, request: search(library, request)
    )
    commands = Commands(capsys, monkeypatch)
    return lambda *args: commands(*args, "--library", library.folder)


def test_the_command_reports_coverage_on_stderr_and_in_json(run: Any, library: Library) -> None:
    ran = run("search", "green", "--limit", 1)
    assert "green.png  photo " in ran.out
    assert "0 of 4 photos are segmented" in ran.err
    document = run("search", "green", "--json").json
    assert document["coverage"]["photos"] == 4
    assert len(document["uncut"]) == 4
    assert "0 of 4 photos are segmented" in run("status").out
    cut_all(library)
    ran = run("search", "green", "--limit", 1)
    assert "cut" not in ran.err
    assert "coverage" not in run("search", "green", "--json").json
    assert "covered" not in run("status").out


def test_move_root_reads_no_photo(
    run: Any, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_all(library)
    library.close()
    (tmp_path / "photos").rename(tmp_path / "disk")
    assert "4 files" in run("move-root", tmp_path / "photos", tmp_path / "disk").out
    rows = library.ledger().photos(SearchFilter(), limit=9)
    assert {row.path.parent for row in rows if row.path} == {tmp_path / "disk"}

    def read(*_: Any) -> str:
        raise AssertionError("a file is read")

    monkeypatch.setattr("ingest.scanning.scan.bytes_sha256", read)
    summary = ingest([tmp_path / "disk"], library.ingest_context(), Quiet())
    assert (summary.photos_unchanged, summary.photos_vanished) == (4, 0)
