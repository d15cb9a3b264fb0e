"""Admission control for slow requests, so that they never occupy the threads of fast ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import to_thread

from search.errors import BusyError

# The segmenter works on one photo at a time; meanwhile the next one is decoded.
MAX_RUNNING = 2
MAX_WAITING = 32
WAIT_TIMEOUT_S = 20.0
Result = TypeVar("Result")


class AdmissionLimiter:
    """Runs few decoding or segmenting requests at once; the others wait without a thread."""

    def __init__(
        self,
        max_running: int = MAX_RUNNING,
        max_waiting: int = MAX_WAITING,
        timeout_s: float = WAIT_TIMEOUT_S,
    ) -> None:
        self._slots = anyio.Semaphore(max_running, fast_acquire=True)
        self._threads = anyio.CapacityLimiter(max_running)
        self._max_running, self._max_waiting, self._timeout_s = max_running, max_waiting, timeout_s
        self.waiting = 0

    @property
    def running(self) -> int:
        """The number of requests that run now."""
        return self._max_running - self._slots.value

    async def run(self, work: Callable[..., Result], *args: object) -> Result:
        """Wait for a slot, then run `work` in a thread outside the default thread pool.

        Raises:
            BusyError: too many requests wait already, or this one waited too long.
        """
        await self._acquire()
        try:
            return await to_thread.run_sync(work, *args, limiter=self._threads)
        finally:
            self._slots.release()

    async def _acquire(self) -> None:
        if self.waiting >= self._max_waiting:
            raise BusyError(f"{self.waiting} requests are waiting already; try again")
        self.waiting += 1
        try:
            with anyio.fail_after(self._timeout_s):
                await self._slots.acquire()
        except TimeoutError as error:
            raise BusyError(
                f"this request waited longer than {self._timeout_s:g} s; try again"
            ) from error
        finally:
            self.waiting -= 1
