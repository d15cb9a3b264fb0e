"""Ingest as the owner of photos meets it: what a run does, and what it leaves alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.fakes import Quiet
from support.ingest_rig import Rig, Snapshot, picture, snapshot, stamped, write

from ingest import pipeline
from ingest.imaging.decode import bytes_sha256, decode_photo
from ingest.maintenance.removal import forget_photos
from ingest.stats import IngestSummary
from search.errors import StoreError, UsageError
from search.index.base import SegmentIndex
from search.records import SearchFilter


@pytest.fixture
def empty_rig(tmp_path: Path) -> Iterator[Rig]:
    with closing(Rig(tmp_path)) as rig:
        rig.photos.mkdir()
        yield rig


@pytest.fixture
def rig(empty_rig: Rig) -> Rig:
    """Four photos: one at the top, two in a folder, one in a folder below that."""
    for seed, name in enumerate(("a.png", "trip/b.png", "trip/c.png", "trip/day/d.png")):
        write(empty_rig.photos / name, seed)
    return empty_rig


@pytest.fixture
def no_inference(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever decodes a photo from here on fails."""

    def decode(*_: Any, **__: Any) -> Any:
        raise AssertionError("a photo is decoded")

    monkeypatch.setattr(rig, "decode", decode)


def counts(summary: IngestSummary) -> dict[str, int]:
    """The numbers of photos that are not zero."""
    every = {
        name.removeprefix("photos_"): number
        for name, number in summary.model_dump().items()
        if name.startswith("photos_")
    }
    del every["through"]  # a sum of the others
    return {name: number for name, number in every.items() if number}


