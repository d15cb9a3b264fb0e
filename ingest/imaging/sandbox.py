"""Decoding in processes of their own: a file that kills or hangs the decoder costs one photo.

Imaging libraries are C; a damaged file may crash them or keep them busy for ever, and no exception
tells. So each decoding thread has a child process, which is killed and replaced when that happens.
Each answers through a pipe of its own, so that one that dies while it sends disturbs no other.
docs/decisions/0010-decoding-in-worker-processes.md says why no library does it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from ingest.imaging.decode import DecodedPhoto, decode_photo, shown_path
from ingest.imaging.pillow import decode_in_one_thread, reason_of
from ingest.imaging.shared_pixels import received_pixels, send_pixels
from ingest.settings import IngestSettings
from search.errors import BusyError, PhotoError, TooSlowError, UndecodableError

STARTS_WITHIN_S = 120.0  # a new process imports numpy and Pillow, on a disk that may be asleep
ENDS_WITHIN_S = 2.0  # a process stuck in a dead network disk can't even be killed
DIES_WITHIN_S = 10.0  # one that hung up is told dead by its exit code; that takes a moment
KILLED = -9  # by SIGKILL: no decoder does that to itself
RAN_TOO_LONG = -signal.SIGPROF if hasattr(signal, "SIGPROF") else None  # by its processor timer
LOOKS_EVERY_S = 0.5  # whether a process still decodes; a wait that took longer was itself paused
PAUSED_S = 1.0
# A file may keep its process waiting (for a disk that spins up, for other processes) for so many
# times what it may take of a processor.
STALLED_TIMES = 10
HAS_PROCESSOR_TIMER = hasattr(signal, "setitimer")  # not on Windows: there waiting counts

# A picture at the limit takes 21 bytes a pixel at most: 200 million pixels were decoded in 4 GiB.
BYTES_PER_PIXEL = 24
BYTES_BESIDES = 512 * 1024**2

Decode = Callable[..., DecodedPhoto]  # decode_photo, or what a test puts in its place


@dataclass(frozen=True)
class DecodeLimits:
    """What one file may cost."""

    max_pixels: int
    max_bytes: int
    timeout_s: float  # of a processor

    @property
    def stalled_s(self) -> float:
        """How long to wait for a process, whatever it does."""
        return self.timeout_s * (STALLED_TIMES if HAS_PROCESSOR_TIMER else 1)

    @classmethod
    def from_settings(cls, settings: IngestSettings) -> DecodeLimits:
        """Return what the settings allow."""
        return cls(settings.max_pixels, settings.max_bytes, settings.decode_timeout_s)

    @property
    def memory_bytes(self) -> int:
        """What a decoding process may take, besides what it has when it starts."""
        return self.max_pixels * BYTES_PER_PIXEL + self.max_bytes + BYTES_BESIDES


class DecodeWorker:
    """Decodes one file at a time in a process of its own. Used by one thread; closed by any."""

    def __init__(self, limits: DecodeLimits, decode: Decode = decode_photo) -> None:
        self._limits, self._decode = limits, decode
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._closed = False

    def decode(self, path: Path) -> DecodedPhoto:
        """Decode a file.

        Raises:
            UndecodableError: it can't be decoded, or kills the process.
            TooSlowError: it takes too long.
            PhotoError: as `decode_photo`, or the system killed the process.
            BusyError: no process could be started.
        """
        try:
            pipe = self._pipe or self._start()
            pipe.send(path)
            answer = _received(pipe) if _answers_within(pipe, self._limits.stalled_s) else None
        except (EOFError, OSError):
            raise self._death(path) from None
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            self._end(0)
            raise self._too_slow(path)
        return answer

    def _too_slow(self, path: Path) -> TooSlowError:
        return TooSlowError(
            f"{shown_path(path)} was given up: it was not decoded within "
            f"{self._limits.timeout_s:g} s. The next run tries it once more; after that leave it "
            "out, or allow more with --decode-timeout-s and ingest it with --retry-skipped."
        )

    def close(self) -> None:
        """End the process, whatever it is at; a thread that waits for it is told."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()
            process.join(ENDS_WITHIN_S)

    def _start(self) -> Connection:
        """Start a process and wait until it listens."""
        if self._closed:
            raise EOFError
        try:
            context = _context()
            self._pipe, theirs = context.Pipe()
            process: BaseProcess = context.Process(  # type: ignore[attr-defined]
                target=_serve, args=(theirs, self._limits, self._decode), daemon=True
            )
            with _no_interrupts_inherited():
                process.start()
            theirs.close()
            self._process = process
            if self._closed:  # meanwhile, by another thread, which did not see the process
                process.kill()
            if not self._pipe.poll(STARTS_WITHIN_S):
                raise EOFError
            self._pipe.recv()
        except (EOFError, OSError) as error:
            self._end(0)
            if self._closed:
                raise EOFError from error
            why = reason_of(error) if isinstance(error, OSError) else "it gave no answer"
            raise BusyError(
                f"a process that decodes photos could not be started ({why}). Close other "
                "programs, or ask for fewer processes with --decode-workers."
            ) from error
        return self._pipe

    def _death(self, path: Path) -> PhotoError:
        if self._closed:
            return PhotoError(f"{shown_path(path)} was not decoded: ingest was stopped.")
        code = self._end(DIES_WITHIN_S)
        if code == KILLED:
            return PhotoError(
                f"{shown_path(path)} was not decoded: the system ended the process that did it, "
                "for want of memory most likely. Close other programs, or ask for fewer processes "
                "with --decode-workers, and ingest it again."
            )
        if code is not None and code == RAN_TOO_LONG:
            return self._too_slow(path)
        how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        return UndecodableError(
            f"{shown_path(path)} is damaged so that it crashes the decoder ({how}). "
            "Restore it from a backup, convert it, or leave it out."
        )

    def _end(self, wait_s: float) -> int | None:
        """End the process; return its exit code if it ends by itself in time."""
        process, self._process = self._process, None
        self._pipe = None
        if process is None:
            return None
        process.join(wait_s)
        code = process.exitcode
        process.kill()
        process.join(ENDS_WITHIN_S)
        return code


