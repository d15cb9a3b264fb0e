"""`segsearch ingest --ray`: a Ray of two cutting workers on this machine, one of which dies.

The server is the stand-in of qdrant_server.py, the models are fakes. Starting Ray and its workers
takes nearly all of the time: six minutes were seen where ten programs wanted each core.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.commands import Commands
from support.fakes import ColorEncoder, ColorSegmenter, Quiet, make_library
from support.ingest_rig import write
from support.servers.qdrant_server import QdrantServer, qdrant_server

from api.library.library import Library
from api.settings import Settings
from ingest.catalog.ledger import Ledger
from ingest.cluster.ray import Cluster, on_ray_cluster, ray_cluster
from ingest.context import IngestContext
from ingest.pipeline import ingest
from ingest.segmentation.types import MaskParameters, SegmentedMask
from ingest.stats import IngestSummary
from search.errors import ModelError, UsageError
from search.index.qdrant import open_qdrant_index
from search.records import RgbImage, SearchFilter

PHOTOS = 10
TESTS = Path(__file__).parents[2]
slow = pytest.mark.slow
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@dataclass
class WorkersSegmenter(ColorSegmenter):
    """Notes what it cuts in a folder; the first to find a file `kill` there dies of it."""

    notes: Path = Path()

    def automatic(self, rgb: RgbImage, parameters: MaskParameters) -> list[SegmentedMask]:
        (self.notes / f"{os.getpid()}-{len(list(self.notes.iterdir()))}").touch()
        if (self.notes / "fail").exists():
            raise ModelError("the model is not well")
        try:
            (self.notes / "kill").unlink()
        except FileNotFoundError:
            return super().automatic(rgb, parameters)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def workers_workshop(settings: Settings, vector_name: str, notes: Path) -> IngestContext:
    """What a worker makes for itself."""
    encoder, segmenter = ColorEncoder(), WorkersSegmenter(notes=notes)
    index = open_qdrant_index(settings, vector_name=vector_name, dim=encoder.dim)
    return IngestContext(
        settings, lambda: Ledger(Path("nowhere")), lambda: index, lambda: segmenter, lambda: encoder
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three processors: one decodes, two cut."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # they would wait for whatever else runs
        ray.init(
            "local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
        try:
            with ray_cluster("local") as found:
                yield found
        finally:
            ray.shutdown()


@dataclass
class Place:
    """Photos, a library on a server, and what workers note."""

    folder: Path
    server: QdrantServer
    cluster: Cluster

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def library(self, name: str) -> Library:
        return make_library(
            self.folder / name,
            qdrant=self.server.url,
            collection_prefix=name,
            whole_first_from=0,
            decode_workers=1,
        )

    def ingest_on_ray(self, name: str = "many") -> IngestSummary:
        with self.library(name) as library:
            manifest = library.checked_manifest()
            make = partial(
                workers_workshop, library.settings, manifest.vector_name, notes=self.notes
            )
            context = library.ingest_context()
            through = on_ray_cluster(self.cluster, make, context)
            return ingest([self.folder / "photos"], context, Quiet(), process=through)

    def cut(self) -> int:
        """So many photos were cut since it was asked last."""
        notes = list(self.notes.iterdir())
        for note in notes:
            note.unlink()
        return len(notes)

    def points(self, name: str) -> list[dict[str, Any]]:
        """Payloads by id; vectors follow from them, and the client rounds as it pleases."""
        collections = (f"{name}_photos", f"{name}_segments")
        return [
            {point_id: payload for point_id, (payload, _) in self.server.points(each).items()}
            for each in collections
        ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("ray")
    for seed in range(PHOTOS):
        write(folder / "photos" / f"{seed}.png", seed)
    (folder / "photos" / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes").mkdir()
    with qdrant_server() as server:
        yield Place(folder, server, cluster)


@slow
@quiet
def test_photos_of_a_killed_worker_are_processed_again(place: Place) -> None:
    (place.notes / "kill").touch()
    summary = place.ingest_on_ray()
    assert not (place.notes / "kill").exists()  # a worker died of it
    assert (summary.photos_ingested, summary.photos_skipped) == (PHOTOS, 1)
    assert "broken.jpg" in summary.skipped[0].reason
    assert place.cut() > PHOTOS  # what it had in hand was done again
    with place.library("one") as library:
        alone = ingest([place.folder / "photos"], library.ingest_context(), Quiet())
    assert summary.segments == alone.segments
    assert place.points("many") == place.points("one")


@slow
@quiet
def test_photos_written_by_a_killed_run_are_not_segmented_again(
    place: Place,
) -> None:
    place.ingest_on_ray("noted")
    place.cut()
    before = place.points("noted")
    assert place.ingest_on_ray("noted").photos_unchanged == PHOTOS
    with closing(Ledger(place.folder / "noted")) as ledger:
        for row in ledger.photos(SearchFilter(), limit=PHOTOS)[1:]:
            ledger.forget_photo(row.photo.photo_id)
    assert place.ingest_on_ray("noted").photos_ingested == PHOTOS - 1
    assert place.cut() == 0
    assert place.points("noted") == before


@slow
@quiet
def test_a_workers_model_error_is_raised(place: Place) -> None:
    (place.notes / "fail").touch()
    with pytest.raises(ModelError, match="the model is not well"):
        place.ingest_on_ray("failing")
    place.cut()


def test_without_a_server_it_says_what_is_missing(run: Commands, tmp_path: Path) -> None:
    write(tmp_path / "photos" / "0.png", 0)
    said = run.refused(
        *("ingest", tmp_path / "photos", "--ray", "local"),
        *("--library", tmp_path / "library", "--models", "starter"),
    )
    assert "--qdrant" in said


def test_without_ray_it_says_how_to_install_it(
    run: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "photos" / "0.png", 0)
    monkeypatch.setitem(sys.modules, "ray", None)
    said = run.refused(
        *("ingest", tmp_path / "photos", "--ray", "auto", "--qdrant", "http://127.0.0.1:1"),
        *("--library", tmp_path / "library", "--models", "starter"),
    )
    assert "pip install 'segsearch[ray]'" in said


def test_an_address_without_a_listener_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", _Ray(RuntimeError("not to be asked")))
    with pytest.raises(UsageError, match=r"no Ray cluster answers at '127.0.0.1:1'.*ray start"):
        _enter("127.0.0.1:1")


@pytest.mark.parametrize(
    ("error", "written"),
    [
        ("Token authentication is enabled but no authentication token was found.", ""),
        ("Failed to connect to Ray cluster", "W gcs_client.cc: Unauthenticated: InvalidAuthToken"),
    ],
)
def test_a_missing_token_is_an_error_that_names_the_variables_to_set(
    monkeypatch: pytest.MonkeyPatch, error: str, written: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", _Ray(RuntimeError(error), written))
    with pytest.raises(UsageError, match=r"asks for a token: set RAY_AUTH_MODE=token.*RAY_AUTH_TO"):
        _enter("auto")
    monkeypatch.setitem(sys.modules, "ray", _Ray(RuntimeError("the network is down")))
    with pytest.raises(UsageError, match="no Ray cluster answers at 'auto'"):
        _enter("auto")


def test_native_output_does_not_reach_the_terminal() -> None:
    script = (
        "import os, sys\n"
        "from ingest.cluster.stderr import redirected_stderr\n"
        "with redirected_stderr() as said:\n"
        "    os.write(2, b'native')\n"
        "    print('ours', file=sys.stderr)\n"
        "    assert said() == 'native'\n"
        "print('after', file=sys.stderr)\n"
        "os.write(2, b'native again')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stderr == b"ours\nafter\nnative again"


class _Ray(ModuleType):
    """A stand-in for the module ray, in which no cluster can be had."""

    def __init__(self, error: Exception, written: str = "") -> None:
        super().__init__("ray")
        self._error, self._written = error, written

    def is_initialized(self) -> bool:
        return False

    def init(self, *_: object, **__: object) -> None:
        os.write(2, self._written.encode())
        raise self._error


def _enter(address: str) -> None:
    with ray_cluster(address):
        raise AssertionError


def test_watching_is_for_one_machine(run: Commands, tmp_path: Path) -> None:
    assert "--watch" in run.refused("ingest", tmp_path, "--watch", "--ray", "auto")


@pytest.mark.parametrize(
    ("cpus", "gpus", "decoders", "segmenters"),
    [(2, 0, 1, 1), (3, 0, 1, 2), (12, 0, 4, 8), (16, 1, 4, 1), (64, 8, 32, 8), (8, 8, 1, 8)],
)
def test_workers_are_divided_into_decoders_and_segmenters(
    cpus: int, gpus: int, decoders: int, segmenters: int
) -> None:
    found = Cluster(cpus, gpus)
    assert (found.decoders, found.segmenters) == (decoders, segmenters)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(capsys, monkeypatch)
