"""Watch folders and ingest changes, until stopped."""

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

POLL_S = 4.0  # between two scans of all files, where the system can't watch them
TICK_S = 1.0  # between two checks for files that are completely written and for mounted roots
STOP_TIMEOUT_S = 30.0  # the current photo is finished first
# -P: do not import a folder named `api` in the current directory.
WATCH = (sys.executable, "-P", "-m", "api.cli.main", "ingest", "--watch", "--until-stdin-closes")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Report = Callable[[IngestSummary], None]
MakeProgress = Callable[[], AbstractContextManager[Progress]]


class _NoProgress:
    """Shows nothing."""

    def start(self, photos: int) -> None: ...

    def show(self, tally: Tally) -> None: ...


def no_progress() -> AbstractContextManager[Progress]:
    """A progress display that shows nothing."""
    return nullcontext(_NoProgress())


def watch_until_interrupted(
    paths: Sequence[Path],
    library: Library,
    report: Report,
    first: IngestSummary,
    make_progress: MakeProgress,
) -> None:
    """Watch until Ctrl-C or SIGTERM; `first` is the summary of the ingest before."""
    click.echo("watching for changes (stop with Ctrl-C)", err=True)
    library.close_index()
    _raise_on_stop_signals()
    with suppress(KeyboardInterrupt):
        watch(paths, library, report, known=first.skipped, make_progress=make_progress)
    click.echo("stopped watching; run the same command again to resume", err=True)


def _raise_on_stop_signals() -> None:
    for number in STOP_SIGNALS:  # background jobs of a shell ignore SIGINT otherwise
        signal.signal(number, signal.default_int_handler)


def watch(
    paths: Sequence[Path],
    library: Library,
    report: Report,
    *,
    known: Iterable[Skipped] = (),
    make_progress: MakeProgress = no_progress,
    stop: threading.Event | None = None,
) -> None:
    """Ingest changes below these paths until `stop` is set or Ctrl-C.

    Between two ingests the index is closed, so that other commands can use it. While another
    command adds or removes photos, changes wait.

    Args:
        paths: ingested folders.
        library: the library of these folders.
        report: receives the summary of each ingest that changed something.
        known: skipped files that were reported before.
        make_progress: opens the progress display of each ingest.
        stop: ends the watch when set.

    Raises:
        SegsearchError: a model or the store failed; finished photos stay.
    """
    roots = [Path(os.path.realpath(path)) for path in paths]
    debouncer, reported, guard = Debouncer(), {_key(each) for each in known}, DeletionGuard()
    own = Path(os.path.realpath(library.folder))
    for changed in iter_changes(roots, own, stop or threading.Event()):
        now = time.monotonic()
        debouncer.note(changed, now)
        ready = debouncer.settled(now)
        if not ready:
            continue
        try:
            summary = ingest_changes(ready, debouncer.busy, library, guard, make_progress)
        except OwnedError:  # another command is running: try again
            debouncer.note(ready, now)
            continue
        finally:
            library.close_index()
        if summary is None:
            continue
        skipped = tuple(s for s in summary.skipped if s.is_new and _key(s) not in reported)
        news = summary.model_copy(update={"skipped": skipped})
        reported.update(map(_key, summary.skipped))
        if _is_news(news):
            report(news)
        if summary.interrupted:
            return


def _key(skipped: Skipped) -> tuple[str, str]:
    return skipped.path, skipped.reason


def _is_news(summary: IngestSummary) -> bool:
    changed = summary.photos_ingested + summary.photos_updated + summary.photos_vanished
    changed += summary.photos_excluded
    return bool(changed or summary.skipped or summary.notices)


def ingest_changes(
    ready: set[Path],
    busy: frozenset[Path],
    library: Library,
    guard: DeletionGuard,
    make_progress: MakeProgress,
) -> IngestSummary | None:
    """Ingest changed paths; None if no photo can be affected.

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
        except UsageError:  # a folder that was deleted meanwhile and never ingested
            return None


def iter_changes(
    roots: Sequence[Path], library: Path, stop: threading.Event
) -> Generator[set[Path]]:
    """Yield changed paths below the roots about once a second, also when there are none.

    At the start, and when a root appears or disappears (a disk is mounted), whole roots count as
    changed, since changes before are not observed.

    Raises:
        LibraryError: the folders can't be watched at all.
    """
    while not stop.is_set():
        present = _identities(roots)
        new = set(present)
        for changed in _watched(list(present), stop):
            yield {path for path in changed if is_watched(path, roots, library)} | new
            new = set()
            if _identities(roots) != present:
                break
        else:
            stop.wait(TICK_S)
            yield new


def _identities(roots: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """The roots that exist, with device and inode."""
    return {root: identity for root in roots if (identity := _identity(root))}


def _identity(root: Path) -> tuple[int, int] | None:
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _watched(roots: Sequence[Path], stop: threading.Event) -> Iterator[set[Path]]:
    """Yield changes from the system's notifications, or by polling if these can't cover all.

    Unreadable folders are ignored, but with that option watchfiles also ignores folders beyond the
    inotify limit. So `can_watch_more` asks for one more watch at each tick: folders may be added at
    any time.
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
            return  # deleted since the check
        reason = str(error)
    else:
        reason = "its limit of watches is reached"
    click.echo(
        f"the system can't watch all these folders ({reason}): they are scanned every "
        f"{POLL_S:g} s instead. On Linux, `sysctl fs.inotify.max_user_watches=1000000` raises the "
        "limit",
        err=True,
    )
    unseen = set(roots)  # changes until now were not observed
    try:
        for changes in _changes(roots, stop, polling=True):
            yield changes | unseen
            unseen = set()
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
        force_polling=polling or None,  # None: by WATCHFILES_FORCE_POLLING
        poll_delay_ms=int(POLL_S * 1000) if polling else 300,
        ignore_permission_denied=True,
    ):
        yield {Path(path) for _, path in changes}


@contextmanager
def watcher(library: Library, command: Sequence[str] = WATCH) -> Iterator[Callable[[], None]]:
    """Watch the roots of a served library in a child process; yields a function that stops it.

    The child writes through the server, so it must be stopped before the server stops accepting
    requests. It also ends when the server process ends in any way.

    Raises:
        UsageError: the library has no roots yet.
    """
    ledger = library.ledger()
    # Absent roots (unmounted disks) are watched too, unless no file of them is known.
    known = [root for root in ledger.roots() if not root.is_absent or ledger.knows_of(root, b"")]
    roots = [str(root.path) for root in known]
    if not roots:
        raise UsageError("there is nothing to watch: `segsearch ingest` a folder first")
    click.echo(f"watching {', '.join(roots)}", err=True)
    with subprocess.Popen(
        [*command, *roots],
        env=environment_of(library),
        stdin=subprocess.PIPE,  # closed when this process ends, which stops the child
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
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_with_parent() -> None:
    """Stop this process like Ctrl-C once stdin is closed: its parent has ended."""

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin: a thread that reads it would block the interpreter's exit
        os.kill(os.getpid(), signal.SIGTERM)

    _raise_on_stop_signals()
    threading.Thread(target=wait, daemon=True).start()
