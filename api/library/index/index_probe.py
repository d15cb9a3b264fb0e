"""Damaged files of an embedded index can end the process that opens them, with no error to catch.

So a process notes that it is opening the index. Where the one before never came to an end of that,
a process of its own tries first.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from search.errors import CrashingIndexError

MARKER = "index.opening"
CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGILL, signal.SIGFPE)  # not who is killed
TRY = """
import sys
from pathlib import Path
from search.index.edge import EdgeIndex
from search.errors import SegsearchError
try:
    EdgeIndex.open(Path(sys.argv[1]), vector_name=sys.argv[2], dim=int(sys.argv[3])).close()
except SegsearchError:
    pass
"""


@contextmanager
def opening(folder: Path, vector_name: str, dim: int) -> Iterator[None]:
    """Note that the index in a library folder is being opened while the block runs.

    Raises:
        CrashingIndexError: it ended the process before, and ends another one now.
    """
    marker = folder / MARKER
    if marker.exists():
        _try_to_open(folder / "index", vector_name, dim)
    with suppress(OSError):  # on a medium that can't be written to
        marker.touch()
    try:
        yield
    finally:
        with suppress(OSError):
            marker.unlink(missing_ok=True)


def _try_to_open(index: Path, vector_name: str, dim: int) -> None:
    tried = subprocess.run(
        [sys.executable, "-P", "-c", TRY, str(index), vector_name, str(dim)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if -tried.returncode in CRASHES:
        raise crashing(index, tried.returncode)


def crashing(index: Path, code: int) -> CrashingIndexError:
    """Return the error for an index whose opening ended a process with this code."""
    return CrashingIndexError(
        f"opening it ends the process ({ending(code)}): files in {index} are damaged. Restore the "
        "library from a backup; or move that folder away and run `segsearch ingest`, which "
        "segments the photos again"
    )


def ending(code: int) -> str:
    """Return how a process ended."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
