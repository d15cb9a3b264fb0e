"""What several test files share: a drawn library, ingested once with the starter models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import Commands

from search.settings import Settings
from starter.sample_library import SampleLibrary, draw_sample_library

SAMPLE_PHOTOS = 12  # the ones with clear answers; about two seconds each


@dataclass(frozen=True)
class Sample:
    """A library folder, the photos that it was made from, and what is to be found in them."""

    library: Path
    photos: Path
    drawn: SampleLibrary


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A library to look at; a test that changes one copies it first."""
    from fakes import Quiet

    from api.library import Library
    from ingest.pipeline import ingest

    folder = tmp_path_factory.mktemp("sample")
    drawn = draw_sample_library(folder / "photos", photos=SAMPLE_PHOTOS)
    settings = Settings(library=folder / "library", models="starter")
    with Library(settings, command="test", create=True) as library:
        summary = ingest([folder / "photos"], library.workshop(), Quiet())
    assert summary.photos_ingested == SAMPLE_PHOTOS
    return Sample(folder / "library", folder / "photos", drawn)


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Commands:
    """Run commands in this process, in an empty folder, without settings in the environment."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SEGSEARCH_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    return Commands(capsys, monkeypatch)
