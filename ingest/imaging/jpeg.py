"""JPEG files without their end marker: check whether picture data is missing too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import ImageChops
from PIL.JpegImagePlugin import JpegImageFile

END = b"\xff\xd9"
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
START_OF_SCAN = 0xDA
WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
COEFFICIENTS = 64  # of a block

# Stands in for missing picture data; any bytes but 0xFF, which begins a marker.
FILLER = np.random.default_rng(0).integers(0x55, 0xFF, 512, np.uint8).tobytes()

_padding = re.compile(rb"\0{2,}\Z")
_marker = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def jpeg_with_end(
    image: JpegImageFile, draft_wh: tuple[int, int] | None = None
) -> JpegImageFile | None:
    """Decode a JPEG that lacks its end marker; None if picture data is missing as well.

    The file is decoded twice, with the marker appended directly and after filler bytes. The results
    are equal only if the decoder needed no bytes beyond the file's end.

    Args:
        image: failed to load.
        draft_wh: the size passed to `image.draft`, if any.
    """
    if image.fp is None:  # it is closed after loading
        raise ValueError("the image is loaded already")
    image.fp.seek(0)
    picture = _without_padding(image.fp.read())
    if not _has_all_scans(picture):
        return None
    ended, continued = (_loaded(picture + tail, draft_wh) for tail in (END, FILLER + END))
    return ended if ImageChops.difference(ended, continued).getbbox() is None else None


def _without_padding(data: bytes) -> bytes:
    """Strip zeros and half a marker from the end of a file."""
    stripped = _padding.sub(b"", data)
    return stripped.removesuffix(b"\xff")


def _loaded(data: bytes, draft_wh: tuple[int, int] | None) -> JpegImageFile:
    image = JpegImageFile(BytesIO(data))
    if draft_wh is not None:
        image.draft(None, draft_wh)
    image.load()
    return image


class _Scan(NamedTuple):
    components: tuple[int, ...]
    first: int  # coefficient
    last: int
    bits_missing: int  # low bits that later scans refine


def _has_all_scans(data: bytes) -> bool:
    """Return whether the scans cover every bit of every coefficient; the last may be truncated."""
    missing = set[tuple[int, int]]()  # component and coefficient
    try:
        for found in _iter_frames_and_scans(data):
            if isinstance(found, _Scan):
                numbers = range(found.first, min(found.last, COEFFICIENTS - 1) + 1)
                if found.bits_missing == 0:
                    missing -= {(each, number) for each in found.components for number in numbers}
            else:
                missing = {(each, number) for each in found for number in range(COEFFICIENTS)}
    except IndexError:
        return False
    return not missing


def _iter_frames_and_scans(data: bytes) -> Iterator[tuple[int, ...] | _Scan]:
    """Iterate over a file's frames, as tuples of component ids, and scans.

    Raises:
        IndexError: a marker segment is truncated.
    """
    at = 2  # after the start-of-image marker
    while found := _marker.search(data, at):
        kind, at = data[found.start() + 1], found.end()
        if kind in WITHOUT_LENGTH:
            continue
        length = data[at] << 8 | data[at + 1]
        if kind in FRAME_MARKERS:
            yield tuple(data[at + 8 + 3 * i] for i in range(data[at + 7]))
        elif kind == START_OF_SCAN:
            count = data[at + 2]
            components = tuple(data[at + 3 + 2 * i] for i in range(count))
            first, last, bits = data[at + 3 + 2 * count : at + 6 + 2 * count]
            yield _Scan(components, first, last, bits & 0x0F)
        at += length
