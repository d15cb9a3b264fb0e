"""Damaged files of an embedded index can crash the process that opens them.

So a marker file exists while the index is being opened. If a previous process left one, a child
process tries first.
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
CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGILL, signal.SIGFPE)  # SIGKILL is no crash
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
    """Keep the marker file while the index in a library folder is being opened.

    Raises:
        CrashingIndexError: opening it crashed a process before, and does so again.
    """
    marker = folder / MARKER
    if marker.exists():
        _try_to_open(folder / "index", vector_name, dim)
    with suppress(OSError):  # on a read-only file system
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
    """The error for an index whose opening crashed a process with this exit code."""
    return CrashingIndexError(
        f"opening it crashes the process ({ending(code)}): files in {index} are damaged"
    )


def ending(code: int) -> str:
    """The signal or exit code of a process, in words."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