TURNS = {  # what a camera held so does to the upright picture
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
ALL = ["photos/a.png", "photos/trip/b.png", "photos/trip/c.png", "photos/trip/day/d.png"]


# the first run and the second


def test_a_first_run_makes_all_photos_searchable(rig: Rig) -> None:
    summary = rig.ingest()
    assert counts(summary) == {"seen": 4, "ingested": 4}
    assert summary.segments == len(snapshot(rig).segments) > 4
    assert rig.shown() == ALL
    assert rig.segmenter.photos_segmented == 4


def test_a_second_run_reads_no_photo_and_makes_no_model(rig: Rig) -> None:
    rig.ingest()

    def read(*_: Any, **__: Any) -> Any:
        raise AssertionError("a photo is read")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingest.scanning.scan.bytes_sha256", read)
        patch.setattr(rig, "decode", read)
        summary = rig.ingest()
    assert counts(summary) == {"seen": 4, "unchanged": 4}
    assert (rig.loaded.segmenters, rig.loaded.encoders) == (0, 0)


def test_an_empty_folder_makes_nothing(empty_rig: Rig) -> None:
    rig = empty_rig
    summary = rig.ingest()
    assert counts(summary) == {}
    assert summary.notices == ()
    assert (rig.loaded.segmenters, rig.loaded.encoders) == (0, 0)


def test_a_path_that_is_not_there_is_refused(rig: Rig) -> None:
    with pytest.raises(UsageError, match="nowhere is not there"):
        rig.ingest(rig.folder / "nowhere")
    rig.ingest()
    with pytest.raises(UsageError, match="typo is not there"):
        rig.ingest(rig.photos / "typo")
    assert rig.shown() == ALL


def test_a_photo_without_segments_counts_as_ingested(empty_rig: Rig) -> None:
    rig = empty_rig
    Image.new("RGB", (4, 4), "red").save(rig.photos / "tiny.png")
    assert counts(rig.ingest()) == {"seen": 1, "ingested": 1}
    assert counts(rig.ingest()) == {"seen": 1, "unchanged": 1}


# files that change


def test_a_touched_file_is_hashed_and_no_more(rig: Rig, no_inference: None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig, "decode", decode_photo)
        rig.ingest()
    stamped(rig.photos / "a.png")
    (rig.photos / "trip/b.png").chmod(0o600)
    for _ in range(2):
        assert counts(rig.ingest()) == {"seen": 4, "unchanged": 4}
        assert (rig.loaded.segmenters, rig.loaded.encoders) == (0, 0)


def test_new_content_is_a_new_photo_and_the_old_one_is_hidden(rig: Rig) -> None:
    rig.ingest()
    before = _photo_ids(rig)
    write(rig.photos / "a.png", seed=77)
    assert counts(rig.ingest()) == {"seen": 4, "ingested": 1, "unchanged": 3}
    assert rig.shown() == ALL
    assert len(before & _photo_ids(rig)) == 3
    with rig.ledger() as ledger:
        assert ledger.counts()["photos_hidden"] == 1
        assert len(ledger.missing_photos()) == 1


def test_content_that_comes_back_is_the_photo_that_it_was(rig: Rig) -> None:
    rig.ingest()
    before = _photo_ids(rig)
    write(rig.photos / "a.png", seed=77)
    rig.ingest()
    write(rig.photos / "a.png", seed=0)
    rig.ingest()
    assert rig.segmenter.photos_segmented == 0
    assert _photo_ids(rig) == before


def test_a_retagged_file_gets_its_new_facts_without_inference(rig: Rig) -> None:
    rig.ingest()
    place = (48.14, 11.58)
    write(
        rig.photos / "a.png",
        0,
        taken_at=datetime(2019, 3, 2, 8),
        camera="Two",
        latitude_longitude=place,
    )
    assert counts(rig.ingest()) == {"seen": 4, "updated": 1, "unchanged": 3}
    assert rig.loaded.segmenters == 0
    facts = _facts(rig, "a.png")
    assert (facts["camera"], facts["year_month"]) == ("Test Two", "2019-03")
    assert facts["location"]["lat"] == pytest.approx(place[0], abs=1e-3)
    assert len(rig.found(SearchFilter(camera="Test Two"))) == 1
    with rig.ledger() as ledger:
        assert len(ledger.photos(SearchFilter(camera="Test Two"), limit=9)) == 1


def test_a_copy_without_tags_takes_nothing_away(rig: Rig) -> None:
    rig.ingest()
    Image.fromarray(picture(0)).save(rig.photos / "0-first-by-name.png")
    assert counts(rig.ingest()) == {"seen": 5, "updated": 1, "unchanged": 4}
    assert _facts(rig, "0-first-by-name.png")["camera"] == "Test One"
    (rig.photos / "a.png").unlink()
    rig.ingest()
    assert _facts(rig, "0-first-by-name.png")["camera"] == "Test One"


def test_a_file_moved_and_retagged_at_once_gets_its_new_facts(rig: Rig) -> None:
    rig.ingest()
    (rig.photos / "a.png").unlink()
    write(rig.photos / "sorted/a.png", 0, camera="Two")
    assert counts(rig.ingest()) == {"seen": 4, "updated": 1, "unchanged": 3}
    assert _facts(rig, "sorted/a.png")["camera"] == "Test Two"


def test_another_orientation_is_another_picture(rig: Rig) -> None:
    rig.ingest()
    path = rig.photos / "a.png"
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path, exif=exif)
    stamped(path)
    assert counts(rig.ingest())["ingested"] == 1
    with rig.ledger() as ledger:
        sizes = {row.photo.size_wh for row in ledger.photos(SearchFilter(), limit=9)}
    assert sizes == {(48, 36), (36, 48)}


def test_the_same_picture_stored_in_all_eight_orientations_is_one_photo(empty_rig: Rig) -> None:
    upright = Image.fromarray(picture(3))
    for orientation, turn in TURNS.items():
        stored = upright if turn is None else upright.transpose(turn)
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored.save(empty_rig.photos / f"{orientation}.png", exif=exif)
    assert counts(empty_rig.ingest()) == {"seen": 8, "ingested": 1, "updated": 7}
    assert empty_rig.segmenter.photos_segmented == 1


# files that move


