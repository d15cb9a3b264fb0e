"""A lock between processes: only one adds or removes photos of a library at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from api.library.permissions import make_private_folder
from search.errors import OwnedError

INGEST_LOCK = "ingest.lock"


@contextmanager
def write_lock(folder: Path) -> Iterator[None]:
    """Hold the write lock of a library folder; never waits for it.

    Raises:
        OwnedError: another process holds it.
    """
    make_private_folder(folder)
    lock = filelock.FileLock(folder / INGEST_LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise OwnedError(
            f"another command is adding or removing photos in {folder}. Wait until it ends, then "
            "run this one again."
        ) from error
    try:
        yield
    finally:
        lock.release()
