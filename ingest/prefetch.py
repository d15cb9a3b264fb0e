"""Decoding files ahead of the consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ingest.imaging.sandbox import Decode, DecodeLimits, DecodeWorkers
from ingest.settings import IngestSettings

A = TypeVar("A")
B = TypeVar("B")


def iter_prefetched(
    items: Iterable[A],
    do: Callable[[A, DecodeWorkers], B],
    settings: IngestSettings,
    decode: Decode,
) -> Generator[tuple[A, B]]:
    """Yield each item with `do(item, workers)`, in order, computed ahead of the consumer.

    Args:
        items: at most `decode_ahead` of them are taken ahead.
        do: called in threads.
        settings: the number of decoding processes and their limits.
        decode: called in those processes.
    """
    waiting: deque[tuple[A, Future[B]]] = deque()
    limits, in_processes = DecodeLimits.from_settings(settings), settings.decode_workers > 0
    with (
        ThreadPoolExecutor(settings.decode_workers or 1, "decode") as pool,
        DecodeWorkers(limits, decode, in_processes=in_processes) as workers,
    ):
        try:
            for item in items:
                waiting.append((item, pool.submit(do, item, workers)))
                if len(waiting) > settings.decode_ahead:
                    first, made = waiting.popleft()
                    yield first, made.result()
            while waiting:
                first, made = waiting.popleft()
                yield first, made.result()
        finally:
            for _, made in waiting:
                made.cancel()
