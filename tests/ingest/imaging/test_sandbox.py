"""Decoding in processes of their own: what crashes or hangs there is a photo's fault, no more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.ingest_rig import Rig, write

from ingest.imaging.decode import DecodedPhoto, decode_photo
from ingest.imaging.sandbox import DecodeLimits, DecodeWorker
from search.errors import BusyError, PhotoError, TooSlowError, UndecodableError
from search.records import SearchFilter

LIMITS = DecodeLimits(max_pixels=1_000_000, max_bytes=10_000_000, timeout_s=2.0)


def treacherous(path: Path, *, max_pixels: int, max_bytes: int) -> DecodedPhoto:
    """Decode as ever, but for files whose names say what they do to the decoder."""
    match path.stem:
        case "abort":
            os.write(2, b"malloc(): corrupted top size\n")
            os.abort()
        case "leave":
            os._exit(7)
        case "hang":
            while True:
                pass
        case "sleep":
            time.sleep(3600)
        case "nap":
            time.sleep(1)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hoard":
            np.ones((1_000_000_000,), np.uint8)
        case "mistake":
            raise RuntimeError("a mistake in the program")
    return decode_photo(path, max_pixels=max_pixels, max_bytes=max_bytes)


@pytest.fixture
def worker() -> Iterator[DecodeWorker]:
    with closing(DecodeWorker(LIMITS, treacherous)) as worker:
        yield worker


def test_a_photo_comes_back_as_it_is_decoded_here(worker: DecodeWorker, tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", 1)
    there = worker.decode(path)
    here = decode_photo(path, max_pixels=10**6, max_bytes=10**7)
    assert (there.rgb == here.rgb).all()
    assert there.rgb.flags.writeable
    assert there.rgb.flags.c_contiguous
    assert (there.pixel_sha256, there.sort_at, there.date_source, there.camera, there.location) == (
        here.pixel_sha256,
        here.sort_at,
        here.date_source,
        here.camera,
        here.location,
    )


def test_what_is_wrong_with_a_file_is_told_as_ever(worker: DecodeWorker, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UndecodableError, match=r"bad\.jpg"):
        worker.decode(tmp_path / "bad.jpg")
    with pytest.raises(PhotoError, match="no such file"):
        worker.decode(tmp_path / "gone.jpg")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("abort", r"abort\.png is damaged and crashes the decoder \(signal SIGABRT\)"),
        ("leave", r"crashes the decoder \(exit code 7\)"),
    ],
)
def test_a_file_that_takes_the_decoder_down_is_refused_and_the_next_is_decoded(
    worker: DecodeWorker, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    bad, good = write(tmp_path / f"{name}.png", 1), write(tmp_path / "good.png", 2)
    for _ in range(2):
        with pytest.raises(UndecodableError, match=said):
            worker.decode(bad)
        assert worker.decode(good).size_wh == (48, 36)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_keeps_the_decoder_busy_is_given_up_and_the_next_is_decoded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with closing(DecodeWorker(replace(LIMITS, timeout_s=0.5), treacherous)) as worker:
        with pytest.raises(TooSlowError, match=r"within 0\.5 s.*once more.*--retry-skipped"):
            worker.decode(write(tmp_path / "hang.png", 1))
        assert worker.decode(write(tmp_path / "good.png", 2)).size_wh == (48, 36)
    assert capfd.readouterr() == ("", "")


def test_waiting_for_a_disk_takes_no_time_of_the_decoder_but_ends_as_well(tmp_path: Path) -> None:
    with closing(DecodeWorker(replace(LIMITS, timeout_s=0.1), treacherous)) as worker:
        started = time.monotonic()
        with pytest.raises(TooSlowError):
            worker.decode(write(tmp_path / "sleep.png", 1))
        assert time.monotonic() - started >= 1.0  # ten times what it may compute


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no signals there")
def test_a_decoder_that_was_stopped_for_longer_than_it_may_compute_goes_on(tmp_path: Path) -> None:
    """Ctrl-Z and fg, or a container that is paused."""
    script = (
        "import sys; from pathlib import Path; from ingest.imaging.sandbox import *\n"
        "from tests.ingest.imaging.test_sandbox import treacherous\n"
        "worker = DecodeWorker(DecodeLimits(10**6, 10**7, 0.2), treacherous)\n"
        "print(worker._start() and worker._process.pid, flush=True)\n"
        "print(worker.decode(Path(sys.argv[1])).size_wh, flush=True)"
    )
    path = write(tmp_path / "nap.png", 1)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as parent:
        assert parent.stdout is not None
        pids = parent.pid, int(parent.stdout.readline())
        time.sleep(0.2)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2.8)  # it may wait for 2 s
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert parent.stdout.readline() == b"(48, 36)\n"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is not limited")
def test_a_file_that_takes_more_memory_than_pictures_need_is_refused(
    worker: DecodeWorker, tmp_path: Path
) -> None:
    with pytest.raises(MemoryError):
        worker.decode(tmp_path / "hoard.png")


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_a_process_that_the_system_kills_is_not_blamed_on_the_photo(
    worker: DecodeWorker, tmp_path: Path
) -> None:
    with pytest.raises(PhotoError, match="most likely for lack of memory") as refused:
        worker.decode(write(tmp_path / "killed.png", 1))
    assert type(refused.value) is PhotoError  # which is tried again the next time
    assert worker.decode(write(tmp_path / "good.png", 2)).size_wh == (48, 36)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of open files there")
def test_a_process_that_can_not_be_started_is_not_blamed_on_the_photo(
    worker: DecodeWorker, tmp_path: Path
) -> None:
    import resource

    good = write(tmp_path / "good.png", 1)
    with pytest.raises(UndecodableError):
        worker.decode(write(tmp_path / "leave.png", 2))  # the next one needs a new process
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(BusyError, match=r"could not be started \(too many open files\)"):
            worker.decode(good)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert worker.decode(good).size_wh == (48, 36)


@dataclass
class ClosingAtStart:
    """Decodes as above; its worker is closed at the moment when the process is started."""

    closing: list[DecodeWorker] = field(default_factory=list)

    def __reduce__(self) -> tuple[object, ...]:
        self.closing[0].close()
        return partial, (treacherous,)

    def __call__(self, path: Path, **limits: int) -> DecodedPhoto:
        return treacherous(path, **limits)


def test_a_worker_that_is_closed_while_it_starts_decodes_nothing(tmp_path: Path) -> None:
    decode = ClosingAtStart()
    with closing(DecodeWorker(LIMITS, decode)) as worker:
        decode.closing.append(worker)
        with pytest.raises(PhotoError, match="ingest was stopped"):
            worker.decode(write(tmp_path / "hang.png", 1))


def test_a_mistake_in_the_program_is_not_blamed_on_the_photo(
    worker: DecodeWorker, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="a mistake in the program"):
        worker.decode(tmp_path / "mistake.png")


def test_ingest_goes_on_beside_files_that_crash_and_hang(tmp_path: Path) -> None:
    with closing(Rig(tmp_path, decode=treacherous)) as rig:
        for seed, name in enumerate(("a", "abort", "b", "hang", "c", "leave", "d")):
            write(rig.photos / f"{name}.png", seed)
        summary = rig.ingest(decode_timeout_s=1.0, decode_workers=2)
        assert summary.photos_ingested == 4
        skipped = {Path(each.path).stem: each.reason for each in summary.skipped}
        assert skipped.keys() == {"abort", "hang", "leave"}
        assert "SIGABRT" in skipped["abort"]
        again = rig.ingest(decode_timeout_s=1.0, decode_workers=2)
        assert (again.photos_unchanged, again.photos_skipped) == (4, 3)
        rig.decode = decode_photo  # a newer library, say
        assert rig.ingest(retry_skipped=True).photos_ingested == 3
        with rig.ledger() as ledger:
            assert len(ledger.photos(SearchFilter(), limit=10)) == 7
            assert ledger.skipped() == []


def test_a_photo_that_took_too_long_is_tried_once_more_and_then_left(tmp_path: Path) -> None:
    tried = tmp_path / "tried"
    with closing(Rig(tmp_path, decode=partial(treacherous_and_counted, tried))) as rig:
        write(rig.photos / "hang.png", 1)
        for run in (1, 2, 2):
            summary = rig.ingest(decode_timeout_s=0.5, decode_workers=1)
            assert summary.photos_skipped == 1
            assert len(tried.read_text()) == run
        tried.with_name("quick").touch()  # a machine that is not busy any more
        assert rig.ingest(retry_skipped=True, decode_workers=1).photos_ingested == 1


def treacherous_and_counted(tried: Path, path: Path, **limits: int) -> DecodedPhoto:
    with tried.open("a") as file:
        file.write(".")
    decode = decode_photo if tried.with_name("quick").exists() else treacherous
    return decode(path, **limits)


def test_an_interrupt_does_not_wait_for_a_file_that_hangs(tmp_path: Path) -> None:
    with closing(Rig(tmp_path, decode=treacherous)) as rig:
        for seed, name in enumerate(("a", "hang", "z")):
            write(rig.photos / f"{name}.png", seed)
        rig.segmenter.interrupt_at = 1
        started = time.monotonic()
        assert rig.ingest(decode_ahead=1, decode_timeout_s=600, decode_workers=1).interrupted
        assert time.monotonic() - started < 60


def test_processes_end_with_the_one_that_started_them_even_if_it_is_killed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", 1)
    script = (
        "import sys; from pathlib import Path; from ingest.imaging.sandbox import *\n"
        "worker = DecodeWorker(DecodeLimits(10**6, 10**7, 60.0))\n"
        "worker.decode(Path(sys.argv[1])); print(worker._process.pid, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while is_running(child):
        assert time.monotonic() < until
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
