"""The command line: what each command prints, writes and refuses, on a real drawn library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.commands import HEAVY, Commands, clean_environment, imported_by
from support.sample import Sample

from api.cli.main import cli

NOWHERE = "00000000-0000-4000-8000-000000000000"


def test_status_shows_contents_and_models(run: Commands, sample: Sample) -> None:
    document = run("status", *sample.flags, "--json").json
    assert (document["photos"], document["files"], document["photos_hidden"]) == (12, 12, 0)
    assert document["segments"] > 100
    assert document["starter_models"] is True
    assert [root["path"] for root in document["roots"]] == [str(sample.photos)]
    text = run("status", *sample.flags).out
    assert "12 (0 hidden" in text
    assert "starter" in text


def test_show_prints_a_photo_or_a_segment(run: Commands, find: Any, sample: Sample) -> None:
    (hit,) = find("red", "--limit", 1)
    photo = run("show", hit["photo_id"].upper(), *sample.flags).json
    assert photo["photo"]["path"] == hit["path"]
    assert hit["segment_id"] in {segment["segment_id"] for segment in photo["segments"]}
    assert len(photo["segments"]) == photo["photo"]["segment_count"]
    segment = run("show", hit["segment_id"], *sample.flags).json["segment"]
    assert segment["bbox_xywh"] == hit["bbox_xywh"]
    assert segment["mask"]["counts"]


def test_a_removed_photo_is_gone_from_the_library_but_not_from_the_disk(
    run: Commands, own: Path
) -> None:
    hit = run("search", "red", "--library", own, "--json").json["hits"][0]
    removed = run("remove", hit["photo_id"], "--library", own, "--json").json
    assert removed["photos_removed"] == [hit["photo_id"]]
    again = run("search", "red", "--limit", 1000, "--library", own, "--json").json["hits"]
    assert hit["photo_id"] not in {each["photo_id"] for each in again}
    assert run("status", "--library", own, "--json").json["photos"] == 11
    assert Path(hit["path"]).is_file()
    assert hit["photo_id"] in run.refused("show", hit["photo_id"], "--library", own)


def test_a_small_library_needs_no_graph(run: Commands, own: Path) -> None:
    assert "nothing to do" in run("optimize", "--library", own).out


def test_the_demo_draws_ingests_searches_and_prints_next_steps(
    run: Commands, tmp_path: Path
) -> None:
    ran = run("demo", "there", "--photos", 2)
    assert "2 photos ingested" in ran.out
    told = ran.out.split("Go on with:")[1]
    assert "segsearch search" in told
    assert "serve --library there/library  # then open http://127.0.0.1:8765 in" in told
    assert (tmp_path / "there" / "red.png").is_file()
    assert run("status", "--library", "there/library", "--json").json["photos"] == 2


# what is refused: one sentence that names what was wrong, and the exit code


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["search"], "what to look for"),
        (["search", ""], "empty"),
        (["search", "--not", "red"], "what to look for"),
        (["search", "red*0"], "weight"),
        (["search", "--segment", "7"], "--segment: '7' is not an id"),
        (["search", "--segment", NOWHERE], NOWHERE),
        (["search", "--photo", NOWHERE], NOWHERE),
        (["search", "--image", "none.jpg"], "none.jpg: No such file"),
        (["search", "--image", "a" * 400], "name too long"),
        (["search", "--image", "."], "Is a directory"),
        (["search", "red", "--box", "1,2,3,4"], "give --image too"),
        (["search", "--image", "PHOTO", "--box", "1,2,3"], "a box is X,Y,W,H"),
        (["search", "--image", "PHOTO", "--box", "1,2,nan,4"], "a box is X,Y,W,H"),
        (["search", "--image", "PHOTO", "--box", "9000,1,5,5"], "covers nothing of the photo"),
        (["search", "--image", "PHOTO", "--point", "1;2"], "a point is X,Y"),
        (["search", "--image", "PHOTO", "--point", "-1,2"], "outside the photo"),
        (["search", "red", "--limit", "0"], "--limit"),
        (["search", "red", "--limit", "many"], "--limit"),
        (["search", "red", "--cursor", "x"], "not a cursor"),
        (["search", "red", "--cursor", "after-" + "9" * 30], "--cursor"),
        (["search", "red", "--from", "spring"], "'spring' is not a date"),
        (["search", "red", "--from", "2024-02-01", "--before", "2024-01-01"], "--from must be"),
        (["search", "red", "--near", "here"], "LAT,LON,RADIUS_M"),
        (["search", "red", "--near", "95,0,100"], "--near"),
        (["search", "red", "--min-area", "2"], "--min-area"),
        (["search", "red", "--min-area", ".5", "--max-area", ".1"], "--min-area must not be"),
        (["search", "red", "--min-score", "3"], "--min-score"),
        (["search", "red", "--diversity", "2"], "--diversity"),
        (["search", "red", "--diversity", ".5", "--group"], "diversity"),
        (["search", "red", "--in-photo", "7"], "--in-photo"),
        (["search", "red", "--folder", "/"], "not in a folder of the library"),
        (["search", "red", "--sheet", "nowhere/sheet.png"], "no folder nowhere"),
        (["search", "red", "--sheet", "sheet.txt"], r"sheet.txt: name it \*.png"),
        (["search", "red", "--device", "abacus"], "--device"),
        (["search", "red", "green"], "unexpected extra argument"),
        (["search", "red", "--colour"], "No such option"),
        (["segment", "none.jpg"], "there is no file none.jpg"),
        (["segment", "."], "there is no file"),
        (["segment", "PHOTO", "--point", "nan,1"], "a point is X,Y"),
        (["segment", "PHOTO", "--point", "9000,1"], "outside the photo"),
        (["segment", "PHOTO", "--box", "0,0,0,0"], "covers nothing of the photo"),
        (["segment", "PHOTO", "--mask", "none.png"], "there is no file none.png"),
        (["segment", "PHOTO", "--overlay", "nowhere/o.png"], "no folder nowhere"),
        (["segment", "PHOTO", "--cutout", "cut.jpg"], r"cut.jpg: name it \*.png"),
        (["segment", "PHOTO", "--points-per-side", "0"], "--points-per-side"),
        (["show", "7"], "'7' is not an id"),
        (["show", NOWHERE], NOWHERE),
        (["remove"], "photo ids"),
        (["remove", "7"], "'7' is not an id"),
        (["remove", NOWHERE], NOWHERE),
        (["serve", "--host", "192.0.2.1"], "this machine only"),
        (["serve", "--port", "65536"], "--port"),
        (["paint"], "No such command 'paint'"),
    ],
)
def test_a_usage_error_is_one_sentence(
    run: Commands, sample: Sample, args: list[str], says: str
) -> None:
    import re

    photo = str(sample.photo_of("green circle"))
    named = [photo if arg == "PHOTO" else arg for arg in args]
    flags = sample.flags if args[0] in cli.commands else ()
    assert re.search(says, run.refused(args[0], *flags, *named[1:]))


def test_an_undecodable_photo_fails_with_its_name(
    run: Commands, sample: Sample, tmp_path: Path
) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    for args in (["segment", "notes.jpg"], ["search", "--image", "notes.jpg"]):
        said = run.refused(*args, *sample.flags, code=1)
        assert "notes.jpg is not a picture" in said


@pytest.mark.parametrize("command", ["search red", "status", "show x", "remove --missing", "serve"])
def test_a_missing_library_fails_with_instructions(run: Commands, command: str) -> None:
    name, *rest = command.replace("show x", f"show {NOWHERE}").split()
    flags = ("--port", 0) if name == "serve" else ()
    said = run.refused(name, *rest, *flags, "--library", "nowhere", code=1)
    assert "there is no library at" in said
    assert "segsearch ingest PHOTOS" in said
    assert not Path("nowhere").exists()


def test_models_that_differ_from_the_librarys_fail(run: Commands, sample: Sample) -> None:
    said = run.refused("search", "red", "--encoder", "o/ther", *sample.flags, code=1)
    assert "was made with encoder 'starter-2', not 'o/ther'" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_reported(run: Commands, sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    said = run.refused("search", "red", "--sheet", "locked/s.png", *sample.flags)
    assert "permission denied" in said


def test_system_errors_have_no_traceback(run: Commands, sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    photo = sample.photo_of("green circle")
    said = run.refused("ingest", photo, "--library", "file", "--models", "starter", code=1)
    assert "Not a directory" in said


def test_an_invalid_ledger_is_reported_without_a_traceback(run: Commands, own: Path) -> None:
    for path in own.glob("ledger.sqlite*"):
        path.unlink()
    (own / "ledger.sqlite").write_bytes(b"not a database" * 100)
    assert "rebuild PHOTOS" in run.refused("status", "--library", own, code=1)


def test_settings_come_from_the_environment_and_the_file_too(
    run: Commands, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("segsearch.toml").write_text(f"library = {json.dumps(str(sample.library))}\n")
    ran = run("status", "--json")
    assert ran.json["photos"] == 12
    assert "segsearch.toml are used: library" in ran.err
    monkeypatch.setenv("SEGSEARCH_LIBRARY", "elsewhere")
    assert "elsewhere" in run("status", code=1).err


# help, start-up


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_and_flag_has_a_help_text(run: Commands, name: str) -> None:
    said = run(name, "--help").out
    assert said.startswith(f"Usage: segsearch {name} ")
    assert "\\b" not in said
    for option in cli.commands[name].params:
        explained = getattr(option, "help", None) or getattr(option, "hidden", False)
        assert explained or option.param_type_name == "argument", option.name
    assert name in run("--help").out


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["search", "--help"],
        ["status"],
        ["show", "SEGMENT"],
        ["search", "--segment", "SEGMENT"],
    ],
    ids=" ".join,
)
def test_commands_that_need_no_model_import_none(
    sample: Sample, find: Any, tmp_path: Path, args: list[str]
) -> None:
    segment_id = find("red", "--limit", 1)[0]["segment_id"]
    named = [segment_id if arg == "SEGMENT" else arg for arg in args]
    if "--help" not in args:
        named += ["--library", str(sample.library)]
    code = f"sys.argv[1:] = {named!r}; from api.cli.main import main; main()"
    assert HEAVY & imported_by(code, tmp_path) == set()


def test_a_closed_pipe_prints_no_error(sample: Sample, find: Any, tmp_path: Path) -> None:
    segment_id = find("red", "--limit", 1)[0]["segment_id"]
    command = f"from api.cli.main import main; main()' search --segment {segment_id} --limit 400"
    piped = subprocess.run(  # noqa: S602  (a pipe, of constants)
        f"{sys.executable} -c '{command} --library {sample.library} | head -n 1",
        shell=True,
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(piped.stdout.splitlines()) == 1
    assert "Traceback" not in piped.stderr
    assert "BrokenPipe" not in piped.stderr
