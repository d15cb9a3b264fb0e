"""Commands with two predictable encoders to choose from; as a script, one that is slow to kill.

Settings name them: `--encoder other` is the second.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from api.cli.main import main
from api.library import model_registry
from api.library.library import Library
from api.settings import Settings
from search.errors import ModelError
from search.manifest import load_manifest
from search.records import RgbImage, Vectors
from support.commands import Commands
from support.fakes import ColorEncoder, ColorSegmenter
from support.ingest_rig import write

OTHER = replace(ColorEncoder(), name="other", fingerprint="07e4", dim=5)
PHOTOS = ("a.png", "b.png", "trip/c.png", "trip/d.png", "trip/e.png")


@dataclass(frozen=True)
class SlowEncoder(ColorEncoder):
    """Takes its time with each batch of crops."""

    seconds: float = 0.0

    def encode_crops(self, crops: Sequence[RgbImage] | RgbImage) -> Vectors:
        time.sleep(self.seconds)
        return super().encode_crops(crops)


def encoder_named(settings: Settings) -> ColorEncoder:
    """What stands in for loading an encoder."""
    if settings.encoder == "damaged":
        raise ModelError("the encoder is damaged; fetch it anew")
    return OTHER if settings.encoder == "other" else ColorEncoder()


@pytest.fixture
def run(run: Commands, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Commands whose models are the fakes, in an empty folder, with five photos."""
    monkeypatch.setenv("SEGSEARCH_LIBRARY", "library")
    monkeypatch.setenv("SEGSEARCH_DECODE_WORKERS", "0")
    monkeypatch.setattr(model_registry, "load_segmenter", lambda _: ColorSegmenter())
    monkeypatch.setattr(model_registry, "load_encoder", encoder_named)
    for seed, name in enumerate(PHOTOS):
        write(Path("photos") / name, seed)
    return run


@dataclass(frozen=True)
class Vectored:
    """The active vectors of a library, by id."""

    name: str
    photos: dict[str, Vectors]
    segments: dict[str, Vectors]


def vectored(folder: Path | str = "library") -> Vectored:
    with Library(Settings(library=Path(folder)), command="test") as library:
        index = library.index()
        photos = [photo.photo_id for photo in index.iter_photos()]
        segments = [segment.segment_id for segment in index.iter_segments()]
        assert library.manifest is not None
        return Vectored(
            library.manifest.vector_name,
            dict(zip(photos, index.photo_vectors(photos), strict=True)),
            dict(zip(segments, index.segment_vectors(segments), strict=True)),
        )


def assert_alike(one: Vectored, other: Vectored) -> None:
    assert one.name == other.name
    for here, there in ((one.photos, other.photos), (one.segments, other.segments)):
        assert here.keys() == there.keys()
        for key, vector in here.items():
            assert np.allclose(vector, there[key], atol=1e-5)


def active(folder: Path | str = "library") -> str:
    manifest = load_manifest(Path(folder))
    assert manifest is not None
    return manifest.encoder.name


if __name__ == "__main__":
    slow = SlowEncoder(**{**vars(OTHER), "seconds": 0.05})
    setattr(model_registry, "load_encoder", lambda _: slow)  # noqa: B010  (another type)
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    sys.argv = ["segsearch", "reembed", *sys.argv[1:]]
    main()
