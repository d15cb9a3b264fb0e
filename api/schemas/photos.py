"""Photos and facets."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict

from search.records import DateSource, Place, Record


class PhotoOut(Record):
    """A photo of the library."""

    photo_id: str
    path: str | None
    size_wh: tuple[int, int]
    sort_at: datetime  # taken_at, or the file's modification time
    taken_at: datetime | None  # null if unknown
    date_source: DateSource  # file: modification time; unknown: ingested before this field existed
    camera: str | None
    location: Place | None
    hidden: bool
    segment_count: int
    segmented: bool  # false: searchable as a whole photo only, so far


class PhotosResponse(Record):
    """One page of photos, newest first."""

    photos: tuple[PhotoOut, ...]
    cursor: str | None = None


class Count(Record):
    """The number of photos with a value."""

    value: str
    count: int


class FolderCount(Record):
    """The number of photos in a folder and its subfolders."""

    folder: str  # as in filters
    name: str
    count: int


class FacetsOut(Record):
    """Values to filter by, with the number of photos of each."""

    cameras: tuple[Count, ...]
    months: tuple[Count, ...]  # local time of the photos, without undated ones
    undated: int  # photos without a known date
    folders: tuple[FolderCount, ...]


class RemovedOut(Record):
    """Photos removed from the library."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"photos_removed": ["0e3f6f0c-3f5e-5b55-8d0b-5b3c0f0d9a77"]}]
        }
    )

    photos_removed: tuple[str, ...]
