"""Decoding ahead of whoever wants the pixels."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ingest.imaging.sandbox import Decode, DecodeLimits, DecodeWorkers
from ingest.settings import IngestSettings

A = TypeVar("A")
B = TypeVar("B")


def done_ahead(
    items: Iterable[A],
    do: Callable[[A, DecodeWorkers], B],
    settings: IngestSettings,
    decode: Decode,
) -> Generator[tuple[A, B]]:
    """Yield each item with what was made of it, in order.

    Args:
        items: at most `decode_ahead` are taken before they are asked for.
        do: called in threads, with the processes that decode.
        settings: how many processes there are, and their limits.
        decode: what they do.
    """
    waiting: deque[tuple[A, Future[B]]] = deque()
    limits, apart = DecodeLimits.from_settings(settings), settings.decode_workers > 0
    with (
        ThreadPoolExecutor(settings.decode_workers or 1, "decode") as pool,
        DecodeWorkers(limits, decode, apart=apart) as workers,
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