def test_a_moved_file_costs_nothing(rig: Rig, no_inference: None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig, "decode", decode_photo)
        rig.ingest()
    (rig.photos / "trip/b.png").rename(rig.photos / "b2.png")
    assert counts(rig.ingest()) == {"seen": 4, "updated": 1, "unchanged": 3}
    assert rig.loaded.segmenters == 0
    assert rig.shown() == ["photos/a.png", "photos/b2.png", *ALL[2:]]
    assert rig.shown(rig.photos / "trip") == ALL[2:]


def test_a_renamed_folder_costs_nothing_and_is_found_by_its_new_name(rig: Rig) -> None:
    rig.ingest()
    (rig.photos / "trip").rename(rig.photos / "Rome")
    assert counts(rig.ingest()) == {"seen": 4, "updated": 3, "unchanged": 1}
    assert rig.loaded.segmenters == 0
    moved = [name.replace("trip", "Rome") for name in ALL[1:]]
    assert rig.shown() == [*moved, ALL[0]]
    assert rig.shown(rig.photos / "Rome") == moved
    assert rig.shown(rig.photos / "Rome/day") == moved[2:]
    (rig.photos / "trip").mkdir()
    assert rig.shown(rig.photos / "trip") == []
    with rig.ledger() as ledger:
        assert ledger.counts()["files_vanished"] == 0


def test_folders_whose_names_begin_alike_are_told_apart(rig: Rig) -> None:
    write(rig.photos / "trip2/e.png", 5)
    rig.ingest()
    assert rig.shown(rig.photos / "trip") == ALL[1:]
    assert rig.shown(rig.photos / "trip2") == ["photos/trip2/e.png"]
    shutil.rmtree(rig.photos / "trip")
    rig.ingest(rig.photos / "trip")
    assert rig.shown() == ["photos/a.png", "photos/trip2/e.png"]


def test_a_copy_is_the_same_photo_in_both_folders(rig: Rig) -> None:
    rig.ingest()
    shutil.copy2(rig.photos / "a.png", rig.photos / "trip/a-copy.png")
    assert counts(rig.ingest()) == {"seen": 5, "updated": 1, "unchanged": 4}
    assert len(rig.shown()) == 4
    assert "photos/a.png" in rig.shown(rig.photos / "trip")
    (rig.photos / "trip/a-copy.png").unlink()
    assert counts(rig.ingest()) == {"seen": 4, "unchanged": 4}
    assert rig.shown() == ALL
    assert rig.shown(rig.photos / "trip") == ALL[1:]


def test_the_original_removed_leaves_the_copy(rig: Rig) -> None:
    rig.ingest()
    shutil.copy2(rig.photos / "a.png", rig.photos / "trip/a-copy.png")
    rig.ingest()
    (rig.photos / "a.png").unlink()
    summary = rig.ingest()
    assert summary.photos_vanished == 0
    assert rig.shown() == ["photos/trip/a-copy.png", *ALL[1:]]


def test_the_same_picture_twice_in_one_run_is_cut_once(rig: Rig) -> None:
    shutil.copy2(rig.photos / "a.png", rig.photos / "trip/exact.png")
    Image.fromarray(picture(0)).save(rig.photos / "trip/untagged.png")
    assert counts(rig.ingest()) == {"seen": 6, "ingested": 4, "updated": 2}
    assert rig.segmenter.photos_segmented == 4
    assert _facts(rig, "a.png")["camera"] == "Test One"
    assert counts(rig.ingest()) == {"seen": 6, "unchanged": 6}


# files that vanish


def test_a_vanished_photo_is_hidden_and_shown_when_it_is_back(rig: Rig) -> None:
    rig.ingest()
    kept = rig.folder / "kept.png"
    (rig.photos / "trip/c.png").rename(kept)
    assert counts(rig.ingest()) == {"seen": 3, "unchanged": 3, "vanished": 1}
    assert rig.shown() == [ALL[0], ALL[1], ALL[3]]
    assert counts(rig.ingest()) == {"seen": 3, "unchanged": 3}
    kept.rename(rig.photos / "trip/c.png")
    assert counts(rig.ingest()) == {"seen": 4, "updated": 1, "unchanged": 3}
    assert rig.loaded.segmenters == 0
    assert rig.shown() == ALL


