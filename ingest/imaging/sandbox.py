"""Decoding in child processes, so that a file that crashes or hangs the decoder costs one photo.

Imaging libraries are written in C; a damaged file may crash them or make them loop forever. So each
decoding thread has a child process, which is killed and replaced when that happens, and a pipe of
its own, so that a process that dies while sending affects no other.
docs/decisions/0010-decoding-in-worker-processes.md explains why no library does it.
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
from ingest.imaging.pillow import decode_in_one_thread, os_error_reason
from ingest.imaging.shared_pixels import received_pixels, send_pixels
from ingest.settings import IngestSettings
from search.errors import BusyError, PhotoError, TooSlowError, UndecodableError

START_TIMEOUT_S = 120.0  # a new process imports numpy and Pillow, possibly from a sleeping disk
KILL_TIMEOUT_S = 2.0  # a process that waits for a dead network disk can't be killed
EXIT_TIMEOUT_S = 10.0  # until a process that closed its pipe has an exit code
KILLED = -9  # by SIGKILL, for example by the kernel when memory runs out
RAN_TOO_LONG = -signal.SIGPROF if hasattr(signal, "SIGPROF") else None  # killed by its CPU timer
POLL_S = 0.5  # between checks of a pipe
PAUSED_S = 1.0  # a check that takes longer than this beyond POLL_S means that we were suspended
# Waiting for a disk or for other processes does not use CPU time, so the limit of elapsed time is
# this many times the limit of CPU time.
STALL_FACTOR = 10
HAS_CPU_TIMER = hasattr(signal, "setitimer")  # not on Windows, where elapsed time is limited

# A picture takes at most 21 bytes per pixel: 200 million pixels were decoded in 4 GiB.
BYTES_PER_PIXEL = 24
BASE_BYTES = 512 * 1024**2

Decode = Callable[..., DecodedPhoto]  # `decode_photo`, or a fake in tests


@dataclass(frozen=True)
class DecodeLimits:
    """Limits for decoding one file."""

    max_pixels: int
    max_bytes: int
    timeout_s: float  # of CPU time

    @property
    def stalled_s(self) -> float:
        """Limit of elapsed time."""
        return self.timeout_s * (STALL_FACTOR if HAS_CPU_TIMER else 1)

    @classmethod
    def from_settings(cls, settings: IngestSettings) -> DecodeLimits:
        """Take the limits from the settings."""
        return cls(settings.max_pixels, settings.max_bytes, settings.decode_timeout_s)

    @property
    def memory_bytes(self) -> int:
        """Limit of memory that a process may allocate after it has started."""
        return self.max_pixels * BYTES_PER_PIXEL + self.max_bytes + BASE_BYTES


class DecodeWorker:
    """Decodes one file at a time in a child process; only `close` is thread-safe."""

    def __init__(self, limits: DecodeLimits, decode: Decode = decode_photo) -> None:
        self._limits, self._decode = limits, decode
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._closed = False

    def decode(self, path: Path) -> DecodedPhoto:
        """Decode a file.

        Raises:
            UndecodableError: it can't be decoded, or crashed the process.
            TooSlowError: it exceeded a time limit.
            PhotoError: as `decode_photo`, or the system killed the process.
            BusyError: no process could be started.
        """
        try:
            pipe = self._pipe or self._start()
            pipe.send(path)
            answer = _received(pipe) if _answers_within(pipe, self._limits.stalled_s) else None
        except (EOFError, OSError):
            raise self._error_of_dead_process(path) from None
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            self._stop(0)
            raise self._too_slow(path)
        return answer

    def _too_slow(self, path: Path) -> TooSlowError:
        return TooSlowError(
            f"{shown_path(path)} was given up: it was not decoded within "
            f"{self._limits.timeout_s:g} s. The next run tries it once more; after that leave it "
            "out, or raise the limit with --decode-timeout-s and ingest it with --retry-skipped."
        )

    def close(self) -> None:
        """Kill the process; a thread that waits for it gets a PhotoError."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()
            process.join(KILL_TIMEOUT_S)

    def _start(self) -> Connection:
        """Start a process and wait until it is ready."""
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
            if self._closed:  # by another thread before `_process` was set
                process.kill()
            if not self._pipe.poll(START_TIMEOUT_S):
                raise EOFError
            self._pipe.recv()
        except (EOFError, OSError) as error:
            self._stop(0)
            if self._closed:
                raise EOFError from error
            why = os_error_reason(error) if isinstance(error, OSError) else "it gave no answer"
            raise BusyError(
                f"a process that decodes photos could not be started ({why}). Close other "
                "programs, or use fewer processes with --decode-workers."
            ) from error
        return self._pipe

    def _error_of_dead_process(self, path: Path) -> PhotoError:
        if self._closed:
            return PhotoError(f"{shown_path(path)} was not decoded: ingest was stopped.")
        code = self._stop(EXIT_TIMEOUT_S)
        if code == KILLED:
            return PhotoError(
                f"{shown_path(path)} was not decoded: the system killed the decoding process, most "
                "likely for lack of memory. Close other programs, or use fewer processes with "
                "--decode-workers, and ingest it again."
            )
        if code is not None and code == RAN_TOO_LONG:
            return self._too_slow(path)
        how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        return UndecodableError(
            f"{shown_path(path)} is damaged and crashes the decoder ({how}). "
            "Restore it from a backup, convert it, or leave it out."
        )

    def _stop(self, wait_s: float) -> int | None:
        """Stop the process; return its exit code if it exits by itself within `wait_s`."""
        process, self._process = self._process, None
        self._pipe = None
        if process is None:
            return None
        process.join(wait_s)
        code = process.exitcode
        process.kill()
        process.join(KILL_TIMEOUT_S)
        return code


