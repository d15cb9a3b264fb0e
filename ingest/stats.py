"""What a run counts, and what it says at the end."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ingest.imaging.decode import path_text
from ingest.stages import Stage, StageTime, slowest
from search.records import Record


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


class IngestSummary(Record):
    """What a run did."""

    photos_seen: int
    photos_new: int  # never looked at before; 0 where there were few
    photos_whole: int  # of those: embedded as a whole before any was cut
    photos_ingested: int
    photos_unchanged: int
    photos_updated: int  # moved, copied or re-tagged: no inference
    photos_vanished: int  # hidden: no file shows them any more
    photos_excluded: int = 0  # hidden: left out from now on, by patterns or by default
    photos_skipped: int
    skipped_new: int = 0  # of those: not told of by an earlier run
    segments: int
    seconds: float
    interrupted: bool
    skipped: tuple[SkippedNow, ...]
    notices: tuple[str, ...]
    stages: tuple[StageTime, ...] = ()  # in the order of a photo's way
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

    found: int = 0
    new: int = 0  # files that are embedded as whole photos first; 0: none are
    whole: int = 0  # photos that were
    is_whole_pass: bool = False  # it is at that now
    stale: int = 0  # moved, re-tagged or hidden photos that the index is told of at the end
    told: int = 0  # of those
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
        """Count a file or folder that can't be used, and note why."""
        self.skipped.append((path, reason))
        if not is_new:
            self.skipped_before.add(path)

    def finished(self, segments: int) -> None:
        """Count a photo that was cut; threads may do so at the same time."""
        with self._lock:
            self.ingested += 1
            self.segments += segments

    @property
    def through(self) -> int:
        """Photos that are done with, one way or another."""
        return self.ingested + self.unchanged + self.updated + len(self.skipped)

    def summary(
        self, seconds: float, *, interrupted: bool, stages: tuple[StageTime, ...] = ()
    ) -> IngestSummary:
        """Return the whole as a record."""
        return IngestSummary(
            photos_seen=self.found,
            photos_new=self.new,
            photos_whole=self.whole,
            photos_ingested=self.ingested,
            photos_unchanged=self.unchanged,
            photos_updated=self.updated,
            photos_vanished=self.vanished,
            photos_excluded=self.excluded,
            photos_skipped=len(self.skipped),
            skipped_new=len(self.skipped) - len(self.skipped_before),
            segments=self.segments,
            seconds=round(seconds, 3),
            interrupted=interrupted,
            skipped=tuple(
                SkippedNow(path=path_text(p), reason=r, is_new=p not in self.skipped_before)
                for p, r in self.skipped
            ),
            notices=tuple(self.notices),
            stages=stages,
            slowest=slowest(stages),
        )
