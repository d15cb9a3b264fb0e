"""Conversions between photo records and SQL: filters to clauses, rows to records."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.catalog.records import Facets, PhotoRow
from search.records import Photo, PhotoFacts, Place, SearchFilter, folder_chain

FACT_COLUMNS = ("sort_at", "sort_utc", "local_at", "date_source", "camera", "lat", "lon")
WIDEST_OFFSET_S = 86_400.0  # datetime's UTC offsets are smaller


def photo_clauses(where: SearchFilter, folders: Sequence[str]) -> tuple[list[str], list[Any]]:
    """Build WHERE clauses for a filter's conditions on photos.

    Args:
        where: the filter.
        folders: the names of its folder, by all roots that contain it.
    """
    clauses: list[str] = ["NOT p.hidden"]
    values: list[Any] = []
    if where.photo_ids is not None:
        clauses.append(f"p.photo_id IN ({','.join('?' * len(where.photo_ids))})")
        values += where.photo_ids
    if where.camera is not None:
        clauses.append("p.camera = ?")
        values.append(where.camera)
    for end, operator in ((where.taken_from, ">="), (where.taken_before, "<")):
        if end is not None:
            time_clauses, time_values = _time_clauses(end, operator)
            clauses += [*time_clauses, "p.date_source != 'file'"]
            values += time_values
    if where.undated is not None:
        clauses.append(f"p.date_source {'=' if where.undated else '!='} 'file'")
    if where.folder is not None:
        one_of = " OR ".join(["g.folder = ? OR substr(g.folder, 1, ?) = ?"] * len(folders))
        clauses.append(
            "EXISTS (SELECT 1 FROM files g WHERE g.photo_id = p.photo_id AND g.state = 'present' "
            f"AND ({one_of}))"
        )
        values += [each for name in folders for each in (name, len(name) + 1, f"{name}/")]
    if where.near is not None:
        clauses.append("p.lat IS NOT NULL AND distance_m(p.lat, p.lon, ?, ?) <= ?")
        center = where.near.center
        values += [center.lat, center.lon, where.near.radius_m]
    return clauses, values


def _time_clauses(end: datetime, operator: str) -> tuple[list[str], list[Any]]:
    """Compare with one end of a time span: in UTC, or in local time if it has no UTC offset.

    Local time differs from UTC by less than a day, so the index on `sort_utc` narrows it down.
    """
    if end.tzinfo is not None:
        return [f"p.sort_utc {operator} ?"], [end.timestamp()]
    slack_s = WIDEST_OFFSET_S if operator == "<" else -WIDEST_OFFSET_S
    seconds = end.replace(tzinfo=UTC).timestamp()
    clauses = [f"p.local_at {operator} ?", f"p.sort_utc {operator} ?"]
    return clauses, [end.isoformat(), seconds + slack_s]


def photo_columns(facts: PhotoFacts) -> tuple[str | float | None, ...]:
    """Convert facts to the values of `FACT_COLUMNS`."""
    place = facts.location
    return (
        facts.sort_at.isoformat(),
        facts.sort_at.timestamp(),
        facts.sort_at.replace(tzinfo=None).isoformat(),
        facts.date_source,
        facts.camera,
        place.lat if place else None,
        place.lon if place else None,
    )


def facts_from_row(row: sqlite3.Row) -> PhotoFacts:
    """Convert a row of `photos` to facts, without folders."""
    place = Place(lat=row["lat"], lon=row["lon"]) if row["lat"] is not None else None
    return PhotoFacts(
        sort_at=datetime.fromisoformat(row["sort_at"]),
        date_source=row["date_source"],
        camera=row["camera"],
        location=place,
        hidden=bool(row["hidden"]),
    )


def photo_row(row: sqlite3.Row) -> PhotoRow:
    """Convert a row of `photos`, joined with one of its files if there is any, to a record."""
    photo = Photo(
        photo_id=row["photo_id"],
        size_wh=(row["width"], row["height"]),
        facts=facts_from_row(row),
        segmented_with=row["segmented_with"],
        segment_count=row["segment_count"],
    )
    if row["below"] is None:
        return PhotoRow(photo, None, None, None)
    below = os.fsdecode(row["below"])
    return PhotoRow(photo, Path(os.fsdecode(row["root"])) / below, row["root_id"], below)


def facets_from_rows(
    photos: Iterable[tuple[str | None, str, str]], places: Iterable[tuple[str, str]]
) -> Facets:
    """Count photos by camera, month and folder; parent folders include their subfolders.

    Args:
        photos: camera, local_at and date_source of each photo.
        places: distinct pairs of photo id and folder.
    """
    cameras, months, undated = Counter[str](), Counter[str](), 0
    for camera, local_at, source in photos:
        if source == "file":
            undated += 1
        else:
            months[local_at[: len("2024-05")]] += 1
        if camera is not None:
            cameras[camera] += 1
    above = {(photo_id, name) for photo_id, folder in places for name in folder_chain(folder)}
    folders = Counter(name for _, name in above)
    return Facets(
        cameras=dict(cameras.most_common()),
        months=dict(sorted(months.items(), reverse=True)),
        undated=undated,
        folders=dict(sorted(folders.items())),
    )