class DecodeWorkers:
    """A worker for each thread that decodes; all end when the `with` block is left.

    Without processes of their own (`apart`) the threads decode themselves.
    """

    def __init__(
        self, limits: DecodeLimits, decode: Decode = decode_photo, *, apart: bool = True
    ) -> None:
        self._limits, self._decode, self._apart = limits, decode, apart
        self._mine = threading.local()
        self._all: list[DecodeWorker] = []

    def __enter__(self) -> DecodeWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in list(self._all):
            worker.close()

    def decode(self, path: Path) -> DecodedPhoto | PhotoError:
        """Decode a file in this thread's process; what is wrong with it is returned."""
        try:
            if self._apart:
                return self._worker().decode(path)
            limits = self._limits
            return self._decode(path, max_pixels=limits.max_pixels, max_bytes=limits.max_bytes)
        except PhotoError as error:
            return error

    def _worker(self) -> DecodeWorker:
        if not hasattr(self._mine, "worker"):
            self._mine.worker = DecodeWorker(self._limits, self._decode)
            self._all.append(self._mine.worker)
        worker: DecodeWorker = self._mine.worker
        return worker


def _context() -> BaseContext:
    """Return how processes are started: never as a copy of this one, which has threads and CUDA."""
    known = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in known else "spawn")
    context.set_forkserver_preload([__name__])
    return context


@contextmanager
def _no_interrupts_inherited() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: the one that has them ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _answers_within(pipe: Connection, stalled_s: float) -> bool:
    """Wait for an answer; time in which this process was stopped itself is not counted.

    Ctrl-Z, a paused container or a closed lid stop the waiting process and the one it waits for.
    """
    waited_s = 0.0
    while waited_s < stalled_s:
        began = time.monotonic()
        if pipe.poll(min(LOOKS_EVERY_S, stalled_s - waited_s)):
            return True
        took_s = time.monotonic() - began
        waited_s += took_s if took_s < LOOKS_EVERY_S + PAUSED_S else LOOKS_EVERY_S
    return False


def _received(pipe: Connection) -> DecodedPhoto | Exception:
    """Return the photo that a process sent, or the error that it met."""
    answer: DecodedPhoto | Exception = pipe.recv()
    if isinstance(answer, Exception):
        return answer
    return replace(answer, rgb=received_pixels(pipe))


def _serve(pipe: Connection, limits: DecodeLimits, decode: Decode) -> None:
    """Decode what is asked for until nobody asks; this is what the process does."""
    _hush()
    decode_in_one_thread()  # there are as many processes as pay, and processor time is counted
    _limit_memory(limits.memory_bytes)
    pipe.send("ready")
    none = np.empty((0, 0, 3), np.uint8)
    with suppress(EOFError, BrokenPipeError):  # the process that asked is gone
        while True:
            path = pipe.recv()
            try:
                with _processor_time(limits.timeout_s):
                    photo = decode(path, max_pixels=limits.max_pixels, max_bytes=limits.max_bytes)
            except Exception as error:
                pipe.send(error)
                continue
            pipe.send(replace(photo, rgb=none))
            send_pixels(pipe, photo.rgb)


@contextmanager
def _processor_time(at_most_s: float) -> Iterator[None]:
    """End this process if the block takes more of a processor; a pause takes none."""
    if not HAS_PROCESSOR_TIMER:
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, at_most_s)  # SIGPROF, which nothing here handles
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _hush() -> None:
    """Keep C libraries from printing to the terminal, and crashes from leaving core files."""
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _limit_memory(more_bytes: int) -> None:
    """Take `more_bytes` of address space at most from here on; where the system can say so."""
    if sys.platform != "linux":
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more_bytes
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
