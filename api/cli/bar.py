"""A progress bar on a terminal, or lines at intervals in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0


def progress_bar(label: str) -> Callable[[Iterable[str], int], Iterable[str]]:
    """Return a function that wraps an iterable of known length in a progress bar on stderr."""

    def track(photos: Iterable[str], total: int) -> Iterator[str]:
        console = Console(stderr=True)
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        title = TextColumn(f"[bold]{label}")
        last_line_at = time.monotonic()
        with Progress(title, *columns, console=console, disable=not console.is_terminal) as bar:
            for number, photo in enumerate(bar.track(photos, total=total)):
                if not console.is_terminal and time.monotonic() - last_line_at >= LINE_EVERY_S:
                    last_line_at = time.monotonic()
                    line = f"{number} of {total} photos"
                    console.print(line, highlight=False, soft_wrap=True)
                yield photo

    return track
