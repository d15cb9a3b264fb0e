"""Whether the system would watch one more folder: on Linux a user may have so many watches."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import tempfile

IN_CREATE = 0x100
NO_MORE = (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def can_watch_more() -> bool:
    """Ask for one watch and give it back; True where there is no such limit.

    All watches of a user count together, those of other programs, too.
    """
    if sys.platform != "linux":
        return True
    libc = ctypes.CDLL(None, use_errno=True)
    watching = libc.inotify_init1(os.O_CLOEXEC)
    if watching < 0:
        return ctypes.get_errno() not in NO_MORE
    try:
        folder = os.fsencode(tempfile.gettempdir())
        added = libc.inotify_add_watch(watching, folder, IN_CREATE)
        return added >= 0 or ctypes.get_errno() not in NO_MORE
    finally:
        os.close(watching)
