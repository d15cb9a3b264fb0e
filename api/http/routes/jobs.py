"""Ingests: begun, followed, stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.http.routes.shared import LibraryHere, QuickJson, problems
from api.schemas.jobs import IngestRequest, JobOut, JobsOut
from api.services.jobs import Job, Jobs, paths_to_ingest
from search.records import Id

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=QuickJson)


async def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


JobsHere = Annotated[Jobs, Depends(_jobs)]


async def _job(jobs: JobsHere, job_id: Id) -> Job:
    return jobs.get(job_id)


JobHere = Annotated[Job, Depends(_job)]


def _paths(library: LibraryHere, body: IngestRequest) -> list[Path]:
    """Look at the disk in a thread; the job itself begins in the event loop."""
    return paths_to_ingest(library, body)


@router.post(
    "/ingest",
    status_code=202,
    summary="Bring the library up to date",
    responses=problems(404, 409, 422),
)
async def ingest(
    jobs: JobsHere,
    body: IngestRequest,
    paths: Annotated[list[Path], Depends(_paths)],
    response: Response,
) -> JobOut:
    """Begin to look for new, changed, moved and vanished photos; one such job runs at a time."""
    job = jobs.start(body, paths)
    response.headers["Location"] = f"/v1/jobs/{job.job_id}"
    return job


@router.get("/jobs", summary="The job that runs, and those that ended")
async def jobs(jobs: JobsHere) -> JobsOut:
    """Return jobs, newest first; what ended long ago, or before the server began, is forgotten."""
    return JobsOut(jobs=jobs.all())


@router.get("/jobs/{job_id}", summary="One job", responses=problems(404, 422))
async def job(job: JobHere) -> JobOut:
    """Return how far a job is."""
    return job.out


@router.delete(
    "/jobs/{job_id}", status_code=202, summary="Stop a job", responses=problems(404, 422)
)
async def stop(jobs: JobsHere, job: JobHere) -> JobOut:
    """Ask a job to stop; what it has finished stays. One that ended is returned as it is."""
    jobs.cancel(job)
    return job.out


@router.get(
    "/jobs/{job_id}/events",
    summary="How far a job is, as it happens",
    response_class=EventSourceResponse,
    responses=problems(404, 422),
)
async def events(jobs: JobsHere, job: JobHere) -> AsyncIterator[ServerSentEvent]:
    """Send `progress` events: at once, whenever something changes, and a last one at the end.

    The data of each is the job as JSON. Silence is filled with comments.
    """
    async for now in jobs.follow(job):
        yield ServerSentEvent(event="progress", raw_data=now.model_dump_json())
