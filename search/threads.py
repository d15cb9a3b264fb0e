"""A thread pool for CPU inference, in which each thread computes one part alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from threading import Barrier, Lock, local
from typing import Any, TypeVar

MOST_WORKERS = 8  # each takes some 100 MB while it decodes points of SAM 2 at 1,024 px
T = TypeVar("T")
_here = local()
_starting = Lock()
_replacement: ContextVar[ThreadPoolExecutor | None] = ContextVar("workers", default=None)


def shared_map(function: Callable[..., T], *parts: Iterable[Any]) -> list[T]:
    """`map` on several threads, among which torch's own threads are divided.

    Each thread computes its part alone, without a barrier after each matrix product. Within one of
    these threads it is the plain `map`.
    """
    if getattr(_here, "is_worker", False):
        return list(map(function, *parts))
    pool = _replacement.get() or workers()
    return list(pool.map(function, *parts))


@contextmanager
def using_workers(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Use another pool in `shared_map`, in this context: a seam for tests."""
    token = _replacement.set(pool)
    try:
        yield
    finally:
        _replacement.reset(token)


def workers() -> ThreadPoolExecutor:
    """The thread pool of `shared_map`; the first caller waits until it has started."""
    with _starting:
        return _started_workers()


@cache
def _started_workers() -> ThreadPoolExecutor:
    import torch

    threads = max(1, torch.get_num_threads())
    count = min(threads, MOST_WORKERS)
    pool, all_started = ThreadPoolExecutor(count, "shared"), Barrier(count)

    def start(_: int) -> None:
        _here.is_worker = True
        torch.set_num_threads(threads // count)
        torch.get_num_threads()  # or its first use would set the number that is set last
        all_started.wait()

    try:
        list(pool.map(start, range(count)))
    except BaseException:  # no more threads allowed: release those that wait
        all_started.abort()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        torch.set_num_threads(threads)  # also the default of new threads
    return pool


def _forget() -> None:
    global _starting
    _starting = Lock()  # a thread that was not copied may hold it
    _started_workers.cache_clear()


if hasattr(os, "register_at_fork"):  # a forked process has no threads
    os.register_at_fork(after_in_child=_forget)
