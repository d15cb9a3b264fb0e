"""From a folder to decoded, upright photos.

Everything that is wrong with one file ends as a `PhotoError` whose sentence a person understands;
nothing is printed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from PIL.ExifTags import Base

from ingest.exif import facts_from_exif, load_exif
from ingest.pillow import open_image, reason_of, refusing
from ingest.pixels import upright_rgb
from search.errors import PhotoError, TooLargeError, UndecodableError
from search.manifest import MANIFEST_NAME
from search.records import Place, RgbImage

EXTENSIONS = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".gif"))
EXTENSIONS |= {".heic", ".heif", ".hif", ".avif"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Unreadable = Callable[[Path, str], None]  # a path, and why it can't be read
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DecodedPhoto:
    """A photo as it is looked at, and what its file says of it."""

    rgb: RgbImage  # (h, w, 3) uint8 sRGB, upright, contiguous
    pixel_sha256: str  # hex, of size and upright pixels: the photo's identity
    taken_at: datetime  # with a UTC offset; the file's time where EXIF has no date
    camera: str | None
    location: Place | None

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the upright photo, in pixels."""
        height, width = self.rgb.shape[:2]
        return width, height


def iter_photo_files(
    folder_or_file: Path, on_unreadable: Unreadable | None = None
) -> Iterator[Path]:
    """Walk lazily and yield the files whose extension is a photo's, each level sorted by name.

    Left out: hidden files and folders, and folders that are segsearch libraries. Symbolic links to
    files are followed; links to folders too, after everything else, and only to folders that were
    not walked already, so that loops end and the real path wins. A file that is named itself is
    taken whatever its extension. What can't be read is told to `on_unreadable` (else logged) and
    the walk goes on.
    """
    walked: set[tuple[int, int]] = set()
    report = on_unreadable or _log_unreadable
    starts = [folder_or_file]  # grows by the links to folders that are met
    for start in starts:
        if os.path.isfile(start):  # noqa: PTH113  (Path.is_file raises below a locked folder)
            yield start
            continue
        levels = [iter(_entries(start, walked, report))]  # a stack: folders may nest 2,000 deep
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop()
            elif _is_folder(entry, follow_links=False):
                levels.append(iter(_entries(Path(entry.path), walked, report)))
            elif _is_folder(entry, follow_links=True):
                starts.append(Path(entry.path))
            elif Path(entry.name).suffix.lower() in EXTENSIONS:
                yield Path(entry.path)


def _entries(
    folder: Path, walked: set[tuple[int, int]], report: Unreadable
) -> list[os.DirEntry[str]]:
    """Return what is not hidden in a folder, sorted by name; nothing of a library or twice."""
    try:
        status = folder.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in walked or (folder / MANIFEST_NAME).exists():
            return []
        walked.add(identity)
        with os.scandir(folder) as found:
            return sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        report(folder, f"{shown_path(folder)} can't be read: {reason_of(error)}.")
        return []


def _is_folder(entry: os.DirEntry[str], *, follow_links: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:  # a link to itself: not a folder; decoding will say so if it is named a photo
        return False


def _log_unreadable(path: Path, reason: str) -> None:
    _logger.warning("%s", reason)


def shown_path(path: Path | str) -> str:
    r"""Return a path that any terminal or JSON file can take: odd bytes and controls as \x...

    File names are bytes; where they aren't UTF-8 Python keeps them as lone surrogates, which can't
    be printed or stored.
    """
    letters = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in letters)


def bytes_sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's content, read in pieces.

    Raises:
        PhotoError: the file can't be read.
    """
    with refusing(shown_path(path)), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decode_photo(path: Path, *, max_pixels: int, max_bytes: int) -> DecodedPhoto:
    """Decode a file, whatever its name says it is.

    Raises:
        TooLargeError: more bytes or pixels than allowed; found before decoding.
        UndecodableError: empty, cut short, damaged, or no picture.
        PhotoError: the file can't be read.
    """
    name = shown_path(path)
    with refusing(name):
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise PhotoError(f"{name} is not a file. Leave it out.")
        _check_bytes(status.st_size, max_bytes, name)
        with path.open("rb") as file:
            return _decode(file, name, max_pixels, _time_from_seconds(status.st_mtime))


def decode_bytes(data: bytes, *, max_pixels: int, max_bytes: int, name: str) -> DecodedPhoto:
    """Decode an upload; `name` is what messages call it.

    An upload has no file time: 1970-01-01 stands in where EXIF has no date.

    Raises:
        TooLargeError: more bytes or pixels than allowed; found before decoding.
        UndecodableError: empty, cut short, damaged, or no picture.
    """
    name = shown_path(name)
    with refusing(name):
        _check_bytes(len(data), max_bytes, name)
        return _decode(BytesIO(data), name, max_pixels, EPOCH)


def _decode(file: IO[bytes], name: str, max_pixels: int, file_time: datetime) -> DecodedPhoto:
    """Open, check, load, turn. The first frame or page counts (of HEIF: the primary picture)."""
    with open_image(file, name) as image:
        _check_pixels(image.size, max_pixels, name)
        image.load()
        _check_pixels(image.size, max_pixels, name)  # a HEIF header may be wrong about it
        # Only now: PNG may have its EXIF last, and TIFF is turned (its tag taken away) in loading.
        exif = load_exif(image)
        rgb = upright_rgb(image, exif.get(Base.Orientation))
    facts = facts_from_exif(exif, file_time)
    return DecodedPhoto(rgb, pixel_sha256(rgb), facts.taken_at, facts.camera, facts.location)


def pixel_sha256(rgb: RgbImage) -> str:
    """Return the SHA-256 (hex) of width, height and the (h, w, 3) uint8 pixels."""
    height, width = rgb.shape[:2]
    digest = hashlib.sha256(f"{width}x{height}:".encode())
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


def _check_bytes(size: int, max_bytes: int, name: str) -> None:
    if size == 0:
        raise UndecodableError(f"{name} is empty. Restore it from a backup, or leave it out.")
    if size > max_bytes:
        raise TooLargeError(
            f"{name} has {size / 1e6:,.1f} MB; the limit is {max_bytes / 1e6:,.1f} MB. "
            "Make it smaller, or raise the limit of bytes."
        )


def _check_pixels(size_wh: tuple[int, int], max_pixels: int, name: str) -> None:
    width, height = size_wh
    if width * height > max_pixels:
        raise TooLargeError(
            f"{name} has {width:,} x {height:,} pixels, {width * height / 1e6:,.1f} million; the "
            f"limit is {max_pixels / 1e6:,.1f} million. "
            "Make it smaller, or raise the limit of pixels."
        )


def _time_from_seconds(seconds: float) -> datetime:
    """Return a file's time in UTC; 1970-01-01 for one that no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return EPOCH
