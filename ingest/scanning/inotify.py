"""Check of Linux's limit on inotify watches per user."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import tempfile

IN_CREATE = 0x100
NO_MORE = (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def can_watch_more() -> bool:
    """Try to add one inotify watch; True on other systems.

    The watches of all programs of a user count.
    """
    if sys.platform != "linux":
        return True
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0:
        return ctypes.get_errno() not in NO_MORE
    try:
        folder = os.fsencode(tempfile.gettempdir())
        added = libc.inotify_add_watch(descriptor, folder, IN_CREATE)
        return added >= 0 or ctypes.get_errno() not in NO_MORE
    finally:
        os.close(descriptor)
