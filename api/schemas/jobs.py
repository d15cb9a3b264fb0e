"""Ingest jobs and their progress."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from ingest.stats import IngestCounts, IngestSummary
from search.records import Record


class IngestRequest(Record):
    """What to ingest: everything, one root, or a folder or file below a root."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{}, {"root_id": "9197b730"}, {"root_id": "9197b730", "path": "2024/trip"}]
        }
    )

    root_id: Annotated[
        str | None, Field(max_length=64, description="An id from `/v1/library`; null: all roots.")
    ] = None
    path: Annotated[
        str,
        Field(
            max_length=4096, description="Relative to that root, with `/`; empty: the whole root."
        ),
    ] = ""

    @model_validator(mode="after")
    def _check_path_has_root(self) -> IngestRequest:
        if self.path and self.root_id is None:
            raise ValueError("path is relative to a root: give root_id too")
        return self


class JobOut(IngestCounts):
    """An ingest job and its progress."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "job_id": "7b0f2f1e-6d8c-4c55-9d0e-2f6f2a6a7f10",
                    "state": "running",
                    "root_id": "9197b730",
                    "path": "2024/trip",
                    "started_at": "2024-05-01T12:00:00Z",
                    "photos_seen": 40,
                    "photos_through": 10,
                    "photos_ingested": 8,
                    "photos_skipped": 1,
                    "segments": 300,
                    "seconds": 5.2,
                    "message": None,
                }
            ]
        }
    )

    job_id: str
    state: Literal["running", "done", "failed", "cancelled"]
    root_id: str | None
    path: str
    started_at: datetime
    message: str | None = None  # why it failed, or a notice


class JobsOut(Record):
    """The running job and the latest finished ones, newest first."""

    jobs: tuple[JobOut, ...]


class ProgressLine(IngestCounts):
    """One line of `segsearch ingest --progress json`."""

    notices: tuple[str, ...] = ()
    ended: bool = False


def last_line(summary: IngestSummary) -> ProgressLine:
    """The last line of a run."""
    counts = summary.model_dump(include=set(IngestCounts.model_fields))
    return ProgressLine(**counts, notices=summary.notices, ended=True)
