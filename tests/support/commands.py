"""Commands as a person runs them: in this process, which has torch by now, or in their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from api.cli.main import main
from api.settings import Settings

SEGSEARCH = (sys.executable, "-c", "from api.cli.main import main; main()")
READY_WITHIN_S = 120.0
# What takes long to import.
HEAVY = {"torch", "transformers", "sam2", "torchvision", "scipy", "fastapi", "numba", "rich"}


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout as the one JSON document that it must be."""
        return json.loads(self.out)


class Commands:
    """Runs commands within this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys, self._patch = capsys, patch

    def __call__(self, *args: object, code: int = 0) -> Ran:
        """Run a command that must end with this exit code."""
        self._patch.setattr(sys, "argv", ["segsearch", *map(str, args)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr()
        ran = Ran(int(ended.value.code or 0), said.out, said.err)
        assert ran.code == code, ran
        assert "Traceback" not in ran.err
        return ran

    def refused(self, *args: object, code: int = 2) -> str:
        """Run a command that must fail with one sentence on stderr, and nothing on stdout."""
        ran = self(*args, code=code)
        assert ran.out == ""
        lines = ran.err.splitlines()
        if lines[0].startswith("Usage: "):  # click's own: how to use it, where help is, the error
            assert len(lines) == 4, ran.err
            return lines[3]
        assert len(lines) == 1, ran.err
        assert lines[0].startswith("segsearch: "), ran.err
        return lines[0].removeprefix("segsearch: ")


def clean_environment() -> dict[str, str]:
    """The environment without settings of segsearch."""
    ours = {f"SEGSEARCH_{name.upper()}" for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name not in ours}


def start(
    args: Sequence[object], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    return subprocess.Popen(
        [*SEGSEARCH, *map(str, args)],
        cwd=folder,
        env={**clean_environment(), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def imported_by(code: str, folder: Path) -> set[str]:
    """Return the modules that a command imports, which must succeed."""
    told = "import json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit as end: assert not end.code\n{told}"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(ran.stderr.splitlines()[-1]))


@dataclass
class Served:
    """A `segsearch serve` that runs in a process of its own."""

    process: subprocess.Popen[str]
    address: str

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.communicate(timeout=READY_WITHIN_S)


@contextmanager
def serve(
    library: Path,
    *flags: object,
    ready: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Served]:
    """Serve a library on a free port, index and models loaded if `ready`, while the block runs."""
    arguments = ["serve", "--port", 0, "--library", library, *flags]
    process = start(arguments, library.parent, environment)
    try:
        assert process.stderr is not None
        found = _address_from(process.stderr)
        if ready:
            wait_until_ready(found[0])
        yield Served(process, found[0])
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=READY_WITHIN_S)


def _address_from(lines: IO[str]) -> re.Match[str]:
    """Return the address in the first line that has one; those before name settings files."""
    said = ""
    while line := lines.readline():
        said += line
        if found := re.search(r"http://\S+", line):
            return found
    raise AssertionError(said)


def wait_until_ready(address: str) -> None:
    """Wait until a server has loaded what it needs."""
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        answer = httpx.get(f"{address}/ready", trust_env=False, timeout=READY_WITHIN_S)
        if answer.status_code == 200:
            return
        time.sleep(0.1)
    raise TimeoutError(address)
