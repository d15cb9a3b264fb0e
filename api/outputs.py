"""Files that commands write: looked at before the work begins, written when it is done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from search.errors import UsageError


def check_output(path: Path, suffixes: Sequence[str] = (".png",)) -> None:
    """Refuse a path that could not be written, before minutes of work are spent on it.

    Raises:
        UsageError: another suffix, no such folder, or no right to write there.
    """
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{path}: name it *{' or *'.join(suffixes)}, which is what is written")
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else f"can't be written: no folder {path.parent}"
        raise UsageError(f"{path} {problem}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path} can't be written: permission denied")


def write_output(path: Path, content: bytes) -> None:
    """Write a file that a person asked for.

    Raises:
        UsageError: it can't be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from error


def numbered(path: Path, count: int) -> list[Path]:
    """Return a path for each of `count` files: out.png alone, else out-000.png, out-001.png, ..."""
    if count == 1:
        return [path]
    return [path.with_stem(f"{path.stem}-{number:03d}") for number in range(count)]
