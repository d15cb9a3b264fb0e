"""Pictures sent as multipart forms, with what is meant in them."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field, Json

from api.schemas import MAX_POINTS, Point, PromptIn, SearchOptions
from search.errors import UsageError
from search.records import Box, SearchFilter


class PictureForm(BaseModel):
    """A picture, and what is meant in it: as `prompt` (JSON), or as `point` and `box`."""

    model_config = ConfigDict(extra="forbid")

    file: UploadFile
    prompt: Json[PromptIn] | None = None
    point: Annotated[
        list[str],
        Field(max_length=MAX_POINTS, description="`x,y`, or `x,y,0` for outside; any number."),
    ] = []
    box: Annotated[str | None, Field(description="`left,top,width,height`, in pixels.")] = None

    @property
    def name(self) -> str:
        """What messages call the picture."""
        return self.file.filename or "the picture that was sent"

    def meant(self) -> PromptIn:
        """Return the prompt, however it was sent.

        Raises:
            UsageError: it was sent in both ways, or can't be read.
        """
        simple = PromptIn(
            points=tuple(point_from_text(text) for text in self.point),
            box_xywh=box_from_text(self.box) if self.box else None,
        )
        if self.prompt is None:
            return simple
        if not simple.is_empty:
            raise UsageError("give either prompt, or point and box")
        return self.prompt


class SearchForm(PictureForm, SearchOptions):
    """A picture to search with; the other fields are those of a search, `filter` as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filter: Json[SearchFilter] = SearchFilter()


class SegmentForm(PictureForm):
    """A picture to cut; the prompt says what."""

    candidates: Annotated[int, Field(ge=1, le=3)] = 3


def point_from_text(text: str) -> Point:
    """Read `x,y` or `x,y,label`.

    Raises:
        UsageError: it is neither.
    """
    numbers = _numbers(text)
    if len(numbers) in (2, 3) and all(label in (0, 1) for label in numbers[2:]):
        return Point(x=numbers[0], y=numbers[1], label=int([*numbers, 1][2]))
    raise UsageError(f"point: {text!r} is not x,y or x,y,0 (0: outside)")


def box_from_text(text: str) -> Box:
    """Read `x,y,w,h`.

    Raises:
        UsageError: it is something else.
    """
    numbers = _numbers(text)
    if len(numbers) != 4:
        raise UsageError(f"box: {text!r} is not left,top,width,height in pixels")
    return Box(*numbers)


def _numbers(text: str) -> list[float]:
    """Return the numbers of `1,2.5`; what is something else, or endless, gives none."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return []
    return numbers if all(math.isfinite(number) for number in numbers) else []
