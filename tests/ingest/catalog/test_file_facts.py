"""A photo's facts follow what the files that are there say of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from support.ingest_rig import Rig, picture, stamped, write

from ingest.catalog.file_facts import StatedFacts, Statement, merged_facts
from search.records import DateSource, PhotoFacts, SearchFilter

OLD, NEW = datetime(2001, 1, 1, 10), datetime(2015, 1, 1, 10)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with closing(Rig(tmp_path)) as rig:
        rig.photos.mkdir()
        yield rig


def facts(rig: Rig) -> PhotoFacts:
    """What browsing says of the only photo; searching says the same."""
    with rig.ledger() as ledger:
        [row] = ledger.photos(SearchFilter(), limit=9)
        told = ledger.facts_now(row.photo.photo_id)
    [photo] = rig.index.photos([row.photo.photo_id])
    assert photo.facts == told
    return told


def bare(path: Path, seed: int = 0) -> Path:
    """The same picture without EXIF."""
    Image.fromarray(picture(seed)).save(path)
    return stamped(path)


@pytest.mark.parametrize("both_at_once", [True, False])
def test_a_date_corrected_in_all_files_is_the_date(rig: Rig, both_at_once: bool) -> None:
    for name in ("a.png", "b.png"):
        write(rig.photos / name, 0, taken_at=OLD)
    rig.ingest()
    for name in ("a.png", "b.png"):
        write(rig.photos / name, 0, taken_at=NEW)
        if not both_at_once:
            rig.ingest()
            assert facts(rig).year_month == "2015-01"  # the file written last knows best
    rig.ingest()
    assert facts(rig).year_month == "2015-01"
    assert rig.segmenter.photos_segmented == 0


@pytest.mark.parametrize("whole_first_from", [0, 1])
def test_a_copy_without_exif_that_was_met_first_does_not_win(
    rig: Rig, whole_first_from: int
) -> None:
    bare(rig.photos / "0-copy.png")
    write(rig.photos / "original.png", 0, taken_at=OLD, latitude_longitude=(48.0, 11.0))
    rig.ingest(whole_first_from=whole_first_from)
    assert (facts(rig).year_month, facts(rig).camera) == ("2001-01", "Test One")
    assert facts(rig).location is not None


def test_the_original_that_comes_later_gives_the_facts(rig: Rig) -> None:
    bare(rig.photos / "copy.png")
    rig.ingest()
    assert facts(rig).camera is None
    write(rig.photos / "original.png", 0, taken_at=OLD)
    rig.ingest()
    assert (facts(rig).year_month, facts(rig).camera) == ("2001-01", "Test One")


def test_what_only_a_deleted_original_said_is_kept(rig: Rig) -> None:
    write(rig.photos / "original.png", 0, taken_at=OLD)
    bare(rig.photos / "copy.png")
    rig.ingest()
    (rig.photos / "original.png").unlink()
    rig.ingest()
    assert (facts(rig).year_month, facts(rig).camera) == ("2001-01", "Test One")
    (rig.photos / "copy.png").rename(rig.photos / "moved.png")
    rig.ingest()
    assert facts(rig).year_month == "2001-01"


def test_of_two_dates_that_of_the_file_that_stays_counts(rig: Rig) -> None:
    write(rig.photos / "a.png", 0, taken_at=OLD)
    write(rig.photos / "b.png", 0, taken_at=NEW)
    rig.ingest()
    assert facts(rig).year_month == "2015-01"
    (rig.photos / "b.png").unlink()
    rig.ingest()
    assert facts(rig).year_month == "2001-01"


def test_exif_that_is_taken_out_of_the_only_file_is_gone(rig: Rig) -> None:
    write(rig.photos / "a.png", 0, taken_at=OLD)
    rig.ingest()
    bare(rig.photos / "a.png")
    rig.ingest()
    assert facts(rig).camera is None
    assert facts(rig).year_month != "2001-01"


def test_a_file_without_a_date_follows_its_own_time(rig: Rig) -> None:
    path = bare(rig.photos / "a.png")
    rig.ingest()
    os.utime(path, (1_000_000_000, 1_000_000_000))
    rig.ingest()
    assert facts(rig).sort_at == datetime.fromtimestamp(1_000_000_000, UTC)
    assert rig.segmenter.photos_segmented == 0


def test_an_edit_that_keeps_size_and_time_is_noticed(rig: Rig) -> None:
    path = write(rig.photos / "a.png", 0, camera="One")
    rig.ingest()
    before = path.stat()
    write(path, 0, camera="Two")
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert rig.ingest().photos_updated == 1
    assert facts(rig).camera == "Test Two"


def test_a_file_noted_without_ctime_takes_it_silently(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(rig.photos / "a.png", 0)
    rig.ingest()
    with rig.ledger() as ledger:
        ledger._execute("UPDATE files SET ctime_ns = NULL")

    def read(*_: object) -> str:
        raise AssertionError("a photo is read")

    monkeypatch.setattr("ingest.scanning.scan.bytes_sha256", read)
    assert rig.ingest().photos_unchanged == 1
    with rig.ledger() as ledger:
        [ctime_ns] = ledger._execute("SELECT ctime_ns FROM files").fetchone()
    assert ctime_ns == path.stat().st_ctime_ns


def test_all_is_read_again_when_asked_for_and_nothing_cut(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare(rig.photos / "0-copy.png")
    write(rig.photos / "a.png", 0, taken_at=OLD)
    rig.ingest()
    with rig.ledger() as ledger:  # as a version left it that kept the facts of the first file
        ledger._execute("UPDATE files SET facts = NULL")
        ledger._execute("UPDATE photos SET sort_at = '2020-01-01T00:00:00+00:00', camera = NULL")
    assert rig.ingest().photos_unchanged == 2
    summary = rig.ingest(reread=True)
    assert (summary.photos_updated, summary.photos_ingested) == (2, 0)
    assert (facts(rig).year_month, facts(rig).camera) == ("2001-01", "Test One")
    assert rig.ingest(reread=True).photos_unchanged == 2
    assert (rig.loaded.segmenters, rig.loaded.encoders) == (0, 0)


def test_files_with_impossible_times_are_taken_and_known_again(rig: Rig) -> None:
    for seed, seconds in enumerate((20_000_000_000, -20_000_000_000)):
        path = write(rig.photos / f"{seed}.png", seed)
        os.utime(path, (seconds, seconds))
        (rig.photos / f"bad{seed}.jpg").write_bytes(b"\xff\xd8\xff")
        os.utime(rig.photos / f"bad{seed}.jpg", (seconds, seconds))
    summary = rig.ingest()
    assert (summary.photos_ingested, summary.skipped_new) == (2, 2)
    summary = rig.ingest()
    assert (summary.photos_unchanged, summary.skipped_new) == (2, 0)


def test_a_copy_of_a_photo_in_another_folder_counts_its_own_time(rig: Rig) -> None:
    path = bare(rig.photos / "a.png")
    rig.ingest()
    first = facts(rig).sort_at
    shutil.copy(path, rig.photos / "later.png")  # written now
    rig.ingest()
    assert facts(rig).sort_at == first


def stated(day: int, *, is_dated: bool, camera: str | None = None) -> StatedFacts:
    sort_at = datetime(2024, 1, day, tzinfo=UTC)
    source: DateSource = "exif" if is_dated else "file"
    return StatedFacts(facts=PhotoFacts(sort_at=sort_at, date_source=source, camera=camera))


def test_a_camera_is_taken_from_the_first_file_that_names_one() -> None:
    now = PhotoFacts(sort_at=datetime(2023, 1, 1, tzinfo=UTC), folders=("r",), hidden=True)
    said = [
        Statement(stated(3, is_dated=False, camera="C"), 30),
        Statement(stated(1, is_dated=True), 10),
        Statement(stated(2, is_dated=True), 20),
    ]
    best = merged_facts(said, now, corrected=False)
    assert (best.sort_at.day, best.camera) == (2, "C")
    assert (best.folders, best.hidden) == (("r",), True)
    assert merged_facts([], now, corrected=True) == now
