"""A Qdrant server that refuses, stalls, hangs up and comes back: what an ingest makes of it.

The server is real TCP on loopback: see qdrant_server.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.commands import Commands
from support.fakes import Quiet, make_library
from support.ingest_rig import picture
from support.servers.qdrant_server import Mood, QdrantServer, qdrant_server

from api.library.library import Library
from ingest.pipeline import ingest
from ingest.stats import IngestSummary
from search.errors import StoreError, StoreUnreachableError
from search.records import SearchFilter
from starter.drawing.photo_file import Camera, Capture, save_photo

PHOTOS = 6
AWAY_S = 1.5
COLLECTIONS = ("segsearch_photos", "segsearch_segments")
OUTAGES = ("refuses", "stalls", "resets", "forgets", "busy")
# The client in memory, which answers here, has no use for a graph's parameters and says so.
pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")


@pytest.fixture
def server() -> Iterator[QdrantServer]:
    with qdrant_server() as up:
        yield up


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outage") / "photos"
    for seed in range(PHOTOS):
        capture = Capture(datetime(2024, 5, 1 + seed), Camera("Test", "One", "+00:00"))
        save_photo(picture(seed), capture, folder / f"{seed}.png")
    return folder


def library_on(server: QdrantServer, folder: Path, **settings: Any) -> Library:
    given = {"qdrant": server.url, "qdrant_timeout_s": 1, "retry_wait_s": 20.0, **settings}
    return make_library(folder, **given)


def bring_in(library: Library, photos: Path) -> IngestSummary:
    return ingest([photos], library.ingest_context(), Quiet())


def begin(server: QdrantServer, outage: str) -> None:
    if outage == "refuses":
        server.go_away()
    else:
        mood: Mood = outage  # type: ignore[assignment]
        server.mood = mood


def contents(server: QdrantServer) -> list[dict[str, tuple[Any, Any]]]:
    """All points; vectors without their last digits: the client in memory normalises in place."""
    return [
        {key: (payload, _rounded(vectors)) for key, (payload, vectors) in points.items()}
        for points in map(server.points, COLLECTIONS)
    ]


def _rounded(vectors: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: [round(number, 5) for number in each] for name, each in vectors.items()}


@pytest.fixture(scope="module")
def undisturbed(
    photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, tuple[Any, Any]]], IngestSummary]:
    """What a server holds after an ingest in peace, and what that ingest said."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with qdrant_server() as server, library_on(server, folder) as library:
        summary = bring_in(library, photos)
        return contents(server), summary


def without_times(summary: IngestSummary) -> IngestSummary:
    """What a run did, whatever it took."""
    return summary.model_copy(update={"seconds": 0.0, "stages": (), "slowest": None})


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_ingest_continues_when_the_server_comes_back(
    outage: str,
    server: QdrantServer,
    photos: Path,
    undisturbed: tuple[list[dict[str, tuple[Any, Any]]], IngestSummary],
    tmp_path: Path,
) -> None:
    def away_for_a_while() -> None:
        begin(server, outage)
        time.sleep(AWAY_S)
        server.come_back()

    with library_on(server, tmp_path / "library") as library:
        library.index()
        server.after(5, away_for_a_while)
        summary = bring_in(library, photos)
    left, said = undisturbed
    assert contents(server) == left
    assert without_times(summary) == without_times(said)


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_ingest_whose_server_stays_away_stops_in_time_and_can_be_run_again(
    outage: str,
    server: QdrantServer,
    photos: Path,
    undisturbed: tuple[list[dict[str, tuple[Any, Any]]], IngestSummary],
    tmp_path: Path,
) -> None:
    with library_on(server, tmp_path / "library", retry_wait_s=1.0) as library:
        library.index()
        server.after(5, lambda: begin(server, outage))
        began = time.monotonic()
        with pytest.raises(StoreUnreachableError, match=server.url) as caught:
            bring_in(library, photos)
        assert time.monotonic() - began < 20  # 1 s of waiting, 1 s for a server that stalls
        assert "can be run again" in str(caught.value)
    server.come_back()
    with library_on(server, tmp_path / "library") as library:
        again = bring_in(library, photos)
    assert contents(server) == undisturbed[0]
    assert 0 < again.photos_ingested <= PHOTOS


def test_an_unreachable_server_is_one_line_and_exit_code_1(
    run: Commands, server: QdrantServer, photos: Path
) -> None:
    server.go_away()
    flags = ("--qdrant", server.url, "--models", "starter", "--retry-wait-s", 1)
    began = time.monotonic()
    *_, said = run("ingest", photos, *flags, code=1).err.splitlines()  # after its progress
    assert said.startswith("segsearch: ")
    assert f"no answer from Qdrant at {server.url}" in said
    assert "Check that it runs" in said
    assert time.monotonic() - began < 60  # most of it loads models


def test_a_search_right_after_a_server_restart_succeeds(
    server: QdrantServer, photos: Path, tmp_path: Path
) -> None:
    with library_on(server, tmp_path / "library") as library:
        bring_in(library, photos)
        index = library.index()
        before = index.count("photos")
        server.go_away()  # cuts the connections that are kept
        server.come_back()
        assert index.count("photos") == before == PHOTOS


def test_only_writing_commands_wait_for_a_server(
    server: QdrantServer, photos: Path, tmp_path: Path
) -> None:
    with library_on(server, tmp_path / "library") as library:
        bring_in(library, photos)
    server.go_away()
    for command, waits in (("search", False), ("ingest", True)):
        with library_on(server, tmp_path / "library") as made:
            settings = made.requested
        back = threading.Timer(4.0, server.come_back)
        began = time.monotonic()
        with Library(settings, command=command) as library:
            if not waits:
                with pytest.raises(StoreUnreachableError):
                    library.index()
                assert time.monotonic() - began < 15  # those who write wait for 20
                continue
            back.start()
            assert library.index().count("photos", SearchFilter()) == PHOTOS
            assert time.monotonic() - began >= 3.5
        back.join()


def test_a_wrong_api_key_is_reported_without_retries(photos: Path, tmp_path: Path) -> None:
    with qdrant_server(api_key="right") as server:
        began = time.monotonic()
        with (
            library_on(server, tmp_path / "library", qdrant_api_key="wrong") as library,
            pytest.raises(StoreError, match="refused") as caught,
        ):
            bring_in(library, photos)
        assert not isinstance(caught.value, StoreUnreachableError)
        assert time.monotonic() - began < 15  # those who are away are waited for, 20 s
