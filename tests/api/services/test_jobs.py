"""Ingests over HTTP: begun, followed, stopped, crashed, and what a client may name."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.fakes import add_photos, make_library
from support.servers.api_samples import NOWHERE, SAMPLE, assert_problem
from support.servers.served import serving

from api.http.app import create_app
from api.http.server import Server
from api.library.library import Library
from api.services.jobs import Jobs, environment_of

WITHIN_S = 60.0
# What the child does, in place of an ingest. Its arguments are the paths.
STEP = (
    "import json, os, signal, sys, time\n"
    "def say(through, **more):\n"
    "    line = dict(photos_seen=4, photos_through=through, photos_ingested=through,\n"
    "                photos_skipped=0, segments=10 * through, seconds=0.5 * through, **more)\n"
    "    print(json.dumps(line), flush=True)\n"
    "def wait_for(path):\n"
    "    while not os.path.exists(path): time.sleep(0.01)\n"
)
WORKS = STEP + "say(1); print('some library prints this'); say(4, notices=['a disk is not there'])"
WAITS = STEP + "say(2); wait_for({gate!r}); say(4); print('x' * 10)"
STOPS = STEP + "say(1)\ntry: time.sleep(60)\nexcept KeyboardInterrupt: say(2); sys.exit(1)"
WRITES_AT_THE_END = (
    STEP + "import urllib.request; say(1)\ntry: time.sleep(60)\n"
    "except KeyboardInterrupt: urllib.request.urlopen({address!r} + '/health').read(); say(2)\n"
    "sys.exit(1)"
)
IGNORES = STEP + "signal.signal(signal.SIGINT, signal.SIG_IGN); say(1); time.sleep(60)"
FAILS = STEP + "say(1); sys.exit('segsearch: the disk is full. Make room.')"
CRASHES = STEP + "say(1); raise RuntimeError('a secret of the inside')"
IS_KILLED = STEP + "say(1); os.kill(os.getpid(), signal.SIGKILL)"
LEAVES_A_CHILD = STEP + "import subprocess\nsubprocess.Popen(['sleep', '60']); say(1)"
SAYS_NICENESS = STEP + (
    "begun = time.monotonic()\n"
    "while os.nice(0) == {own} and time.monotonic() < begun + 5: time.sleep(0.01)\n"
    "say(1, notices=[str(os.nice(0))])"
)
SAYS_PATHS = STEP + "say(1, notices=sys.argv[1:])"


class Asked:
    """A client of a server whose ingests are scripts."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def start(self, **request: Any) -> dict[str, Any]:
        answer = self.http.post("/v1/ingest", json=request)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        assert answer.headers["location"] == f"/v1/jobs/{job['job_id']}"
        return job

    def job(self, job: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/v1/jobs/{job['job_id']}").json()
        return found

    def until(self, job: dict[str, Any], is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        until = time.monotonic() + WITHIN_S
        while time.monotonic() < until:
            if is_so(now := self.job(job)):
                return now
            time.sleep(0.02)
        raise TimeoutError(now)

    def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        return self.until(job, lambda now: now["state"] != "running")

    def events(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """Every event up to the end of the stream."""
        lines = []
        with self.http.stream("GET", f"/v1/jobs/{job['job_id']}/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = list(stream.iter_lines())
        assert set(line for line in lines if line.startswith("event")) == {"event: progress"}
        return [json.loads(line.removeprefix("data: ")) for line in lines if line[:5] == "data:"]


@contextmanager
def asking(library: Library, jobs: Jobs) -> Iterator[Asked]:
    with (
        serving(create_app(library, jobs=jobs)) as address,
        httpx.Client(base_url=address, trust_env=False, timeout=WITHIN_S) as http,
    ):
        yield Asked(http)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("jobs")
    with make_library(folder / "library") as library:
        add_photos(library, folder / "photos", {"flat.png": SAMPLE["flat.png"]})
        yield library


@pytest.fixture
def serve(library: Library) -> Iterator[Callable[..., Asked]]:
    """Serve the library with a script in place of ingests."""
    with ExitStack() as stack:

        def started(script: str, stop_timeout_s: float = WITHIN_S) -> Asked:
            jobs = Jobs((sys.executable, "-c", script), stop_timeout_s=stop_timeout_s)
            return stack.enter_context(asking(library, jobs))

        yield started


def test_a_job_reports_progress_and_notices(serve: Any) -> None:
    asked = serve(WORKS)
    job = asked.ended(asked.start())
    assert (job["state"], job["message"]) == ("done", "a disk is not there")
    assert (job["photos_seen"], job["photos_through"], job["segments"]) == (4, 4, 40)


def test_events_start_with_the_current_state_and_end_with_the_job(
    serve: Any, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    asked = serve(WAITS.format(gate=str(gate)))
    job = asked.start()
    asked.until(job, lambda now: now["photos_through"] == 2)
    with asked.http.stream("GET", f"/v1/jobs/{job['job_id']}/events") as stream:
        lines = stream.iter_lines()
        first = next(line for line in lines if line.startswith("data:"))
        assert json.loads(first[5:])["photos_through"] == 2
        gate.touch()
        rest = [json.loads(line[5:]) for line in lines if line.startswith("data:")]
    assert [now["state"] for now in rest] == ["running"] * (len(rest) - 1) + ["done"]
    assert rest[-1]["photos_through"] == 4
    assert asked.events(job) == [rest[-1]]  # of a job that ended: how it ended


def test_one_job_runs_at_a_time(serve: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    asked = serve(WAITS.format(gate=str(gate)))
    job = asked.start()
    assert_problem(asked.http.post("/v1/ingest", json={}), 409, job["job_id"], "DELETE")
    gate.touch()
    asked.ended(job)
    second = asked.ended(asked.start())
    listed = asked.http.get("/v1/jobs").json()["jobs"]
    assert [each["job_id"] for each in listed] == [second["job_id"], job["job_id"]]


def test_old_finished_jobs_are_dropped(library: Library) -> None:
    jobs = Jobs(("/bin/true",), max_finished=2)
    with asking(library, jobs) as asked:
        began = [asked.ended(asked.start())["job_id"] for _ in range(4)]
        listed = [each["job_id"] for each in asked.http.get("/v1/jobs").json()["jobs"]]
        assert listed == began[:0:-1]
        assert_problem(asked.http.get(f"/v1/jobs/{began[0]}"), 404, began[0])


def test_a_job_is_stopped_by_sigint(serve: Any) -> None:
    asked = serve(STOPS)
    job = asked.start()
    asked.until(job, lambda now: now["photos_through"] == 1)
    answer = asked.http.delete(f"/v1/jobs/{job['job_id']}")
    assert answer.status_code == 202
    stopped = asked.ended(job)
    assert (stopped["state"], stopped["photos_through"]) == ("cancelled", 2)
    assert asked.http.delete(f"/v1/jobs/{job['job_id']}").json() == stopped  # again: no harm


def test_a_job_that_does_not_stop_is_killed(serve: Any) -> None:
    asked = serve(IGNORES, stop_timeout_s=0.3)
    job = asked.start()
    asked.until(job, lambda now: now["photos_through"] == 1)
    asked.http.delete(f"/v1/jobs/{job['job_id']}")
    assert asked.ended(job)["state"] == "cancelled"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (FAILS, "the disk is full. Make room."),
        (CRASHES, "failed unexpectedly"),
        (IS_KILLED, "out of memory"),
    ],
)
def test_a_failed_job_has_a_reason_and_the_server_keeps_running(
    serve: Any, script: str, words: str
) -> None:
    asked = serve(script)
    job = asked.ended(asked.start())
    assert job["state"] == "failed"
    assert words in job["message"]
    assert "secret" not in job["message"]
    assert asked.http.get("/health").status_code == 200
    assert asked.ended(asked.start())["job_id"] != job["job_id"]


def test_orphaned_child_processes_do_not_delay_the_end_of_a_job(serve: Any) -> None:
    asked = serve(LEAVES_A_CHILD)
    assert asked.ended(asked.start())["state"] == "done"


def test_a_job_has_a_lower_priority(serve: Any) -> None:
    own = os.nice(0)
    asked = serve(SAYS_NICENESS.format(own=own))
    assert int(asked.ended(asked.start())["message"]) > own


def test_a_missing_command_fails_the_job(library: Library) -> None:
    with asking(library, Jobs(("/nowhere/segsearch",))) as asked:
        assert asked.ended(asked.start())["state"] == "failed"


def test_a_shutdown_stops_the_job_and_its_event_streams(library: Library) -> None:
    jobs = Jobs((sys.executable, "-c", STOPS))
    with asking(library, jobs) as asked:
        job = asked.start()
        asked.until(job, lambda now: now["photos_through"] == 1)
    (ended,) = jobs.all()
    assert (ended.state, ended.photos_through) == ("cancelled", 2)


def test_the_job_is_stopped_before_connections_close(library: Library) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    jobs = Jobs((sys.executable, "-c", WRITES_AT_THE_END.format(address=address)))
    server = Server(create_app(library, jobs=jobs), library.settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    with httpx.Client(base_url=address, trust_env=False, timeout=WITHIN_S) as http:
        asked = Asked(http)
        job = asked.start()  # waits until the server has started
        asked.until(job, lambda now: now["photos_through"] == 1)
        with http.stream("GET", f"/v1/jobs/{job['job_id']}/events") as stream:
            lines = stream.iter_lines()
            next(lines)
            server.should_exit = True
            last = [line for line in lines if line.startswith("data:")][-1]
    assert json.loads(last[5:])["state"] == "cancelled"
    assert json.loads(last[5:])["photos_through"] == 2  # what it had in hand was written
    thread.join(WITHIN_S)
    assert not thread.is_alive()


# what may be named


def paths_of(asked: Asked, **request: Any) -> str:
    return str(asked.ended(asked.start(**request))["message"])


def test_a_root_or_a_path_below_it_can_be_ingested(serve: Any, library: Library) -> None:
    (root,) = library.ledger().roots()
    (root.path / "sub folder").mkdir(exist_ok=True)
    asked = serve(SAYS_PATHS)
    assert paths_of(asked) == str(root.path)
    assert paths_of(asked, root_id=root.root_id) == str(root.path)
    below = paths_of(asked, root_id=root.root_id, path="sub folder")
    assert below == str(root.path / "sub folder")
    assert paths_of(asked, root_id=root.root_id, path="flat.png") == str(root.path / "flat.png")


def test_a_known_file_may_be_missing(serve: Any, library: Library) -> None:
    (root,) = library.ledger().roots()
    file = root.path / "flat.png"
    content = file.read_bytes()
    file.unlink()
    try:
        assert paths_of(serve(SAYS_PATHS), root_id=root.root_id, path="flat.png") == str(file)
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("../photos-of-others", "below the root"),
        ("a/../../b", "below the root"),
        ("/etc", "below the root"),
        ("a\0b", "below the root"),
        ("out", "a link to a path"),
        ("out/secret", "a link to a path"),
        ("nothing-here", "there is no 'nothing-here'"),
        ("x" * 300, "there is no"),
        ("y" * 5000, "at most 4096"),
    ],
)
def test_paths_outside_a_root_are_refused(
    serve: Any, library: Library, tmp_path: Path, path: str, words: str
) -> None:
    (root,) = library.ledger().roots()
    (tmp_path / "secret").touch()
    link = root.path / "out"
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path)
    asked = serve(SAYS_PATHS)
    request = {"root_id": root.root_id, "path": path}
    assert_problem(asked.http.post("/v1/ingest", json=request), 422, words)
    assert asked.http.get("/v1/jobs").json() == {"jobs": []}


def test_unknown_roots_and_jobs_are_404(serve: Any) -> None:
    asked = serve(SAYS_PATHS)
    assert_problem(asked.http.post("/v1/ingest", json={"root_id": "beefbeef"}), 404, "beefbeef")
    assert_problem(asked.http.post("/v1/ingest", json={"path": "a"}), 422, "root_id")
    assert_problem(asked.http.post("/v1/ingest", json={"root": "a"}), 422, "no such field")
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
        assert_problem(asked.http.request(method, f"/v1/jobs/{NOWHERE}{path}"), 404, NOWHERE)


def test_an_ingest_without_roots_explains_how_to_start(tmp_path: Path) -> None:
    with make_library(tmp_path / "library") as library, serving(create_app(library)) as address:
        answer = httpx.post(f"{address}/v1/ingest", json={}, trust_env=False)
    assert_problem(answer, 422, "segsearch ingest FOLDER")


def test_the_child_process_uses_the_servers_settings(tmp_path: Path) -> None:
    chosen: dict[str, Any] = {
        "models": "starter",
        "qdrant_api_key": "k",
        "port": 1234,
        "grpc": True,
    }
    with make_library(tmp_path / "library", **chosen) as library:
        environment = environment_of(library)
    assert environment["SEGSEARCH_LIBRARY"] == str(tmp_path / "library")
    assert environment["SEGSEARCH_MODELS"] == "starter"
    assert environment["SEGSEARCH_QDRANT_API_KEY"] == "k"
    assert environment["SEGSEARCH_GRPC"] == "true"
    assert "SEGSEARCH_PORT" not in environment
