"""Counters, stage times and the summary of an ingest run."""

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

# Stages of the pipeline, as summaries name them. whole: the coarse pass; cut: segmentation.
Stage = Literal["decode", "whole", "cut", "embed", "write"]
PARALLEL_STAGES: tuple[Stage, ...] = ("decode", "cut")
WRITER_STAGES: tuple[Stage, ...] = ("embed", "write")  # share one thread


class StageTime(Record):
    """Work done by a stage: photos, busy seconds and parallel workers.

    `photos_per_s` is its throughput without waiting for other stages. On a CPU all stages share the
    cores, so each would be faster alone.
    """

    stage: Stage
    photos: int
    busy_s: float
    workers: int
    photos_per_s: float


class Stages:
    """Accumulates the time of each stage; shared by all threads of a run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy_s: Counter[Stage] = Counter()
        self._photos: Counter[Stage] = Counter()

    @contextmanager
    def timed(self, stage: Stage, photos: int = 1) -> Iterator[None]:
        """Measure the time of a `with` block; a block that raises is not counted."""
        started = time.monotonic()
        yield
        with self._lock:
            self._busy_s[stage] += time.monotonic() - started  # type: ignore[assignment]
            self._photos[stage] += photos

    def times(self, workers: dict[Stage, int]) -> tuple[StageTime, ...]:
        """List the stages that processed photos, in the order of the pipeline.

        Args:
            workers: parallel workers by stage; 1 where absent.
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
    """Return the bottleneck stage; None if no photo was segmented.

    Embedding and writing share a thread, so their times are added.
    """
    by_stage = {time.stage: time for time in times}
    if "cut" not in by_stage:
        return None
    writer = [by_stage[stage] for stage in WRITER_STAGES if stage in by_stage]
    s_per_photo: dict[Stage, float] = {
        stage: 1 / by_stage[stage].photos_per_s for stage in PARALLEL_STAGES if stage in by_stage
    }
    if writer:
        longer = max(writer, key=lambda time: time.busy_s)
        s_per_photo[longer.stage] = sum(1 / time.photos_per_s for time in writer)
    return max(s_per_photo, key=lambda stage: s_per_photo[stage])


class Skipped(Record):
    """A file that could not be used, and why."""

    path: str
    reason: str


class SkippedNow(Skipped):
    """A file skipped by this run; not new if an earlier run reported the same reason."""

    is_new: bool = True


class SkippedBefore(Skipped):
    """A file skipped by an earlier run."""

    noted_at: datetime


class IngestCounts(Record):
    """Counters of a run; summaries, progress lines and jobs share these fields."""

    photos_seen: int = 0
    photos_through: int = 0  # processed, with any outcome
    photos_new: int = 0  # new files of the coarse pass; 0 where there was none
    photos_whole: int = 0  # of those: indexed as a whole
    photos_ingested: int = 0
    photos_skipped: int = 0
    segments: int = 0
    seconds: float = 0.0


class IngestSummary(IngestCounts):
    """Summary of a run."""

    photos_unchanged: int
    photos_updated: int  # moved, copied or with new metadata: no inference
    photos_vanished: int  # hidden because no file shows them any more
    photos_excluded: int = 0  # hidden because patterns or defaults now exclude their files
    skipped_new: int = 0  # of photos_skipped: not reported by an earlier run
    interrupted: bool
    skipped: tuple[SkippedNow, ...]
    notices: tuple[str, ...]
    stages: tuple[StageTime, ...] = ()  # in the order of the pipeline
    slowest: Stage | None = None  # the bottleneck


class Progress(Protocol):
    """Receives the progress of a run."""

    def start(self, photos: int) -> None:
        """Called once, with the number of photo files found."""

    def show(self, tally: Tally) -> None:
        """Called after each photo."""


@dataclass
class Tally:
    """Mutable counters of a run."""

    seen: int = 0
    new: int = 0  # files of the coarse pass; 0: there is none
    whole: int = 0  # photos indexed by it
    is_coarse_pass: bool = False  # whether it is running
    unsynced: int = 0  # changed photos to update in the index at the end
    synced: int = 0  # of those: updated
    ingested: int = 0
    unchanged: int = 0
    updated: int = 0
    vanished: int = 0
    excluded: int = 0
    segments: int = 0
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    skipped_before: set[Path] = field(default_factory=set)  # of those: reported by an earlier run
    notices: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def skip(self, path: Path, reason: str, *, is_new: bool) -> None:
        """Count a file or folder that can't be used, with its reason."""
        self.skipped.append((path, reason))
        if not is_new:
            self.skipped_before.add(path)

    def finished(self, segments: int) -> None:
        """Count a segmented photo; thread-safe."""
        with self._lock:
            self.ingested += 1
            self.segments += segments

    def add_vanished(self, vanished: int, excluded: int, notices: Sequence[str]) -> None:
        """Count photos hidden by this run."""
        self.vanished += vanished
        self.excluded += excluded
        self.notices.extend(notices)

    @property
    def through(self) -> int:
        """Photos processed, with any outcome."""
        return self.ingested + self.unchanged + self.updated + len(self.skipped)

    def counts(self, seconds: float) -> IngestCounts:
        """Freeze the counters, `seconds` after the start."""
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
        """Build the summary, `seconds` after the start."""
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
