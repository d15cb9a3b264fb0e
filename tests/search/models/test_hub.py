"""The model hub: a cache that needs no network, and one error where there is no hub.

Each test speaks to a hub of its own on loopback, from a process of its own, since huggingface_hub
reads its settings when it is imported.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from search.models.model_folder import FILES, REVISIONS, model_folder
from starter import weights_dir

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LIMIT_S = 15.0  # 3 s of waiting, and importing on a busy machine; without the probe it takes 23

FILE = """
from search.models.hub import hub_file
print(hub_file({repo!r}, "weights.pt", remedy="other_segmenter"))
"""
ENCODER = """
from search.models.model_folder import model_folder
print(model_folder({repo!r}))
"""


class Answer(NamedTuple):
    """What a process said, how it ended and how long it took."""

    code: int
    stdout: str
    stderr: str
    seconds: float


def ask(code: str, endpoint: str, home: Path, *, repo: str = "some/model", **env: str) -> Answer:
    """Run code in a process whose hub is at `endpoint`, and print the error that it ends with."""
    lines = "\n    ".join(code.format(repo=repo).strip().splitlines())
    program = f"""
from search.errors import SegsearchError
try:
    {lines}
except SegsearchError as error:
    raise SystemExit(f"{{type(error).__name__}}: {{error}}; remedy {{error.remedy}}")
"""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **env}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **settings},
    )
    return Answer(done.returncode, done.stdout, done.stderr, time.monotonic() - started)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download needs."""

    files: dict[str, bytes]

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.split("?")[0]
        if path == "/":
            self._send(b"a hub", {}, with_body)
        elif "/missing/" in path:
            self._send(b"", {"X-Error-Code": "RepoNotFound"}, with_body, 401)
        elif "/gated/" in path:
            self._send(b"", {"X-Error-Code": "GatedRepo"}, with_body, 403)
        elif path.startswith("/api/models/") and "/tree/" in path:
            tree = [
                {"type": "file", "path": name, "size": len(body), "oid": "0" * 40}
                for name, body in self.files.items()
            ]
            self._send(json.dumps(tree).encode(), {}, with_body)
        elif path.startswith("/api/models/"):
            repo = {"id": "some/model", "sha": COMMIT, "siblings": []}
            self._send(json.dumps(repo).encode(), {}, with_body)
        elif (name := path.rsplit("/", 1)[1]) in self.files:
            body = self.files[name]
            digest = hashlib.sha1(body, usedforsecurity=False).hexdigest()
            headers = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}
            self._send(body, headers, with_body)
        else:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            self._send(b"", headers, with_body, 404)

    def _send(
        self, body: bytes, headers: dict[str, str], with_body: bool, status: int = 200
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture
def files() -> dict[str, bytes]:
    encoder = weights_dir() / "encoder-1"
    content = {path.name: path.read_bytes() for path in encoder.iterdir()}
    return {**content, "model.safetensors": b"weights", "weights.pt": b"more", "other.bin": b"x"}


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[str]:
    """A hub that has one model; yields its address."""
    handler = type("ThisHub", (Hub,), {"files": files})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def closed() -> str:
    """Return an address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Yield somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        server.setblocking(False)
        yield server


@pytest.fixture
def silent(listener: socket.socket) -> str:
    """Return the listener's address."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def was_asked(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize("code", [FILE, ENCODER])
@pytest.mark.parametrize("nobody", ["closed", "silent", "http://nowhere.invalid"])
def test_an_unreachable_hub_is_one_error_without_retries(
    code: str, nobody: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    endpoint = nobody if nobody.startswith("http") else request.getfixturevalue(nobody)
    answer = ask(code, endpoint, tmp_path)
    assert answer.seconds < LIMIT_S
    assert answer.code == 1
    assert answer.stdout == ""
    assert answer.stderr.startswith("HubError: some/model is not in the cache")
    assert answer.stderr.count("\n") == 1
    assert endpoint in answer.stderr
    assert answer.stderr.endswith(
        f"remedy {'other_segmenter' if code == FILE else 'other_encoder'}\n"
    )


def test_offline_mode_sends_no_request(
    listener: socket.socket, silent: str, tmp_path: Path
) -> None:
    answer = ask(ENCODER, silent, tmp_path, HF_HUB_OFFLINE="1")
    assert "HubError" in answer.stderr
    assert "HF_HUB_OFFLINE is set" in answer.stderr
    assert not was_asked(listener)


def test_cached_files_need_no_network(
    hub: str, closed: str, listener: socket.socket, silent: str, tmp_path: Path
) -> None:
    fetched = ask(ENCODER, hub, tmp_path)
    assert fetched.code == 0, fetched.stderr
    again = ask(ENCODER, silent, tmp_path)
    assert not was_asked(listener)
    assert (again.code, again.stdout, again.stderr) == (0, fetched.stdout, "")
    names = {path.name for path in Path(fetched.stdout.strip()).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not {"other.bin", "weights.pt"} & names
    assert ask(ENCODER, closed, tmp_path, HF_HUB_OFFLINE="1").stdout == fetched.stdout


def test_one_file_is_fetched_once(
    hub: str, listener: socket.socket, silent: str, tmp_path: Path
) -> None:
    fetched = ask(FILE, hub, tmp_path)
    assert Path(fetched.stdout.strip()).read_bytes() == b"more"
    again = ask(FILE, silent, tmp_path)
    assert not was_asked(listener)
    assert (again.code, again.stdout, again.stderr) == (0, fetched.stdout, "")


def test_a_partly_cached_model_is_completed(hub: str, closed: str, tmp_path: Path) -> None:
    folder = Path(ask(ENCODER, hub, tmp_path).stdout.strip())
    (folder / "tokenizer.json").unlink()
    assert "HubError" in ask(ENCODER, closed, tmp_path).stderr
    assert ask(ENCODER, hub, tmp_path).code == 0
    assert (folder / "tokenizer.json").is_file()


@pytest.mark.parametrize("code", [FILE, ENCODER])
@pytest.mark.parametrize(
    ("repo", "reason"),
    [
        ("missing/model", "the hub has no model missing/model"),
        ("gated/model", "accepted its terms"),
        ("some/--model", "is no name of a model"),
    ],
)
def test_a_gated_or_missing_model_is_not_a_network_error(
    hub: str, tmp_path: Path, code: str, repo: str, reason: str
) -> None:
    answer = ask(code, hub, tmp_path, repo=repo)
    assert answer.stderr.startswith("ModelError: ")
    assert reason in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_model_without_safetensors_is_refused(
    hub: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    del files["model.safetensors"]
    answer = ask(ENCODER, hub, tmp_path)
    assert "\nModelError: some/model is no encoder" in answer.stderr  # after the progress
    assert "no model.safetensors (weights in other formats are not loaded)" in answer.stderr


def test_a_file_missing_in_the_repository_is_named(
    hub: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    del files["weights.pt"]
    answer = ask(FILE, hub, tmp_path)
    assert answer.stderr.startswith("ModelError: some/model on the hub lacks a file")
    assert "weights.pt" in answer.stderr


def test_the_default_encoder_is_pinned_to_a_commit_with_safetensors() -> None:
    assert len(REVISIONS["openai/clip-vit-base-patch32"]) == 40


def test_no_pickled_file_is_downloaded() -> None:
    assert not [pattern for pattern in FILES if pattern.endswith((".bin", ".pt", ".py", "*"))]


def test_a_local_folder_takes_precedence_over_the_hub() -> None:
    folder = weights_dir() / "encoder-1"
    assert model_folder(str(folder)) == folder
