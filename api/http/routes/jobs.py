"""Ingest jobs: start, follow, stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.http.routes.shared import JsonRoute, LibraryDep, problems
from api.schemas.jobs import IngestRequest, JobOut, JobsOut
from api.services.jobs import Job, Jobs, paths_to_ingest
from search.records import Id

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=JsonRoute)


async def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


JobsDep = Annotated[Jobs, Depends(_jobs)]


async def _job(jobs: JobsDep, job_id: Id) -> Job:
    return jobs.get(job_id)


JobDep = Annotated[Job, Depends(_job)]


def _paths(library: LibraryDep, body: IngestRequest) -> list[Path]:
    """Check the paths in a worker thread; the job itself starts in the event loop."""
    return paths_to_ingest(library, body)


@router.post(
    "/ingest",
    status_code=202,
    summary="Bring the library up to date",
    responses=problems(404, 409, 422),
)
async def ingest(
    jobs: JobsDep,
    body: IngestRequest,
    paths: Annotated[list[Path], Depends(_paths)],
    response: Response,
) -> JobOut:
    """Start an ingest of new, changed, moved and deleted photos; only one can run at a time."""
    job = jobs.start(body, paths)
    response.headers["Location"] = f"/v1/jobs/{job.job_id}"
    return job


@router.get("/jobs", summary="The running and the finished jobs")
async def jobs(jobs: JobsDep) -> JobsOut:
    """Return jobs, newest first; old ones, and those before a restart, are not kept."""
    return JobsOut(jobs=jobs.all())


@router.get("/jobs/{job_id}", summary="One job", responses=problems(404, 422))
async def job(job: JobDep) -> JobOut:
    """Return the progress of a job."""
    return job.out


@router.delete(
    "/jobs/{job_id}", status_code=202, summary="Stop a job", responses=problems(404, 422)
)
async def stop(jobs: JobsDep, job: JobDep) -> JobOut:
    """Ask a job to stop; finished photos stay. A job that has ended is returned as it is."""
    jobs.cancel(job)
    return job.out


@router.get(
    "/jobs/{job_id}/events",
    summary="Progress of a job as an event stream",
    response_class=EventSourceResponse,
    responses=problems(404, 422),
)
async def events(jobs: JobsDep, job: JobDep) -> AsyncIterator[ServerSentEvent]:
    """Send `progress` events: at once, at each change, and a last one at the end.

    The data of each is the job as JSON. Comments keep an idle connection open.
    """
    async for state in jobs.follow(job):
        yield ServerSentEvent(event="progress", raw_data=state.model_dump_json())
