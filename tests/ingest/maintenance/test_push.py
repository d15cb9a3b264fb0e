"""`segsearch push`: an embedded library, copied to a Qdrant server over real TCP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient
from support.commands import Commands
from support.index_samples import DIM, VECTOR_NAME, fill, make_sample
from support.ingest_rig import write
from support.scripts.two_encoders import (
    PHOTOS,
    assert_alike,
    run,  # noqa: F401  (a fixture)
    vectored,
)
from support.servers.qdrant_server import QdrantServer, qdrant_server

from api.http.app import create_app
from api.library.library import Library
from api.settings import Settings
from ingest.catalog.ledger import Ledger
from ingest.maintenance.push import push
from search.index.edge import EdgeIndex
from search.index.qdrant import QdrantIndex
from search.manifest import load_manifest

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")


@pytest.fixture
def server() -> Iterator[QdrantServer]:
    with qdrant_server() as up:
        yield up


@pytest.fixture
def library(run: Commands) -> Commands:  # noqa: F811
    """Commands in a folder with a library of five photos."""
    run("ingest", "photos")
    return run


def test_a_library_pushed_and_switched_answers_as_before(
    library: Commands, server: QdrantServer
) -> None:
    before, found = vectored(), library("search", "red", "--json").json
    ran = library("push", "--qdrant", server.url, "--switch")
    assert ran.out.startswith(f"{len(PHOTOS)} photos copied")
    assert "SEGSEARCH_QDRANT_API_KEY" in ran.out
    assert_alike(vectored(), before)
    again = library("search", "red", "--json").json
    assert [hit["segment_id"] for hit in again["hits"]] == [
        hit["segment_id"] for hit in found["hits"]
    ]
    status = library("status", "--json").json
    assert (status["engine"], status["server_version"]) == (f"Qdrant server {server.url}", "1.18.3")
    assert "server     1.18.3" in library("status").out
    assert library("verify").out.splitlines()[-1] == "all is well"
    assert library("ingest", "photos", "--json").json["photos_unchanged"] == len(PHOTOS)
    assert "on a server already" in library.refused("push", "--qdrant", server.url)


def test_without_switch_the_library_stays_where_it_is(
    library: Commands, server: QdrantServer
) -> None:
    ran = library("push", "--qdrant", server.url)
    assert "push --switch" in ran.out
    manifest = load_manifest(Path("library"))
    assert manifest is not None
    assert manifest.qdrant is None
    assert len(server.points("segsearch_photos")) == len(PHOTOS)


def test_only_what_is_new_or_changed_is_copied_again(
    library: Commands, server: QdrantServer
) -> None:
    push_again = ("push", "--qdrant", server.url, "--json")
    library(*push_again)
    assert library(*push_again).json["photos"] == 0
    write(Path("photos/new.png"), 70)
    Path("photos/a.png").rename("photos/trip/moved.png")
    library("ingest", "photos")
    said = library(*push_again).json
    assert (said["photos"], said["photos_there"], said["differences"]) == (2, len(PHOTOS) - 1, [])


def test_pushing_resegmented_photos_deletes_old_segments(
    library: Commands, server: QdrantServer
) -> None:
    library("push", "--qdrant", server.url)
    library("ingest", "photos", "--resegment", "--min-area-fraction", 0.05)
    said = library("push", "--qdrant", server.url, "--json").json
    assert (said["photos"], said["differences"]) == (len(PHOTOS), [])
    assert server.points("segsearch_segments").keys() == vectored().segments.keys()


def test_removed_photos_are_reported_and_deleted_only_with_prune(
    library: Commands, server: QdrantServer
) -> None:
    library("push", "--qdrant", server.url)
    gone = next(iter(vectored().photos))
    library("remove", gone)
    ran = library("push", "--qdrant", server.url, "--switch", code=1)
    assert f"the library has {len(PHOTOS) - 1} photos, the server {len(PHOTOS)}" in ran.err
    assert "--prune" in ran.err
    assert gone in server.points("segsearch_photos")
    manifest = load_manifest(Path("library"))
    assert manifest is not None
    assert manifest.qdrant is None
    said = library("push", "--qdrant", server.url, "--switch", "--prune", "--json").json
    assert (said["photos_deleted"], said["differences"]) == (1, [])
    assert gone not in server.points("segsearch_photos")


def test_after_a_reembed_the_new_vectors_follow(library: Commands, server: QdrantServer) -> None:
    library("push", "--qdrant", server.url)
    library("reembed", "--encoder", "other")
    said = library("push", "--qdrant", server.url, "--switch", "--json").json
    assert (said["photos"], said["differences"]) == (len(PHOTOS), [])
    assert len(library("reembed", "--list").out.splitlines()) == 1  # the old ones are not there
    assert vectored().photos


def test_a_lost_server_is_retried_or_the_next_run_continues(
    library: Commands, server: QdrantServer
) -> None:
    flags = ("--qdrant", server.url, "--qdrant-timeout-s", 1)

    def away() -> None:
        server.go_away()
        time.sleep(1.0)
        server.come_back()

    server.after(40, server.go_away)  # 36 requests make and compare, three copy a photo
    said = library.refused("push", *flags, "--retry-wait-s", 1, code=1)
    assert f"no answer from Qdrant at {server.url}" in said
    server.come_back()
    copied = len(server.points("segsearch_photos"))
    assert 0 < copied < len(PHOTOS)
    server.after(6, away)
    said = library("push", *flags, "--switch", "--json").json
    assert said["photos_there"] == copied
    assert said["photos"] == len(PHOTOS) - copied
    assert not said["differences"]


def test_a_wrong_api_key_is_reported(library: Commands) -> None:
    with qdrant_server(api_key="right") as server:
        flags = ("push", "--qdrant", server.url, "--qdrant-api-key")
        assert "--qdrant-api-key" in library.refused(*flags, "wrong", code=1)
        library(*flags, "right")
        assert len(server.points("segsearch_photos")) == len(PHOTOS)
    assert "right" not in Path("library/segsearch.json").read_text()


def test_a_served_library_is_pushed_through_its_owner_and_not_switched(
    library: Commands, server: QdrantServer
) -> None:
    from support.servers.served import serving

    with Library(Settings(library=Path("library")), command="serve") as owned:
        _, ownership = owned.own_index()
        assert ownership is not None
        with serving(create_app(owned, ownership=ownership)) as address:
            ownership.announce(address)
            said = library.refused("push", "--qdrant", server.url, "--switch", code=1)
            assert "stop it first" in said
            library("push", "--qdrant", server.url)
    assert server.points("segsearch_segments").keys() == vectored().segments.keys()


def test_without_a_server_it_asks_for_one(library: Commands) -> None:
    assert "--qdrant http://localhost:6333" in library.refused("push")


def test_differences_are_found(tmp_path: Path) -> None:
    """A photo whose vector is another one there, and one that is not there at all."""
    sample = make_sample(photo_count=3)
    client = QdrantClient(":memory:")
    with (
        closing(
            EdgeIndex.open(tmp_path / "i", vector_name=VECTOR_NAME, dim=DIM, create=True)
        ) as source,
        closing(
            QdrantIndex.open(client, Settings(write_batch=2), vector_name=VECTOR_NAME, dim=DIM)
        ) as target,
        closing(Ledger(tmp_path)) as ledger,
    ):
        fill(source, sample)
        for photo in sample.photos:
            ledger.begin_photo(photo)
        assert push(ledger, source, target).differences == ()
        wrong = sample.photos[0]
        target.put_photo(wrong, np.roll(sample.photo_vectors[:1], 1, axis=1))
        told = push(ledger, source, target).differences
        assert told == (f"the photo {wrong.photo_id} is not the same there",)
        stray = sample.segments[-1].segment_id
        source.delete_segments([stray])
        assert len(push(ledger, source, target).differences) == 3
