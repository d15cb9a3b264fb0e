"""SearchFilter to conditions on payload keys; engines translate these to their own filters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from search.index.base import Collection
from search.index.payload import DATED, PAYLOAD_FORMAT, SHOWN, UNDATED
from search.records import GeoCircle, SearchFilter


class Match(NamedTuple):
    """The value of a keyword key (or one of its values) is one of these."""

    key: str
    values: tuple[str, ...]


class NumberRange(NamedTuple):
    """The value of a float key is within these bounds."""

    key: str
    gte: float | None = None
    lte: float | None = None


class TimeRange(NamedTuple):
    """The value of a datetime key is at or after `gte` and before `lt`."""

    key: str
    gte: datetime | None = None
    lt: datetime | None = None


class GeoRadius(NamedTuple):
    """The value of a geo key is within a circle."""

    key: str
    circle: GeoCircle


class HasVector(NamedTuple):
    """The point has the named vector, or lacks it."""

    name: str
    present: bool


Condition = Match | NumberRange | TimeRange | GeoRadius | HasVector


def conditions_from_filter(
    where: SearchFilter, collection: Collection, payload_format: int = PAYLOAD_FORMAT
) -> list[Condition]:
    """Conditions that must all hold; those on mask quality and area apply to segments only.

    Points of payload format 1 have one date, with its UTC offset, and no `date_source`.
    """
    found: list[Condition] = [Match("visibility", (SHOWN,))]
    if where.photo_ids is not None:
        found.append(Match("photo_id", where.photo_ids))
    if where.folder is not None:
        found.append(Match("folders", (where.folder,)))
    if where.camera is not None:
        found.append(Match("camera", (where.camera,)))
    if payload_format == 1:
        found += _time_ranges_of_format_1(where)
    else:
        found += _time_ranges(where)
    if where.undated or (where.undated is not None and payload_format > 1):
        found.append(Match("date_source", UNDATED if where.undated else DATED))
    if where.near is not None:
        found.append(GeoRadius("location", where.near))
    if collection == "segments":
        found += [
            NumberRange(key, low, high)
            for key, low, high in (
                ("area_fraction", where.min_area_fraction, where.max_area_fraction),
                ("predicted_iou", where.min_predicted_iou, None),
                ("stability_score", where.min_stability_score, None),
            )
            if low is not None or high is not None
        ]
    return found


def _time_ranges(where: SearchFilter) -> list[Condition]:
    """Bounds without a UTC offset filter local time, bounds with one filter moments."""
    ends = (("gte", where.taken_from), ("lt", where.taken_before))
    local = {name: at.replace(tzinfo=UTC) for name, at in ends if at and at.tzinfo is None}
    moments = {name: at for name, at in ends if at and at.tzinfo is not None}
    ranges = (("local_at", local), ("taken_at", moments))
    return [TimeRange(key, **bounds) for key, bounds in ranges if bounds]


def _time_ranges_of_format_1(where: SearchFilter) -> list[Condition]:
    """A range of moments; a bound without a UTC offset counts as UTC."""
    ends = (where.taken_from, where.taken_before)
    start, end = (at.replace(tzinfo=at.tzinfo or UTC) if at else None for at in ends)
    return [TimeRange("sort_at", start, end)] if start or end else []
