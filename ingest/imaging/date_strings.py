"""Parsing of dates as cameras and programs write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime

FIRST_YEAR, LAST_YEAR = 1826, 2999  # 1826: the first photograph
WIDEST_OFFSET = timedelta(hours=14)  # UTC+14, the Line Islands
MICROSECOND_DIGITS = 6

_EXIF_DATE = re.compile(r"(\d{4})[:/.-](\d\d)[:/.-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_ISO_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?)?)?"
    r" ?(Z|[+-]\d\d:?\d\d)?"
)
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")


def date_from_exif_text(date: str, offset: str = "", fraction: str = "") -> datetime | None:
    """Parse an EXIF date; None if invalid, such as "0000:00:00 00:00:00".

    Without an offset local time is taken as UTC: wrong by some hours, but the same on every
    machine, and a photo taken at noon is found at noon.

    Args:
        date: "2021:07:04 18:30:05", or with other separators.
        offset: from UTC, "+02:00".
        fraction: decimal digits of the seconds.
    """
    found = _EXIF_DATE.match(date)
    if found is None:
        return None
    return _date([int(part) for part in found.groups()], fraction, offset)


def date_from_iso_text(text: str) -> datetime | None:
    """Parse an ISO 8601 date, "2021-07-04T18:30:05.25+02:00"; None if invalid.

    Parts missing at the end (seconds, time, day, month) get their first value.
    """
    found = _ISO_DATE.fullmatch(text.strip())
    if found is None:
        return None
    *parts, fraction, offset = found.groups()
    year, month, day, *time = parts
    numbers = [int(year), int(month or 1), int(day or 1), *(int(part or 0) for part in time)]
    return _date(numbers, fraction or "", offset or "")


def date_from_any_text(text: str) -> datetime | None:
    """Parse an ISO, EXIF or RFC 2822 date; None if invalid."""
    date = date_from_iso_text(text) or date_from_exif_text(text)
    if date is not None:
        return date
    try:
        mailed = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if not FIRST_YEAR <= mailed.year <= LAST_YEAR:
        return None
    return mailed if mailed.tzinfo else mailed.replace(tzinfo=UTC)


def _date(numbers: list[int], fraction: str, offset: str) -> datetime | None:
    year, month, day, hour, minute, second = numbers
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return None
    digits = fraction[:MICROSECOND_DIGITS] if fraction.isdecimal() and fraction.isascii() else ""
    microsecond = int(digits.ljust(MICROSECOND_DIGITS, "0"))
    try:
        return datetime(
            year, month, day, hour, minute, second, microsecond, _offset_from_text(offset)
        )
    except ValueError:
        return None


def _offset_from_text(text: str) -> tzinfo:
    """Parse "+02:00"; UTC for "Z", an empty or an invalid text."""
    found = _OFFSET.fullmatch(text)
    if found is None:
        return UTC
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    if not offset or offset > WIDEST_OFFSET:
        return UTC
    return timezone(-offset if found[1] == "-" else offset)
