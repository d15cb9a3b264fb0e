"""How a command ends: each error as one sentence on stderr and an exit code, never a traceback."""

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
# How the system and the libraries say that there is no memory, or no thread, left.
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


def print_whatever_the_encoding() -> None:
    """Print what the encoding of a terminal lacks as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def flush_output() -> None:
    """Write what is left of stdout.

    Raises:
        OSError: it can't be written; then no more is tried when Python ends.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop_output()
        if isinstance(error, BrokenPipeError):
            raise
        raise OSError(error.errno, error.strerror, "the standard output") from error


def exit_code_of(error: BaseException) -> int:
    """Say what went wrong, and return the exit code.

    Raises:
        BaseException: the error itself, if it is a mistake in this program.
    """
    if isinstance(error, BrokenPipeError):  # `| head`: whoever reads has had enough
        _drop_output()
        return EXIT_FAILED
    if isinstance(error, click.ClickException):
        error.show()
        return EXIT_USAGE
    said = _sentence(error)
    if said is None:
        raise error
    click.echo(f"segsearch: {said}", err=True)
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED


def _sentence(error: BaseException) -> str | None:
    """Return what is said of an error; None if nobody expected it."""
    match error:
        case click.exceptions.Abort() | KeyboardInterrupt():
            return "stopped"
        case SegsearchError():
            return message_with_remedy(error)
        case sqlite3.Error():  # the ledger's disk is full, or it may not be written
            return f"the ledger can't be used: {error}"
    if is_lack_of_memory(error):
        return (
            f"there is not enough memory, or the system gives no more threads ({_first_line(error)}"
            "): see `ulimit -a`, close other programs, or use smaller models or photos"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and not error.filename:
        return f"{error.strerror}: make room where the output goes and where the library is"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return None


def is_lack_of_memory(error: BaseException) -> bool:
    """Say whether an error, or what caused it, is the system's refusal of memory or threads."""
    said = str(error).lower()
    if isinstance(error, MemoryError) or any(sign in said for sign in NO_MEMORY):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return error.__cause__ is not None and is_lack_of_memory(error.__cause__)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _drop_output() -> None:
    """Let nothing more be written to stdout: Python would try once more when it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # it is no file, as within tests
        return
