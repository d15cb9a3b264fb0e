"""`segsearch ingest`, `remove` and `status` as they are typed: output, exit codes, messages."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.fakes import ColorEncoder
from support.ingest_rig import SlowSegmenter, write

from api.cli.main import main
from api.cli.progress import seconds_left
from api.library import model_registry
from api.library.library import Library
from api.settings import Settings

# Issue 2 names these; the others come besides.
NAMED = {
    "photos_seen",
    "photos_ingested",
    "photos_unchanged",
    "photos_skipped",
    "segments",
    "seconds",
    "skipped",
}


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as one JSON document, with nothing around it."""
        document: dict[str, Any] = json.loads(self.out)
        return document


Run = Callable[..., Ran]


@pytest.fixture
def segmenter() -> SlowSegmenter:
    return SlowSegmenter()


@pytest.fixture
def run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    segmenter: SlowSegmenter,
) -> Run:
    """Type a command; its models are fakes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGSEARCH_LIBRARY", "library")
    monkeypatch.setenv("SEGSEARCH_DECODE_WORKERS", "0")  # starting processes takes a while
    monkeypatch.setattr(model_registry, "load_segmenter", lambda _: segmenter)
    monkeypatch.setattr(model_registry, "load_encoder", lambda _: ColorEncoder())

    def typed(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["segsearch", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        assert isinstance(left.value.code, int)
        return Ran(left.value.code, *capfd.readouterr())

    return typed


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a.png", "trip/b.png")):
        write(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


def test_json_is_one_document_with_the_documented_keys(run: Run, photos: Path) -> None:
    ran = run("ingest", "photos", "--json")
    assert ran.code == 0
    assert set(ran.document) >= NAMED
    assert ran.document["photos_seen"] == ran.document["photos_ingested"] == 2
    assert ran.document["segments"] > 2
    assert ran.document["seconds"] > 0
    assert ran.document["skipped"] == []


def test_without_json_the_summary_is_one_sentence(run: Run, photos: Path) -> None:
    ran = run("ingest", "photos/")
    assert ran.code == 0
    assert re.match(r"2 photos seen: 2 ingested \(\d+ segments\), 0 unchanged", ran.out)
    assert len(ran.out.splitlines()) == 1


def test_json_progress_is_one_document_per_line_and_the_last_has_ended(
    run: Run, photos: Path
) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    ran = run("ingest", "photos", "--progress", "json")
    assert ran.code == 3
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert (lines[0]["photos_seen"], lines[0]["photos_through"]) == (3, 0)
    assert [line["ended"] for line in lines] == [False] * (len(lines) - 1) + [True]
    last = lines[-1]
    assert (last["photos_through"], last["photos_ingested"], last["photos_skipped"]) == (3, 2, 1)
    assert last["segments"] > 2
    assert "choose one" in run("ingest", "photos", "--progress", "json", "--json").err


def test_a_skipped_photo_is_named_and_the_exit_code_is_3(run: Run, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    ran = run("ingest", "photos", "--json")
    assert ran.code == 3
    [skipped] = ran.document["skipped"]
    assert skipped.keys() == {"path", "reason", "is_new"}
    assert skipped["path"] == str(photos / "bad.jpg")
    again = run("ingest", "photos")
    assert again.code == 0  # nothing new
    assert "bad.jpg" not in again.err
    assert "1 more (1 of them reported before): see `segsearch status --skipped`" in again.err
    assert "1 skipped" in again.out
    strict = run("ingest", "photos", "--strict", "--json")
    assert strict.code == 3
    assert [each["is_new"] for each in strict.document["skipped"]] == [False]
    assert strict.document["skipped_new"] == 0
    del skipped["is_new"]
    [listed] = run("status", "--skipped", "--json").document["skipped"]
    age = datetime.now(UTC) - datetime.fromisoformat(listed.pop("noted_at"))
    assert listed == skipped
    assert timedelta(0) <= age < timedelta(minutes=10)
    assert re.search(r"skipped +\d{4}-\d\d-\d\d \d\d:\d\d UTC", run("status", "--skipped").out)


def test_a_skipped_file_is_retried_after_a_change_or_on_request(run: Run, photos: Path) -> None:
    bad = photos / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff")
    run("ingest", "photos")
    assert run("ingest", "photos", "--retry-skipped").code == 3
    write(bad, 7)
    ran = run("ingest", "photos", "--json")
    assert (ran.code, ran.document["photos_ingested"]) == (0, 1)
    assert run("status", "--skipped", "--json").document["skipped"] == []


def test_patterns_and_the_ignore_file_exclude_photos(run: Run, photos: Path) -> None:
    assert run("ingest", "photos", "--exclude", "a.*, *.tif", "--json").document["photos_seen"] == 1
    (photos / ".segsearchignore").write_text("trip/\n")
    ran = run("ingest", "photos", "--json")
    assert (ran.document["photos_ingested"], ran.document["photos_excluded"]) == (1, 1)
    assert "exclude" in run("ingest", "photos", "--exclude", "!").err


def test_watching_and_json_exclude_each_other(run: Run, photos: Path) -> None:
    assert run("ingest", "photos", "--watch", "--json").code == 2


def test_an_invalid_path_is_a_usage_error(run: Run, photos: Path) -> None:
    ran = run("ingest", "nowhere", "--json")
    assert (ran.code, ran.out) == (2, "")
    assert "nowhere is not there" in ran.err
    assert "Traceback" not in ran.err


def test_ctrl_c_prints_the_summary_and_exits_with_1(
    run: Run, photos: Path, segmenter: SlowSegmenter
) -> None:
    segmenter.interrupt_at = 2
    ran = run("ingest", "photos", "--json")
    assert ran.code == 1
    assert ran.document["interrupted"] is True
    assert ran.document["photos_ingested"] == 1
    segmenter.photos_segmented, segmenter.interrupt_at = 0, 1
    assert "run the same command again" in run("ingest", "photos").err
    segmenter.interrupt_at = None
    assert run("ingest", "photos", "--json").document["photos_unchanged"] == 1


def test_a_concurrent_ingest_is_refused_with_the_reason(run: Run, photos: Path) -> None:
    run("ingest", "photos")
    with (
        Library(Settings(library=Path("library")), command="ingest") as library,
        library.only_writer(),
    ):
        ran = run("ingest", "photos", "--json")
    assert (ran.code, ran.out) == (1, "")
    assert "another command is adding or removing photos" in ran.err
    assert run("ingest", "photos").code == 0


def test_missing_photos_are_only_forgotten_on_request(run: Run, photos: Path) -> None:
    run("ingest", "photos")
    (photos / "a.png").unlink()
    assert "1 vanished" in run("ingest", "photos").out
    assert run("status", "--json").document["photos_hidden"] == 1
    assert len(run("remove", "--missing", "--yes", "--json").document["photos_removed"]) == 1
    assert run("remove", "--missing").out == "0 photos forgotten\n"
    status = run("status", "--json").document
    assert (status["photos"], status["photos_hidden"]) == (1, 0)
    with Library(Settings(library=Path("library")), command="test") as library:
        assert library.index().count("photos") == 1
        assert library.index().count("segments") == status["segments"]


def test_remove_lists_photos_and_asks(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("ingest", "photos")
    (photos / "a.png").unlink()
    run("ingest", "photos")
    for answer, code, left in (("", 2, 2), ("n\n", 1, 2), ("y\n", 0, 1)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        ran = run("remove", "--missing")
        assert ran.code == code
        assert str(photos / "a.png") in ran.err
        assert "forget 1 photos" in ran.err
        status = run("status", "--json").document
        assert status["photos"] + status["photos_hidden"] == left
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    ran = run("remove", "--root", str(photos))
    assert ran.code == 2
    assert "--yes" in ran.err
    assert run("status", "--json").document["photos"] == 1
    assert run("remove", "--missing").out == "0 photos forgotten\n"  # nothing to ask about


def test_excluded_photos_are_not_missing(run: Run, photos: Path) -> None:
    run("ingest", "photos")
    (photos / ".segsearchignore").write_text("a.png\n")
    ran = run("ingest", "photos")
    assert "0 vanished, 1 excluded" in ran.out
    assert run("remove", "--missing", "--yes").out == "0 photos forgotten\n"
    assert "0 hidden: file missing, 1 hidden: excluded" in run("status").out
    assert run("status", "--json").document["photos_excluded"] == 1
    (photos / "a.png").unlink()
    assert run("ingest", "photos", "--json").document["photos_vanished"] == 0
    assert run("status", "--json").document["photos_excluded"] == 0
    assert run("remove", "--missing", "--yes").out == "1 photos forgotten\n"


def test_status_counts_unsupported_formats(run: Run, photos: Path) -> None:
    for name in ("a.psd", "b.psd", "c.jxl"):
        (photos / name).touch()
    run("ingest", "photos")
    assert "3 files in unsupported formats: .psd 2, .jxl 1" in run("status").out
    document = run("status", "--json").document
    assert (document["files_unread"], document["unread"]) == (3, {".psd": 2, ".jxl": 1})


def test_an_unreadable_folder_is_reported_once(run: Run, photos: Path) -> None:
    (photos / "s").mkdir()
    (photos / "s/.segsearchignore").write_text("!\n")
    ran = run("ingest", "photos")
    assert ran.code == 3
    assert "is left out: " in ran.err
    ran = run("ingest", "photos")
    assert ran.code == 0
    assert "is left out: " not in ran.err
    assert "is left out: " in run("status", "--skipped").out
    (photos / "s/.segsearchignore").unlink()
    run("ingest", "photos")
    assert run("status", "--skipped", "--json").document["skipped"] == []
    (photos / "s/.segsearchignore").write_text("!\n")
    assert run("ingest", "photos").code == 3  # news again


def test_a_removed_photo_returns_with_the_next_ingest(run: Run, photos: Path) -> None:
    run("ingest", "photos")
    before = run("search", "red", "--json", "--limit", "99").document["hits"]
    photo_id = before[0]["photo_id"]
    assert run("remove", photo_id, "--json").document == {"photos_removed": [photo_id]}
    left = run("search", "red", "--json", "--limit", "99").document["hits"]
    assert photo_id not in {hit["photo_id"] for hit in left}
    assert run("remove", photo_id).code == 2
    assert run("ingest", "photos", "--json").document["photos_ingested"] == 1
    assert run("search", "red", "--json", "--limit", "99").document["hits"] == before


def test_a_deleted_folder_can_be_forgotten(run: Run, photos: Path) -> None:
    write(photos.parent / "other/c.png", 5)
    run("ingest", "photos", "other")
    photos.rename(photos.parent / "gone")
    ran = run("ingest", "photos")
    assert ran.code == 0
    assert f"segsearch remove --root {photos}" in ran.err
    assert run("remove", "--missing").out == "0 photos forgotten\n"
    assert run("remove", "--root", str(photos), "--yes").out == "2 photos forgotten\n"
    status = run("status", "--json").document
    assert [root["path"] for root in status["roots"]] == [str(photos.parent / "other")]
    assert status["photos"] == 1
    assert run("remove", "--root", "photos").code == 2


def test_remove_without_arguments_is_refused(run: Run, photos: Path) -> None:
    run("ingest", "photos")
    assert run("remove").code == 2
    assert run("remove", "not-an-id").code == 2


def test_the_time_left_is_estimated_from_new_photos() -> None:
    assert seconds_left(photos=100, through=60, slow=10, seconds=20.0) == 80.0
    assert seconds_left(photos=100, through=60, slow=0, seconds=20.0) is None
    assert seconds_left(photos=100, through=60, slow=60, seconds=0.01) is None  # too early to tell
