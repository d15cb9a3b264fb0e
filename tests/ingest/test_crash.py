"""A killed ingest, run again, ends equal to one that was left alone."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support import ingest_rig
from support.ingest_rig import RESEGMENT_SETTINGS, Rig, assert_equal, snapshot, undisturbed, write

from search.records import SearchFilter

KILLS = int(os.environ.get("SEGSEARCH_TEST_KILLS", "8"))
SEED = int(os.environ.get("SEGSEARCH_TEST_SEED", time.time_ns() % 1_000_000))
PHOTOS = 16
SLOWNESS_S = 0.02  # a photo, so that kills fall into the run
RUNS_WITHIN_S = 300.0
KILLED_WITHIN_S = 20.0
FLUSHES_S = (0.0, 0.1, 2.0)  # 2 is the pipeline's own: then all is finished at the very end


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with closing(Rig(tmp_path / "killed")) as rig:
        for seed in range(PHOTOS):
            write(rig.photos / f"{seed % 4}" / f"{seed}.png", seed)
        shutil.copy2(rig.photos / "0/0.png", rig.photos / "1/copy.png")
        (rig.photos / "2/bad.jpg").write_bytes(b"\xff\xd8\xff\xe0")
        yield rig


def test_after_killed_runs_no_photo_is_missing_or_duplicated(rig: Rig) -> None:
    kills, run_s = random.Random(SEED), seconds_of_a_run(rig)
    for _ in range((KILLS + 1) // 2):
        kill_at(kills.uniform(0, run_s), rig, kills.choice(FLUSHES_S))
        if kills.random() < 0.3:
            shutil.rmtree(rig.library, ignore_errors=True)  # so that early kills come up often
    rig.ingest()
    assert rig.ingest().photos_unchanged == PHOTOS + 1
    assert_equal(snapshot(rig), undisturbed(rig))
    say((KILLS + 1) // 2, run_s, "first runs")


def test_resegmenting_while_photos_move_survives_kills(rig: Rig) -> None:
    rig.ingest()
    with closing(Rig(rig.folder / "calm")) as calm:
        calm.ingest(rig.photos)
        (rig.photos / "1").rename(rig.photos / "one")
        (rig.photos / "2/2.png").unlink()
        write(rig.photos / "3/3.png", 3, camera="Two")
        write(rig.photos / "3/7.png", 70)
        calm.ingest(rig.photos, resegment=True, **RESEGMENT_SETTINGS)
        rig.close()
        kills, run_s = random.Random(SEED + 1), seconds_of_a_run(rig)
        for _ in range(KILLS // 2):
            kill_at(kills.uniform(0, run_s), rig, kills.choice(FLUSHES_S), "resegment")
        rig.ingest(resegment=True, **RESEGMENT_SETTINGS)
        assert_equal(snapshot(rig), snapshot(calm))
        say(KILLS // 2, run_s, "runs that cut anew")


def test_a_plain_run_finishes_a_killed_resegment(rig: Rig) -> None:
    rig.ingest()
    segments = rig.index.count("segments")
    with rig.ledger() as ledger:  # as a kill leaves it between two writes of the index
        photo = ledger.photos(SearchFilter(), limit=1)[0].photo
        ledger.begin_photo(photo)
    rig.index.delete_segments(sorted(rig.index.segment_ids_of(photo.photo_id))[1:])
    assert rig.ingest().photos_ingested == 1
    assert rig.index.count("segments") == segments


@contextmanager
def begun(
    folder: Path, flush_every_s: float, what: str = "ingest"
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a run in a process of its own and wait until it begins."""
    arguments = (str(folder), str(SLOWNESS_S), str(flush_every_s), what)
    script = str(Path(ingest_rig.__file__))
    with subprocess.Popen(
        [sys.executable, script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        yield process
        assert (line, process.stderr.read()) == (b"begun\n", b""), f"seed {SEED}"


def seconds_of_a_run(rig: Rig) -> float:
    """Time a whole run here and now: on a busy machine kills would else all come too early.

    A killed run goes on where it was, so that kills reach its end even where this is cut short.
    """
    folder = rig.folder / "timed"
    shutil.copytree(rig.photos, folder / "photos")
    with begun(folder, FLUSHES_S[0]) as process:
        started = time.monotonic()
        assert process.wait(RUNS_WITHIN_S) == 0
        seconds = time.monotonic() - started
    return min(seconds, KILLED_WITHIN_S)


def say(kills: int, within_s: float, what: str) -> None:
    print(f"{kills} kills of {what}, within {within_s:.1f} s each: all ended equal (seed {SEED})")


def kill_at(seconds: float, rig: Rig, flush_every_s: float, what: str = "ingest") -> None:
    """Kill a run so long after it begins."""
    with begun(rig.folder, flush_every_s, what) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
