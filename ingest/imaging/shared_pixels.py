"""Pixels from one process to another."""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from multiprocessing.connection import Connection
from typing import IO

import numpy as np

from search.records import RgbImage

PASSES_FILES = sys.platform != "win32"  # a pipe took 460 ms for 12 megapixels, this takes 50


def send_pixels(pipe: Connection, rgb: RgbImage) -> None:
    """Hand (h, w, 3) pixels over as a nameless file in memory: nothing of it can be left behind.

    Written, not mapped: on a full disk or in a full memory that is an error and no SIGBUS.
    """
    pipe.send(rgb.shape)
    if not PASSES_FILES:
        pipe.send_bytes(rgb.data.cast("B"))
        return
    from multiprocessing.reduction import send_handle

    with _nameless_file() as file:
        file.write(rgb.data)
        file.flush()
        send_handle(pipe, file.fileno(), os.getppid())


def received_pixels(pipe: Connection) -> RgbImage:
    """Take over the pixels that a process sent; they may be written to."""
    shape: tuple[int, int, int] = pipe.recv()
    if not PASSES_FILES:
        return np.frombuffer(bytearray(pipe.recv_bytes()), np.uint8).reshape(shape)
    from multiprocessing.reduction import recv_handle

    handle = recv_handle(pipe)
    try:
        pixels = mmap.mmap(handle, 0, access=mmap.ACCESS_COPY)
    finally:
        os.close(handle)
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def _nameless_file() -> IO[bytes]:
    if sys.platform == "linux":  # anywhere else: in the folder for temporary files
        return os.fdopen(os.memfd_create("pixels"), "wb")
    return tempfile.TemporaryFile()
