"""File modes: a library is private to its user, other output follows the umask."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PRIVATE = 0o700
_umask_of_user: int | None = None  # before it was changed


def make_private_folder(folder: Path) -> None:
    """Create a folder that only this user can enter; an existing one is unchanged."""
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)


def write_like(folder: Path) -> None:
    """Set the umask so that new files are readable by those who can enter a folder.

    Files of a private library are then private, and those of one opened to a group are not.
    """
    global _umask_of_user
    allowed = stat.S_IMODE(folder.stat().st_mode) if folder.exists() else PRIVATE
    before = os.umask(0o777 & ~allowed)
    if _umask_of_user is None:
        _umask_of_user = before


def mode_of_output() -> int:
    """File mode by the user's own umask, for output outside of a library."""
    umask = _umask_of_user
    if umask is None:
        umask = os.umask(0)
        os.umask(umask)
    return 0o666 & ~umask
