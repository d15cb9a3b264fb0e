"""The drawn library that many tests read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starter.sample_library import SampleLibrary

SAMPLE_PHOTOS = 12  # the ones with clear answers


@dataclass(frozen=True)
class Sample:
    """A library folder, the photos that it was made from, and what is to be found in them."""

    library: Path
    photos: Path
    drawn: SampleLibrary

    @property
    def flags(self) -> tuple[str, Path]:
        """Names the library to a command."""
        return "--library", self.library

    def photo_of(self, words: str) -> Path:
        """The first photo that shows what the words say."""
        return self.drawn.answers[words][0].path
