"""RAW files: the embedded preview, extracted with LibRaw (the extra `raw`)."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path, PurePath
from typing import BinaryIO

import numpy as np
from PIL import Image

from ingest.imaging.pillow import open_image
from search.errors import UndecodableError

EXTENSIONS = frozenset((".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2"))
EXTENSIONS |= {".raf", ".orf", ".rw2", ".pef", ".srw", ".3fr", ".fff", ".iiq", ".erf", ".mef"}
EXTENSIONS |= {".mrw", ".kdc", ".dcr", ".x3f", ".rwl", ".gpr"}
# Formats that cameras write beside a RAW file of the same name, of the same shot.
BESIDE_RAW = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".heic", ".heif", ".hif"))

JPEG_BEGINS = b"\xff\xd8\xff"
HEIF_AT_4 = b"ftyp"
HEAD_BYTES = 64 * 1024  # EXIF comes first in a JPEG and has at most 64 kB
RAW_HEAD_BYTES = 256 * 1024
_DATE = re.compile(rb"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d")  # EXIF's format

MIN_PREVIEW_PX = 640  # long side; old cameras embed thumbnails of 160 x 120

_TRANSPOSES = {  # LibRaw's flip -> transpose that makes a picture upright
    3: Image.Transpose.ROTATE_180,
    5: Image.Transpose.ROTATE_90,
    6: Image.Transpose.ROTATE_270,
}


def is_raw(name: str | PurePath) -> bool:
    """Recognize a RAW file by extension: most are TIFF files, and Pillow would read a thumbnail."""
    return PurePath(name).suffix.lower() in EXTENSIONS


def shows_same_shot(beside: Path, raw: Path) -> bool:
    """Return whether a JPEG or HEIF is the camera's picture of the RAW file with the same name.

    It is not if it is not a picture, or if both files have dates and none in common. A picture
    without a date may have lost it in an editor.
    """
    try:
        with beside.open("rb") as picture, raw.open("rb") as file:
            head = picture.read(HEAD_BYTES)
            if not (head.startswith(JPEG_BEGINS) or head[4:8] == HEIF_AT_4):
                return False
            dates = set(_DATE.findall(head))
            raw_dates = set(_DATE.findall(file.read(RAW_HEAD_BYTES))) if dates else dates
    except OSError:
        return True  # decoding reports the file that can't be read
    return not dates or not raw_dates or not dates.isdisjoint(raw_dates)


def open_preview(file: BinaryIO, name: str) -> Image.Image:
    """Open the largest preview in a RAW file; it has the EXIF date and orientation.

    Raises:
        UndecodableError: there is no preview, it is too small, or the extra `raw` is not installed.
    """
    try:
        import rawpy
    except ImportError as error:
        raise UndecodableError(
            f"{name} is a RAW file. To use the preview in it: pip install 'segsearch[raw]', "
            "then ingest with --retry-skipped."
        ) from error
    try:
        with rawpy.RawPy() as raw:
            raw.open_buffer(file)
            preview, flip = raw.extract_thumb(), raw.sizes.flip
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError) as error:
        raise UndecodableError(
            f"{name} is a RAW file without a usable preview. Develop it to a JPEG, or leave it out."
        ) from error
    if preview.format == rawpy.ThumbFormat.JPEG:  # LibRaw adds the EXIF that is missing
        image: Image.Image = open_image(BytesIO(bytes(preview.data)), name)
    else:  # uncompressed pixels
        image = Image.fromarray(np.asarray(preview.data))
        image = image.transpose(_TRANSPOSES[flip]) if flip in _TRANSPOSES else image
    if max(image.size) < MIN_PREVIEW_PX:
        raise UndecodableError(
            f"{name} is a RAW file whose preview has only {image.width} x {image.height} pixels. "
            "Develop it to a JPEG, or leave it out."
        )
    return image
