"""Date, camera and location of a photo from EXIF, XMP, sidecars and PNG texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from PIL import Image

from ingest.imaging.date_strings import date_from_any_text
from ingest.imaging.exif import (
    Tags,
    camera_from_tags,
    load_exif,
    place_from_tags,
    saved_at_from_tags,
    taken_at_from_tags,
)
from ingest.imaging.png import DATE_KEYS
from ingest.imaging.xmp import date_from_xmp, iter_sidecars
from search.records import DateSource, Place


@dataclass(frozen=True)
class Metadata:
    """The metadata of a file that is used."""

    exif: Tags
    xmp: bytes
    texts: Mapping[str, str]  # PNG texts with dates


@dataclass(frozen=True)
class FileFacts:
    """Date (with a UTC offset) and its source, camera and location of a photo."""

    sort_at: datetime
    date_source: DateSource
    camera: str | None = None
    location: Place | None = None


def load_metadata(image: Image.Image) -> Metadata:
    """Read the metadata of a loaded image; damaged parts are left out."""
    xmp = image.info.get("xmp", b"")
    texts = {key: image.info[key] for key in DATE_KEYS if isinstance(image.info.get(key), str)}
    return Metadata(
        exif=load_exif(image),
        xmp=xmp if isinstance(xmp, bytes) else str(xmp).encode("utf-8", "replace"),
        texts=texts,
    )


def facts_from_metadata(
    metadata: Metadata, file_time: datetime, path: Path | None = None
) -> FileFacts:
    """Determine date, camera and location.

    Args:
        metadata: of the file.
        file_time: modification time with a UTC offset, used if there is no valid date.
        path: of the file, to look for sidecars beside it.
    """
    dates = _iter_dates(metadata, path)
    sort_at, source = next(dates, (file_time, "file"))
    exif = metadata.exif
    return FileFacts(sort_at, source, camera_from_tags(exif), place_from_tags(exif))


def _iter_dates(metadata: Metadata, path: Path | None) -> Iterator[tuple[datetime, DateSource]]:
    """Iterate lazily over the dates, best first; sidecars are read only if needed.

    The date on which a program saved the photo is last, but better than the file's.
    """
    if taken_at := taken_at_from_tags(metadata.exif):
        yield taken_at, "exif"
    if metadata.xmp and (in_file := date_from_xmp(metadata.xmp)):
        yield in_file, "xmp"
    for packet in iter_sidecars(path) if path is not None else ():
        if beside := date_from_xmp(packet):
            yield beside, "xmp"
    for key in DATE_KEYS:
        if key in metadata.texts and (date := date_from_any_text(metadata.texts[key])):
            yield date, "png text"
    if saved_at := saved_at_from_tags(metadata.exif):
        yield saved_at, "exif"
