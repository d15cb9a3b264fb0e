"""Ingest jobs of a server: one at a time, each in its own process.

The child process is `segsearch ingest --progress json`, which writes through the server. If it
crashes (a decoder, out of memory), the server keeps running, and the next ingest resumes where it
stopped. Everything here runs in the server's event loop.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from api.library.library import Library
from api.schemas.jobs import IngestRequest, JobOut, ProgressLine
from api.settings import Settings
from ingest.catalog.ledger import Ledger
from ingest.catalog.records import Root
from ingest.scanning.scopes import below_root
from search.errors import OwnedError, UnknownIdError, UsageError

MAX_FINISHED = 50  # finished jobs that are kept
STOP_TIMEOUT_S = 20.0  # the current photo is finished first
MAX_LINE_BYTES = 1_000_000  # of a line on the child's stdout; normal ones have some hundred
STDERR_TAIL_BYTES = 4_000
NICENESS = 10  # searches go first: on a busy core an ingest gets about a tenth
EXIT_DONE, EXIT_SKIPPED = 0, 3
# -P: do not import a folder named `api` in the current directory.
INGEST = (sys.executable, "-P", "-m", "api.cli.main", "ingest", "--progress", "json")
SETTINGS_GROUPS = frozenset(("library", "models", "masks", "ingest", "server"))
UNEXPECTED = "it failed unexpectedly; the server's log says more"
_logger = logging.getLogger(__name__)


@dataclass
class Job:
    """An ingest, its process while it runs, and an event for those who follow it."""

    out: JobOut
    child: Child | None = None
    is_cancelled: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def update(self, **fields: object) -> None:
        """Update the job and wake those who follow it."""
        self.out = self.out.model_copy(update=fields)
        self.changed.set()
        self.changed = asyncio.Event()


class Jobs:
    """The running job, and the finished ones."""

    def __init__(
        self,
        command: Sequence[str] = INGEST,
        environment: Mapping[str, str] | None = None,
        *,
        stop_timeout_s: float = STOP_TIMEOUT_S,
        max_finished: int = MAX_FINISHED,
    ) -> None:
        """Configure how to run an ingest.

        Args:
            command: of the child process; the paths are appended.
            environment: of the child process; by default that of this process.
            stop_timeout_s: a child that was asked to stop is killed after this time.
            max_finished: number of finished jobs to keep.
        """
        self._command = tuple(command)
        self._environment = environment
        self._stop_timeout_s = stop_timeout_s
        self._max_finished = max_finished
        self._jobs: dict[str, Job] = {}
        self._running: Job | None = None
        self._work: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    def for_library(cls, library: Library) -> Jobs:
        """Create the jobs of a served library."""
        return cls(environment=environment_of(library))

    def all(self) -> tuple[JobOut, ...]:
        """All jobs that are kept, newest first."""
        return tuple(job.out for job in reversed(self._jobs.values()))

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            UnknownIdError: there is none, or it is no longer kept.
        """
        if job_id not in self._jobs:
            raise UnknownIdError(f"there is no job {job_id}; GET /v1/jobs lists all jobs")
        return self._jobs[job_id]

    def start(self, request: IngestRequest, paths: Sequence[Path]) -> JobOut:
        """Start to ingest paths from `paths_to_ingest`.

        Raises:
            OwnedError: another job is running, or the server is shutting down.
        """
        if self._closed:
            raise OwnedError("the server is shutting down; start the ingest after its restart")
        if self._running is not None:
            running = self._running.out.job_id
            raise OwnedError(
                f"job {running} is running, and only one can. Wait for its end, or stop it with "
                f"DELETE /v1/jobs/{running}."
            )
        out = JobOut(
            job_id=str(uuid.uuid4()),  # two runs over the same folder are two jobs
            state="running",
            root_id=request.root_id,
            path=request.path,
            started_at=datetime.now(UTC),
        )
        self._running = self._jobs[out.job_id] = job = Job(out)
        for old in list(self._jobs)[: -self._max_finished - 1]:
            del self._jobs[old]
        self._work = asyncio.create_task(self._run(job, [os.fspath(path) for path in paths]))
        return out

    async def follow(self, job: Job) -> AsyncIterator[JobOut]:
        """Yield the state of a job at once and at each change, until it has ended."""
        while True:
            changed, state = job.changed, job.out
            yield state
            if state.state != "running":
                return
            await changed.wait()

    def cancel(self, job: Job) -> None:
        """Ask a running job to stop, as Ctrl-C does; kill it after the timeout."""
        if job is not self._running or self._work is None or job.is_cancelled:
            return
        job.is_cancelled = True
        if job.child is not None:
            job.child.interrupt()
        kill = asyncio.get_running_loop().call_later(self._stop_timeout_s, _kill, job)
        self._work.add_done_callback(lambda _: kill.cancel())

    async def close(self) -> None:
        """Stop the running job and accept no more."""
        self._closed = True
        if self._running is not None:
            self.cancel(self._running)
        if self._work is not None:
            await self._work

    async def _run(self, job: Job, paths: Sequence[str]) -> None:
        try:
            ended = await self._run_child(job, paths)
        except Exception:
            _logger.exception("job %s failed", job.out.job_id)
            _kill(job)
            ended = {"state": "failed", "message": UNEXPECTED}
        self._running = None
        job.update(**ended)

    async def _run_child(self, job: Job, paths: Sequence[str]) -> dict[str, object]:
        """Run the child process to its end; return the final `state` and `message`."""
        loop = asyncio.get_running_loop()
        job.child = child = Child(job, loop.create_future())
        await loop.subprocess_exec(
            lambda: child,
            *self._command,
            *paths,
            stdin=asyncio.subprocess.DEVNULL,
            env=self._environment,
            start_new_session=True,  # Ctrl-C stops the server, which then stops the child
        )
        if job.is_cancelled:  # while the process was starting
            child.interrupt()
        code = await child.code
        if code in (EXIT_DONE, EXIT_SKIPPED):
            return {"state": "done"}
        if job.is_cancelled:
            return {"state": "cancelled", "message": None}
        return {"state": "failed", "message": _reason(job, code)}


