"""The threads that share a computation: one set of them, or none and an error."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from search.threads import _started_workers, shared_map, workers


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    """Four threads of torch, whatever the machine has; no pool yet, none left."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    _started_workers.cache_clear()
    yield
    _started_workers.cache_clear()
    torch.set_num_threads(before)


def test_concurrent_first_calls_share_one_pool() -> None:
    def workers_after(wait_s: float) -> ThreadPoolExecutor:
        time.sleep(wait_s)
        return workers()

    for _ in range(8):
        _started_workers.cache_clear()
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(workers_after, n / 2000) for n in range(3)]
            pools = {id(each.result()) for each in asked}
        assert len(pools) == 1
        assert workers()._max_workers == 4
        assert torch.get_num_threads() == 4


def test_a_refused_thread_is_an_error_without_a_deadlock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def two_at_most(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)
        started.append(thread)

    with monkeypatch.context() as refusing:
        refusing.setattr(threading.Thread, "start", two_at_most)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            shared_map(abs, [-1, -2, -3])
    for thread in started:
        thread.join(20)
    assert not any(thread.is_alive() for thread in started)
    assert torch.get_num_threads() == 4
    assert shared_map(abs, [-1, -2, -3]) == [1, 2, 3]
