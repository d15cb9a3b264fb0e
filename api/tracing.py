"""Id, deadline and stage timings of the current request.

They are in a context variable, which threads of a request inherit, so functions need no argument.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Literal, get_args

from search.errors import BusyError

# CLIP on texts or crops; the index; SAM image encoder; SAM prompt; decoding a photo.
Stage = Literal["encode", "find", "encode_photo", "segment", "picture"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass
class Trace:
    """One request."""

    request_id: str
    observe: Callable[[Stage, float], None] = lambda stage, seconds: None
    deadline: float | None = None  # in time.monotonic()
    seconds: dict[Stage, float] = field(default_factory=dict)

    def took(self, stage: Stage, seconds: float) -> None:
        """Add the duration of a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        self.observe(stage, seconds)

    def check_time(self) -> None:
        """Stop a request after its deadline.

        Raises:
            BusyError: the deadline has passed.
        """
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise BusyError("the request took too long and was aborted; try again")


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin(trace: Trace) -> Token[Trace | None]:
    """Set the current request, until `end`."""
    return _current.set(trace)


def end(token: Token[Trace | None]) -> None:
    """Restore the previous request."""
    _current.reset(token)


def current() -> Trace | None:
    """The current request; None outside of one."""
    return _current.get()


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Time a stage of the current request.

    Raises:
        BusyError: the deadline of the request has passed.
    """
    trace = current()
    if trace is None:
        yield
        return
    trace.check_time()
    start = time.perf_counter()
    try:
        yield
    finally:
        trace.took(name, time.perf_counter() - start)
