"""Browse photos and segments: pages, facets, single records."""

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
from api.schemas.photos import Count, FacetsOut, FolderCount, PhotoOut, PhotosResponse
from api.schemas.search import SearchWords
from api.schemas.segments import SegmentOut, SegmentsResponse
from api.services.responses import photo_out, segment_out
from ingest.catalog.ledger import sort_key
from ingest.catalog.records import text_from_name
from search.errors import FilterError, UnknownIdError, UsageError
from search.query import MAX_LIMIT
from search.records import (
    CANONICAL,
    Fraction,
    GeoCircle,
    Moment,
    Place,
    Record,
    SearchFilter,
    Segment,
)

MAX_PHOTOS = 1000


def _with_plus(text: object) -> object:
    """Restore the plus sign of a UTC offset: unescaped in a URL, it arrives as a space."""
    return re.sub(r" (\d\d:?\d\d)$", r"+\1", text) if isinstance(text, str) else text


QueryMoment = Annotated[Moment, BeforeValidator(_with_plus)]


class FacetsQuery(Record):
    """Filters of photos, as query parameters."""

    folder: Annotated[
        str | None, Field(description="`ROOT_ID` or `ROOT_ID/sub/folder`, with subfolders.")
    ] = None
    camera: str | None = None
    taken_from: Annotated[
        QueryMoment | None,
        Field(
            description="2024-05-01 or 2024-05-01T18:00:00: the photo's local time. With a UTC "
            "offset, as in 2024-05-01T00:00:00Z: absolute time."
        ),
    ] = None
    taken_before: Annotated[
        QueryMoment | None, Field(description="Like taken_from, exclusive.")
    ] = None
    undated: Annotated[
        bool | None,
        Field(description="true: only photos without a known date."),
    ] = None
    near: Annotated[
        str | None, Field(description="`lat,lon,radius_m`, as in `52.52,13.40,5000`.")
    ] = None

    def where(self) -> SearchFilter:
        """Convert to a filter.

        Raises:
            FilterError: it contradicts itself, or a part is malformed.
        """
        near = circle_from_text(self.near) if self.near else None
        fields = self.model_dump(include=set(SearchFilter.model_fields))
        try:
            return SearchFilter.model_validate({**fields, "near": near})
        except ValidationError as error:
            problem = error.errors()[0]
            raise FilterError(str(problem["msg"]).removeprefix("Value error, ")) from error


class PhotosQuery(FacetsQuery):
    """Filters of photos, and a page."""

    limit: Annotated[int, Field(ge=1, le=MAX_PHOTOS)] = 100
    cursor: Annotated[str | None, Field(description="`cursor` of the previous page.")] = None


class ExportQuery(FacetsQuery):
    """Filters of segments; with `text`, the hits of a search."""

    min_area_fraction: Fraction | None = None
    max_area_fraction: Fraction | None = None
    min_predicted_iou: float | None = None
    min_stability_score: float | None = None
    text: Annotated[
        SearchWords | None, Field(description="Only the hits of a search for this text.")
    ] = None
    limit: Annotated[
        int, Field(ge=1, le=MAX_LIMIT, description="Maximum number of hits with `text`.")
    ] = 100


def circle_from_text(text: str) -> GeoCircle:
    """Parse `lat,lon,radius_m`.

    Raises:
        FilterError: it is malformed or out of range.
    """
    try:
        lat, lon, radius_m = (float(part) for part in text.split(","))
        return GeoCircle(center=Place(lat=lat, lon=lon), radius_m=radius_m)
    except ValueError as error:  # pydantic's ValidationError is one
        raise FilterError(
            f"near is lat,lon,radius_m in degrees and meters, as in 52.52,13.40,5000; not {text!r}"
        ) from error


def photos_page(library: Library, query: PhotosQuery) -> PhotosResponse:
    """Return one page of the photos that are not hidden.

    Raises:
        UsageError: the filter or the cursor is malformed.
    """
    after = key_from_cursor(query.cursor) if query.cursor else None
    rows = library.ledger().photos(query.where(), limit=query.limit + 1, after=after)
    shown = rows[: query.limit]
    more = cursor_from_key(sort_key(shown[-1])) if len(rows) > query.limit else None
    return PhotosResponse(photos=tuple(photo_out(row) for row in shown), cursor=more)


def facets_out(library: Library, query: FacetsQuery) -> FacetsOut:
    """Count the photos that match a filter by camera, month and folder.

    Raises:
        FilterError: the filter is malformed.
    """
    found = library.ledger().facets(query.where())
    roots = {root.root_id: text_from_name(root.path.name) for root in library.ledger().roots()}
    return FacetsOut(
        cameras=tuple(Count(value=name, count=count) for name, count in found.cameras.items()),
        months=tuple(Count(value=name, count=count) for name, count in found.months.items()),
        undated=found.undated,
        folders=tuple(
            FolderCount(folder=name, name=_folder_name(name, roots), count=count)
            for name, count in found.folders.items()
        ),
    )


def segment_by_id(library: Library, segment_id: str) -> Segment:
    """Return a segment with its mask.

    Raises:
        UnknownIdError: there is no such segment.
    """
    found = library.index().segments([segment_id], with_masks=True)
    if not found:
        raise UnknownIdError(f"there is no segment {segment_id} in this library")
    return found[0]


def segments_of_photo(
    library: Library, photo_id: str, *, with_masks: bool = False
) -> SegmentsResponse:
    """Return every segment of a photo, largest first.

    Raises:
        UnknownIdError: there is no such photo.
    """
    library.ledger().photo(photo_id)
    found = library.index().segments_of(photo_id, with_masks=with_masks)
    return SegmentsResponse(segments=tuple(segment_out(segment) for segment in found))


def photo_or_segment(library: Library, record_id: str) -> PhotoOut | SegmentOut:
    """Return the photo or the segment with this id.

    Raises:
        UnknownIdError: there is neither.
    """
    try:
        return photo_out(library.ledger().photo(record_id))
    except UnknownIdError:
        found = library.index().segments([record_id], with_masks=True)
    if not found:
        raise UnknownIdError(f"there is no photo or segment {record_id} in this library")
    return segment_out(found[0])


def _folder_name(folder: str, roots: Mapping[str, str]) -> str:
    """The last part of a folder; for a root, the name of its folder on disk."""
    last = folder.rpartition("/")[2]
    return roots.get(last, last) if last == folder else last


def cursor_from_key(key: tuple[float, str]) -> str:
    """The cursor of the page after a photo, from the photo's `sort_key`."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def key_from_cursor(cursor: str) -> tuple[float, str]:
    """The `sort_key` in a cursor.

    Raises:
        UsageError: it is malformed.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        seconds, photo_id = json.loads(base64.urlsafe_b64decode(padded.encode()))
        if CANONICAL.fullmatch(photo_id) and math.isfinite(seconds):
            return float(seconds), photo_id
    except (ValueError, TypeError, OverflowError, binascii.Error, RecursionError):
        pass
    raise UsageError(f"{cursor!r} is not a cursor; pass the `cursor` of the previous page")
