"""The library as a whole: contents, health, sign-in."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from search.records import Record


class RootOut(Record):
    """An ingested folder."""

    root_id: str
    path: str
    present: bool


class LibraryOut(Record):
    """Contents and models of a library."""

    library: str
    segmenter: str
    encoder: str
    crop_recipe: str
    starter_models: bool  # the bundled small models: they know less than those of the hub
    newer_segmenter: str | None = None  # bundled, where the library's is an earlier version
    newer_encoder: str | None = None
    engine: str
    photos: int  # searchable at least as whole photos
    photos_segmented: int
    photos_hidden: int
    photos_excluded: int = (
        0  # of the hidden ones: their files are excluded by patterns or by default
    )
    segments: int
    files: int
    files_waiting: int  # not read yet
    files_vanished: int
    files_excluded: int = 0
    files_unread: int = 0  # images and videos in unsupported formats
    unread: dict[str, int] = Field(default_factory=dict)  # counts by extension, most frequent first
    files_skipped: int
    roots: tuple[RootOut, ...]
    may_change: bool = True  # false for a read-only key


class KeyIn(Record):
    """The key to sign in with."""

    key: Annotated[str, Field(max_length=1000)]


class HealthOut(Record):
    """The process is alive."""

    alive: bool = True


class ReadyOut(Record):
    """Readiness for searches; each part is `ready`, `loading`, or the reason of its failure."""

    ready: bool
    parts: dict[str, str]
