"""Redirect what native libraries write to file descriptor 2, without losing Python's stderr."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

MAX_READ_BYTES = 100_000  # of the captured output, its end


@contextmanager
def redirected_stderr() -> Iterator[Callable[[], str]]:
    """Redirect file descriptor 2 to a temporary file; `sys.stderr` still reaches the terminal.

    Yields:
        A function that returns the end of the captured output.
    """
    with tempfile.TemporaryFile() as log:
        before, terminal = sys.stderr, os.dup(2)
        moved = _reopened(before, terminal)
        os.dup2(log.fileno(), 2)
        try:
            yield lambda: _tail(log.fileno())
        finally:
            if moved is not None:
                moved.flush()
                _replace_stderr(moved, before)
            os.dup2(terminal, 2)
            if moved is None:
                os.close(terminal)
            else:
                moved.close()


def _reopened(stream: TextIO, descriptor: int) -> TextIO | None:
    """Move Python's stderr to another descriptor; None if it does not write to descriptor 2."""
    try:
        if stream.fileno() != 2:
            return None
    except (OSError, ValueError, AttributeError):  # not a file, as under pytest
        return None
    stream.flush()
    moved = os.fdopen(descriptor, "w", 1, stream.encoding, stream.errors)
    _replace_stderr(stream, moved)
    return moved


def _replace_stderr(old: TextIO, new: TextIO) -> None:
    """Replace `sys.stderr`, and the stream of root log handlers that write to it."""
    sys.stderr = new
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)


def _tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    start = max(0, size - MAX_READ_BYTES)
    return os.pread(descriptor, MAX_READ_BYTES, start).decode("utf-8", "replace")
