"""Watching folders: what changes there is ingested, until it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import click
import watchfiles

from api.library.library import Library
from api.services.jobs import environment_of
from ingest.pipeline import WatchScope, ingest
from ingest.scanning.debounce import Debouncer, is_watched, scan_targets
from ingest.scanning.deletion_guard import DeletionGuard
from ingest.scanning.inotify import can_watch_more
from ingest.stats import IngestSummary, Progress, Skipped, Tally
from search.errors import LibraryError, OwnedError, UsageError

POLL_S = 4.0  # between two looks at all files, where the system can't watch
TICK_S = 1.0  # how often it is looked whether files have settled, and whether roots are there
STOPS_WITHIN_S = 30.0  # a photo in hand is written first
# -P: a folder named `api` where the command was started is none of ours.
WATCH = (sys.executable, "-P", "-m", "api.cli.main", "ingest", "--watch", "--until-stdin-closes")
STOPPING = (signal.SIGINT, signal.SIGTERM)

Tell = Callable[[IngestSummary], None]
MakeProgress = Callable[[], AbstractContextManager[Progress]]


class _NoProgress:
    """Shows nothing."""

    def start(self, photos: int) -> None: ...

    def show(self, tally: Tally) -> None: ...


def no_progress() -> AbstractContextManager[Progress]:
    """Return a progress that shows nothing."""
    return nullcontext(_NoProgress())


def watch_until_interrupted(
    paths: Sequence[Path],
    library: Library,
    tell: Tell,
    first: IngestSummary,
    make_progress: MakeProgress,
) -> None:
    """Watch until Ctrl-C or SIGTERM; `first` is what was told already."""
    click.echo("watching for changes (stop with Ctrl-C)", err=True)
    library.close_index()
    _stop_as_by_ctrl_c()
    with suppress(KeyboardInterrupt):
        watch(paths, library, tell, told=first.skipped, make_progress=make_progress)
    click.echo("watched until here; the same command goes on", err=True)


def _stop_as_by_ctrl_c() -> None:
    for stopping in STOPPING:  # a shell lets what it starts with & ignore Ctrl-C
        signal.signal(stopping, signal.default_int_handler)


def watch(
    paths: Sequence[Path],
    library: Library,
    tell: Tell,
    *,
    told: Iterable[Skipped] = (),
    make_progress: MakeProgress = no_progress,
    stop: threading.Event | None = None,
) -> None:
    """Ingest what changes below these paths, until `stop` is set or Ctrl-C.

    Between two looks the library is let go, so that other commands can have it. While another one
    adds or removes photos, changes wait.

    Args:
        paths: folders that were ingested.
        library: where the photos go.
        tell: is told of each look that made a difference.
        told: skipped files that are known.
        make_progress: makes what shows the progress of each look.
        stop: ends it when set.

    Raises:
        SegsearchError: a model or the store failed; all that was finished stays.
    """
    roots = [Path(os.path.realpath(path)) for path in paths]
    debouncer, known, guard = Debouncer(), {_name(each) for each in told}, DeletionGuard()
    own = Path(os.path.realpath(library.folder))
    for changed in iter_changes(roots, own, stop or threading.Event()):
        now = time.monotonic()
        debouncer.note(changed, now)
        ready = debouncer.settled(now)
        if not ready:
            continue
        try:
            summary = look(ready, debouncer.busy, library, guard, make_progress)
        except OwnedError:  # another command is at it
            debouncer.note(ready, now)
            continue
        finally:
            library.close_index()
        if summary is None:
            continue
        skipped = tuple(s for s in summary.skipped if s.is_new and _name(s) not in known)
        news = summary.model_copy(update={"skipped": skipped})
        known.update(map(_name, summary.skipped))
        if _is_news(news):
            tell(news)
        if summary.interrupted:
            return


def _name(skipped: Skipped) -> tuple[str, str]:
    return skipped.path, skipped.reason


def _is_news(summary: IngestSummary) -> bool:
    changed = summary.photos_ingested + summary.photos_updated + summary.photos_vanished
    changed += summary.photos_excluded
    return bool(changed or summary.skipped or summary.notices)


def look(
    ready: set[Path],
    busy: frozenset[Path],
    library: Library,
    guard: DeletionGuard,
    make_progress: MakeProgress,
) -> IngestSummary | None:
    """Ingest what changed; None if that makes no difference to the library.

    Raises:
        OwnedError: another command is adding or removing photos, or has the index open.
    """
    where = scan_targets(ready, library.ledger())
    if not where:
        return None
    scope = WatchScope(tuple(where.shallow), busy, guard)
    with library.only_writer(), make_progress() as progress:
        try:
            return ingest(where.deep, library.ingest_context(), progress, watch=scope)
        except UsageError:  # a folder that is gone by now, and was never known
            return None


def iter_changes(
    roots: Sequence[Path], library: Path, stop: threading.Event
) -> Generator[set[Path]]:
    """Yield what changed below the roots, about once a second, also if nothing did.

    Whenever watching begins, all has changed: at first, and when a root comes or goes (a disk that
    is mounted), since nobody is told of what happens meanwhile.

    Raises:
        LibraryError: the folders can't be watched at all.
    """
    while not stop.is_set():
        there = _identities(roots)
        new = set(there)
        for changed in _watched(list(there), stop):
            yield {path for path in changed if is_watched(path, roots, library)} | new
            new = set()
            if _identities(roots) != there:
                break
        else:
            stop.wait(TICK_S)
            yield new


def _identities(roots: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """Return which of the roots are there, each with its device and inode."""
    return {root: identity for root in roots if (identity := _identity(root))}


def _identity(root: Path) -> tuple[int, int] | None:
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _watched(roots: Sequence[Path], stop: threading.Event) -> Iterator[set[Path]]:
    """Yield what changed, as the system tells; where it can't tell of all folders, by looking.

    A folder that may not be read is passed over, and watchfiles then also passes over folders for
    which the system has no watch left: so it is asked for one more, at the beginning and at each
    look, since folders are added while it runs.
    """
    if not roots:
        return
    try:
        for changes in _changes(roots, stop, polling=False):
            if not can_watch_more():
                break
            yield changes
        else:
            return
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            return  # gone since it was looked for
        reason = str(error)
    else:
        reason = "it has no watch left"
    click.echo(
        f"the system can't watch all these folders ({reason}): they are looked through every "
        f"{POLL_S:g} s instead. On Linux, `sysctl fs.inotify.max_user_watches=1000000` allows more",
        err=True,
    )
    meanwhile = set(roots)  # nobody saw what changed until now
    try:
        for changes in _changes(roots, stop, polling=True):
            yield changes | meanwhile
            meanwhile = set()
    except FileNotFoundError:
        return
    except OSError as error:
        raise LibraryError(f"these folders can't be watched: {error}") from error


def _changes(roots: Sequence[Path], stop: threading.Event, *, polling: bool) -> Iterator[set[Path]]:
    for changes in watchfiles.watch(
        *roots,
        watch_filter=None,
        stop_event=stop,
        rust_timeout=int(TICK_S * 1000),
        yield_on_timeout=True,
        force_polling=polling or None,  # None: as WATCHFILES_FORCE_POLLING says
        poll_delay_ms=int(POLL_S * 1000) if polling else 300,
        ignore_permission_denied=True,
    ):
        yield {Path(path) for _, path in changes}


@contextmanager
def watcher(library: Library, command: Sequence[str] = WATCH) -> Iterator[Callable[[], None]]:
    """Watch the roots of a library that is served, in a process of its own, while the block runs.

    It writes through the process that serves, so stop it (by what this gives) before that takes no
    more requests. However the process that serves may end, it ends too.

    Raises:
        UsageError: the library has no roots yet.
    """
    ledger = library.ledger()
    # A root that is absent is watched too, unless nothing is known of it: then it may never come.
    known = [root for root in ledger.roots() if not root.is_absent or ledger.knows_of(root, b"")]
    roots = [str(root.path) for root in known]
    if not roots:
        raise UsageError("there is nothing to watch: `segsearch ingest` a folder first")
    click.echo(f"watching {', '.join(roots)}", err=True)
    with subprocess.Popen(
        [*command, *roots],
        env=environment_of(library),
        stdin=subprocess.PIPE,  # nothing is written to it: it tells the child when we are gone
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield lambda: _stop(process)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_with_parent() -> None:
    """Stop this process as Ctrl-C would, once the one that holds its stdin open is gone."""

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin: Python could not end while a thread reads that
        os.kill(os.getpid(), signal.SIGTERM)

    _stop_as_by_ctrl_c()
    threading.Thread(target=wait, daemon=True).start()
