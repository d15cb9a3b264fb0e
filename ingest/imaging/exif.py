"""What a photo's EXIF says of when, with what and where it was taken.

Cameras, phones and editors write all sorts of things into EXIF. Nothing in it can make a photo
unusable: what makes no sense is treated as absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from ingest.imaging.dates import date_from_exif_text
from search.records import Place

Tags = Mapping[int, object]

_USED: dict[IFD | None, tuple[int, ...]] = {  # by branch of EXIF; no number occurs twice
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

_TAKEN = (  # each with its UTC offset and fraction of a second; the first that makes sense counts
    (Base.DateTimeOriginal, Base.OffsetTimeOriginal, Base.SubsecTimeOriginal),
    (Base.DateTimeDigitized, Base.OffsetTimeDigitized, Base.SubsecTimeDigitized),  # of a scan
)
_SAVED = ((Base.DateTime, Base.OffsetTime, Base.SubsecTime),)

CAMERA_CHARACTERS = 100  # the longest real names have about 40


def load_exif(image: Image.Image) -> Tags:
    """Return the tags that segsearch uses, without those that are absent or damaged.

    Reading is forgiving tag by tag: Pillow lets many kinds of error through, and damaged EXIF
    doesn't spoil the pixels.
    """
    found = {tag: _tag(image, branch, tag) for branch, tags in _USED.items() for tag in tags}
    return {tag: value for tag, value in found.items() if value is not None}


def _tag(image: Image.Image, branch: IFD | None, tag: int) -> object:
    try:
        exif = image.getexif()
        return exif.get(tag) if branch is None else exif.get_ifd(branch).get(tag)
    except Exception:  # whatever it is, this tag can't be had
        return None


def taken_at_from_tags(tags: Tags) -> datetime | None:
    """Return when a photo was taken, else digitized; None where neither makes sense."""
    return _first_date(tags, _TAKEN)


def saved_at_from_tags(tags: Tags) -> datetime | None:
    """Return when a program saved a photo."""
    return _first_date(tags, _SAVED)


def _first_date(tags: Tags, names: Sequence[tuple[int, int, int]]) -> datetime | None:
    texts = ([_text(tags.get(tag)) for tag in each] for each in names)
    dates = (date_from_exif_text(date, offset, fraction) for date, offset, fraction in texts)
    return next((date for date in dates if date is not None), None)


def camera_from_tags(tags: Tags) -> str | None:
    """Return "Make Model", the make only once: "Canon" + "Canon EOS 70D" -> "Canon EOS 70D"."""
    make, model = (_text(tags.get(tag)) for tag in (Base.Make, Base.Model))
    says_make_itself = model.lower().split(" ")[0] in make.lower().split(" ")
    name = model if model and says_make_itself else f"{make} {model}".strip()
    return name[:CAMERA_CHARACTERS].strip() or None


def _text(value: object) -> str:
    """Return a tag's text without what follows a NUL, unprintable letters and doubled spaces.

    EXIF knows ASCII only, phones write UTF-8, and Pillow reads it as Latin-1.
    """
    if isinstance(value, str):
        value = _bytes_from_latin_1(value)
    if not isinstance(value, bytes):
        return ""
    stored = value.split(b"\0")[0]
    try:
        letters = stored.decode()
    except UnicodeDecodeError:
        letters = stored.decode("latin-1")
    return " ".join("".join(c if c.isprintable() else " " for c in letters).split())


def _bytes_from_latin_1(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:  # it was read as what it is
        return text.encode("utf-8", "replace")


def place_from_tags(tags: Tags) -> Place | None:
    """Return the place in decimal degrees, or None where any part is absent or out of range.

    Exactly 0, 0 is what receivers write before they know where they are: None, too.
    """
    lat = _degrees(tags.get(GPS.GPSLatitude), tags.get(GPS.GPSLatitudeRef), "NS")
    lon = _degrees(tags.get(GPS.GPSLongitude), tags.get(GPS.GPSLongitudeRef), "EW")
    if lat is None or lon is None or not (lat or lon):
        return None
    return Place(lat=lat, lon=lon) if abs(lat) <= 90 and abs(lon) <= 180 else None


def _degrees(parts: object, hemisphere: object, hemispheres: str) -> float | None:
    """Return signed degrees from (degrees, minutes, seconds) and "N", "S", "E" or "W"."""
    letter = _text(hemisphere).upper()[:1]
    if not letter or letter not in hemispheres or not isinstance(parts, tuple) or len(parts) != 3:
        return None
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    seconds = 0 if math.isnan(seconds) else seconds  # 0/0: the minutes have decimals instead
    total = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(total) or min(degrees, minutes, seconds) < 0:
        return None
    return -total if letter == hemispheres[1] else total
