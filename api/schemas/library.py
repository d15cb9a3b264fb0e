"""The library as a whole: contents, health, sign-in."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from search.records import Record


class RootOut(Record):
    """A folder that photos are taken from."""

    root_id: str
    path: str
    present: bool


class LibraryOut(Record):
    """What a library holds and what made it."""

    library: str
    segmenter: str
    encoder: str
    crop_recipe: str
    starter_models: bool  # the bundled small models know colours and shapes, not object names
    engine: str
    photos: int  # found as whole photos, those with segments among them
    photos_segmented: int
    photos_hidden: int
    photos_excluded: int = 0  # of those: their files are there and left out, by patterns or default
    segments: int
    files: int
    files_waiting: int  # not looked at yet
    files_vanished: int
    files_excluded: int = 0
    files_unread: int = 0  # pictures and videos in formats that are not read
    unread: dict[str, int] = Field(default_factory=dict)  # how many of each extension, most first
    files_skipped: int
    roots: tuple[RootOut, ...]
    may_change: bool = True  # whether who asks may add and remove; a read-only key may not


class KeyIn(Record):
    """The key that a person signs in with."""

    key: Annotated[str, Field(max_length=1000)]


class HealthOut(Record):
    """The process is alive."""

    alive: bool = True


class ReadyOut(Record):
    """Whether searches would be answered now; parts are `ready`, `loading`, or say what failed."""

    ready: bool
    parts: dict[str, str]