def test_a_root_that_is_not_there_hides_nothing(rig: Rig) -> None:
    rig.ingest()
    rig.photos.rename(rig.folder / "away")
    summary = rig.ingest()
    assert counts(summary) == {}
    assert "not there" in summary.notices[0]
    assert "remove --root" in summary.notices[0]
    assert rig.shown() == ALL
    (rig.folder / "away").rename(rig.photos)
    assert counts(rig.ingest()) == {"seen": 4, "unchanged": 4}


@pytest.mark.parametrize("left", [(), (".DS_Store",)])
def test_an_empty_mount_point_hides_nothing(rig: Rig, left: tuple[str, ...]) -> None:
    rig.ingest()
    rig.photos.rename(rig.folder / "away")
    rig.photos.mkdir()
    for name in left:
        (rig.photos / name).touch()
    summary = rig.ingest()
    assert summary.photos_vanished == 0
    assert "empty" in summary.notices[0]
    assert len(rig.shown()) == 4


def test_photos_of_a_moved_root_are_shown_where_they_are(rig: Rig) -> None:
    rig.ingest()
    away = rig.folder / "away"
    rig.photos.rename(away)
    assert counts(rig.ingest(away)) == {"seen": 4, "updated": 4}
    assert rig.loaded.segmenters == 0
    assert rig.shown() == [name.replace("photos", "away") for name in ALL]
    away.rename(rig.photos)
    assert rig.shown() == ALL


def test_a_folder_that_cannot_be_read_hides_nothing_below_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.ingest()
    scandir, locked = os.scandir, rig.photos / "trip"

    def denied(path: Any) -> Any:  # as root, chmod would not lock anything
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    (locked / "b.png").unlink()  # nobody can know
    (rig.photos / "a.png").unlink()
    monkeypatch.setattr(os, "scandir", denied)
    summary = rig.ingest()
    assert counts(summary) == {"vanished": 1, "skipped": 1}
    assert summary.skipped[0].reason.endswith("can't be read: permission denied.")
    assert rig.shown() == ALL[1:]


