"""Keeping what a native library writes to file descriptor 2 off the terminal."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

MAX_SAID_BYTES = 100_000  # read back of what was written


@contextmanager
def own_stderr() -> Iterator[Callable[[], str]]:
    """Leave stderr to Python: what else writes to its descriptor goes to a temporary file.

    Yields:
        What returns the end of what was written there so far.
    """
    with tempfile.TemporaryFile() as log:
        before, ours = sys.stderr, os.dup(2)
        moved = _moved(before, ours)
        os.dup2(log.fileno(), 2)
        try:
            yield lambda: _end_of(log.fileno())
        finally:
            if moved is not None:
                moved.flush()
                _use(moved, before)
            os.dup2(ours, 2)
            if moved is None:
                os.close(ours)
            else:
                moved.close()


def _moved(stream: TextIO, descriptor: int) -> TextIO | None:
    """Let Python write to another descriptor; None if its stderr is no file anyway."""
    try:
        if stream.fileno() != 2:
            return None
    except (OSError, ValueError, AttributeError):  # as within tests
        return None
    stream.flush()
    moved = os.fdopen(descriptor, "w", 1, stream.encoding, stream.errors)
    _use(stream, moved)
    return moved


def _use(old: TextIO, new: TextIO) -> None:
    """Let Python, and what it logs, write to another stream."""
    sys.stderr = new
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)


def _end_of(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    start = max(0, size - MAX_SAID_BYTES)
    return os.pread(descriptor, MAX_SAID_BYTES, start).decode("utf-8", "replace")
