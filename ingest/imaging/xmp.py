"""What XMP says of when a photo was taken: in the file, or in a sidecar beside it."""

from __future__ import annotations

import codecs
import stat
from collections.abc import Iterator
from datetime import datetime
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

from ingest.imaging.dates import date_from_iso_text

LARGEST_PACKET = 8 * 1024**2  # bytes; sidecars with an editing history have 1 or 2 MB
DATES = (  # the first that makes sense counts
    "{http://ns.adobe.com/exif/1.0/}DateTimeOriginal",
    "{http://ns.adobe.com/photoshop/1.0/}DateCreated",
    "{http://ns.adobe.com/xap/1.0/}CreateDate",
    "{http://ns.adobe.com/exif/1.0/}DateTimeDigitized",
)


def date_from_xmp(packet: bytes) -> datetime | None:
    """Return when the photo was taken; None if a packet does not say so or is no XMP.

    One that defines entities is none: they are good for nothing but to fill memory.
    """
    if len(packet) > LARGEST_PACKET or b"<!D" in packet.replace(b"\0", b""):
        return None
    is_utf_16 = packet.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        root = ElementTree.fromstring(packet if is_utf_16 else packet.strip(b"\0\r\n\t "))
    except (ElementTree.ParseError, ValueError, LookupError):  # LookupError: an unknown encoding
        return None
    said: dict[str, str] = {}
    for element in root.iter():
        for name, text in ((element.tag, element.text or ""), *element.items()):
            if name in DATES:
                said.setdefault(name, text)
    dates = (date_from_iso_text(said[name]) for name in DATES if name in said)
    return next((date for date in dates if date is not None), None)


def iter_sidecars(photo: Path) -> Iterator[bytes]:
    """Go over the XMP files beside a photo, a.jpg.xmp before a.xmp; what can't be read is none."""
    for name, ending in product((photo.name, photo.stem), (".xmp", ".XMP")):
        try:
            path = photo.with_name(name + ending)
            if stat.S_ISREG(path.stat().st_mode):
                with path.open("rb") as file:
                    yield file.read(LARGEST_PACKET + 1)
        except OSError:
            continue