class DecodeWorkers:
    """One worker per decoding thread; leaving the `with` block kills them.

    Unless `in_processes`, the threads decode themselves.
    """

    def __init__(
        self, limits: DecodeLimits, decode: Decode = decode_photo, *, in_processes: bool = True
    ) -> None:
        self._limits, self._decode, self._in_processes = limits, decode, in_processes
        self._mine = threading.local()
        self._all: list[DecodeWorker] = []

    def __enter__(self) -> DecodeWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in list(self._all):
            worker.close()

    def decode(self, path: Path) -> DecodedPhoto | PhotoError:
        """Decode a file in this thread's process; a PhotoError is returned, not raised."""
        try:
            if self._in_processes:
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
    """Choose the start method: not fork, which is unsafe with threads and CUDA."""
    known = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in known else "spawn")
    context.set_forkserver_preload([__name__])
    return context


@contextmanager
def _no_interrupts_inherited() -> Iterator[None]:
    """Block SIGINT while a child starts, so that Ctrl-C reaches only this process."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _answers_within(pipe: Connection, stalled_s: float) -> bool:
    """Wait for an answer; time in which this process was suspended is not counted.

    Ctrl-Z, a paused container or a closed lid suspend both processes.
    """
    waited_s = 0.0
    while waited_s < stalled_s:
        began = time.monotonic()
        if pipe.poll(min(POLL_S, stalled_s - waited_s)):
            return True
        took_s = time.monotonic() - began
        waited_s += took_s if took_s < POLL_S + PAUSED_S else POLL_S
    return False


def _received(pipe: Connection) -> DecodedPhoto | Exception:
    """Receive a photo, or the error of decoding it."""
    answer: DecodedPhoto | Exception = pipe.recv()
    if isinstance(answer, Exception):
        return answer
    return replace(answer, rgb=received_pixels(pipe))


def _serve(pipe: Connection, limits: DecodeLimits, decode: Decode) -> None:
    """Main loop of the child process: decode paths from the pipe until it closes."""
    _silence_output()
    decode_in_one_thread()  # the processes use all cores already, and CPU time is limited
    _limit_memory(limits.memory_bytes)
    pipe.send("ready")
    none = np.empty((0, 0, 3), np.uint8)
    with suppress(EOFError, BrokenPipeError):  # the parent is gone
        while True:
            path = pipe.recv()
            try:
                with _cpu_time_limit(limits.timeout_s):
                    photo = decode(path, max_pixels=limits.max_pixels, max_bytes=limits.max_bytes)
            except Exception as error:
                pipe.send(error)
                continue
            pipe.send(replace(photo, rgb=none))
            send_pixels(pipe, photo.rgb)


@contextmanager
def _cpu_time_limit(at_most_s: float) -> Iterator[None]:
    """Let SIGPROF kill this process if the block takes more CPU time."""
    if not HAS_CPU_TIMER:
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, at_most_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _silence_output() -> None:
    """Redirect the output of C libraries to /dev/null and disable core dumps."""
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _limit_memory(more_bytes: int) -> None:
    """Limit further allocation of address space to `more_bytes` (Linux only)."""
    if sys.platform != "linux":
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more_bytes
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
