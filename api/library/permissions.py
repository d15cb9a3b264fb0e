"""Who may read what segsearch writes: a library is private, what a person names is as usual."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PRIVATE = 0o700
_umask_of_user: int | None = None  # before it was changed


def make_private_folder(folder: Path) -> None:
    """Make a folder that only this user may enter; one that is there stays as it is."""
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)


def write_like(folder: Path) -> None:
    """Let every file that this process makes be readable for those who may enter a folder.

    So files of a private library are private, and those of one that was opened to a group are not.
    """
    global _umask_of_user
    allowed = stat.S_IMODE(folder.stat().st_mode) if folder.exists() else PRIVATE
    before = os.umask(0o777 & ~allowed)
    if _umask_of_user is None:
        _umask_of_user = before


def mode_of_output() -> int:
    """Return the mode of a file that a person asked for, as their umask has it."""
    umask = _umask_of_user
    if umask is None:
        umask = os.umask(0)
        os.umask(umask)
    return 0o666 & ~umask
