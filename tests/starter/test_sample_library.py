"""The sample library: photos as a person has them, with EXIF, and things seen twice."""

from datetime import datetime
from itertools import islice
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.ExifTags import GPS, IFD, Base

from starter import weights_dir
from starter.drawing.colors import name_color
from starter.drawing.photo_file import Camera, Capture, _degrees_minutes_seconds, save_photo
from starter.sample_library import (
    SampleLibrary,
    ThingBox,
    _iter_shots,
    _plan,
    draw_sample_library,
)
from starter.scenes import draw_scene


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> SampleLibrary:
    return draw_sample_library(tmp_path_factory.mktemp("photos"))


def upright(path: Path) -> Image.Image:
    if path.suffix == ".heic":
        decoded: Image.Image = pillow_heif.open_heif(path).to_pillow()
        return decoded
    with Image.open(path) as photo:
        return ImageOps.exif_transpose(photo).convert("RGB")


def exif_of(path: Path) -> Image.Exif:
    with Image.open(path) as photo:
        exif = photo.getexif()
        exif.get_ifd(IFD.Exif)
        exif.get_ifd(IFD.GPSInfo)
        return exif


def cutout(sighting: ThingBox) -> np.ndarray:
    left, top, width, height = sighting.box_xywh
    return np.asarray(upright(sighting.path))[top : top + height, left : left + width]


def test_all_photos_are_there_in_several_albums_and_formats(library: SampleLibrary) -> None:
    assert len(library.paths) == 24
    assert all(path.is_file() for path in library.paths)
    assert len({path.parent for path in library.paths}) == 6
    assert {path.suffix for path in library.paths} == {".jpg", ".png", ".webp", ".heic"}


def test_the_same_seed_writes_the_same_photos(library: SampleLibrary, tmp_path: Path) -> None:
    again = draw_sample_library(tmp_path, photos=4)
    root = library.paths[0].parents[2]
    for path in again.paths:
        assert path.read_bytes() == (root / path.relative_to(tmp_path)).read_bytes()


def test_more_photos_than_shots_all_get_names_of_their_own(tmp_path: Path) -> None:
    planned = [
        _plan(shot, tmp_path, number, np.random.default_rng(number))[0]
        for number, shot in enumerate(islice(_iter_shots(), 300))
    ]
    assert len(set(planned)) == 300


def test_photos_are_dated_over_three_years_and_two_cameras_or_more(library: SampleLibrary) -> None:
    jpegs = [path for path in library.paths if path.suffix == ".jpg"]
    exifs = [exif_of(path) for path in jpegs]
    assert {str(exif[Base.DateTime])[:4] for exif in exifs} == {"2022", "2023", "2024"}
    assert len({exif[Base.Model] for exif in exifs}) == 3
    assert {exif.get(Base.Orientation, 1) for exif in exifs} == {1, 3, 6, 8}
    assert any(exif.get_ifd(IFD.GPSInfo) for exif in exifs)
    for path, exif in zip(jpegs, exifs, strict=True):
        assert exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal][:4] == path.parent.parent.name


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photo_stored_rotated_is_upright_once_its_orientation_is_applied(
    orientation: int, tmp_path: Path
) -> None:
    scene = draw_scene(4, (160, 100))
    path = tmp_path / "photo.png"
    save_photo(scene.image, Capture(datetime(2023, 1, 2), Camera("A", "B"), orientation), path)
    with Image.open(path) as stored:
        assert stored.size == ((100, 160) if orientation in (6, 8) else (160, 100))
    assert np.array_equal(np.asarray(upright(path)), scene.image)


@settings(derandomize=True)
@given(degrees=st.floats(0, 179))
def test_degrees_survive_the_way_into_exif(degrees: float) -> None:
    whole, minutes, seconds = _degrees_minutes_seconds(degrees)
    assert whole + minutes / 60 + seconds / 3600 == pytest.approx(degrees, abs=1e-5)


def test_a_place_south_and_west_is_written_as_such(tmp_path: Path) -> None:
    capture = Capture(datetime(2023, 1, 2), Camera("A", "B"), 1, (-33.5, -70.25))
    save_photo(draw_scene(0, (64, 64)).image, capture, tmp_path / "photo.jpg")
    gps = exif_of(tmp_path / "photo.jpg").get_ifd(IFD.GPSInfo)
    assert (gps[GPS.GPSLatitudeRef], gps[GPS.GPSLongitudeRef]) == ("S", "W")
    assert tuple(map(float, gps[GPS.GPSLatitude])) == (33, 30, 0)


def test_twins_are_in_different_photos_and_look_alike(library: SampleLibrary) -> None:
    assert len(library.twins) >= 3
    for sightings in library.twins:
        assert len({sighting.path for sighting in sightings}) == len(sightings) >= 2
        middles = []
        for sighting in sightings:
            pixels = cutout(sighting)
            height, width = pixels.shape[:2]
            middle = pixels[height // 4 : -height // 4, width // 4 : -width // 4]
            middles.append(middle.reshape(-1, 3).mean(axis=0))
        assert np.ptp(np.array(middles), axis=0).max() < 70


def test_clear_answers_show_the_color_of_their_words(library: SampleLibrary) -> None:
    for words in ("green circle", "orange circle", "red circle", "blue square"):
        for sighting in library.answers[words]:
            pixels = cutout(sighting)
            height, width = pixels.shape[:2]
            middle = pixels[height // 3 : -height // 3, width // 3 : -width // 3]
            assert name_color(middle.reshape(-1, 3).mean(axis=0))[0] == words.split()[0]


def test_boxes_lie_within_their_photos(library: SampleLibrary) -> None:
    for sightings in library.answers.values():
        for path, (left, top, width, height) in sightings:
            photo = upright(path)
            assert left >= 0
            assert top >= 0
            assert left + width <= photo.width
            assert top + height <= photo.height


def test_the_bundled_weights_are_where_weights_dir_says() -> None:
    for name in ("segmenter.pt", "segmenter.yaml", "encoder/model.safetensors", "CARD.md"):
        assert (weights_dir() / name).is_file()
