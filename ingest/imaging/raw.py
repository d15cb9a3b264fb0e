"""RAW files: the preview that the camera put into them, by LibRaw (the extra `raw`)."""

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
# What cameras write beside a RAW file of the same name, and show as the same photo.
BESIDE_RAW = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".heic", ".heif", ".hif"))

JPEG_BEGINS = b"\xff\xd8\xff"
HEIF_AT_4 = b"ftyp"
HEAD_BYTES = 64 * 1024  # EXIF comes first in a JPEG, and has no more
RAW_HEAD_BYTES = 256 * 1024
_DATE = re.compile(rb"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d")  # as EXIF has them

SMALLEST_PREVIEW_PX = 640  # long side; old cameras put stamps of 160 x 120 in, with nothing to see

_TURNS = {  # LibRaw's flip -> what makes a picture upright
    3: Image.Transpose.ROTATE_180,
    5: Image.Transpose.ROTATE_90,
    6: Image.Transpose.ROTATE_270,
}


def is_raw(name: str | PurePath) -> bool:
    """Tell a RAW file by its name: most are TIFF files inside, of which Pillow sees a stamp."""
    return PurePath(name).suffix.lower() in EXTENSIONS


def shows_same_shot(beside: Path, raw: Path) -> bool:
    """Say whether a file is the camera's own picture of the RAW file of its name.

    It is none if it is empty or no picture, or if both have dates and none in common. A picture
    without a date may have lost it to a program that edited it.
    """
    try:
        with beside.open("rb") as picture, raw.open("rb") as file:
            head = picture.read(HEAD_BYTES)
            if not (head.startswith(JPEG_BEGINS) or head[4:8] == HEIF_AT_4):
                return False
            dates = set(_DATE.findall(head))
            raw_dates = set(_DATE.findall(file.read(RAW_HEAD_BYTES))) if dates else dates
    except OSError:
        return True  # which of them can't be read is said where it is read
    return not dates or not raw_dates or not dates.isdisjoint(raw_dates)


def open_preview(file: BinaryIO, name: str) -> Image.Image:
    """Open the largest preview in a RAW file; its EXIF says when it was taken, and which way up.

    Raises:
        UndecodableError: there is none, it is too small, or the extra `raw` is not installed.
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
            f"{name} is a RAW file without a preview that can be used. Develop it to a JPEG, or "
            "leave it out."
        ) from error
    if preview.format == rawpy.ThumbFormat.JPEG:  # LibRaw adds the EXIF that is missing
        image: Image.Image = open_image(BytesIO(bytes(preview.data)), name)
    else:  # bare pixels
        image = Image.fromarray(np.asarray(preview.data))
        image = image.transpose(_TURNS[flip]) if flip in _TURNS else image
    if max(image.size) < SMALLEST_PREVIEW_PX:
        raise UndecodableError(
            f"{name} is a RAW file whose preview has {image.width} x {image.height} pixels only. "
            "Develop it to a JPEG, or leave it out."
        )
    return image
