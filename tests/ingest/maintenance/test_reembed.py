"""`segsearch reembed`: vectors by another encoder, beside those that go on serving."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from support.commands import Commands, clean_environment
from support.fakes import ColorEncoder
from support.ingest_rig import write
from support.scripts.two_encoders import (
    OTHER,
    PHOTOS,
    active,
    assert_alike,
    encoder_named,
    run,  # noqa: F401  (a fixture)
    vectored,
)
from support.servers.qdrant_server import qdrant_server
from support.servers.served import serving

from api.http.app import create_app
from api.library import model_registry
from api.library.library import Library
from api.settings import Settings
from search.manifest import load_manifest
from search.records import Mask, Vectors

TESTS = Path(__file__).parents[2]
BEGINS_WITHIN_S = 60.0
KILLS = 4
TO_OTHER = ("reembed", "--encoder", "other")
pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")


def fresh(run: Commands, *flags: object) -> Any:  # noqa: F811
    """What a library holds that was made so from the beginning."""
    run("ingest", "photos", "--library", "fresh", *flags)
    return vectored("fresh")


def test_reembed_gives_the_vectors_of_an_ingest_with_the_new_encoder(
    run: Commands,  # noqa: F811
) -> None:
    run("ingest", "photos")
    ran = run(*TO_OTHER)
    assert "5 photos" in ran.out
    assert "is in use; `segsearch reembed --rollback` goes back" in ran.out
    assert_alike(vectored(), fresh(run, "--encoder", "other"))
    assert run("verify").out.splitlines()[-1] == "all is well"
    assert run("search", "red", "--json").json["hits"]
    assert run("ingest", "photos", "--resegment", "--json").json["photos_unchanged"] == len(PHOTOS)


def test_another_recipe_is_enough_and_the_encoder_stays(run: Commands) -> None:  # noqa: F811
    run("ingest", "photos")
    before = vectored()
    said = run("reembed", "--crop-recipe", "tight", "--json").json
    assert (said["photos"], said["complete"], said["in_use"]) == (len(PHOTOS), True, True)
    after = vectored()
    assert_alike(after, fresh(run, "--crop-recipe", "tight"))
    assert any(not np.allclose(after.segments[key], each) for key, each in before.segments.items())


def test_existing_vectors_are_not_computed_again(run: Commands) -> None:  # noqa: F811
    run("ingest", "photos")
    assert run("reembed", "--json").json["photos"] == 0  # the library's own
    run(*TO_OTHER)
    assert run(*TO_OTHER, "--json").json["photos"] == 0
    write(Path("photos/new.png"), 40)
    run("ingest", "photos")
    assert run("reembed", "--crop-recipe", "tight", "--json").json["photos"] == len(PHOTOS) + 1


def test_rolling_back_and_forth_changes_no_vector(run: Commands) -> None:  # noqa: F811
    run("ingest", "photos")
    first = vectored()
    run(*TO_OTHER)
    second = vectored()
    run("reembed", "--rollback")
    assert_alike(vectored(), first)
    run("reembed", "--rollback")
    assert_alike(vectored(), second)
    run("reembed", "--use", first.name)
    assert_alike(vectored(), first)
    listed = run("reembed", "--list").out.splitlines()
    assert [line.split()[0] for line in listed] == [first.name, second.name]
    assert listed[0].endswith("in use")


def test_rolling_back_embeds_photos_ingested_since(run: Commands) -> None:  # noqa: F811
    run("ingest", "photos")
    run(*TO_OTHER)
    write(Path("photos/new.png"), 41)
    run("ingest", "photos")
    said = run.refused("reembed", "--rollback")
    assert "some were added later" in said
    assert "openai/clip-vit-base-patch32 --crop-recipe fusion" in said
    assert active() == "other"
    default = "openai/clip-vit-base-patch32"
    assert run("reembed", "--encoder", default, "--json").json["photos"] == 1
    assert_alike(vectored(), fresh(run))


def test_dropped_vectors_are_gone_and_those_in_use_are_not_dropped(
    run: Commands,  # noqa: F811
) -> None:
    run("ingest", "photos")
    first = vectored().name
    run(*TO_OTHER)
    assert "in use" in run.refused("reembed", "--drop", vectored().name)
    run("reembed", "--drop", first)
    assert len(run("reembed", "--list").out.splitlines()) == 1
    assert "no earlier vectors" in run.refused("reembed", "--rollback")
    assert f"there are no vectors '{first}'" in run.refused("reembed", "--use", first)
    assert_alike(vectored(), fresh(run, "--encoder", "other"))


def test_without_a_library_or_a_past_it_says_so(run: Commands) -> None:  # noqa: F811
    assert "there is no library" in run.refused(*TO_OTHER, code=1)
    run("ingest", "photos")
    assert "no earlier vectors" in run.refused("reembed", "--rollback")
    assert "exclude each other" in run.refused("reembed", "--rollback", "--list")


def test_photos_whose_files_are_missing_or_changed_are_named_and_the_old_vectors_stay(
    run: Commands,  # noqa: F811
) -> None:
    run("ingest", "photos")
    first = vectored()
    Path("photos/a.png").unlink()
    write(Path("photos/b.png"), 50)
    ran = run(*TO_OTHER, code=3)
    assert "photos/a.png" in ran.err
    assert "photos/b.png has changed" in ran.err
    assert "they are not in use" in ran.err
    assert_alike(vectored(), first)
    said = run(*TO_OTHER, "--partial", "--json", code=3).json
    assert (said["photos"], said["in_use"], len(said["left_out"])) == (0, True, 2)
    assert active() == "other"
    hits = run("search", "red", "--limit", 1000, "--json").json["hits"]
    assert {Path(hit["path"]).name for hit in hits} == {"c.png", "d.png", "e.png"}
    write(Path("photos/a.png"), 0)  # as it was
    write(Path("photos/b.png"), 1)
    assert run(*TO_OTHER, "--json").json["photos"] == 2
    assert_alike(vectored(), fresh(run, "--encoder", "other"))
    run("reembed", "--rollback")
    assert_alike(vectored(), first)


def test_one_unreadable_photo_does_not_block_the_switch(
    run: Commands,  # noqa: F811
) -> None:
    run("ingest", "photos")
    Path("photos/a.png").unlink()
    ran = run(*TO_OTHER, code=3)
    assert "photos/a.png" in ran.err
    assert "is in use; searches leave these photos out" in ran.err
    assert active() == "other"
    write(Path("photos/a.png"), 0)
    said = run(*TO_OTHER, "--json").json
    assert (said["photos"], said["in_use"], said["complete"]) == (1, True, True)
    assert_alike(vectored(), fresh(run, "--encoder", "other"))


def test_hidden_photos_do_not_block_the_switch_and_excluded_ones_are_embedded(
    run: Commands,  # noqa: F811
) -> None:
    run("ingest", "photos")
    for name in ("a.png", "b.png"):
        Path("photos", name).unlink()
    Path("photos/.segsearchignore").write_text("c.png\n")
    run("ingest", "photos")
    said = run(*TO_OTHER, "--json", code=3).json
    assert (said["photos"], len(said["left_out"]), said["in_use"]) == (3, 2, True)


def test_a_photo_with_a_damaged_mask_is_reported_and_the_others_are_embedded(
    run: Commands,  # noqa: F811
) -> None:
    run("ingest", "photos")
    with Library(Settings(library=Path("library")), command="test") as library:
        index = library.index()
        (photo,) = index.photos([next(index.iter_photos()).photo_id])
        segments = index.segments_of(photo.photo_id, with_masks=True)
        vectors = index.segment_vectors([segment.segment_id for segment in segments])
        mask = Mask(size_wh=(48, 36), counts="damaged!")
        damaged = segments[0].model_copy(update={"mask": mask})
        index.put_segments(photo, [damaged, *segments[1:]], vectors)
    ran = run(*TO_OTHER, code=3)
    assert photo.photo_id in ran.err
    assert "verify --repair" in ran.err
    assert "4 photos" in ran.out


def test_a_file_that_another_copy_stands_in_for_is_not_missed(run: Commands) -> None:  # noqa: F811
    shutil.copy2("photos/a.png", "photos/copy.png")
    run("ingest", "photos")
    Path("photos/a.png").unlink()
    assert run(*TO_OTHER, "--json").json["left_out"] == []


class _Interrupting(ColorEncoder):
    """Is interrupted at the third photo."""

    calls = 0

    def encode_crops(self, crops: Any) -> Vectors:
        type(self).calls += 1
        if self.calls == 5:  # segments and photo, twice
            raise KeyboardInterrupt
        return OTHER.encode_crops(crops)


def test_ctrl_c_keeps_written_vectors_and_the_next_run_continues(
    run: Commands,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run("ingest", "photos")
    first = vectored()
    stopping = _Interrupting(fingerprint=OTHER.fingerprint, dim=OTHER.dim)
    monkeypatch.setattr(model_registry, "load_encoder", lambda _: stopping)
    ran = run(*TO_OTHER, code=1)
    assert "run the same command again to resume" in ran.err
    monkeypatch.setattr(model_registry, "load_encoder", encoder_named)
    assert_alike(vectored(), first)
    assert run(*TO_OTHER, "--json").json["photos"] == len(PHOTOS) - 2
    assert_alike(vectored(), fresh(run, "--encoder", "other"))


def test_reembed_survives_kills(run: Commands) -> None:  # noqa: F811
    run("ingest", "photos")
    wanted = fresh(run, "--encoder", "other")
    kills = random.Random(os.getpid())
    for _ in range(KILLS):
        process = subprocess.Popen(
            [
                sys.executable,
                TESTS / "support" / "scripts" / "two_encoders.py",
                "--encoder",
                "other",
            ],
            env={
                **clean_environment(),
                "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}",
                "SEGSEARCH_LIBRARY": "library",
                "SEGSEARCH_DECODE_WORKERS": "0",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(kills.uniform(0.0, 1.2))
        process.kill()
        process.communicate(timeout=BEGINS_WITHIN_S)
        name = load_manifest(Path("library")).vector_name  # type: ignore[union-attr]
        assert vectored().name == name  # all of the active ones are there
    run(*TO_OTHER)
    assert_alike(vectored(), wanted)
    assert run("verify").out.splitlines()[-1] == "all is well"


@contextmanager
def served_here() -> Iterator[str]:
    """A server in this process that has the library open."""
    with Library(Settings(library=Path("library")), command="serve") as library:
        _, ownership = library.own_index()
        with serving(create_app(library, ownership=ownership)) as address:
            if ownership is not None:
                ownership.announce(address)
            yield address


def test_a_serving_process_continues_and_switches_to_the_new_vectors(
    run: Commands,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run("ingest", "photos")
    wanted = fresh(run, "--encoder", "other")
    searched: list[int] = []
    with served_here() as address:
        body = {"text": "red", "limit": 3}

        def search() -> Any:
            return httpx.post(f"{address}/v1/search", json=body, trust_env=False, timeout=30)

        assert search().status_code == 200  # its encoder is loaded by now

        class Searching(ColorEncoder):
            """Somebody searches while photos are embedded."""

            def encode_crops(self, crops: Any) -> Vectors:
                searched.append(search().status_code)
                return OTHER.encode_crops(crops)

        slow = Searching(fingerprint=OTHER.fingerprint, dim=OTHER.dim)
        monkeypatch.setattr(model_registry, "load_encoder", lambda _: slow)
        run(*TO_OTHER)
        monkeypatch.setattr(model_registry, "load_encoder", encoder_named)
        assert set(searched) == {200}
        library = httpx.get(f"{address}/v1/library", trust_env=False, timeout=30).json()
        assert library["encoder"] == "other"  # before anybody has searched
        assert search().json()["hits"]
        write(Path("photos/new.png"), 60)
        run("ingest", "photos")  # through the server, with the new vectors
        hits = search().json()["hits"]
        assert len(hits) == 3
        run("reembed", "--drop", load_manifest(Path("library")).before)  # type: ignore[union-attr]
    after = vectored()
    assert set(wanted.photos) < set(after.photos)
    assert after.name == wanted.name


def test_a_server_that_cannot_load_the_new_encoder_goes_on_with_the_old(
    run: Commands,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run("ingest", "photos")
    with served_here() as address:
        run("search", "red")
        monkeypatch.setattr(model_registry, "load_encoder", lambda _: OTHER)
        run("reembed", "--encoder", "damaged")
        monkeypatch.setattr(model_registry, "load_encoder", encoder_named)
        for _ in range(2):
            found = httpx.post(
                f"{address}/v1/search", json={"text": "red"}, trust_env=False, timeout=30
            )
            assert found.json()["hits"]


def test_a_watch_that_began_before_writes_the_new_vectors(
    run: Commands,  # noqa: F811
) -> None:
    run("ingest", "photos")
    with Library(Settings(library=Path("library")), command="ingest") as watching:
        run(*TO_OTHER)
        with watching.only_writer():
            assert watching.manifest is not None
            assert watching.manifest.encoder.name == "other"
            assert watching.encoder().fingerprint == OTHER.fingerprint
            assert watching.index().count_vectors("photos") == len(PHOTOS)


def test_on_a_server_the_vectors_are_beside_each_other_in_the_same_collections(
    run: Commands,  # noqa: F811
) -> None:
    with qdrant_server() as server:
        run("ingest", "photos", "--qdrant", server.url)
        first = vectored()
        run(*TO_OTHER)
        second = vectored()
        for _, vectors in server.points("segsearch_segments").values():
            assert set(vectors) == {first.name, second.name}
        run("reembed", "--rollback")
        assert_alike(vectored(), first)
        run("reembed", "--drop", second.name)
        for _, vectors in server.points("segsearch_photos").values():
            assert set(vectors) == {first.name}
    assert_alike(second, fresh(run, "--encoder", "other"))


def test_a_lost_server_is_retried(run: Commands) -> None:  # noqa: F811
    with qdrant_server() as server:
        run("ingest", "photos", "--qdrant", server.url)

        def away() -> None:
            server.go_away()
            time.sleep(1.0)
            server.come_back()

        server.after(12, away)
        run(*TO_OTHER, "--qdrant-timeout-s", 1)
        assert_alike(vectored(), fresh(run, "--encoder", "other"))
        server.after(12, server.go_away)
        flags = ("--retry-wait-s", 1, "--crop-recipe", "tight")
        said = run.refused("reembed", *flags, code=1)
        assert "no answer from Qdrant" in said
        server.come_back()
        assert active() == "other"
        run("reembed", "--crop-recipe", "tight")
