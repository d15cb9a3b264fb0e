"""Dates from XMP, embedded or in a sidecar file."""

from __future__ import annotations

import codecs
import stat
from collections.abc import Iterator
from datetime import datetime
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

from ingest.imaging.date_strings import date_from_iso_text

MAX_PACKET_BYTES = 8 * 1024**2  # sidecars with an editing history have 1 or 2 MB
DATES = (  # the first valid one counts
    "{http://ns.adobe.com/exif/1.0/}DateTimeOriginal",
    "{http://ns.adobe.com/photoshop/1.0/}DateCreated",
    "{http://ns.adobe.com/xap/1.0/}CreateDate",
    "{http://ns.adobe.com/exif/1.0/}DateTimeDigitized",
)


def date_from_xmp(packet: bytes) -> datetime | None:
    """Return when the photo was taken; None if the packet has no date or is invalid.

    Packets with a DTD are rejected, since entities can be used to exhaust memory.
    """
    if len(packet) > MAX_PACKET_BYTES or b"<!D" in packet.replace(b"\0", b""):
        return None
    is_utf_16 = packet.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        root = ElementTree.fromstring(  # noqa: S314  (without a DTD there are no entities)
            packet if is_utf_16 else packet.strip(b"\0\r\n\t ")
        )
    except (ElementTree.ParseError, ValueError, LookupError):  # LookupError: an unknown encoding
        return None
    texts: dict[str, str] = {}
    for element in root.iter():
        for name, text in ((element.tag, element.text or ""), *element.items()):
            if name in DATES:
                texts.setdefault(name, text)
    dates = (date_from_iso_text(texts[name]) for name in DATES if name in texts)
    return next((date for date in dates if date is not None), None)


def iter_sidecars(photo: Path) -> Iterator[bytes]:
    """Read the XMP files beside a photo, a.jpg.xmp before a.xmp; unreadable ones are skipped."""
    for name, ending in product((photo.name, photo.stem), (".xmp", ".XMP")):
        try:
            path = photo.with_name(name + ending)
            if stat.S_ISREG(path.stat().st_mode):
                with path.open("rb") as file:
                    yield file.read(MAX_PACKET_BYTES + 1)
        except OSError:
            continue
