"""JPEG files without their end marker: is only the marker missing, or some of the picture?"""

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

# What a decoder takes for picture data where some is missing; any bits will do, but for 0xFF, which
# begins a marker.
OTHER_BITS = np.random.default_rng(0).integers(0x55, 0xFF, 512, np.uint8).tobytes()

_padding = re.compile(rb"\0{2,}\Z")
_marker = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def jpeg_with_end(
    image: JpegImageFile, draft_wh: tuple[int, int] | None = None
) -> JpegImageFile | None:
    """Decode a JPEG that ends without its end marker; None if some of its picture is missing.

    Pictures that are decoded with the marker right behind the file, and with other bits in
    between, are the same only where the decoder had all that it needed.

    Args:
        image: could not be loaded.
        draft_wh: what it is drafted to.
    """
    assert image.fp is not None  # it is closed only once it is loaded
    image.fp.seek(0)
    picture = _without_padding(image.fp.read())
    if not _has_all_scans(picture):
        return None
    ended, continued = (_loaded(picture + tail, draft_wh) for tail in (END, OTHER_BITS + END))
    return ended if ImageChops.difference(ended, continued).getbbox() is None else None


def _without_padding(data: bytes) -> bytes:
    """Return a file without zeros at its end and without half a marker."""
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
    bits_missing: int  # that later scans add


def _has_all_scans(data: bytes) -> bool:
    """Say whether there is a scan for every bit of every coefficient; the last may be cut short."""
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
    """Go over a file's frames, as their components, and scans.

    Raises:
        IndexError: a marker's segment is cut short.
    """
    at = 2  # behind the marker that begins the file
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
