"""What a photo's EXIF says of when, with what and where it was taken.

Cameras, phones and editors write all sorts of things into EXIF. Nothing in it can make a photo
unusable: what makes no sense is treated as absent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

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
    ),
    IFD.GPSInfo: (GPS.GPSLatitudeRef, GPS.GPSLatitude, GPS.GPSLongitudeRef, GPS.GPSLongitude),
}

_DATES = (  # each with its UTC offset; the first that makes sense counts
    (Base.DateTimeOriginal, Base.OffsetTimeOriginal),
    (Base.DateTimeDigitized, Base.OffsetTimeDigitized),  # scans have only this one
    (Base.DateTime, Base.OffsetTime),  # when a program saved it: later, but better than the file's
)

FIRST_YEAR, LAST_YEAR = 1826, 2999  # from the first photograph on; clocks gone wild are left out
CAMERA_CHARACTERS = 100  # the longest real names have about 40
WIDEST_OFFSET = timedelta(hours=14)  # UTC+14, the Line Islands

_DATE = re.compile(r"(\d{4})[:/.-](\d\d)[:/.-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")


@dataclass(frozen=True)
class FileFacts:
    """When (with a UTC offset), with what and where a photo was taken."""

    taken_at: datetime
    camera: str | None = None
    location: Place | None = None
    is_dated: bool = True  # by EXIF, not by the file's time


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


def facts_from_exif(tags: Tags, file_time: datetime) -> FileFacts:
    """Return what the tags say; `file_time` (aware) stands in where they have no sensible date."""
    taken_at = _date_from_tags(tags)
    camera, place = _camera_from_tags(tags), _place_from_tags(tags)
    return FileFacts(taken_at or file_time, camera, place, taken_at is not None)


def _date_from_tags(tags: Tags) -> datetime | None:
    """Return the first date that makes sense: taken, else digitised, else saved; else None."""
    pairs = ((_text(tags.get(date)), _text(tags.get(offset))) for date, offset in _DATES)
    dates = (_date_from_text(date, offset) for date, offset in pairs)
    return next((date for date in dates if date is not None), None)


def _date_from_text(date: str, offset: str) -> datetime | None:
    """Return the date, or None for nonsense such as "0000:00:00 00:00:00".

    Without an offset the local time is taken as UTC: off by some hours, but the same on every
    machine, and a photo taken at noon is found at noon.
    """
    found = _DATE.match(date)
    if found is None or not FIRST_YEAR <= int(found[1]) <= LAST_YEAR:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=_offset_from_text(offset))
    except ValueError:
        return None


def _offset_from_text(text: str) -> tzinfo:
    """Return the offset of "+02:00"; UTC for "Z", nothing and nonsense."""
    found = _OFFSET.fullmatch(text)
    if found is None:
        return UTC
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    if not offset or offset > WIDEST_OFFSET:
        return UTC
    return timezone(-offset if found[1] == "-" else offset)


def _camera_from_tags(tags: Tags) -> str | None:
    """Return "Make Model", the make only once: "Canon" + "Canon EOS 70D" -> "Canon EOS 70D"."""
    make, model = (_text(tags.get(tag)) for tag in (Base.Make, Base.Model))
    says_make_itself = model.lower().split(" ")[0] in make.lower().split(" ")
    name = model if model and says_make_itself else f"{make} {model}".strip()
    return name[:CAMERA_CHARACTERS].strip() or None


def _text(value: object) -> str:
    """Return a tag's text without what follows a NUL, unprintable letters and doubled spaces."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return ""
    letters = value.split("\0")[0]
    return " ".join("".join(c if c.isprintable() else " " for c in letters).split())


def _place_from_tags(tags: Tags) -> Place | None:
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
