"""What a run counts, and what it says at the end."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol, get_args

from ingest.imaging.decode import path_text
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


class Skipped(Record):
    """A file that could not be used, and why."""

    path: str
    reason: str


class SkippedNow(Skipped):
    """The same, in a run; not new if an earlier run said so with the same reason."""

    is_new: bool = True


class SkippedBefore(Skipped):
    """The same, and when that was noted."""

    noted_at: datetime


class IngestCounts(Record):
    """How far a run is. Summaries, progress lines and jobs have the same fields."""

    photos_seen: int = 0
    photos_through: int = 0  # done with, one way or another
    photos_new: int = 0  # never looked at before; 0 where there were few
    photos_whole: int = 0  # of those: indexed as a whole before any was segmented
    photos_ingested: int = 0
    photos_skipped: int = 0
    segments: int = 0
    seconds: float = 0.0


class IngestSummary(IngestCounts):
    """What a run did."""

    photos_unchanged: int
    photos_updated: int  # moved, copied or edited metadata: no inference
    photos_vanished: int  # hidden: no file shows them any more
    photos_excluded: int = 0  # hidden: left out from now on, by patterns or by default
    skipped_new: int = 0  # of the skipped: not reported by an earlier run
    interrupted: bool
    skipped: tuple[SkippedNow, ...]
    notices: tuple[str, ...]
    stages: tuple[StageTime, ...] = ()  # in the order of the pipeline
    slowest: Stage | None = None  # the stage that the others waited for


class Progress(Protocol):
    """Where a run says how far it is."""

    def start(self, photos: int) -> None:
        """So many photo files were found."""

    def show(self, tally: Tally) -> None:
        """So far it has come."""


@dataclass
class Tally:
    """What a run has done so far."""

    seen: int = 0
    new: int = 0  # files that are indexed as whole photos first; 0: none are
    whole: int = 0  # photos that were
    is_coarse_pass: bool = False  # now
    unsynced: int = 0  # changed or hidden photos that the index is updated with at the end
    synced: int = 0  # of those
    ingested: int = 0
    unchanged: int = 0
    updated: int = 0
    vanished: int = 0
    excluded: int = 0
    segments: int = 0
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    skipped_before: set[Path] = field(default_factory=set)  # of those: nothing new
    notices: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def skip(self, path: Path, reason: str, *, is_new: bool) -> None:
        """Count a file or folder that can't be used, with its reason."""
        self.skipped.append((path, reason))
        if not is_new:
            self.skipped_before.add(path)

    def finished(self, segments: int) -> None:
        """Count a photo that was segmented; may be called by several threads."""
        with self._lock:
            self.ingested += 1
            self.segments += segments

    def add_vanished(self, vanished: int, excluded: int, notices: Sequence[str]) -> None:
        """Count photos that are hidden now."""
        self.vanished += vanished
        self.excluded += excluded
        self.notices.extend(notices)

    @property
    def through(self) -> int:
        """Photos that are done with, one way or another."""
        return self.ingested + self.unchanged + self.updated + len(self.skipped)

    def counts(self, seconds: float) -> IngestCounts:
        """Return how far it is after so many seconds."""
        return IngestCounts(
            photos_seen=self.seen,
            photos_through=self.through,
            photos_new=self.new,
            photos_whole=self.whole,
            photos_ingested=self.ingested,
            photos_skipped=len(self.skipped),
            segments=self.segments,
            seconds=round(seconds, 3),
        )

    def summary(
        self, seconds: float, *, interrupted: bool, stages: tuple[StageTime, ...] = ()
    ) -> IngestSummary:
        """Return the whole as a record."""
        return IngestSummary(
            **self.counts(seconds).model_dump(),
            photos_unchanged=self.unchanged,
            photos_updated=self.updated,
            photos_vanished=self.vanished,
            photos_excluded=self.excluded,
            skipped_new=len(self.skipped) - len(self.skipped_before),
            interrupted=interrupted,
            skipped=tuple(
                SkippedNow(path=path_text(path), reason=why, is_new=path not in self.skipped_before)
                for path, why in self.skipped
            ),
            notices=tuple(self.notices),
            stages=stages,
            slowest=slowest(stages),
        )
