"""Errors as RFC 9457 problem details."""

from __future__ import annotations

from pydantic import ConfigDict

from search.records import Record


class Problem(Record):
    """An RFC 9457 problem."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "there is nothing at /v1/nothing; /openapi.json lists all routes",
                    "error": "UsageError",
                }
            ]
        }
    )

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    error: str  # a class of search/errors.py, for programs
    remedy: str | None = None  # what to do, as a key of search/errors.py, for programs
    advice: str | None = None  # what to do, for people
