"""What several test files share: a drawn library, ingested once with the starter models."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from support.commands import Commands
from support.copies import copied
from support.sample import SAMPLE_PHOTOS, Sample

from api.settings import Settings
from starter.sample_library import SampleLibrary, draw_sample_library

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of what a shell runs in the background:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children would not be stopped by it

os.environ["XDG_CONFIG_HOME"] = os.devnull  # no test reads the settings of who runs it

# Libraries are many small files, flushed often: on a disk tests of them take three times as long.
IN_MEMORY = Path("/dev/shm")
if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > 8e9:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))

LONG = ("test_page", "test_watch", "test_owner", "test_sam2", "test_checkpoints")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: at the end they would leave other processes alone."""
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A library to look at; a test that changes one copies it first.

    It is made once for all processes that test; each has a copy, since a library has one owner.
    """
    own = tmp_path_factory.mktemp("sample")
    made = own.parent.parent / "sample" if "PYTEST_XDIST_WORKER" in os.environ else own
    made.mkdir(exist_ok=True)
    with FileLock(made / "lock"):
        drawn = made / "drawn"
        if not drawn.exists():
            drawn.write_bytes(pickle.dumps(_make_sample(made)))
    library = copied(made / "library", own / "copy")
    return Sample(library, made / "photos", pickle.loads(drawn.read_bytes()))  # noqa: S301  (written above)


def _make_sample(folder: Path) -> SampleLibrary:
    from support.fakes import Quiet

    from api.library.library import Library
    from ingest.pipeline import ingest

    drawn = draw_sample_library(folder / "photos", photos=SAMPLE_PHOTOS)
    settings = Settings(library=folder / "library", models="starter", effort="quick")
    with Library(settings, command="test", create=True) as library:
        summary = ingest([folder / "photos"], library.ingest_context(), Quiet())
    assert summary.photos_ingested == SAMPLE_PHOTOS
    return drawn


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small library, made with predictable models, for `locked.site` to copy."""
    from support.servers.locked import lay_in

    return lay_in(tmp_path_factory.mktemp("stock"))


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Commands:
    """Run commands in this process, in an empty folder, without settings in the environment."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SEGSEARCH_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    return Commands(capsys, monkeypatch)


@pytest.fixture
def find(run: Commands, sample: Sample) -> Any:
    """Search the drawn library, and return the hits as `--json` has them."""

    def search(*args: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]]
        found = run("search", *args, *sample.flags, "--json").json["hits"]
        return found

    return search


@pytest.fixture
def own(sample: Sample, tmp_path: Path) -> Path:
    """A copy of the drawn library, to be changed."""
    return copied(sample.library, tmp_path / "own")
