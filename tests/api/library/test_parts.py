"""Manifest, ledger and index of one library belong together: what happens where one is missing,
another library's, or elsewhere than before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models
from support.commands import Commands
from support.ingest_rig import write
from support.scripts.two_encoders import PHOTOS, run  # noqa: F401  (a fixture)
from support.servers.qdrant_server import QdrantServer, qdrant_server

from api.library.library import Library
from api.settings import Settings
from ingest.pipeline import link_known_photo
from search.errors import ModelError
from search.index.qdrant_collections import LIBRARY_KEY

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")
LEDGER = Path("library/ledger.sqlite")
COLLECTIONS = ("segsearch_photos", "segsearch_segments")


@pytest.fixture
def server() -> Iterator[QdrantServer]:
    with qdrant_server() as up:
        yield up


@pytest.fixture
def library(run: Commands) -> Commands:  # noqa: F811
    """Commands in a folder with an embedded library of five photos."""
    run("ingest", "photos")
    return run


@pytest.fixture
def served(run: Commands, server: QdrantServer) -> Commands:  # noqa: F811
    """Commands in a folder with a library of five photos whose vectors are on the server."""
    run("ingest", "photos", "--qdrant", server.url)
    return run


def found(run: Commands, *args: object) -> set[str]:  # noqa: F811
    """The photos that a search finds."""
    return {Path(hit["path"]).name for hit in run("search", "red", "--json", *args).json["hits"]}


NAMES = {Path(name).name for name in PHOTOS}


# two libraries, one server


def other_library(run: Commands, server: QdrantServer, *flags: object, code: int = 0) -> Any:  # noqa: F811
    write(Path("others/z.png"), 77)
    return run("ingest", "others", "--library", "other", "--qdrant", server.url, *flags, code=code)


def test_a_second_library_on_the_same_collections_is_refused(
    served: Commands, server: QdrantServer
) -> None:
    before = server.points("segsearch_photos")
    ran = other_library(served, server, code=1)
    assert "--collection-prefix" in ran.err
    assert server.points("segsearch_photos") == before
    other_library(served, server, "--collection-prefix", "other")
    assert found(served, "--library", "other") == {"z.png"}
    assert found(served) == NAMES


def test_push_is_refused_where_the_collections_are_another_librarys(
    served: Commands, server: QdrantServer
) -> None:
    write(Path("others/z.png"), 77)
    served("ingest", "others", "--library", "other")
    before = server.points("segsearch_photos")
    said = served.refused("push", "--library", "other", "--qdrant", server.url, "--prune", code=1)
    assert "--collection-prefix" in said
    assert server.points("segsearch_photos") == before


def forget_owner(server: QdrantServer) -> None:
    """Make the collections look as those of earlier versions do, which name no library."""
    for name in COLLECTIONS:
        server.client._client.collections[name].config.metadata = None  # type: ignore[attr-defined]


def owners(server: QdrantServer) -> set[str | None]:
    metadata = [server.client.get_collection(name).config.metadata or {} for name in COLLECTIONS]
    return {each.get(LIBRARY_KEY) for each in metadata}


def test_collections_without_a_library_id_are_claimed_by_the_library_with_their_photos(
    served: Commands, server: QdrantServer
) -> None:
    [owner] = owners(server)
    forget_owner(server)
    ran = other_library(served, server, code=1)
    assert "knows 0 of 5 photos" in ran.err
    assert owners(server) == {None}
    assert found(served) == NAMES
    assert owners(server) == {owner}


# one server, other addresses


@pytest.mark.parametrize("spelled", ["{url}/", "{localhost}", " {url} "])
def test_another_spelling_of_the_address_is_the_same_library(
    served: Commands, server: QdrantServer, spelled: str
) -> None:
    url = spelled.format(url=server.url, localhost=server.url.replace("127.0.0.1", "localhost"))
    assert found(served, "--qdrant", url) == NAMES


def test_a_library_follows_its_server_to_another_address(
    served: Commands, server: QdrantServer
) -> None:
    with qdrant_server() as elsewhere:
        elsewhere.client.close()
        elsewhere.client = server.client  # the same collections, at another address
        moved = elsewhere.url
        server.go_away()
        assert found(served, "--qdrant", moved) == NAMES
        assert moved in served("move-server", "--qdrant", moved).out
        assert found(served) == NAMES
        assert json.loads(Path("library/segsearch.json").read_text())["qdrant"] == moved


def test_a_server_without_the_collections_is_refused(served: Commands) -> None:
    with qdrant_server() as empty:
        for command in (("search", "red"), ("ingest", "photos"), ("move-server",)):
            said = served.refused(*command, "--qdrant", empty.url, code=1)
            assert "there is no collection segsearch_photos" in said
        assert not empty.client.get_collections().collections


def test_moving_to_a_server_is_refused_for_a_library_in_its_folder(
    library: Commands, server: QdrantServer
) -> None:
    assert "push --switch" in library.refused("move-server", "--qdrant", server.url)
    assert "name the server" in library.refused("move-server")


# collections or index lost


def lose(server: QdrantServer, *names: str) -> None:
    for name in names:
        server.client.delete_collection(name)


@pytest.mark.parametrize("lost", [COLLECTIONS, COLLECTIONS[:1], COLLECTIONS[1:]])
def test_lost_collections_are_recreated_by_ingest_only(
    served: Commands, server: QdrantServer, lost: tuple[str, ...]
) -> None:
    segments = served("status", "--json").json["segments"]
    lose(server, *lost)
    for command in (("search", "red"), ("verify",), ("export", "out.json")):
        said = served.refused(*command, code=1)
        assert lost[0] in said
        assert f"5 photos with {segments} segments" in said
    assert not [name for name in lost if server.client.collection_exists(name)]
    ran = served("ingest", "photos")
    assert "the index lacks 5 of 5 photos" in ran.err
    assert "5 ingested" in ran.out
    assert found(served) == NAMES
    assert served("verify").out.splitlines()[-1] == "all is well"


def test_lost_points_are_reported_by_search_and_restored_by_ingest(
    served: Commands, server: QdrantServer
) -> None:
    lost = next(iter(server.points("segsearch_photos")))
    server.client.delete("segsearch_photos", models.PointIdsList(points=[lost]))
    assert "holds 4 photos" in served("search", "red").err
    assert "1 ingested" in served("ingest", "photos").out
    assert served("search", "red").err.count("holds") == 0


def test_emptied_collections_are_an_error(served: Commands, server: QdrantServer) -> None:
    for name in COLLECTIONS:
        everything = models.FilterSelector(filter=models.Filter())
        server.client.delete(name, everything)
    assert "the index holds no photo" in served.refused("search", "red", code=1)


@pytest.mark.parametrize("lost", ["index", "index/photos", "index/segments"])
def test_reading_does_not_recreate_a_lost_embedded_index(library: Commands, lost: str) -> None:
    shutil.rmtree(Path("library") / lost)
    said = library.refused("search", "red", code=1)
    assert "5 photos" in said
    assert "segsearch ingest" in said
    assert not (Path("library") / lost).exists()
    assert "5 ingested" in library("ingest", "photos").out
    assert found(library) == NAMES


# ledger lost


def ledger_gone() -> None:
    for path in Path("library").glob("ledger.sqlite*"):
        path.unlink()


def ledger_emptied() -> None:
    LEDGER.write_bytes(b"")


@pytest.mark.parametrize("lost", [ledger_gone, ledger_emptied])
def test_a_lost_ledger_deletes_nothing_and_is_rebuilt_without_segmenting(
    library: Commands, lost: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = library("status", "--json").json
    lost()
    for command in (
        ("verify", "--repair"),
        ("ingest", "photos"),
        ("search", "red"),
        ("status",),
        ("remove", "--missing"),
    ):
        assert "segsearch rebuild PHOTOS" in library.refused(*command, code=1)
    write(Path("photos/new.png"), 99)
    monkeypatch.setattr("api.library.model_registry.load_segmenter", None)
    monkeypatch.setattr("api.library.model_registry.load_encoder", None)
    ran = library("rebuild", "photos", "--json").json
    assert (ran["photos"], ran["photos_with_file"]) == (5, 5)
    assert [Path(path).name for path in ran["files_unknown"]] == ["new.png"]
    after = library("status", "--json").json
    assert {key: after[key] for key in ("photos", "segments", "files")} == {
        key: before[key] for key in ("photos", "segments", "files")
    }
    assert library("verify").out.splitlines()[-1] == "all is well"


def test_a_rebuilt_ledger_goes_on_as_the_one_before(library: Commands) -> None:
    ledger_gone()
    library("rebuild", "photos")
    assert found(library) == NAMES
    ran = library("ingest", "photos", "--json").json
    assert (ran["photos_unchanged"], ran["photos_ingested"]) == (5, 0)


def test_photos_without_a_file_stay_hidden_after_a_rebuild(library: Commands) -> None:
    ledger_gone()
    kept = Path("photos/a.png").rename("a.png")
    ran = library("rebuild", "photos", "--json").json
    assert (ran["photos"], ran["photos_with_file"]) == (5, 4)
    assert found(library) == NAMES - {"a.png"}
    kept.rename("photos/a.png")
    assert "0 ingested" in library("ingest", "photos").out
    assert found(library) == NAMES


@pytest.mark.parametrize("paths", [["nowhere"], ["empty"], ["others"], ["photos/note.txt"]])
def test_a_rebuild_that_finds_no_file_changes_nothing_and_can_be_repeated(
    library: Commands, paths: list[str]
) -> None:
    ledger_gone()
    Path("empty").mkdir()
    write(Path("others/z.png"), 77)
    Path("photos/note.txt").write_text("no photo")
    ran = library("rebuild", *paths, code=2 if paths == ["nowhere"] else 1)
    assert ("nowhere is not there" in ran.err) or ("nothing was changed" in ran.err)
    assert not LEDGER.exists()
    assert "segsearch rebuild PHOTOS" in library.refused("verify", "--repair", code=1)
    assert "files were found for 5" in library("rebuild", "photos").out
    assert found(library) == NAMES


def test_a_rebuild_that_is_stopped_changes_nothing_and_goes_on(
    library: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger_gone()
    link, linked = link_known_photo, list[object]()

    def stop_at_the_third(*args: Any) -> bool:
        linked.append(args)
        if len(linked) == 3:
            raise KeyboardInterrupt
        return link(*args)

    monkeypatch.setattr("ingest.maintenance.rebuild.link_known_photo", stop_at_the_third)
    ran = library("rebuild", "photos", code=1)
    assert "run the same command again" in ran.err
    assert not LEDGER.exists()
    assert "segsearch rebuild PHOTOS" in library.refused("ingest", "photos", code=1)
    linked.clear()
    monkeypatch.setattr("ingest.maintenance.rebuild.link_known_photo", link)
    assert library("rebuild", "photos", "--json").json["photos_with_file"] == 5
    assert not Path("library/rebuilding").exists()
    assert library("verify").out.splitlines()[-1] == "all is well"


def test_photos_for_which_no_file_was_found_are_not_missing(library: Commands) -> None:
    ledger_gone()
    library("rebuild", "photos/a.png")
    assert found(library) == {"a.png"}
    library("remove", "--missing", "--yes")
    assert "0 ingested" in library("ingest", "photos").out
    assert found(library) == NAMES


def test_a_ledger_is_not_rebuilt_while_a_server_uses_the_old_one(
    library: Commands,
) -> None:
    with Library(Settings(library=Path("library")), command="serve") as owned:
        _, ownership = owned.own_index()
        assert ownership is not None
        ledger_gone()
        said = library.refused("rebuild", "photos", code=1)
    assert "in use by `segsearch serve`" in said
    assert not LEDGER.exists()


def test_a_first_run_that_failed_to_load_models_can_be_repeated(
    run: Commands,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_hub(_: object) -> None:
        raise ModelError("the hub can't be reached")

    with monkeypatch.context() as offline:
        offline.setattr("api.library.model_registry.load_segmenter", no_hub)
        assert "hub can't be reached" in run("ingest", "photos", code=1).err
    assert "5 ingested" in run("ingest", "photos").out
    assert found(run) == NAMES


def test_a_lost_manifest_is_not_recreated(library: Commands) -> None:
    Path("library/segsearch.json").unlink()
    for command in (("ingest", "photos"), ("search", "red"), ("status",), ("verify",)):
        assert "segsearch.json is missing" in library.refused(*command, code=1)


def test_a_ledger_with_photos_is_not_rebuilt(library: Commands) -> None:
    assert "knows photos" in library.refused("rebuild", "photos", code=1)
    assert found(library) == NAMES


def test_another_librarys_ledger_is_refused(library: Commands) -> None:
    write(Path("others/z.png"), 77)
    library("ingest", "others", "--library", "other")
    ledger_gone()
    shutil.copy("other/ledger.sqlite", LEDGER)
    assert "belongs to another library" in library.refused("search", "red", code=1)


def test_a_ledger_emptied_by_an_earlier_version_is_detected(library: Commands) -> None:
    manifest = Path("library/segsearch.json")
    stored = json.loads(manifest.read_text())
    earlier = {key: stored[key] for key in stored if key not in ("library_id", "masks")}
    manifest.write_text(json.dumps({**earlier, "format": 1}))
    write(Path("others/z.png"), 77)
    library("ingest", "others", "--library", "other")
    library("remove", "--root", "others", "--library", "other", "--yes")
    ledger_gone()
    shutil.copy("other/ledger.sqlite", LEDGER)  # no photo is known, as in a new one
    for command in (("search", "red"), ("ingest", "photos"), ("verify", "--repair")):
        said = library.refused(*command, code=1)
        assert "is empty, though the index holds 5 photos" in said


# whose library, whose key


def test_a_library_of_another_user_is_used_only_if_named(
    library: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEGSEARCH_LIBRARY")
    Path("library").rename("segsearch-library")
    assert found(library) == NAMES
    monkeypatch.setattr("os.getuid", lambda: 4321)
    assert "belongs to another user" in library.refused("search", "red", code=1)
    assert found(library, "--library", "segsearch-library") == NAMES


def test_a_key_goes_only_to_the_server_that_it_was_given_for(
    run: Commands,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with qdrant_server(api_key="secret") as server:
        monkeypatch.setenv("SEGSEARCH_QDRANT_API_KEY", "secret")
        run("ingest", "photos", "--qdrant", server.url)
        said = run.refused("search", "red", code=1)
        assert f"--qdrant {server.url}" in said
        assert found(run, "--qdrant", server.url) == NAMES
        monkeypatch.setenv("SEGSEARCH_QDRANT", server.url)
        assert found(run) == NAMES


# how photos are segmented


def test_mask_settings_of_a_library_apply_to_later_photos(library: Commands) -> None:
    library("ingest", "photos", "--min-area-fraction", "0.02", "--resegment")
    manifest = json.loads(Path("library/segsearch.json").read_text())
    assert manifest["masks"]["min_area_fraction"] == 0.02
    segments = library("status", "--json").json["segments"]
    ran = library("ingest", "photos", "--resegment", "--json").json
    assert ran["photos_unchanged"] == len(PHOTOS)
    assert library("status", "--json").json["segments"] == segments


def test_changed_mask_settings_are_printed(library: Commands) -> None:
    ran = library("ingest", "photos", "--points-per-side", "7")
    assert "points-per-side 7 (was 32) from now on" in ran.err
    assert "from now on" not in library("ingest", "photos").err
    assert "points-per-side 16 (was 7)" in library("ingest", "photos", "--effort", "quick").err


# forgetting


def test_a_folder_can_be_forgotten_after_the_server_was_away(
    served: Commands, server: QdrantServer
) -> None:
    forget = ("remove", "--root", "photos", "--yes")
    server.go_away()
    assert "no answer from Qdrant" in served.refused(*forget, "--retry-wait-s", "0.1", code=1)
    assert served("status", "--json").json["roots"]
    server.come_back()
    assert "5 photos forgotten" in served(*forget).out
    status = served("status", "--json").json
    assert (status["photos"], status["roots"]) == (0, [])
    assert not any(map(server.points, COLLECTIONS))
