"""Going through the photos of a library, newest first, page by page."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError

from api.library.library import Library
from api.schemas.photos import Count, FacetsOut, FolderCount, PhotosResponse
from api.schemas.search import SearchWords
from api.services.responses import photo_out
from ingest.catalog.ledger import sort_key
from ingest.catalog.records import letters_of
from search.errors import FilterError, UsageError
from search.query import MAX_LIMIT
from search.records import CANONICAL, Fraction, GeoCircle, Moment, Place, Record, SearchFilter

MAX_PHOTOS = 1000


def _with_plus(text: object) -> object:
    """Give a time in an address its plus sign back: unescaped, it arrives as a space."""
    return re.sub(r" (\d\d:?\d\d)$", r"+\1", text) if isinstance(text, str) else text


QueryMoment = Annotated[Moment, BeforeValidator(_with_plus)]


class FacetsQuery(Record):
    """Which photos."""

    folder: Annotated[
        str | None, Field(description="`ROOT_ID` or `ROOT_ID/sub/folder`; what lies below counts.")
    ] = None
    camera: str | None = None
    taken_from: Annotated[
        QueryMoment | None,
        Field(
            description="2024-05-01 or 2024-05-01T18:00:00: by the photo's own clock. With a UTC "
            "offset, as in 2024-05-01T00:00:00Z: that moment."
        ),
    ] = None
    taken_before: Annotated[QueryMoment | None, Field(description="As taken_from.")] = None
    undated: Annotated[
        bool | None,
        Field(description="true: only photos of which nothing says when they were taken."),
    ] = None
    near: Annotated[
        str | None, Field(description="`lat,lon,radius_m`, as in `52.52,13.40,5000`.")
    ] = None

    def where(self) -> SearchFilter:
        """Return the filter.

        Raises:
            FilterError: it contradicts itself, or a part can't be read.
        """
        near = circle_from_text(self.near) if self.near else None
        said = self.model_dump(include=set(SearchFilter.model_fields))
        try:
            return SearchFilter.model_validate({**said, "near": near})
        except ValidationError as error:
            problem = error.errors()[0]
            raise FilterError(str(problem["msg"]).removeprefix("Value error, ")) from error


class PhotosQuery(FacetsQuery):
    """Which photos, and which page of them."""

    limit: Annotated[int, Field(ge=1, le=MAX_PHOTOS)] = 100
    cursor: Annotated[str | None, Field(description="That of the page before.")] = None


class ExportQuery(FacetsQuery):
    """Which segments: those that the filter lets through or, with `text`, what a search finds."""

    min_area_fraction: Fraction | None = None
    max_area_fraction: Fraction | None = None
    min_predicted_iou: float | None = None
    min_stability_score: float | None = None
    text: Annotated[SearchWords | None, Field(description="Only what a search for this finds.")] = (
        None
    )
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="So many hits of that search.")] = (
        100
    )


def circle_from_text(text: str) -> GeoCircle:
    """Read `lat,lon,radius_m`.

    Raises:
        FilterError: it is something else, or no place on Earth.
    """
    try:
        lat, lon, radius_m = (float(part) for part in text.split(","))
        return GeoCircle(center=Place(lat=lat, lon=lon), radius_m=radius_m)
    except ValueError as error:  # pydantic's ValidationError is one
        raise FilterError(
            f"near is lat,lon,radius_m in degrees and metres, as in 52.52,13.40,5000; not {text!r}"
        ) from error


def photos_page(library: Library, query: PhotosQuery) -> PhotosResponse:
    """Return one page of photos that are not hidden.

    Raises:
        UsageError: the filter or the cursor can't be read.
    """
    after = key_from_cursor(query.cursor) if query.cursor else None
    rows = library.ledger().photos(query.where(), limit=query.limit + 1, after=after)
    shown = rows[: query.limit]
    more = cursor_from_key(sort_key(shown[-1])) if len(rows) > query.limit else None
    return PhotosResponse(photos=tuple(photo_out(row) for row in shown), cursor=more)


def facets_out(library: Library, query: FacetsQuery) -> FacetsOut:
    """Return how many photos that a filter lets through have each camera, month and folder.

    Raises:
        FilterError: the filter can't be read.
    """
    found = library.ledger().facets(query.where())
    roots = {root.root_id: letters_of(root.path.name) for root in library.ledger().roots()}
    return FacetsOut(
        cameras=tuple(Count(value=name, count=count) for name, count in found.cameras.items()),
        months=tuple(Count(value=name, count=count) for name, count in found.months.items()),
        undated=found.undated,
        folders=tuple(
            FolderCount(folder=name, name=_folder_name(name, roots), count=count)
            for name, count in found.folders.items()
        ),
    )


def _folder_name(folder: str, roots: Mapping[str, str]) -> str:
    """Return the last part of a folder; a root goes by the name of its folder."""
    last = folder.rpartition("/")[2]
    return roots.get(last, last) if last == folder else last


def cursor_from_key(key: tuple[float, str]) -> str:
    """Return the cursor of the page that begins after a photo, from its `sort_key`."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def key_from_cursor(cursor: str) -> tuple[float, str]:
    """Return the `sort_key` in a cursor.

    Raises:
        UsageError: it is not a cursor of ours.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        seconds, photo_id = json.loads(base64.urlsafe_b64decode(padded.encode()))
        if CANONICAL.fullmatch(photo_id) and math.isfinite(seconds):
            return float(seconds), photo_id
    except (ValueError, TypeError, OverflowError, binascii.Error, RecursionError):
        """Said below."""
    raise UsageError(f"{cursor!r} is not a cursor; pass on the one of the page before")
