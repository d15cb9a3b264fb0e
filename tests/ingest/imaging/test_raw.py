"""RAW files: a DNG made for the purpose, read by the real LibRaw."""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from support.ingest_rig import Rig, picture, write
from support.raw_sample import save_dng

from ingest.imaging.decode import DecodedPhoto, decode_bytes, decode_photo
from ingest.scanning.walk import iter_photo_files
from search.errors import UndecodableError
from search.records import RgbImage

WIDE_WH = (800, 500)


def decode(path: Path) -> DecodedPhoto:
    return decode_photo(path, max_pixels=10_000_000, max_bytes=10_000_000)


def two_halves() -> RgbImage:
    """Red above blue."""
    rgb = np.zeros((WIDE_WH[1], WIDE_WH[0], 3), np.uint8)
    rgb[: WIDE_WH[1] // 2, :, 0] = rgb[WIDE_WH[1] // 2 :, :, 2] = 220
    return rgb


def test_the_preview_is_the_photo_and_the_camera_and_date_are_known(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    photo = decode(save_dng(tmp_path / "a.DNG", two_halves()))
    assert photo.size_wh == WIDE_WH
    assert np.abs(photo.rgb.astype(int) - two_halves()).mean() < 3
    assert photo.camera == "Test One"
    assert photo.taken_at is not None
    assert photo.taken_at.replace(tzinfo=None) == datetime(2024, 5, 1, 12)


def test_the_preview_is_turned_as_the_camera_was(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    photo = decode(save_dng(tmp_path / "a.dng", two_halves(), orientation=6))
    assert photo.size_wh == WIDE_WH[::-1]
    left, right = np.split(photo.rgb, 2, axis=1)
    assert left[..., 2].mean() > 200  # what lay below is on the left now
    assert right[..., 0].mean() > 200


def test_an_upload_is_read_by_its_name(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    data = save_dng(tmp_path / "a.dng", two_halves()).read_bytes()
    photo = decode_bytes(data, max_pixels=10**7, max_bytes=10**7, name="a.dng")
    assert photo.size_wh == WIDE_WH


@pytest.mark.parametrize(
    ("preview", "said"),
    [
        (None, r"a\.dng is a RAW file without a preview"),
        (picture(1, (160, 120)), r"preview has only 160 x 120 pixels"),
    ],
)
def test_a_raw_file_without_a_preview_worth_cutting_is_refused(
    tmp_path: Path, preview: RgbImage | None, said: str
) -> None:
    pytest.importorskip("rawpy")
    with pytest.raises(UndecodableError, match=said):
        decode(save_dng(tmp_path / "a.dng", preview))


def test_a_damaged_raw_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    path = save_dng(tmp_path / "a.dng", two_halves())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UndecodableError, match=r"a\.dng"):
        decode(path)


def test_without_the_extra_the_reason_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(UndecodableError, match=r"pip install 'segsearch\[raw\]'"):
        decode(save_dng(tmp_path / "a.dng", two_halves()))


def test_a_raw_file_beside_its_jpeg_is_left_out_and_comes_back_without_it(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    with closing(Rig(tmp_path)) as rig:
        save_dng(rig.photos / "IMG_1.DNG", two_halves())
        save_dng(rig.photos / "other.dng", two_halves(), orientation=6)
        jpeg = write(rig.photos / "img_1.jpg", 1)
        write(rig.photos / "other.png", 2)  # no camera's work
        first = rig.ingest()
        assert (first.photos_seen, first.photos_ingested) == (3, 3)
        jpeg.unlink()
        later = rig.ingest()
        assert (later.photos_ingested, later.photos_vanished) == (1, 1)
        assert rig.shown() == ["photos/IMG_1.DNG", "photos/other.dng", "photos/other.png"]
        write(jpeg, 1)
        assert rig.ingest().photos_vanished == 0  # it is left out, not gone
        assert rig.shown() == ["photos/img_1.jpg", "photos/other.dng", "photos/other.png"]


@pytest.mark.parametrize(
    ("beside", "is_taken"),
    [
        (b"", True),
        (b"Dear diary, today I took no photo.", True),
        (b"\xff\xd8\xff\xe1 2011:07:04 18:30:05", True),
        (b"\xff\xd8\xff\xe1 2024:05:01 12:00:00", False),
        (b"\xff\xd8\xff\xe1 no date", False),
    ],
    ids=["empty", "no picture", "another shot", "the same shot", "without a date"],
)
def test_only_a_picture_of_the_same_shot_takes_a_raw_files_place(
    tmp_path: Path, beside: bytes, is_taken: bool
) -> None:
    raw_file = save_dng(tmp_path / "IMG_1.DNG", two_halves())
    picture = tmp_path / "img_1.jpg"
    picture.write_bytes(beside)
    assert list(iter_photo_files(tmp_path)) == [*[raw_file] * is_taken, picture]
