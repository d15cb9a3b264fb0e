"""Threads that share one computation on a CPU: each takes a part, in a cache of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier, Lock, local
from typing import Any, TypeVar

MOST_WORKERS = 8  # each takes some 100 MB while it decodes points of SAM 2 at 1,024 px
T = TypeVar("T")
_here = local()
_starting = Lock()


def shared_map(function: Callable[..., T], *parts: Iterable[Any]) -> list[T]:
    """Do what `map` does by several threads, among which torch's own are divided.

    Each computes its parts alone, without waiting for others after every product. In one of these
    threads, it does all of it itself.
    """
    if getattr(_here, "is_worker", False):
        return list(map(function, *parts))
    return list(workers().map(function, *parts))


def workers() -> ThreadPoolExecutor:
    """Return the threads of `shared_map`; who asks first waits until they are there."""
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
        torch.get_num_threads()  # or the first use in this thread would set what is set last
        all_started.wait()

    try:
        list(pool.map(start, range(count)))
    except BaseException:  # the system allows no more threads: those that wait are let go
        all_started.abort()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        torch.set_num_threads(threads)  # it is also what threads begin with that others start
    return pool


def _forget() -> None:
    global _starting
    _starting = Lock()  # perhaps somebody holds it who was not copied
    _started_workers.cache_clear()


if hasattr(os, "register_at_fork"):  # a copy of the process has no threads
    os.register_at_fork(after_in_child=_forget)
