"""Date, camera and location from EXIF.

Invalid EXIF never makes a photo unusable: invalid values are treated as absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from ingest.imaging.date_strings import date_from_exif_text
from search.records import Place

Tags = Mapping[int, object]

_USED: dict[IFD | None, tuple[int, ...]] = {  # by IFD; the tag numbers are distinct
    None: (Base.Orientation, Base.Make, Base.Model, Base.DateTime),
    IFD.Exif: (
        Base.DateTimeOriginal,
        Base.OffsetTimeOriginal,
        Base.DateTimeDigitized,
        Base.OffsetTimeDigitized,
        Base.OffsetTime,
        Base.SubsecTimeOriginal,
        Base.SubsecTimeDigitized,
        Base.SubsecTime,
    ),
    IFD.GPSInfo: (GPS.GPSLatitudeRef, GPS.GPSLatitude, GPS.GPSLongitudeRef, GPS.GPSLongitude),
}

_TAKEN = (  # each with its UTC offset and fraction of a second; the first valid one counts
    (Base.DateTimeOriginal, Base.OffsetTimeOriginal, Base.SubsecTimeOriginal),
    (Base.DateTimeDigitized, Base.OffsetTimeDigitized, Base.SubsecTimeDigitized),  # of a scan
)
_SAVED = ((Base.DateTime, Base.OffsetTime, Base.SubsecTime),)

CAMERA_CHARACTERS = 100  # the longest real names have about 40


def load_exif(image: Image.Image) -> Tags:
    """Read the tags that are used; absent and damaged ones are left out.

    Tags are read one by one, since Pillow raises many exceptions on damaged EXIF.
    """
    found = {tag: _tag(image, branch, tag) for branch, tags in _USED.items() for tag in tags}
    return {tag: value for tag, value in found.items() if value is not None}


def _tag(image: Image.Image, branch: IFD | None, tag: int) -> object:
    try:
        exif = image.getexif()
        return exif.get(tag) if branch is None else exif.get_ifd(branch).get(tag)
    except Exception:  # Pillow raises many types; the tag counts as absent
        return None


def taken_at_from_tags(tags: Tags) -> datetime | None:
    """Return when a photo was taken, else digitized; None if neither is valid."""
    return _first_date(tags, _TAKEN)


def saved_at_from_tags(tags: Tags) -> datetime | None:
    """Return when a program last saved a photo, or None."""
    return _first_date(tags, _SAVED)


def _first_date(tags: Tags, names: Sequence[tuple[int, int, int]]) -> datetime | None:
    texts = ([_text(tags.get(tag)) for tag in each] for each in names)
    dates = (date_from_exif_text(date, offset, fraction) for date, offset, fraction in texts)
    return next((date for date in dates if date is not None), None)


def camera_from_tags(tags: Tags) -> str | None:
    """Return "Make Model" without repetition: "Canon" + "Canon EOS 70D" -> "Canon EOS 70D"."""
    make, model = (_text(tags.get(tag)) for tag in (Base.Make, Base.Model))
    begins_with_make = model.lower().split(" ")[0] in make.lower().split(" ")
    name = model if model and begins_with_make else f"{make} {model}".strip()
    return name[:CAMERA_CHARACTERS].strip() or None


def _text(value: object) -> str:
    """Decode a tag up to a NUL, without unprintable characters and repeated spaces.

    The standard allows ASCII only, phones write UTF-8, and Pillow decodes Latin-1.
    """
    if isinstance(value, str):
        value = _bytes_from_latin_1(value)
    if not isinstance(value, bytes):
        return ""
    stored = value.split(b"\0")[0]
    try:
        text = stored.decode()
    except UnicodeDecodeError:
        text = stored.decode("latin-1")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _bytes_from_latin_1(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:  # Pillow decoded it correctly
        return text.encode("utf-8", "replace")


def place_from_tags(tags: Tags) -> Place | None:
    """Return the location in decimal degrees; None if a part is absent or out of range.

    Exactly 0, 0 is None too: receivers write it before they have a fix.
    """
    lat = _degrees(tags.get(GPS.GPSLatitude), tags.get(GPS.GPSLatitudeRef), "NS")
    lon = _degrees(tags.get(GPS.GPSLongitude), tags.get(GPS.GPSLongitudeRef), "EW")
    if lat is None or lon is None or not (lat or lon):
        return None
    return Place(lat=lat, lon=lon) if abs(lat) <= 90 and abs(lon) <= 180 else None


def _degrees(parts: object, hemisphere: object, hemispheres: str) -> float | None:
    """Convert (degrees, minutes, seconds) and "N", "S", "E" or "W" to signed degrees."""
    letter = _text(hemisphere).upper()[:1]
    if not letter or letter not in hemispheres or not isinstance(parts, tuple) or len(parts) != 3:
        return None
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    seconds = 0 if math.isnan(seconds) else seconds  # 0/0 is written beside decimal minutes
    total = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(total) or min(degrees, minutes, seconds) < 0:
        return None
    return -total if letter == hemispheres[1] else total
