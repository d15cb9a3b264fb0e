"""Taking turns at what is slow, so that it never takes all threads from what is quick."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import to_thread

from search.errors import BusyError

# The segmenter works on one photo at a time; meanwhile the next one is read from its file.
AT_ONCE = 2
WAITING_MAX = 32
PATIENCE_S = 20.0
Answer = TypeVar("Answer")


class AdmissionLimiter:
    """Lets few requests decode or cut at once; the others wait without holding a thread."""

    def __init__(
        self,
        at_once: int = AT_ONCE,
        waiting_max: int = WAITING_MAX,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._free = anyio.Semaphore(at_once, fast_acquire=True)  # who has it does not wait
        self._threads = anyio.CapacityLimiter(at_once)
        self._at_once, self._waiting_max, self._patience_s = at_once, waiting_max, patience_s
        self.waiting = 0

    @property
    def running(self) -> int:
        """How many have their turn now."""
        return self._at_once - self._free.value

    async def run(self, work: Callable[..., Answer], *args: object) -> Answer:
        """Wait for a turn, then do the work in a thread of its own: not one of the quick ones'.

        Raises:
            BusyError: too many wait already, or the wait was too long.
        """
        await self._wait()
        try:
            return await to_thread.run_sync(work, *args, limiter=self._threads)
        finally:
            self._free.release()

    async def _wait(self) -> None:
        if self.waiting >= self._waiting_max:
            raise BusyError(f"{self.waiting} requests wait for their turn already; try again")
        self.waiting += 1
        try:
            with anyio.fail_after(self._patience_s):
                await self._free.acquire()
        except TimeoutError as error:
            raise BusyError(
                f"it was not this request's turn for {self._patience_s:g} s; try again"
            ) from error
        finally:
            self.waiting -= 1