def test_a_root_that_cannot_be_read_hides_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.ingest()

    def denied(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", denied)
        summary = rig.ingest()
    assert (summary.photos_vanished, summary.photos_skipped) == (0, 1)
    assert rig.shown() == ALL


def test_a_run_over_one_folder_leaves_the_others_alone(rig: Rig) -> None:
    rig.ingest()
    (rig.photos / "a.png").unlink()
    (rig.photos / "trip/b.png").unlink()
    assert counts(rig.ingest(rig.photos / "trip")) == {"seen": 2, "unchanged": 2, "vanished": 1}
    assert rig.shown() == [ALL[0], *ALL[2:]]


def test_a_run_over_one_file_leaves_the_others_alone(rig: Rig) -> None:
    rig.ingest()
    (rig.photos / "a.png").unlink()
    write(rig.photos / "trip/b.png", 99)
    assert counts(rig.ingest(rig.photos / "trip/b.png")) == {"seen": 1, "ingested": 1}
    assert rig.shown() == ALL
    (rig.photos / "trip/b.png").unlink()
    assert counts(rig.ingest(rig.photos / "trip/b.png")) == {"vanished": 1}
    assert rig.shown() == [ALL[0], *ALL[2:]]


def test_a_photo_that_moves_from_one_folder_to_another_has_not_vanished(rig: Rig) -> None:
    other = rig.folder / "other"
    write(other / "z.png", 50)
    rig.ingest(rig.photos, other)
    (rig.photos / "a.png").rename(other / "a.png")
    assert counts(rig.ingest(rig.photos, other)) == {"seen": 5, "updated": 1, "unchanged": 4}


def test_another_root_is_left_alone(rig: Rig) -> None:
    write(rig.folder / "other/z.png", 50)
    rig.ingest(rig.photos, rig.folder / "other")
    shutil.rmtree(rig.photos / "trip")
    (rig.folder / "other/z.png").unlink()
    rig.ingest(rig.photos)
    assert rig.shown() == ["other/z.png", ALL[0]]


def test_a_file_once_named_itself_is_not_lost_by_a_run_that_passes_over_it(rig: Rig) -> None:
    shutil.copy(rig.photos / "a.png", rig.photos / "odd.picture")
    (rig.photos / "a.png").unlink()
    rig.ingest(rig.photos / "odd.picture")
    rig.ingest()
    assert rig.shown() == [*sorted(["photos/odd.picture", *ALL[1:]])]


def test_a_file_that_goes_while_it_is_looked_at_is_no_bad_file(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(path: Path, **limits: Any) -> Any:
        if path.name == "b.png":
            path.unlink()
        return decode_photo(path, **limits)

    monkeypatch.setattr(rig, "decode", decode)
    assert counts(rig.ingest()) == {"seen": 4, "ingested": 3}
    assert rig.shown() == [ALL[0], *ALL[2:]]


def test_a_file_that_goes_between_listing_and_reading_is_no_bad_file(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.ingest()
    for path in (rig.photos / "trip").glob("*.png"):
        write(path, 60 if path.name == "b.png" else 61)

    def hashed(path: Path) -> str:
        (rig.photos / "trip/c.png").unlink(missing_ok=True)
        return bytes_sha256(path)

    monkeypatch.setattr("ingest.scanning.scan.bytes_sha256", hashed)
    assert counts(rig.ingest()) == {"seen": 4, "ingested": 1, "unchanged": 2, "vanished": 1}


# bad files


def test_a_bad_file_among_good_ones_is_skipped_with_its_reason(rig: Rig) -> None:
    bad = rig.photos / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    summary = rig.ingest()
    assert counts(summary) == {"seen": 5, "ingested": 4, "skipped": 1}
    assert summary.skipped[0].path == str(bad)
    assert "bad.jpg" in summary.skipped[0].reason
    with rig.ledger() as ledger:
        assert [(file.path, file.reason) for file in ledger.skipped()] == [
            (bad, summary.skipped[0].reason)
        ]


def test_a_bad_file_is_listed_but_not_tried_again_until_it_changes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def decode(path: Path, **limits: Any) -> Any:
        tried.append(path.name)
        return decode_photo(path, **limits)

    monkeypatch.setattr(rig, "decode", decode)
    bad = rig.photos / "bad.png"
    bad.write_bytes(b"")
    rig.ingest()
    tried.clear()
    summary = rig.ingest()
    assert (counts(summary), tried) == ({"seen": 5, "unchanged": 4, "skipped": 1}, [])
    assert "empty" in summary.skipped[0].reason
    assert counts(rig.ingest(retry_skipped=True))["skipped"] == 1
    assert tried == ["bad.png"]
    write(bad, 9)
    assert counts(rig.ingest()) == {"seen": 5, "ingested": 1, "unchanged": 4}
    assert counts(rig.ingest()) == {"seen": 5, "unchanged": 5}


def test_a_photo_that_turns_bad_is_hidden_and_a_bad_file_that_goes_is_forgotten(rig: Rig) -> None:
    rig.ingest()
    (rig.photos / "a.png").write_bytes(b"nothing")
    assert counts(rig.ingest())["skipped"] == 1
    assert rig.shown() == ALL[1:]
    (rig.photos / "a.png").unlink()
    assert counts(rig.ingest()) == {"seen": 3, "unchanged": 3}
    with rig.ledger() as ledger:
        assert ledger.skipped() == []


def test_a_file_that_cannot_be_read_keeps_its_photo_and_is_tried_each_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.ingest()
    new = write(rig.photos / "new.png", 8)
    stamped(rig.photos / "a.png")
    locked = {new, rig.photos / "a.png"}
    opened = Path.open

    def denied(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path in locked:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", denied)
    for _ in range(2):
        summary = rig.ingest()
        assert counts(summary) == {"seen": 5, "unchanged": 3, "skipped": 2}
        assert all("permission denied" in skipped.reason for skipped in summary.skipped)
        assert rig.shown() == ALL
    with rig.ledger() as ledger:
        assert {file.path for file in ledger.skipped()} == locked
    locked.clear()
    assert counts(rig.ingest()) == {"seen": 5, "ingested": 1, "unchanged": 4}


def test_names_that_are_not_utf8_are_taken(rig: Rig) -> None:
    name = b"caf\xe9/\xff.png"
    folder = Path(os.fsdecode(bytes(rig.photos) + b"/caf\xe9"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    write(rig.photos / os.fsdecode(name), 20)
    bad = rig.photos / os.fsdecode(b"\xfe.jpg")
    bad.write_bytes(b"")
    summary = rig.ingest()
    assert counts(summary) == {"seen": 6, "ingested": 5, "skipped": 1}
    summary.model_dump_json()
    assert summary.skipped[0].path.endswith("/%FE.jpg")
    assert r"\xfe.jpg" in summary.skipped[0].reason
    assert counts(rig.ingest()) == {"seen": 6, "unchanged": 5, "skipped": 1}
    assert len(rig.shown(folder)) == 1
    with rig.ledger() as ledger:
        assert rig.photos / os.fsdecode(name) in {
            row.path for row in ledger.photos(SearchFilter(), limit=9)
        }


# cutting anew


def test_other_settings_apply_to_new_photos_and_to_old_ones_on_demand(rig: Rig) -> None:
    rig.ingest()
    before = snapshot(rig)
    write(rig.photos / "new.png", 30)
    assert counts(rig.ingest(min_area_fraction=0.05)) == {"seen": 5, "ingested": 1, "unchanged": 4}
    summary = rig.ingest(resegment=True, min_area_fraction=0.05)
    assert counts(summary) == {"seen": 5, "ingested": 4, "unchanged": 1}
    after = snapshot(rig)
    old = {segment["id"] for segment in before.segments}
    assert len(old - {segment["id"] for segment in after.segments}) > 0
    assert all(segment["area_fraction"] >= 0.05 for segment in after.segments)
    assert counts(rig.ingest(resegment=True, min_area_fraction=0.05)) == {
        "seen": 5,
        "unchanged": 5,
    }
    assert rig.segmenter.photos_segmented == 0


def test_cutting_anew_is_done_once_for_copies(rig: Rig) -> None:
    shutil.copy2(rig.photos / "a.png", rig.photos / "trip/a-copy.png")
    rig.ingest()
    summary = rig.ingest(resegment=True, min_area_fraction=0.05)
    assert counts(summary) == {"seen": 5, "ingested": 4, "updated": 1}
    assert "photos/a.png" in rig.shown(rig.photos / "trip")


def test_a_batch_of_points_is_a_matter_of_memory_not_of_masks(rig: Rig) -> None:
    rig.ingest(points_per_batch=64)
    assert counts(rig.ingest(resegment=True, points_per_batch=8)) == {"seen": 4, "unchanged": 4}


# what goes wrong


@dataclass
class FailingIndex:
    """An index whose store is gone after some photos."""

    index: SegmentIndex
    photos_left: int
    calls_after: int = 0

    def __getattr__(self, name: str) -> Any:
        if self.photos_left <= 0:
            self.calls_after += 1
            raise StoreError("the store is gone")
        self.photos_left -= name == "put_photo"
        return getattr(self.index, name)


def test_a_store_that_fails_stops_the_run_at_once_and_the_next_completes_it(rig: Rig) -> None:
    for seed in range(20, 40):
        write(rig.photos / f"{seed}.png", seed)
    context, failing = rig.ingest_context(), FailingIndex(rig.index, photos_left=3)
    broken = replace(context, index=lambda: failing)  # type: ignore[arg-type,return-value]
    with pytest.raises(StoreError, match="the store is gone"):
        pipeline.ingest((rig.photos,), broken, Quiet())
    assert rig.segmenter.photos_segmented < 24
    assert failing.calls_after == 1  # nobody asked it again, which may take a minute each time
    summary = rig.ingest()
    assert summary.photos_ingested + summary.photos_unchanged == 24
    _assert_same(snapshot(rig), _undisturbed(rig))


def test_a_photo_begun_before_a_failure_and_deleted_after_it_is_not_found(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.ingest()
    new = write(rig.photos / "new.png", 40)
    with monkeypatch.context() as patch:
        patch.setattr(rig.index, "flush", _raise_store_error)
        with pytest.raises(StoreError):
            rig.ingest()
    new.unlink()
    rig.ingest()
    assert rig.shown() == ALL
    with rig.ledger() as ledger:
        assert len(ledger.missing_photos()) == 1  # `remove --missing` takes it out of the index


def _raise_store_error() -> None:
    raise StoreError("the disk is full")


def test_a_removal_cut_short_is_mended_by_the_next_ingest(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.ingest()
    before = snapshot(rig)
    photo_ids = sorted(_photo_ids(rig))[:2]
    with rig.ledger() as ledger:
        with monkeypatch.context() as patch:
            patch.setattr(rig.index, "flush", _raise_store_error)
            with pytest.raises(StoreError):
                forget_photos(photo_ids, ledger, lambda: rig.index)
        assert not ledger.is_finished(photo_ids[0])
    assert counts(rig.ingest()) == {"seen": 4, "ingested": 2, "unchanged": 2}
    _assert_same(snapshot(rig), before)
    with rig.ledger() as ledger:
        forget_photos(photo_ids, ledger, lambda: rig.index)
    assert len(rig.shown()) == 2
    assert rig.index.count("photos") == 2


def test_ctrl_c_finishes_what_is_in_progress_and_the_next_run_goes_on(rig: Rig) -> None:
    rig.segmenter.interrupt_at = 3
    summary = rig.ingest()
    assert summary.interrupted
    assert counts(summary) == {"seen": 4, "ingested": 2}
    assert rig.shown() == ALL[:2]
    rig.segmenter.interrupt_at = None
    assert counts(rig.ingest()) == {"seen": 4, "ingested": 2, "unchanged": 2}
    _assert_same(snapshot(rig), _undisturbed(rig))


def test_ctrl_c_hides_nothing_that_was_not_looked_at(rig: Rig) -> None:
    rig.ingest()
    write(rig.photos / "0.png", 41)
    rig.segmenter.interrupt_at = 1
    assert rig.ingest().interrupted
    assert rig.shown() == ALL


def test_a_mistake_in_a_model_leaves_the_finished_photos(rig: Rig) -> None:
    class Broken(type(rig.segmenter)):  # type: ignore[misc]
        def automatic(self, *args: Any) -> Any:
            if self.photos_segmented == 2:
                raise RuntimeError("out of memory")
            return super().automatic(*args)

    working, rig.segmenter = rig.segmenter, Broken()
    with pytest.raises(RuntimeError, match="out of memory"):
        rig.ingest()
    assert rig.shown() == ALL[:2]
    rig.segmenter = working
    assert counts(rig.ingest()) == {"seen": 4, "ingested": 2, "unchanged": 2}


# names of folders


def test_the_outer_folder_after_the_inner_one_doubles_nothing(rig: Rig) -> None:
    rig.ingest(rig.photos / "trip")
    assert counts(rig.ingest()) == {"seen": 4, "ingested": 1, "unchanged": 3}
    _assert_nested(rig)


def test_the_inner_folder_after_the_outer_one_doubles_nothing(rig: Rig) -> None:
    rig.ingest()
    assert counts(rig.ingest(rig.photos / "trip")) == {"seen": 3, "unchanged": 3}
    _assert_nested(rig)


def test_overlapping_folders_in_one_run_are_looked_through_once(rig: Rig) -> None:
    paths = (rig.photos / "trip", rig.photos, rig.photos / "trip/b.png", rig.photos)
    assert counts(rig.ingest(*paths)) == {"seen": 4, "ingested": 4}
    _assert_nested(rig)


def _assert_nested(rig: Rig) -> None:
    """However the folders were named: each photo once, by both folders, and deleting works."""
    with rig.ledger() as ledger:
        assert ledger.counts()["files"] == 4
    assert rig.shown() == rig.shown(rig.photos) == ALL
    assert rig.shown(rig.photos / "trip") == ALL[1:]
    assert rig.shown(rig.photos / "trip/day") == ALL[3:]
    (rig.photos / "trip/b.png").unlink()
    assert counts(rig.ingest(rig.photos)) == {"seen": 3, "unchanged": 3, "vanished": 1}
    (rig.photos / "a.png").rename(rig.photos / "trip/a.png")
    (rig.photos / "trip/day/d.png").rename(rig.photos / "d.png")
    assert counts(rig.ingest(rig.photos)) == {"seen": 3, "updated": 2, "unchanged": 1}
    assert rig.shown() == ["photos/d.png", "photos/trip/a.png", "photos/trip/c.png"]
    assert rig.shown(rig.photos / "trip") == ["photos/trip/a.png", "photos/trip/c.png"]


def test_a_disk_mounted_among_the_pictures_hides_nothing_when_it_is_not_there(rig: Rig) -> None:
    rig.ingest(rig.photos / "trip")
    rig.ingest()
    (rig.photos / "trip").rename(rig.folder / "away")
    for is_empty_folder in (False, True):
        if is_empty_folder:
            (rig.photos / "trip").mkdir()
        summary = rig.ingest()
        assert counts(summary) == {"seen": 1, "unchanged": 1}
        assert str(rig.photos / "trip") in summary.notices[0]
        assert len(rig.shown()) == 4


def test_the_same_folder_by_other_names_is_the_same_root(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.ingest()
    (rig.folder / "link").symlink_to(rig.photos)
    monkeypatch.chdir(rig.photos / "trip")
    same = (
        rig.folder / "link",
        Path(".."),
        Path(f"{rig.photos}/trip/../"),
        Path("../../photos/"),
    )
    for path in same:
        assert counts(rig.ingest(path)) == {"seen": 4, "unchanged": 4}
    assert counts(rig.ingest(Path())) == {"seen": 3, "unchanged": 3}
    with rig.ledger() as ledger:
        assert [root.path for root in ledger.roots()] == [rig.photos]
    assert rig.shown(rig.folder / "link/trip") == ALL[1:]


def test_a_library_in_its_own_photo_folder_loses_no_photo(empty_rig: Rig) -> None:
    rig = empty_rig
    write(rig.library / "a.png", 1)
    (rig.library / "segsearch.json").touch()
    assert counts(rig.ingest(rig.library)) == {"seen": 1, "ingested": 1}
    write(rig.library / "trip/b.png", 2)
    assert counts(rig.ingest(rig.library)) == {"seen": 2, "ingested": 1, "unchanged": 1}
    (rig.library / "a.png").unlink()
    assert counts(rig.ingest(rig.folder))["vanished"] == 1


def _photo_ids(rig: Rig) -> set[str]:
    with rig.ledger() as ledger:
        return {row.photo.photo_id for row in ledger.photos(SearchFilter(), limit=100)}


def _facts(rig: Rig, name: str) -> dict[str, Any]:
    """What all segments of a photo say of it."""
    path = rig.photos / name
    with rig.ledger() as ledger:
        rows = {
            key.path: row
            for row in ledger.photos(SearchFilter(), limit=100)
            for key in ledger.files_of(row.photo.photo_id)
        }
    photo_id = rows[path].photo.photo_id
    keys = ("camera", "year_month", "sort_at", "location", "folders", "visibility")
    said = [
        {key: segment.get(key) for key in keys}
        for segment in snapshot(rig).segments
        if segment["photo_id"] == photo_id
    ]
    assert all(each == said[0] for each in said)
    return said[0]


def _undisturbed(rig: Rig) -> Snapshot:
    """What a new library of the same photos knows."""
    with closing(Rig(rig.folder / "undisturbed")) as fresh:
        fresh.ingest(rig.photos)
        return snapshot(fresh)


def _assert_same(one: Snapshot, other: Snapshot) -> None:
    assert one.rows == other.rows
    assert one.photos == other.photos
    assert one.segments == other.segments
    assert abs(one.vectors - other.vectors).max() < 1e-5
