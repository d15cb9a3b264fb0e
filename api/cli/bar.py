"""How far a command is: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0


def bar(label: str) -> Callable[[Iterable[str], int], Iterable[str]]:
    """Return what hands things on, of which there are so many, and shows how many there were."""

    def show(things: Iterable[str], total: int) -> Iterator[str]:
        console = Console(stderr=True)
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        title = TextColumn(f"[bold]{label}")
        said_at = time.monotonic()
        with Progress(title, *columns, console=console, disable=not console.is_terminal) as shown:
            for number, each in enumerate(shown.track(things, total=total)):
                if not console.is_terminal and time.monotonic() - said_at >= LINE_EVERY_S:
                    said_at = time.monotonic()
                    said = f"{number} of {total} photos"
                    console.print(said, highlight=False, soft_wrap=True)
                yield each

    return show
