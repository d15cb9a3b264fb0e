"""Ownership: the embedded index of a library can be open in one process only.

The process that opens it holds `owner.lock` and writes `owner.json`: pid, command and, if it
serves, its address and a token that only this user can read. Other commands then reach the index
over HTTP (`api.library.index.remote_index`).
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import filelock
from pydantic import ValidationError

from search.errors import OwnedError
from search.records import Record

LOCK_NAME = "owner.lock"
INFO_NAME = "owner.json"
BRIEF_COMMANDS = frozenset(("search", "show", "remove"))
PATIENCE_S = 20.0  # a search that loads full-size models takes about ten seconds on a slow disk
RETRY_S = 0.05


class OwnerInfo(Record):
    """The process that has a library open."""

    pid: int
    command: str
    address: str | None = None  # http://127.0.0.1:8765, if it serves
    token: str


class Ownership:
    """Held while this process has the embedded index open."""

    def __init__(self, folder: Path, lock: filelock.BaseFileLock, info: OwnerInfo) -> None:
        self._folder, self._lock, self.info = folder, lock, info

    def announce(self, address: str) -> None:
        """Write the address at which this process serves."""
        self.info = self.info.model_copy(update={"address": address})
        _write_info(self._folder, self.info)

    def release(self) -> None:
        """Release the lock."""
        (self._folder / INFO_NAME).unlink(missing_ok=True)
        self._lock.release()


def take_ownership(folder: Path, command: str) -> Ownership | None:
    """Become the owner of a library; None if another process is.

    Waits for the end of a brief command, such as another search.
    """
    lock = filelock.FileLock(folder / LOCK_NAME)
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except filelock.Timeout:
            info = _read_info(folder)
            if (info and info.command not in BRIEF_COMMANDS) or time.monotonic() > until:
                return None
        time.sleep(RETRY_S)
    info = OwnerInfo(pid=os.getpid(), command=command, token=secrets.token_urlsafe(32))
    _write_info(folder, info)
    return Ownership(folder, lock, info)


def current_owner(folder: Path) -> OwnerInfo:
    """The owner of a library that `take_ownership` did not get.

    Raises:
        OwnedError: the owner does not serve.
    """
    info = _read_info(folder)
    if info is None or info.address is None:
        who = f"`segsearch {info.command}` (process {info.pid})" if info else "another process"
        raise OwnedError(
            f"the library {folder} is in use by {who}. Wait until it ends; while `segsearch serve` "
            "runs, other commands work beside it."
        )
    return info


def served_owner(folder: Path) -> OwnerInfo | None:
    """The owner of a library if it serves, else None."""
    info = _read_info(folder)
    if info is None or info.address is None:
        return None
    lock = filelock.FileLock(folder / LOCK_NAME)  # free if the server was killed
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return info
    lock.release()
    return None


def _read_info(folder: Path) -> OwnerInfo | None:
    """Read `owner.json`; None if it is missing or invalid."""
    try:
        return OwnerInfo.model_validate_json((folder / INFO_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def _write_info(folder: Path, info: OwnerInfo) -> None:
    """Write `owner.json`, readable by this user only, as it holds the token."""
    draft = folder / f"{INFO_NAME}.new"
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(info.model_dump_json())
    draft.replace(folder / INFO_NAME)
