"""Decoding a file to an upright sRGB photo with metadata.

Every problem with a file is raised as a `PhotoError` with a message for the user; nothing is
printed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from ingest.imaging.metadata import Metadata, facts_from_metadata, load_metadata
from ingest.imaging.pillow import load_image, open_image, photo_errors
from ingest.imaging.pixels import upright_rgb, upright_size
from ingest.imaging.raw import is_raw, open_preview
from search.errors import PhotoError, TooLargeError, UndecodableError
from search.masks.rle import fitted_size
from search.records import DateSource, Place, RgbImage

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, eq=False)
class DecodedPhoto:
    """A photo's upright pixels and metadata."""

    rgb: RgbImage  # (h, w, 3) uint8 sRGB, upright, contiguous
    pixel_sha256: str  # hex, of size and upright pixels; the photo id derives from it
    sort_at: datetime  # with a UTC offset
    date_source: DateSource  # "file": no date in the metadata, `sort_at` is the file's time
    camera: str | None
    location: Place | None

    @property
    def taken_at(self) -> datetime | None:
        """When the photo was taken, with a UTC offset; None if unknown."""
        return None if self.date_source == "file" else self.sort_at

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the upright photo, in pixels."""
        height, width = self.rgb.shape[:2]
        return width, height


@dataclass(frozen=True, eq=False)
class Pixels:
    """Upright pixels of a photo, possibly downscaled."""

    rgb: RgbImage  # (h, w, 3) uint8 sRGB, upright, contiguous
    size_wh: tuple[int, int]  # of the upright photo at full size


def path_text(path: Path) -> str:
    """Return a path for JSON, COCO and HTTP.

    A path that is not valid UTF-8 becomes a URL, file:///photos/caf%E9.jpg (RFC 8089), which can't
    be confused with an absolute path.
    """
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError:
        return path.absolute().as_uri()


def shown_path(path: Path | str) -> str:
    r"""Return a path for messages, with unprintable characters escaped as \x...

    Escaped are bytes that are not UTF-8 (lone surrogates in Python), control characters and
    invisible spaces and joiners. Not for programs: the result is ambiguous.
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    if text.isprintable():  # the usual case, called for every result of a page
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def bytes_sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's content, read in chunks.

    Raises:
        PhotoError: the file can't be read.
    """
    name = shown_path(path)
    with photo_errors(name):
        _stat_file(path, name)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def decode_photo(path: Path, *, max_pixels: int, max_bytes: int) -> DecodedPhoto:
    """Decode a file by content; only RAW files are recognized by extension.

    Raises:
        TooLargeError: more bytes or pixels than allowed; checked before decoding.
        UndecodableError: empty, truncated, damaged, or not a picture.
        PhotoError: the file can't be read.
    """
    name = shown_path(path)
    with photo_errors(name), _opened(path, max_bytes, name) as (file, status):
        file_time = _time_from_seconds(status.st_mtime)
        return _decode(file, name, max_pixels, file_time, path)


def decode_pixels(
    path: Path, *, max_pixels: int, max_bytes: int, at_least_px: int | None = None
) -> Pixels:
    """Decode the pixels of a file for display, without metadata or identity.

    Args:
        path: of a photo; only RAW files are recognized by extension.
        max_pixels: of the photo at full size.
        max_bytes: of the file.
        at_least_px: the long side that is sufficient. A JPEG is then decoded at 1/2, 1/4 or 1/8,
            which is much faster; other formats are decoded at full size.

    Raises:
        PhotoError: as `decode_photo`.
    """
    name = shown_path(path)
    with photo_errors(name), _opened(path, max_bytes, name) as (file, _):
        return _pixels(file, name, max_pixels, at_least_px)[0]


@contextmanager
def _opened(path: Path, max_bytes: int, name: str) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    status = _stat_file(path, name)
    _check_bytes(status.st_size, max_bytes, name)
    with path.open("rb") as file:
        yield file, status


def _stat_file(path: Path, name: str) -> os.stat_result:
    """Check that a file is regular: reading a pipe or a device might never end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise PhotoError(f"{name} is not a file. Leave it out.")
    return status


def decode_bytes(data: bytes, *, max_pixels: int, max_bytes: int, name: str) -> DecodedPhoto:
    """Decode an upload; `name` is used in messages and to recognize a RAW file.

    Undated uploads get 1970-01-01, since they have no file time.

    Raises:
        TooLargeError: more bytes or pixels than allowed; checked before decoding.
        UndecodableError: empty, truncated, damaged, or not a picture.
    """
    name = shown_path(name)
    with photo_errors(name):
        _check_bytes(len(data), max_bytes, name)
        return _decode(BytesIO(data), name, max_pixels, EPOCH)


def _decode(
    file: BinaryIO, name: str, max_pixels: int, file_time: datetime, path: Path | None = None
) -> DecodedPhoto:
    pixels, metadata = _pixels(file, name, max_pixels)
    facts = facts_from_metadata(metadata, file_time, path)
    return DecodedPhoto(pixels.rgb, pixel_sha256(pixels.rgb), **vars(facts))


def _pixels(
    file: BinaryIO, name: str, max_pixels: int, at_least_px: int | None = None
) -> tuple[Pixels, Metadata]:
    """Open, check, load and turn a picture.

    The first frame or page is used; of HEIF the primary picture, of RAW the largest preview.
    """
    with open_preview(file, name) if is_raw(name) else open_image(file, name) as opened:
        image: Image.Image = opened
        _check_pixels(image.size, max_pixels, name)
        whole_wh = image.size
        draft_wh = None
        if at_least_px is not None and at_least_px < max(whole_wh):
            draft_wh = fitted_size(whole_wh, at_least_px)
            image.draft(None, draft_wh)  # has an effect on JPEG only
        is_whole = image.size == whole_wh
        image = load_image(image, draft_wh)
        _check_pixels(image.size, max_pixels, name)  # again: a HEIF header may be wrong
        # After loading: PNG may have EXIF last, and loading a TIFF turns it and drops its tag.
        metadata = load_metadata(image)
        orientation = metadata.exif.get(Base.Orientation)
        turned_wh = upright_size(image.size if is_whole else whole_wh, orientation)
        rgb = upright_rgb(image, orientation)
    return Pixels(rgb, turned_wh), metadata


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
    """Convert a file time to UTC; 1970-01-01 if it is out of datetime's range."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return EPOCH
