"""What routes have in common: the library as an argument, pictures and problems as answers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.library import Library
from api.problems import MEDIA_TYPE
from search.errors import UnknownIdError
from search.records import Id, Segment

# Ids derive from content: what they name never changes, and only this user's browser keeps it.
UNCHANGING = {"Cache-Control": "private, max-age=86400, immutable"}
MAX_LONG_SIDE_PX = 20_000

_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_REASONS = {
    404: "Nothing has that id, or no file of the photo is in reach.",
    413: "More bytes or pixels than are taken.",
    422: "The request makes no sense; `detail` says why.",
    503: "A model or the vector store can't be had.",
}

LongSide = Annotated[
    int | None,
    Query(
        ge=1,
        le=MAX_LONG_SIDE_PX,
        description="Long side in pixels; never enlarged. Absent: full size.",
    ),
]


async def _library(request: Request) -> Library:
    library: Library = request.app.state.library
    return library


LibraryHere = Annotated[Library, Depends(_library)]


class PngResponse(Response):
    """A PNG picture."""

    media_type = "image/png"


class JpegResponse(Response):
    """A JPEG picture."""

    media_type = "image/jpeg"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that a route may answer with, for OpenAPI."""
    return {status: {"description": _REASONS[status], "content": _PROBLEM} for status in statuses}


def stored_segment(library: Library, segment_id: Id) -> Segment:
    """Return a segment with its mask.

    Raises:
        UnknownIdError: there is no such segment.
    """
    found = library.index().segments([segment_id], with_masks=True)
    if not found:
        raise UnknownIdError(f"there is no segment {segment_id} in this library")
    return found[0]
