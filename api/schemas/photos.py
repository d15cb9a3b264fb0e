"""Photos, and what they can be filtered by."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict

from search.records import DateSource, Place, Record


class PhotoOut(Record):
    """A photo of the library."""

    photo_id: str
    path: str | None
    size_wh: tuple[int, int]
    sort_at: datetime  # when it was taken; where nothing says so, the file's time
    taken_at: datetime | None  # null if nothing says so
    date_source: DateSource  # file: nothing says it; unknown: noted before sources were
    camera: str | None
    location: Place | None
    hidden: bool
    segment_count: int
    segmented: bool  # false: it is found as a whole, its segments are still to come


class PhotosResponse(Record):
    """One page of photos, newest first."""

    photos: tuple[PhotoOut, ...]
    cursor: str | None = None


class Count(Record):
    """How many photos have this value."""

    value: str
    count: int


class FolderCount(Record):
    """How many photos are in a folder or below it."""

    folder: str  # as filters name it
    name: str
    count: int


class FacetsOut(Record):
    """What there is to filter by, and how many photos each choice has."""

    cameras: tuple[Count, ...]
    months: tuple[Count, ...]  # by the photos' own clocks, undated ones left out
    undated: int  # photos of which nothing says when they were taken
    folders: tuple[FolderCount, ...]


class RemovedOut(Record):
    """Photos that the library has forgotten."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"photos_removed": ["0e3f6f0c-3f5e-5b55-8d0b-5b3c0f0d9a77"]}]
        }
    )

    photos_removed: tuple[str, ...]
