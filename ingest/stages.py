"""How long each stage of a run was busy: what a person should buy more of."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from search.records import Record

Stage = Literal["decode", "whole", "cut", "embed", "write"]  # whole: photos embedded uncut
AHEAD: tuple[Stage, ...] = ("decode", "cut")
BEHIND: tuple[Stage, ...] = ("embed", "write")  # in one thread


class StageTime(Record):
    """What a stage did: photos, the seconds that it was busy with them, and how many did it.

    `photos_per_s` is what it could do if it never had to wait for another stage. On a CPU all
    stages share the cores, and alone each would be faster.
    """

    stage: Stage
    photos: int
    busy_s: float
    workers: int
    photos_per_s: float


class Stages:
    """Adds up the time of each stage; all threads of a run share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy_s: Counter[Stage] = Counter()
        self._photos: Counter[Stage] = Counter()

    @contextmanager
    def busy(self, stage: Stage, photos: int = 1) -> Iterator[None]:
        """Count the time of this block; one that fails does not count."""
        started = time.monotonic()
        yield
        with self._lock:
            self._busy_s[stage] += time.monotonic() - started  # type: ignore[assignment]
            self._photos[stage] += photos

    def times(self, workers: dict[Stage, int]) -> tuple[StageTime, ...]:
        """Return what each stage did that did anything, in the order of a photo's way.

        Args:
            workers: how many do a stage at the same time, where it is more than one.
        """
        return tuple(
            StageTime(
                stage=stage,
                photos=self._photos[stage],
                busy_s=round(self._busy_s[stage], 3),
                workers=workers.get(stage, 1),
                photos_per_s=_rate(self._photos[stage], self._busy_s[stage], workers.get(stage, 1)),
            )
            for stage in get_args(Stage)
            if self._photos[stage]
        )


def _rate(photos: int, busy_s: float, workers: int) -> float:
    return round(photos * workers / max(busy_s, 1e-6), 3)


def slowest(times: tuple[StageTime, ...]) -> Stage | None:
    """Return the stage that the others waited for; None if no photo was cut.

    Embedding and writing take turns in one thread, so what both take together counts.
    """
    by_stage = {time.stage: time for time in times}
    if "cut" not in by_stage:
        return None
    behind = [by_stage[stage] for stage in BEHIND if stage in by_stage]
    a_photo_s: dict[Stage, float] = {
        stage: 1 / by_stage[stage].photos_per_s for stage in AHEAD if stage in by_stage
    }
    if behind:
        longer = max(behind, key=lambda time: time.busy_s)
        a_photo_s[longer.stage] = sum(1 / time.photos_per_s for time in behind)
    return max(a_photo_s, key=lambda stage: a_photo_s[stage])
