"""How far an ingest is: a bar on a terminal, a line now and then in a log file."""

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
MEASURED_S = 1.0  # before, a speed is a matter of chance


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
        self._started = self._said_at = time.monotonic()
        self._cutting_since: float | None = None  # after the whole photos

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
        """So many photo files were found."""
        self._photos = photos
        self._started = self._said_at = time.monotonic()
        self._bar.update(self._task, total=photos)

    def show(self, tally: Tally) -> None:
        """So far it has come."""
        if tally.is_coarse_pass:
            self._show_part("whole photos first", tally.whole, tally.new)
        elif tally.unsynced:
            self._show_part("folders and dates", tally.synced, tally.unsynced)
        else:
            self._show_cutting(tally)

    def _show_cutting(self, tally: Tally) -> None:
        if self._cutting_since is None:
            self._cutting_since = time.monotonic()
        seconds = time.monotonic() - self._cutting_since
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
        self._say(
            f"{tally.through} of {self._photos} photos, {rate}{tally.segments} segments"
            + (f", {_rounded(left)} left" if left else "")
        )

    def _show_part(self, what: str, photos: int, of: int) -> None:
        """Show what comes before or after the cutting."""
        rate = _rate(photos, time.monotonic() - self._started)
        self._bar.update(self._task, description=what, total=of, completed=photos, rate=rate)
        self._say(f"{what}: {photos} of {of} photos")

    def _say(self, line: str) -> None:
        """Print a line now and then, where there is no terminal."""
        if not self._console.is_terminal and time.monotonic() - self._said_at >= LINE_EVERY_S:
            self._said_at = time.monotonic()
            self._console.print(line, highlight=False, soft_wrap=True)


class JsonProgress:
    """Prints a `ProgressLine` now and then, on stdout.

    Whoever reads it stops the run by SIGINT, also where a shell that started it in the background
    had it ignored.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._said_at = 0.0
        self._turn = threading.Lock()  # photos are finished in another thread than they are cut in
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __enter__(self) -> JsonProgress:
        return self

    def __exit__(self, *_: object) -> None:
        """Have nothing to tidy up."""

    def start(self, photos: int) -> None:
        """So many photo files were found."""
        self._started = time.monotonic()
        self._say(Tally(seen=photos))

    def show(self, tally: Tally) -> None:
        """So far it has come."""
        with self._turn:
            if time.monotonic() - self._said_at >= JSON_LINE_EVERY_S:
                self._say(tally)

    def _say(self, tally: Tally) -> None:
        self._said_at = time.monotonic()
        counts = tally.counts(self._said_at - self._started)
        print_line(ProgressLine(**counts.model_dump()))


def print_line(line: ProgressLine) -> None:
    """Print a line at once."""
    click.echo(json.dumps(line.model_dump(mode="json")))  # ASCII, whatever stdout's encoding is


def seconds_left(photos: int, through: int, slow: int, seconds: float) -> float | None:
    """Return how long it will take if all photos that are left are new; None while unknown.

    Known photos take no time, so only those count that were `slow`.
    """
    return (photos - through) * seconds / slow if slow and seconds >= MEASURED_S else None


def _rate(photos: int, seconds: float) -> str:
    """Return how fast it goes, to be followed by more; nothing while that is unknown."""
    return f"{photos / seconds:.2f} photos/s, " if photos and seconds >= MEASURED_S else ""


def _rounded(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"
