"""One owner per library: what works while `segsearch serve` has it, and when its owner is gone."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.commands import HEAVY, Commands, Served, imported_by, serve, start
from support.copies import copied
from support.sample import Sample

from api.library.index.ownership import (
    INFO_NAME,
    LOCK_NAME,
    OwnerInfo,
    current_owner,
    served_owner,
    take_ownership,
)
from api.library.library import Library
from api.settings import Settings
from search.errors import OwnedError
from search.records import SearchFilter
from starter.drawing.photo_file import Camera, Capture, save_photo
from starter.scenes import draw_scene

FLAGS = ("--models", "starter", "--points-per-side", 6)


@pytest.fixture(scope="module")
def served(
    sample: Sample, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Served]]:
    """A copy of the drawn library that a process of its own serves."""
    library = copied(sample.library, tmp_path_factory.mktemp("served") / "library")
    with serve(library) as server:
        yield library, server


def searches(run: Commands, sample: Sample, library: Path) -> list[Any]:
    """What different searches find: by words, by a segment, by a box, a point, in groups, a mix."""

    def search(*args: object) -> Any:
        return run("search", *args, "--limit", 6, "--library", library, "--json").json

    red = search("red")
    segment_id = red["hits"][3]["segment_id"]
    photo = sample.drawn.answers["green circle"][0]
    x, y, w, h = photo.box_xywh
    return [
        red,
        search("--segment", segment_id),
        search("--image", photo.path, "--box", f"{x},{y},{w},{h}"),
        search("--image", photo.path, "--point", f"{x + w // 2},{y + h // 2}"),
        search("green", "--group"),
        search("circle*2", "--segment", segment_id, "--not", "blue", "--min-area", 0.01),
        search("red", "--folder", sample.photos / "2024", "--cursor", "after-6", "--masks"),
    ]


def test_searches_find_the_same_with_and_without_a_server(
    run: Commands, sample: Sample, served: tuple[Path, Served]
) -> None:
    here = searches(run, sample, sample.library)
    there = searches(run, sample, served[0])
    assert rounded(there) == rounded(here)


def rounded(found: Any) -> Any:
    """Scores without their last digits: another process may sum in another order."""
    return json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 4))


def test_a_box_finds_the_segment_under_it_through_the_server(
    run: Commands, sample: Sample, served: tuple[Path, Served]
) -> None:
    flags = ("--library", served[0], "--json")
    for known in run("search", "red", "--limit", 3, *flags).json["hits"]:
        box = ",".join(f"{edge:g}" for edge in known["bbox_xywh"])
        found = run("search", "--image", known["path"], "--box", box, *flags).json["hits"]
        assert found[0]["segment_id"] == known["segment_id"]


def test_status_and_show_are_the_same_with_and_without_a_server(
    run: Commands, sample: Sample, served: tuple[Path, Served]
) -> None:
    hit = run("search", "red", "--library", sample.library, "--json").json["hits"][0]
    for record_id in (hit["photo_id"], hit["segment_id"]):
        here, there = (
            run("show", record_id, "--library", library).json
            for library in (sample.library, served[0])
        )
        assert rounded(there) == rounded(here)
    here, there = (
        run("status", "--library", library, "--json").json
        for library in (sample.library, served[0])
    )
    assert {**there, "library": None} == {**here, "library": None}


def test_a_sheet_is_drawn_through_the_server(
    run: Commands, served: tuple[Path, Served], tmp_path: Path
) -> None:
    run("search", "red", "--sheet", "sheet.png", "--library", served[0])
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


def test_errors_are_the_same_with_and_without_a_server(
    run: Commands, sample: Sample, served: tuple[Path, Served], tmp_path: Path
) -> None:
    nowhere = "00000000-0000-4000-8000-000000000000"
    (tmp_path / "notes.jpg").write_text("no picture")
    for args, code in (
        (["search", "--segment", nowhere], 2),
        (["search", "--photo", nowhere], 2),
        (["show", nowhere], 2),
        (["remove", nowhere], 2),
        (["search", ""], 2),
        (["search", "--image", "notes.jpg"], 1),
    ):
        here, there = (
            run.refused(*args, "--library", library, code=code)
            for library in (sample.library, served[0])
        )
        assert there == here


def test_a_search_through_the_server_imports_no_model(
    served: tuple[Path, Served], tmp_path: Path
) -> None:
    args = ["search", "red", "--library", str(served[0])]
    code = f"sys.argv[1:] = {args!r}; from api.cli.main import main; main()"
    others = {"rich"}  # of httpx
    assert (HEAVY - others | {"qdrant_edge"}) & imported_by(code, tmp_path) == set()


def test_a_second_server_is_refused(run: Commands, served: tuple[Path, Served]) -> None:
    library, server = served
    said = run.refused("serve", "--port", 0, "--library", library, code=1)
    assert f"served already, by process {server.process.pid} at {server.address}" in said


def test_photos_are_added_and_removed_through_the_server(
    run: Commands, sample: Sample, own: Path, tmp_path: Path
) -> None:
    capture = Capture(datetime(2025, 1, 2, 3), Camera("Norrvik", "N2", "+00:00"))
    save_photo(draw_scene(77, (320, 240)).image, capture, tmp_path / "new" / "photo.jpg")
    with serve(own, ready=False) as server:
        ran = run("ingest", tmp_path / "new", *FLAGS, "--library", own, "--json")
        assert ran.json["photos_ingested"] == 1
        (photo,) = photos_in(server, tmp_path / "new")
        segments = ask(server, f"/v1/photos/{photo['photo_id']}/segments")["segments"]
        assert len(segments) == photo["segment_count"] == ran.json["segments"]
        hits = run(
            "search", "--segment", segments[0]["segment_id"], "--library", own, "--json"
        ).json["hits"]
        assert hits[0]["segment_id"] == segments[0]["segment_id"]
        gone = photos_in(server, sample.photos)[0]["photo_id"]
        run("remove", gone, "--library", own)
        assert httpx.get(f"{server.address}/v1/photos/{gone}", trust_env=False).status_code == 404
    # and it is all there once the server has ended
    shown = run("show", photo["photo_id"], "--library", own).json
    assert len(shown["segments"]) == len(segments)
    assert gone in run.refused("show", gone, "--library", own)


def ask(server: Served, path: str) -> Any:
    return httpx.get(f"{server.address}{path}", trust_env=False).raise_for_status().json()


def photos_in(server: Served, folder: Path) -> list[Any]:
    photos = ask(server, "/v1/photos?limit=1000")["photos"]
    return [photo for photo in photos if Path(photo["path"]).is_relative_to(folder)]


def test_a_killed_server_leaves_the_library_usable(
    run: Commands, sample: Sample, own: Path
) -> None:
    known = run("search", "red", *sample.flags, "--json").json
    with serve(own, ready=False) as server:
        server.kill()
        assert (own / INFO_NAME).exists()  # it had no time to tidy up
        assert served_owner(own) is None
        assert run("search", "red", "--library", own, "--json").json == known
        assert not (own / INFO_NAME).exists()
    with serve(own, ready=False):
        assert served_owner(own)
        shown = run("show", known["hits"][0]["segment_id"], "--library", own).json
        assert shown["segment"]["bbox_xywh"] == known["hits"][0]["bbox_xywh"]


@pytest.mark.parametrize(  # before the server runs, as it starts, after
    ("after_s", "number"), [(0, signal.SIGINT), (0.02, signal.SIGTERM), (0.2, signal.SIGINT)]
)
def test_a_stopped_server_releases_everything(
    own: Path, after_s: float, number: signal.Signals
) -> None:
    with serve(own, ready=False) as server:
        assert current_owner(own).address == server.address
        time.sleep(after_s)
        server.process.send_signal(number)
        out, err = server.process.communicate(timeout=20)
    assert (server.process.returncode, out, err) == (0, "", "")
    assert not (own / INFO_NAME).exists()
    assert not list(own.glob("ledger.sqlite-*"))  # closed, not cut off


def test_only_this_user_may_read_the_owners_token(served: tuple[Path, Served]) -> None:
    assert (served[0] / INFO_NAME).stat().st_mode & 0o077 == 0


def test_an_ingest_that_owns_the_library_is_named(run: Commands, own: Path) -> None:
    ownership = take_ownership(own, "ingest")
    assert ownership is not None
    for command in ("search --segment", "show"):
        args = [*command.split(), "00000000-0000-4000-8000-000000000000", "--library", own]
        began = time.monotonic()
        said = run.refused(*args, code=1)
        assert f"in use by `segsearch ingest` (process {os.getpid()})" in said
        assert time.monotonic() - began < 15  # an ingest may take hours: nobody waits for it
    said = run.refused("serve", "--port", 0, "--library", own, code=1)
    assert "segsearch ingest" in said
    assert run("status", "--library", own, "--json").json["photos"] == 12  # needs no vectors
    ownership.release()
    run("search", "red", "--library", own)


def test_concurrent_searches_wait_for_each_other(sample: Sample, tmp_path: Path) -> None:
    args = ["search", "--photo", photo_id(sample), "--library", sample.library]
    processes = [start(args, tmp_path) for _ in range(4)]
    said = [process.communicate(timeout=60) for process in processes]
    assert {process.returncode for process in processes} == {0}, said
    assert len({out for out, _ in said}) == 1


def photo_id(sample: Sample) -> str:
    with Library(Settings(library=sample.library), command="test") as library:
        return library.ledger().photos(SearchFilter(), limit=1)[0].photo.photo_id


def test_only_one_command_at_a_time_changes_photos(run: Commands, own: Path) -> None:
    with Library(Settings(library=own), command="ingest") as library, library.only_writer():
        for args in (["ingest", own.parent], ["remove", "--missing"]):
            said = run.refused(*args, "--library", own, code=1)
            assert "another command is adding or removing photos" in said


def test_the_owner_lock_can_be_taken_again(own: Path) -> None:
    first = take_ownership(own, "search")
    assert first is not None
    first.release()
    second = take_ownership(own, "search")
    assert second is not None
    second.release()
    assert not (own / INFO_NAME).exists()


def test_an_owner_with_an_invalid_owner_file_is_another_process(own: Path) -> None:
    ownership = take_ownership(own, "ingest")
    assert ownership is not None
    (own / INFO_NAME).write_text("{")
    with pytest.raises(OwnedError, match="in use by another process"):
        current_owner(own)
    ownership.release()


def test_the_address_of_a_dead_server_is_ignored(own: Path) -> None:
    card = OwnerInfo(pid=1, command="serve", address="http://127.0.0.1:1", token="t")
    (own / INFO_NAME).write_text(card.model_dump_json())
    (own / LOCK_NAME).touch()
    assert served_owner(own) is None
    ownership = take_ownership(own, "search")
    assert ownership is not None
    assert ownership.info.address is None
    ownership.release()
