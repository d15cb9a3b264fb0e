"""Parse points and boxes from comma-separated numbers."""

from __future__ import annotations

import math

from api.schemas.prompts import Point
from search.errors import UsageError
from search.records import Box


def point_from_text(text: str) -> Point:
    """Parse `X,Y` or `X,Y,LABEL` (1: inside, 0: outside).

    Raises:
        UsageError: it is malformed.
    """
    numbers = numbers_from_text(text)
    if len(numbers) in (2, 3) and all(label in (0, 1) for label in numbers[2:]):
        return Point(x=numbers[0], y=numbers[1], label=int([*numbers, 1][2]))
    raise UsageError(f"{text!r}: a point is X,Y or X,Y,0 (0: outside)")


def box_from_text(text: str) -> Box:
    """Parse `X,Y,W,H`.

    Raises:
        UsageError: it is malformed.
    """
    numbers = numbers_from_text(text)
    if len(numbers) != 4:
        raise UsageError(f"{text!r}: a box is X,Y,W,H: left, top, width, height in pixels")
    return Box(*numbers)


def numbers_from_text(text: str) -> list[float]:
    """Parse comma-separated numbers; an empty list if one is malformed or not finite."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return []
    return numbers if all(math.isfinite(number) for number in numbers) else []
