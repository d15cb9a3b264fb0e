"""Exit codes and error messages: one line on stderr for expected errors, never a traceback."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys

import click

from api.cli.remedies import message_with_remedy
from search.errors import SegsearchError, UsageError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_SKIPPED = 3  # success, but files were skipped
# How the system and the libraries report that memory or threads are exhausted.
NO_MEMORY = (
    "can't start new thread",
    "cannot allocate memory",
    "can't allocate memory",
    "out of memory",
    "unable to allocate",
    "bad_alloc",
    "failed to map segment",
    "resource temporarily unavailable",
)


def escape_unencodable_output() -> None:
    """Print characters that the terminal's encoding lacks as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def flush_output() -> None:
    """Flush stdout.

    Raises:
        OSError: it can't be written; Python does not try again at exit.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop_output()
        if isinstance(error, BrokenPipeError):
            raise
        raise OSError(error.errno, error.strerror, "the standard output") from error


def exit_code_of(error: BaseException) -> int:
    """Print an error and return its exit code.

    Raises:
        BaseException: the error itself, if it is unexpected (a bug).
    """
    if isinstance(error, BrokenPipeError):  # `| head` has closed the pipe
        _drop_output()
        return EXIT_FAILED
    if isinstance(error, click.ClickException):
        error.show()
        return EXIT_USAGE
    message = _message(error)
    if message is None:
        raise error
    click.echo(f"segsearch: {message}", err=True)
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED


def _message(error: BaseException) -> str | None:
    """The message for an expected error; None for a bug."""
    match error:
        case click.exceptions.Abort() | KeyboardInterrupt():
            return "stopped"
        case SegsearchError():
            return message_with_remedy(error)
        case sqlite3.Error():  # its disk is full, or it is read-only
            return f"the ledger can't be used: {error}"
    if is_lack_of_memory(error):
        return (
            f"not enough memory or threads ({_first_line(error)}): see `ulimit -a`, close other "
            "programs, or use smaller models or photos"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and not error.filename:
        return f"{error.strerror}: free some space for the output and the library"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return None


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error or its cause reports that memory or threads are exhausted."""
    message = str(error).lower()
    if isinstance(error, MemoryError) or any(text in message for text in NO_MEMORY):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return error.__cause__ is not None and is_lack_of_memory(error.__cause__)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _drop_output() -> None:
    """Redirect stdout to /dev/null, since Python flushes it again at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # not a file, as in tests
        return
