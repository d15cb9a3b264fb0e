"""What is known of the request at hand: its id, when it must be done, how long its stages took.

It travels in the context, which threads that answer a request inherit, so that what does the work
needs no argument for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Literal, get_args

from search.errors import BusyError

# CLIP on words or crops; the engine; SAM on a whole photo; SAM on a click; reading a photo.
Stage = Literal["encode", "find", "encode_photo", "segment", "picture"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass
class Trace:
    """A request from its arrival to its answer."""

    request_id: str
    observe: Callable[[Stage, float], None] = lambda stage, seconds: None
    deadline: float | None = None  # in time.monotonic()
    seconds: dict[Stage, float] = field(default_factory=dict)

    def took(self, stage: Stage, seconds: float) -> None:
        """Note how long a stage took."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        self.observe(stage, seconds)

    def check_time(self) -> None:
        """Stop a request whose time is over: nobody waits for it any more.

        Raises:
            BusyError: the time is over.
        """
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise BusyError("the request took too long and was given up; try again")


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin(trace: Trace) -> Token[Trace | None]:
    """Make this the request at hand, until `end`."""
    return _current.set(trace)


def end(token: Token[Trace | None]) -> None:
    """Let go of the request at hand."""
    _current.reset(token)


def current() -> Trace | None:
    """Return the request at hand; None outside of one."""
    return _current.get()


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Time a stage of the request at hand, which ends here if its time is over.

    Raises:
        BusyError: the request's time is over.
    """
    trace = current()
    if trace is None:
        yield
        return
    trace.check_time()
    begun = time.perf_counter()
    try:
        yield
    finally:
        trace.took(name, time.perf_counter() - begun)
