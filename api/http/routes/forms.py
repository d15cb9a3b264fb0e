"""Images and prompts sent as multipart forms."""

from __future__ import annotations

from typing import Annotated

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field, Json

from api.schemas.parsing import box_from_text, point_from_text
from api.schemas.prompts import MAX_POINTS, PromptIn
from api.schemas.search import SearchOptions
from search.errors import UsageError
from search.records import SearchFilter


class ImageForm(BaseModel):
    """An image with a prompt: as `prompt` (JSON), or as `point` and `box`."""

    model_config = ConfigDict(extra="forbid")

    file: UploadFile
    prompt: Json[PromptIn] | None = None
    point: Annotated[
        list[str],
        Field(
            max_length=MAX_POINTS,
            description="`x,y`, or `x,y,0` for a point outside the segment; repeatable.",
        ),
    ] = []
    box: Annotated[str | None, Field(description="`left,top,width,height`, in pixels.")] = None

    @property
    def name(self) -> str:
        """The file name for messages."""
        return self.file.filename or "the uploaded image"

    def parse_prompt(self) -> PromptIn:
        """The prompt of either form.

        Raises:
            UsageError: it was sent in both forms, or is malformed.
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


class SearchForm(ImageForm, SearchOptions):
    """An image to search with; the other fields are those of a search, `filter` as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filter: Json[SearchFilter] = SearchFilter()


class SegmentForm(ImageForm):
    """An image to segment by a prompt."""

    candidates: Annotated[int, Field(ge=1, le=3)] = 3
