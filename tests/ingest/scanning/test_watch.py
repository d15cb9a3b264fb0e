"""Watching: when changed files are looked at, where, and what comes of it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
import watchfiles
from support.commands import READY_WITHIN_S, serve, start
from support.fakes import Quiet, make_library
from support.ingest_rig import Rig, write

from api.services import watch as watching
from api.services.watch import iter_changes, watch
from api.services.watch import watcher as watched_beside
from ingest.catalog.ledger import Ledger
from ingest.pipeline import WatchScope, ingest
from ingest.scanning.debounce import (
    MAX_WAIT_S,
    SETTLED_S,
    Debouncer,
    ScanTargets,
    is_watched,
    scan_targets,
)
from ingest.scanning.deletion_guard import WINDOW_S, DeletionGuard
from ingest.scanning.inotify import can_watch_more
from ingest.stats import IngestSummary
from search.errors import OwnedError
from search.records import SearchFilter

WITHIN_S = 60.0
BOTH_START_WITHIN_S = 240.0  # two processes load models, the server and the one that watches


def test_a_file_that_is_still_written_waits_until_it_no_longer_changes(tmp_path: Path) -> None:
    path, settling = tmp_path / "a.jpg", Debouncer()
    path.write_bytes(b"1")
    settling.note([path], 0.0)
    assert settling.settled(SETTLED_S - 0.1) == set()
    path.write_bytes(b"12")
    assert settling.settled(SETTLED_S) == set()
    assert settling.settled(2 * SETTLED_S - 0.1) == set()
    assert settling.settled(2 * SETTLED_S) == {path}
    assert settling.settled(100.0) == set()


def test_many_changes_are_one_batch_and_what_is_gone_settles_too(tmp_path: Path) -> None:
    settling = Debouncer()
    paths = [tmp_path / f"{number}.jpg" for number in range(5)]
    for moment, path in enumerate(paths):
        settling.note([path], moment / 2)
        assert settling.settled(moment / 2) == set()
    assert settling.settled(2.0 + SETTLED_S) == set(paths)


def test_a_burst_without_an_end_is_looked_at_but_for_what_is_being_written(tmp_path: Path) -> None:
    settling, done, busy = Debouncer(), tmp_path / "done.jpg", tmp_path / "busy.jpg"
    done.touch()
    settling.note([done], 0.0)
    settling.note([busy], MAX_WAIT_S - 1)
    assert settling.settled(MAX_WAIT_S - 0.5) == set()
    assert settling.settled(MAX_WAIT_S) == {done}
    assert settling.busy == {busy}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with closing(Rig(tmp_path)) as rig:
        for seed, name in enumerate(("a.png", "s/b.png", "s/t/c.png")):
            write(rig.photos / name, seed)
        rig.ingest()
        yield rig


def where(rig: Rig, *changed: str) -> ScanTargets:
    with rig.ledger() as ledger:
        return scan_targets([rig.photos / name for name in changed], ledger)


def test_of_a_changed_file_its_folder_is_looked_at_and_not_those_in_it(rig: Rig) -> None:
    assert where(rig, "s/b.png", "s/new.jpg", "s/IMG.DNG") == ScanTargets([], [rig.photos / "s"])


def test_a_new_folder_is_looked_through_and_a_known_one_that_is_gone(rig: Rig) -> None:
    (rig.photos / "new").mkdir()
    shutil.rmtree(rig.photos / "s/t")
    assert where(rig, "new", "s/t", "s/t/c.png", "never") == ScanTargets(
        [rig.photos / "new", rig.photos / "s/t", rig.photos / "s/t/c.png"], []
    )


def test_an_ignore_file_changes_all_that_lies_below(rig: Rig) -> None:
    assert where(rig, "s/.segsearchignore", "s/b.png") == ScanTargets([rig.photos / "s"], [])


def test_what_is_no_photo_is_nothing_to_look_at(rig: Rig) -> None:
    (rig.photos / "notes.txt").touch()
    assert not where(rig, "notes.txt", "gone.tmp")


def test_hidden_files_and_the_library_itself_are_not_watched(tmp_path: Path) -> None:
    def watched(name: str) -> bool:
        return is_watched(tmp_path / name, [tmp_path], tmp_path / "library")

    assert watched("a.jpg")
    assert watched("s/.segsearchignore")
    assert watched("")
    assert not watched(".a.jpg")
    assert not watched(".trash/a.jpg")
    assert not watched("library/ledger.sqlite-wal")


def look_at(rig: Rig, *deep: Path, **how: Any) -> IngestSummary:
    return ingest(deep, rig.ingest_context(), Quiet(), watch=WatchScope(**how))


def test_a_shallow_look_sees_one_folder_and_leaves_what_lies_deeper(rig: Rig) -> None:
    write(rig.photos / "s/new.png", 7)
    write(rig.photos / "s/t/newer.png", 8)
    for name in ("s/b.png", "s/t/c.png"):
        (rig.photos / name).unlink()
    summary = look_at(rig, shallow=(rig.photos / "s",))
    assert (summary.photos_ingested, summary.photos_vanished) == (1, 1)
    assert rig.shown() == ["photos/a.png", "photos/s/new.png", "photos/s/t/c.png"]


def test_a_file_that_is_busy_is_left_as_it_was(rig: Rig) -> None:
    new, changed = write(rig.photos / "new.png", 7), write(rig.photos / "a.png", 8)
    summary = look_at(rig, rig.photos, busy=frozenset((new, changed)))
    assert (summary.photos_ingested, summary.photos_vanished) == (0, 0)
    assert look_at(rig, rig.photos).photos_ingested == 2


def test_much_that_is_gone_at_once_is_asked_about_and_a_move_is_not(tmp_path: Path) -> None:
    with closing(Rig(tmp_path)) as rig:
        for seed in range(30):
            write(rig.photos / f"{seed % 2}/{seed}.png", seed)
        rig.ingest()
        (rig.photos / "0").rename(rig.photos / "moved")
        assert look_at(rig, rig.photos, guard=DeletionGuard()).notices == ()
        shutil.rmtree(rig.photos / "moved")
        summary = look_at(rig, rig.photos, guard=DeletionGuard())
        assert summary.photos_vanished == 0
        assert f"segsearch ingest {rig.photos}" in summary.notices[0]
        assert len(rig.shown()) == 30
        assert rig.ingest().photos_vanished == 15
        for seed in range(1, 20, 2):  # ten are few
            (rig.photos / f"1/{seed}.png").unlink()
        assert look_at(rig, rig.photos, guard=DeletionGuard()).photos_vanished == 10


def test_what_goes_bit_by_bit_is_asked_about_like_what_goes_at_once(tmp_path: Path) -> None:
    passed_s = 0.0
    caution = DeletionGuard(lambda: passed_s)
    with closing(Rig(tmp_path)) as rig:
        photos = [write(rig.photos / f"{seed}.png", seed) for seed in range(60)]
        rig.ingest()
        hidden = []
        for start in (0, 6, 12):
            for path in photos[start : start + 6]:
                path.unlink()
            summary = look_at(rig, rig.photos, guard=caution)
            hidden.append(summary.photos_vanished)
        assert hidden == [6, 6, 0]
        assert "too many at once" in summary.notices[0]
        passed_s += WINDOW_S
        assert look_at(rig, rig.photos, guard=caution).photos_vanished == 6


class Watcher:
    """A watch in a thread, and what it told."""

    def __init__(self, folder: Path, library: str) -> None:
        self.photos = folder / "photos"
        self.library = folder / library
        self.told: list[IngestSummary] = []
        self.stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Watcher:
        write(self.photos / "first.png", 99)
        with make_library(self.library) as library:
            ingest([self.photos], library.ingest_context(), Quiet())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()
        assert self._error is None

    def _work(self) -> None:
        try:
            with make_library(self.library) as library:
                watch([self.photos], library, self.told.append, stop=self.stop)
        except BaseException as error:
            self._error = error

    def wait_until_shown(self, *names: str) -> None:
        until = time.monotonic() + WITHIN_S
        while self.shown() != set(names):
            assert time.monotonic() < until, (self.shown(), self.told, self._error)
            time.sleep(0.1)

    def shown(self) -> set[str]:
        with closing(Ledger(self.library)) as ledger:
            rows = ledger.photos(SearchFilter(), limit=1000)
            return {str(row.path.relative_to(self.photos)) for row in rows if row.path}


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Watcher]:
    with Watcher(tmp_path, "photos/library") as watcher:  # where it must not disturb itself
        yield watcher


def test_what_comes_changes_moves_and_goes_is_followed(watcher: Watcher) -> None:
    write(watcher.photos / "a.png", 1)
    write(watcher.photos / "s/b.png", 2)
    watcher.wait_until_shown("first.png", "a.png", "s/b.png")
    (watcher.photos / "s").rename(watcher.photos / "moved")
    watcher.wait_until_shown("first.png", "a.png", "moved/b.png")
    (watcher.photos / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    (watcher.photos / "a.png").unlink()
    watcher.wait_until_shown("first.png", "moved/b.png")
    wait_until(lambda: photos_in_index(watcher.library) == 3)  # in between, others can have it
    told = len(watcher.told)
    time.sleep(2 * SETTLED_S)
    assert len(watcher.told) == told  # what the library writes is nothing new
    assert sum(summary.photos_ingested for summary in watcher.told) == 2
    assert sum(len(summary.skipped) for summary in watcher.told) == 1


def photos_in_index(library: Path) -> int | None:
    """How many photos there are; None while the watch has the library."""
    with make_library(library) as other:
        try:
            return other.index().count("photos")
        except OwnedError:
            return None


def test_a_root_that_is_unmounted_keeps_its_photos_and_is_watched_again(tmp_path: Path) -> None:
    with Watcher(tmp_path, "library") as watcher:
        write(watcher.photos / "a.png", 1)
        watcher.wait_until_shown("first.png", "a.png")
        watcher.photos.rename(tmp_path / "away")
        time.sleep(3 * SETTLED_S)
        assert watcher.shown() == {"first.png", "a.png"}
        write(tmp_path / "away/b.png", 2)
        (tmp_path / "away").rename(watcher.photos)
        watcher.wait_until_shown("first.png", "a.png", "b.png")
        write(watcher.photos / "c.png", 3)
        watcher.wait_until_shown("first.png", "a.png", "b.png", "c.png")


def test_when_a_root_comes_or_goes_the_others_are_looked_through_too(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    stop = threading.Event()
    changes = iter_changes([here, there], tmp_path / "library", stop)
    assert next(changes) == {here, there}
    there.rename(tmp_path / "away")
    try:
        assert any(here in found for found in islice(changes, 6))  # nobody was told meanwhile
    finally:
        stop.set()
        changes.close()


def test_where_the_system_has_no_watch_left_folders_are_looked_through_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watching, "POLL_S", 0.2)
    monkeypatch.setattr(watching, "can_watch_more", lambda: False)
    here, stop = tmp_path / "here", threading.Event()
    here.mkdir()
    changes = iter_changes([here], tmp_path / "library", stop)
    try:
        assert next(changes) == {here}
        (here / "a.jpg").write_text("new")
        assert any(here / "a.jpg" in found for found in islice(changes, 20))
    finally:
        stop.set()
        changes.close()
    said = capsys.readouterr().err
    assert said.count("can't watch all these folders") == 1
    assert "max_user_watches" in said


def test_a_system_that_cannot_watch_at_all_is_no_end_of_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "POLL_S", 0.2)
    watch_files = watchfiles.watch

    def no_inotify(*roots: Path, force_polling: bool | None, **options: Any) -> Any:
        if not force_polling:
            raise OSError(24, "Too many open files")
        return watch_files(*roots, force_polling=True, **options)

    monkeypatch.setattr(watchfiles, "watch", no_inotify)
    stop = threading.Event()
    changes = iter_changes([tmp_path], tmp_path / "library", stop)
    try:
        assert next(changes) == {tmp_path}
    finally:
        stop.set()
        changes.close()


def test_this_machine_can_watch_a_folder_more() -> None:
    assert can_watch_more()


def test_a_library_in_its_photo_folder_is_watched_but_for_its_own_files(tmp_path: Path) -> None:
    def watched(name: str) -> bool:
        return is_watched(tmp_path / name, [tmp_path], tmp_path)

    assert watched("a.jpg")
    assert watched("trip")
    assert watched("pictures/mine.jpg")
    assert not watched("ledger.sqlite-wal")
    assert not watched("index/segments/1")
    assert not watched("pictures/ab/cd.val")
    assert not watched("owner.lock")


TELL_AND_WAIT = """
import pathlib, sys
draft = pathlib.Path(sys.argv[1] + ".draft")
draft.write_text("\\n".join(sys.argv[2:]))
draft.rename(sys.argv[1])
sys.stdin.read()
"""


def test_a_server_watches_a_disk_that_is_away_and_no_folder_that_never_was(tmp_path: Path) -> None:
    here, away, told = tmp_path / "here", tmp_path / "away", tmp_path / "told"
    with make_library(tmp_path / "library") as library:
        for folder in (here, away):
            write(folder / "a.png", 1)
            ingest([folder], library.ingest_context(), Quiet())
        library.ledger().add_root(tmp_path / "never")
        away.rename(tmp_path / "elsewhere")
        with watched_beside(library, (sys.executable, "-c", TELL_AND_WAIT, str(told))) as stop:
            wait_until(told.exists)
            stop()
        assert set(told.read_text().split("\n")) == {str(here), str(away)}


def test_who_watches_for_a_server_ends_with_it_however_it_ends() -> None:
    wait = "from api.services.watch import end_with_parent as e; import time; e(); time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", wait], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            time.sleep(SETTLED_S)
            assert process.poll() is None
            _, said = process.communicate(timeout=WITHIN_S)  # closes stdin, as the end of us would
        finally:
            process.kill()
    assert b"KeyboardInterrupt" in said


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no list of open files")
def test_many_looks_leave_nothing_open(watcher: Watcher) -> None:
    def left_open() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    names = ["first.png"]
    for number in range(4):
        write(watcher.photos / f"{number}.png", number)
        names.append(f"{number}.png")
        watcher.wait_until_shown(*names)
        time.sleep(1)  # the index is closed after the ledger has told
        if number == 1:
            before = left_open()
    files, threads = left_open()
    assert files <= before[0]
    assert threads <= before[1]


def wait_until(what: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.1)


STARTER = {"SEGSEARCH_MODELS": "starter", "SEGSEARCH_POINTS_PER_SIDE": "4"}


@pytest.mark.slow
def test_the_commands_go_on_until_they_are_stopped(tmp_path: Path) -> None:
    photos, library = tmp_path / "photos", tmp_path / "library"
    write(photos / "a.png", 1)
    process = start(["ingest", photos, "--watch", "--library", library], tmp_path, STARTER)
    try:
        assert process.stdout is not None
        assert "1 photos seen: 1 ingested" in process.stdout.readline()
        write(photos / "b.png", 2)
        assert ": 1 ingested" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=READY_WITHIN_S)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "watching for changes" in said
    assert "Traceback" not in said
    with serve(library, "--watch", ready=False, environment=STARTER) as server:
        write(photos / "c.png", 3)
        names = {"a.png", "b.png", "c.png"}
        wait_until(lambda: names_shown_by(server.address) == names, BOTH_START_WITHIN_S)


def names_shown_by(address: str) -> set[str]:
    rows = httpx.get(f"{address}/v1/photos?limit=100", trust_env=False).json()["photos"]
    return {Path(row["path"]).name for row in rows}
