"""Ingests that a server runs: one at a time, each in a process of its own.

The child is the command `segsearch ingest --progress json`, which writes through the process that
serves. What kills it (a decoder that crashes, too little memory) leaves the server as it is, and
the next ingest goes on where it stopped. All here happens in the server's event loop.
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

KEPT = 50  # jobs that ended and can still be looked at
STOPS_WITHIN_S = 20.0  # a photo that is in hand is written first
LINE_BYTES = 1_000_000  # kept of a line that the child prints; its own have some hundred
LAST_WORDS_BYTES = 4_000  # of what it says on stderr
NICENESS = 10  # who searches goes first: of a processor that is wanted an ingest gets a tenth
EXIT_DONE, EXIT_SKIPPED = 0, 3
# -P: a folder named `api` where the server was started is none of ours.
INGEST = (sys.executable, "-P", "-m", "api.cli.main", "ingest", "--progress", "json")
OWN_GROUPS = frozenset(("library", "models", "masks", "ingest", "server"))  # of settings
UNFORESEEN = "it ended in a way that nobody foresaw; the server's log says more"
_logger = logging.getLogger(__name__)


@dataclass
class Job:
    """An ingest, its process while it runs, and who waits for news of it."""

    out: JobOut
    child: Child | None = None
    is_cancelled: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, **now: object) -> None:
        """Set what is known of the job, and wake those who wait for it."""
        self.out = self.out.model_copy(update=now)
        self.news.set()
        self.news = asyncio.Event()


class Jobs:
    """The job that runs, and those that ended."""

    def __init__(
        self,
        command: Sequence[str] = INGEST,
        environment: Mapping[str, str] | None = None,
        *,
        stops_within_s: float = STOPS_WITHIN_S,
        kept: int = KEPT,
    ) -> None:
        """Remember how to run an ingest.

        Args:
            command: what is run; the paths come behind it.
            environment: of the child; this process's own if none is given.
            stops_within_s: a child that was asked to stop is killed then.
            kept: so many jobs that ended can still be looked at.
        """
        self._command = tuple(command)
        self._environment = environment
        self._stops_within_s = stops_within_s
        self._kept = kept
        self._jobs: dict[str, Job] = {}
        self._running: Job | None = None
        self._work: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    def of(cls, library: Library) -> Jobs:
        """Return the jobs of a library that is served."""
        return cls(environment=environment_of(library))

    def all(self) -> tuple[JobOut, ...]:
        """Return every job that is remembered, newest first."""
        return tuple(job.out for job in reversed(self._jobs.values()))

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            UnknownIdError: there is none, or it ended long ago.
        """
        if job_id not in self._jobs:
            raise UnknownIdError(f"there is no job {job_id}; GET /v1/jobs lists those there are")
        return self._jobs[job_id]

    def start(self, request: IngestRequest, paths: Sequence[Path]) -> JobOut:
        """Begin to ingest paths that were checked.

        Raises:
            OwnedError: another job runs, or the server is about to stop.
        """
        if self._closed:
            raise OwnedError("the server is about to stop; begin the ingest when it is back")
        if self._running is not None:
            running = self._running.out.job_id
            raise OwnedError(
                f"job {running} is running, and only one can. Wait until it ends, or stop it with "
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
        for old in list(self._jobs)[: -self._kept - 1]:
            del self._jobs[old]
        self._work = asyncio.create_task(self._run(job, [os.fspath(path) for path in paths]))
        return out

    async def follow(self, job: Job) -> AsyncIterator[JobOut]:
        """Yield how far a job is, at once and whenever that changes, until it has ended."""
        while True:
            news, now = job.news, job.out
            yield now
            if now.state != "running":
                return
            await news.wait()

    def cancel(self, job: Job) -> None:
        """Ask a job to stop, as Ctrl-C would; one that ended stays as it is."""
        if job is not self._running or self._work is None or job.is_cancelled:
            return
        job.is_cancelled = True
        if job.child is not None:
            job.child.interrupt()
        kill = asyncio.get_running_loop().call_later(self._stops_within_s, _kill, job)
        self._work.add_done_callback(lambda _: kill.cancel())

    async def close(self) -> None:
        """Stop the job that runs and take no more."""
        self._closed = True
        if self._running is not None:
            self.cancel(self._running)
        if self._work is not None:
            await self._work

    async def _run(self, job: Job, paths: Sequence[str]) -> None:
        try:
            ended = await self._ended(job, paths)
        except Exception:
            _logger.exception("job %s failed", job.out.job_id)
            _kill(job)
            ended = {"state": "failed", "message": UNFORESEEN}
        self._running = None
        job.tell(**ended)

    async def _ended(self, job: Job, paths: Sequence[str]) -> dict[str, object]:
        """Run the child to its end; return what is then to be said of the job."""
        loop = asyncio.get_running_loop()
        job.child = child = Child(job, loop.create_future())
        await loop.subprocess_exec(
            lambda: child,
            *self._command,
            *paths,
            stdin=asyncio.subprocess.DEVNULL,
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for the server, which then asks the child to stop
        )
        if job.is_cancelled:  # before there was a process
            child.interrupt()
        code = await child.code
        if code in (EXIT_DONE, EXIT_SKIPPED):
            return {"state": "done"}
        if job.is_cancelled:
            return {"state": "cancelled", "message": None}
        return {"state": "failed", "message": _reason(job, code)}


class Child(asyncio.SubprocessProtocol):
    """The process of a job: what it prints, and how it ends."""

    def __init__(self, job: Job, code: asyncio.Future[int]) -> None:
        """Make what a process will be connected to; `code` is set once all it printed is read."""
        self._job = job
        self.code = code
        self._process: asyncio.SubprocessTransport | None = None
        self._line = b""  # begun on stdout
        self.last_words = b""  # on stderr

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Know the process, and let others go first."""
        self._process = cast(asyncio.SubprocessTransport, transport)
        with suppress(ProcessLookupError, PermissionError):  # it has ended already, or may not
            niceness = os.getpriority(os.PRIO_PROCESS, 0) + NICENESS
            os.setpriority(os.PRIO_PROCESS, self._process.get_pid(), niceness)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Take in progress from stdout, and keep the end of stderr."""
        if fd != 1:
            self.last_words = (self.last_words + data)[-LAST_WORDS_BYTES:]
            return
        *lines, self._line = (self._line + data).split(b"\n")
        self._line = self._line[-LINE_BYTES:]
        for line in lines:
            _note(self._job, line)

    def process_exited(self) -> None:
        """End what it started: that may outlive it, and would hold its output open."""
        self.kill()

    def connection_lost(self, _: Exception | None) -> None:
        """Tell how it ended."""
        assert self._process is not None
        self.code.set_result(self._process.get_returncode() or 0)
        self._process.close()

    def interrupt(self) -> None:
        """Stop it as Ctrl-C would."""
        if self._process is not None and self._process.get_returncode() is None:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill it and all that it started, as far as they still run."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.get_pid(), signal.SIGKILL)


def environment_of(library: Library) -> dict[str, str]:
    """Return the environment in which a child uses the same library with the same settings.

    As the environment, not as flags: a key is nothing for the list of processes.
    """
    asked = library.requested
    prefix = str(asked.model_config["env_prefix"])
    said = asked.model_dump(mode="json", include=asked.model_fields_set & _own_settings())
    chosen = {
        f"{prefix}{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in {**said, "library": os.fspath(library.folder)}.items()
        if value is not None
    }
    return {**os.environ, **chosen}


def _own_settings() -> set[str]:
    return {
        name
        for name, field in Settings.model_fields.items()
        if isinstance(field.json_schema_extra, dict)
        and field.json_schema_extra["group"] in OWN_GROUPS
    }


def paths_to_ingest(library: Library, request: IngestRequest) -> list[Path]:
    """Return what a request names: folders that were ingested before, or something below one.

    Raises:
        UnknownIdError: there is no such root.
        UsageError: nothing is there, or it is not below the root.
    """
    ledger = library.ledger()
    roots = ledger.roots()
    if request.root_id is None:
        if not roots:
            raise UsageError("no folder is known yet; begin with `segsearch ingest FOLDER`")
        return [root.path for root in roots]
    root = next((root for root in roots if root.root_id == request.root_id), None)
    if root is None:
        raise UnknownIdError(f"there is no root {request.root_id}; GET /v1/library lists them")
    return [_path_below(root, request.path, ledger)]


def _path_below(root: Root, below: str, ledger: Ledger) -> Path:
    """Return the real path of something below a root, there now or known from before."""
    if below.startswith("/") or "\0" in below or ".." in below.split("/"):
        raise UsageError(f"path: {below!r} does not lie below the root; give it as sub/folder")
    path = Path(os.path.realpath(root.path / below))
    if not path.is_relative_to(root.path):
        raise UsageError(f"path: {below!r} is a link to a place that is not below the root")
    is_there = os.path.exists(path)  # noqa: PTH110  (Path.exists raises if the name is too long)
    if not is_there and not ledger.knows_of(root, below_root(root, path)):
        raise UsageError(f"path: there is no {below!r} below the root")
    return path


def _kill(job: Job) -> None:
    if job.child is not None:
        job.child.kill()


def _note(job: Job, line: bytes) -> None:
    """Take in a line of the child; what else it prints is no business of ours."""
    try:
        now = ProgressLine.model_validate_json(line)
    except ValidationError:
        return
    message = " ".join(now.notices) or None
    job.tell(message=message, **now.model_dump(exclude={"notices", "ended"}))


def _reason(job: Job, code: int) -> str:
    """Say why a child failed, without what is inside."""
    said = job.child.last_words.decode("utf-8", "replace").strip() if job.child else ""
    last = said.splitlines()[-1] if said else ""
    if last.startswith("segsearch: "):
        return last.removeprefix("segsearch: ")
    _logger.error("job %s ended with %d: %s", job.out.job_id, code, said)
    if code == -signal.SIGKILL:
        return "it was killed, perhaps for lack of memory; begin it again to go on"
    return UNFORESEEN
