"""Progress of an ingest: a bar on a terminal, lines at intervals in a log file, or JSON lines."""

from __future__ import annotations

import json
import signal
import threading
import time
from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.schemas.jobs import ProgressLine
from ingest.stats import Tally

LINE_EVERY_S = 10.0
JSON_LINE_EVERY_S = 0.2
MIN_MEASURED_S = 1.0  # no rate before this


class IngestProgress:
    """Shows photos, photos/s, segments and time left, on stderr."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}{task.fields[segments]} segments"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("ingest", total=None, rate="", segments=0)
        self._photos = 0
        self._started = self._last_line_at = time.monotonic()
        self._segmenting_since: float | None = None  # after the pass over whole photos

    def __enter__(self) -> IngestProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def start(self, photos: int) -> None:
        """Set the number of photo files."""
        self._photos = photos
        self._started = self._last_line_at = time.monotonic()
        self._bar.update(self._task, total=photos)

    def show(self, tally: Tally) -> None:
        """Show the current counts."""
        if tally.is_coarse_pass:
            self._show_pass("whole photos first", tally.whole, tally.new)
        elif tally.unsynced:
            self._show_pass("folders and dates", tally.synced, tally.unsynced)
        else:
            self._show_segmenting(tally)

    def _show_segmenting(self, tally: Tally) -> None:
        if self._segmenting_since is None:
            self._segmenting_since = time.monotonic()
        seconds = time.monotonic() - self._segmenting_since
        rate = _rate(tally.ingested, seconds)
        self._bar.update(
            self._task,
            description="ingest",
            total=self._photos,
            completed=tally.through,
            rate=rate,
            segments=tally.segments,
        )
        slow = tally.through - tally.unchanged
        left = seconds_left(self._photos, tally.through, slow, seconds)
        self._print(
            f"{tally.through} of {self._photos} photos, {rate}{tally.segments} segments"
            + (f", {_rounded(left)} left" if left else "")
        )

    def _show_pass(self, label: str, photos: int, total: int) -> None:
        """Show a pass before or after segmentation."""
        rate = _rate(photos, time.monotonic() - self._started)
        self._bar.update(self._task, description=label, total=total, completed=photos, rate=rate)
        self._print(f"{label}: {photos} of {total} photos")

    def _print(self, line: str) -> None:
        """Print a line at intervals, if stderr is not a terminal."""
        if not self._console.is_terminal and time.monotonic() - self._last_line_at >= LINE_EVERY_S:
            self._last_line_at = time.monotonic()
            self._console.print(line, highlight=False, soft_wrap=True)


class JsonProgress:
    """Prints a `ProgressLine` at intervals on stdout.

    SIGINT stops the run, also if a shell started it in the background and ignores SIGINT there.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._last_line_at = 0.0
        self._lock = threading.Lock()  # segmenting and storing threads both report
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __enter__(self) -> JsonProgress:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to clean up."""

    def start(self, photos: int) -> None:
        """Set the number of photo files."""
        self._started = time.monotonic()
        self._print(Tally(seen=photos))

    def show(self, tally: Tally) -> None:
        """Show the current counts."""
        with self._lock:
            if time.monotonic() - self._last_line_at >= JSON_LINE_EVERY_S:
                self._print(tally)

    def _print(self, tally: Tally) -> None:
        self._last_line_at = time.monotonic()
        counts = tally.counts(self._last_line_at - self._started)
        print_line(ProgressLine(**counts.model_dump()))


def print_line(line: ProgressLine) -> None:
    """Print a progress line as JSON."""
    click.echo(json.dumps(line.model_dump(mode="json")))  # ASCII: safe in any encoding


def seconds_left(photos: int, through: int, slow: int, seconds: float) -> float | None:
    """The time for the remaining photos if all are new; None while unknown.

    Unchanged photos take no time, so only `slow` ones count.
    """
    return (photos - through) * seconds / slow if slow and seconds >= MIN_MEASURED_S else None


def _rate(photos: int, seconds: float) -> str:
    """The rate with a trailing comma; empty while unknown."""
    return f"{photos / seconds:.2f} photos/s, " if photos and seconds >= MIN_MEASURED_S else ""


def _rounded(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"