class Child(asyncio.SubprocessProtocol):
    """The process of a job: its output and its exit code."""

    def __init__(self, job: Job, code: asyncio.Future[int]) -> None:
        """Create the protocol; `code` is set after all output was read."""
        self._job = job
        self.code = code
        self._process: asyncio.SubprocessTransport | None = None
        self._line = b""  # the incomplete last line of stdout
        self.stderr_tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport and lower the process's priority."""
        self._process = cast(asyncio.SubprocessTransport, transport)
        with suppress(ProcessLookupError, PermissionError):  # it has ended, or is not permitted
            niceness = os.getpriority(os.PRIO_PROCESS, 0) + NICENESS
            os.setpriority(os.PRIO_PROCESS, self._process.get_pid(), niceness)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Read progress from stdout, and keep the end of stderr."""
        if fd != 1:
            self.stderr_tail = (self.stderr_tail + data)[-STDERR_TAIL_BYTES:]
            return
        *lines, self._line = (self._line + data).split(b"\n")
        self._line = self._line[-MAX_LINE_BYTES:]
        for line in lines:
            _read_progress(self._job, line)

    def process_exited(self) -> None:
        """Kill its own child processes, which would keep its output open."""
        self.kill()

    def connection_lost(self, _: Exception | None) -> None:
        """Set the exit code."""
        assert self._process is not None
        self.code.set_result(self._process.get_returncode() or 0)
        self._process.close()

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C does."""
        if self._process is not None and self._process.get_returncode() is None:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill its process group."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.get_pid(), signal.SIGKILL)


def environment_of(library: Library) -> dict[str, str]:
    """The environment for a child process with the same library and settings.

    Not flags: API keys must not show up in the process list.
    """
    settings = library.requested
    prefix = str(settings.model_config["env_prefix"])
    names = settings.model_fields_set & _child_settings()
    values = settings.model_dump(mode="json", include=names)
    variables = {
        f"{prefix}{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in {**values, "library": os.fspath(library.folder)}.items()
        if value is not None
    }
    return {**os.environ, **variables}


def _child_settings() -> set[str]:
    return {
        name
        for name, field in Settings.model_fields.items()
        if isinstance(field.json_schema_extra, dict)
        and field.json_schema_extra["group"] in SETTINGS_GROUPS
    }


def paths_to_ingest(library: Library, request: IngestRequest) -> list[Path]:
    """The paths that a request names: the ingested roots, or a path below one.

    Raises:
        UnknownIdError: there is no such root.
        UsageError: the path does not exist, or is outside the root.
    """
    ledger = library.ledger()
    roots = ledger.roots()
    if request.root_id is None:
        if not roots:
            raise UsageError("no folder was ingested yet; start with `segsearch ingest FOLDER`")
        return [root.path for root in roots]
    root = next((root for root in roots if root.root_id == request.root_id), None)
    if root is None:
        raise UnknownIdError(f"there is no root {request.root_id}; GET /v1/library lists them")
    return [_path_below(root, request.path, ledger)]


def _path_below(root: Root, below: str, ledger: Ledger) -> Path:
    """The real path below a root; it must exist or be in the ledger."""
    if below.startswith("/") or "\0" in below or ".." in below.split("/"):
        raise UsageError(f"path: {below!r} is not below the root; give it as sub/folder")
    path = Path(os.path.realpath(root.path / below))
    if not path.is_relative_to(root.path):
        raise UsageError(f"path: {below!r} is a link to a path outside the root")
    is_there = os.path.exists(path)  # noqa: PTH110  (Path.exists raises if the name is too long)
    if not is_there and not ledger.knows_of(root, below_root(root, path)):
        raise UsageError(f"path: there is no {below!r} below the root")
    return path


def _kill(job: Job) -> None:
    if job.child is not None:
        job.child.kill()


def _read_progress(job: Job, line: bytes) -> None:
    """Update a job from a progress line; other output is ignored."""
    try:
        progress = ProgressLine.model_validate_json(line)
    except ValidationError:
        return
    message = " ".join(progress.notices) or None
    job.update(message=message, **progress.model_dump(exclude={"notices", "ended"}))


def _reason(job: Job, code: int) -> str:
    """The error message of a failed child; unexpected output is only logged."""
    stderr = job.child.stderr_tail.decode("utf-8", "replace").strip() if job.child else ""
    last = stderr.splitlines()[-1] if stderr else ""
    if last.startswith("segsearch: "):
        return last.removeprefix("segsearch: ")
    _logger.error("job %s ended with %d: %s", job.out.job_id, code, stderr)
    if code == -signal.SIGKILL:
        return "it was killed, perhaps out of memory; start it again to resume"
    return UNEXPECTED
