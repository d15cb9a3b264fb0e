"""COCO files and crops: what pycocotools reads of them, and what is in them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pycocotools.coco import COCO
from support.commands import Commands
from support.commands import serve as serve_library
from support.fakes import Quiet, add_photos, make_library
from support.sample import Sample
from support.servers.api_samples import SAMPLE, Served, assert_problem, served_sample

from api.http.app import create_app
from api.library.library import Library
from api.services.export import iter_coco, iter_filtered, write_crops
from ingest.pipeline import ingest
from search.errors import StoreError
from search.masks.rle import array_from_mask, resized
from search.records import Mask, SearchFilter
from starter.drawing.photo_file import save_photo
from starter.scenes import draw_scene


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_sample(tmp_path_factory.mktemp("export")) as sample:
        yield sample


def coco(path: Path) -> COCO:
    """A COCO file as others read it."""
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def downloaded(served: Served, folder: Path, **query: Any) -> COCO:
    answer = served.get("/v1/export", **query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    (folder / "coco.json").write_bytes(answer.content)
    return coco(folder / "coco.json")


@pytest.mark.skipif(sys.platform != "linux", reason="only here file names are any bytes")
def test_every_response_has_the_real_file_names(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9\xe2\x80\xaf")  # a root that is no text
    unusual = tmp_path / "v\u00a013"
    names = ("at 3.45\u202fPM.png", "\u3000\u200d.png", "\x1b[2J\n.png")
    with make_library(tmp_path / "library") as library:
        capture = SAMPLE["flat.png"][1]
        for number, path in enumerate((folder / "a.png", *(unusual / name for name in names))):
            save_photo(draw_scene(number, (64, 64)).image, capture, path)
        ingest([unusual, folder], library.ingest_context(), Quiet())
        client = TestClient(create_app(library), base_url="http://127.0.0.1")
        shown = client.get("/v1/photos").json()["photos"]
        paths = {photo["path"] for photo in shown}
        assert {str(unusual / name) for name in names} < paths
        assert (folder / "a.png").as_uri() in paths
        document = json.loads("".join(iter_coco(iter_filtered(library, SearchFilter()))))
        assert {image["file_name"] for image in document["images"]} == paths
        roots = client.get("/v1/library").json()["roots"]
        assert {root["path"] for root in roots} == {str(unusual), folder.as_uri()}
        assert client.get("/v1/facets").status_code == 200


# pycocotools' decoder hands numpy an array in a way that numpy 2 is about to refuse.
@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_pycocotools_reads_every_mask_at_the_photos_size(served: Served, tmp_path: Path) -> None:
    read = downloaded(served, tmp_path)
    shown = [name for name in SAMPLE if name != "gone.png"]
    images = {image["photo_id"]: image for image in read.loadImgs(read.getImgIds())}
    assert set(images) == {served.photos[name] for name in shown}
    for name in shown:
        image = images[served.photos[name]]
        height, width = SAMPLE[name][0].shape[:2]
        assert (image["width"], image["height"]) == (width, height)
        assert Path(image["file_name"]).is_file()
        segments = {each["segment_id"]: each for each in served.segments(name)}
        annotations = read.loadAnns(read.getAnnIds(imgIds=image["id"]))
        assert {each["segment_id"] for each in annotations} == set(segments)
        for annotation in annotations:
            inside = read.annToMask(annotation).astype(bool)
            stored = segments[annotation["segment_id"]]["mask"]
            mask = array_from_mask(
                Mask(size_wh=tuple(stored["size"][::-1]), counts=stored["counts"])
            )
            assert np.array_equal(inside, resized(mask, (width, height)))
            assert annotation["area"] == inside.sum()
            ys, xs = np.nonzero(inside)
            x, y, w, h = annotation["bbox"]
            assert (x, y, w, h) == (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"camera": "Test Two"}, {"trip/scene.png", "trip/large.png"}),
        ({"taken_before": "2024-05-02T00:00:00Z"}, {"flat.png"}),
        ({"near": "52.5,13.4,5000"}, {"flat.png"}),
        ({"camera": "Nobody's"}, set()),
    ],
)
def test_filters_choose_photos(
    served: Served, tmp_path: Path, query: dict[str, str], names: set[str]
) -> None:
    read = downloaded(served, tmp_path, **query)
    found = {image["photo_id"] for image in read.loadImgs(read.getImgIds())}
    assert found == {served.photos[name] for name in names}


def test_filters_choose_segments(served: Served, tmp_path: Path) -> None:
    read = downloaded(
        served, tmp_path, camera="Test One", min_area_fraction=0.05, max_area_fraction=0.5
    )
    annotations = read.loadAnns(read.getAnnIds())
    assert [each["segment_id"] for each in annotations] == [
        served.block(color)["segment_id"] for color in ("red", "blue")
    ]
    assert not downloaded(served, tmp_path, min_predicted_iou=0.99).getAnnIds()
    assert not downloaded(served, tmp_path, min_stability_score=0.99).getAnnIds()
    assert not downloaded(served, tmp_path, max_area_fraction=0).getAnnIds()


def test_a_search_is_exported_with_its_scores(served: Served, tmp_path: Path) -> None:
    read = downloaded(served, tmp_path, text="red", limit=3)
    annotations = read.loadAnns(read.getAnnIds())
    hits = served.http.post("/v1/search", json={"text": "red", "limit": 3}).json()["hits"]
    assert {each["segment_id"]: each["score"] for each in annotations} == {
        hit["segment_id"]: hit["score"] for hit in hits
    }


def test_an_invalid_export_is_explained(served: Served) -> None:
    for query, word in (
        ({"near": "here"}, "lat,lon"),
        ({"min_area_fraction": 2}, "min_area_fraction"),
        ({"min_area_fraction": 0.5, "max_area_fraction": 0.1}, "must not be larger"),
        ({"text": ""}, ""),
        ({"colour": "red"}, "no such query parameter"),
    ):
        assert_problem(served.get("/v1/export", **query), 422, word)


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    with make_library(tmp_path / "library") as library:
        add_photos(library, tmp_path / "photos", {"flat.png": SAMPLE["flat.png"]})
        yield library


def test_a_damaged_mask_is_named(library: Library, tmp_path: Path) -> None:
    [found] = iter_filtered(library, SearchFilter())
    photo, segment = found.row.photo, found.segments[0]
    assert segment.mask is not None
    damaged = segment.model_copy(
        update={"mask": segment.mask.model_copy(update={"counts": "damaged!"})}
    )
    vectors = library.index().segment_vectors([segment.segment_id])
    library.index().put_segments(photo, [damaged], vectors)
    with pytest.raises(StoreError, match=f"{segment.segment_id}.*damaged.*verify --repair"):
        list(iter_coco(iter_filtered(library, SearchFilter())))
    with pytest.raises(StoreError, match=segment.segment_id):
        write_crops(
            library, iter_filtered(library, SearchFilter()), tmp_path / "out", "white", "png"
        )


def test_photos_without_matching_segments_are_not_opened(library: Library, tmp_path: Path) -> None:
    (tmp_path / "photos" / "flat.png").unlink()
    found = iter_filtered(library, SearchFilter(max_area_fraction=0))
    exported = write_crops(library, found, tmp_path / "out", "keep", "png")
    assert (exported.photos, exported.segments, exported.skipped) == (0, 0, [])


# the command


def test_the_command_exports_what_http_exports(run: Commands, own: Path, tmp_path: Path) -> None:
    run("export", "all.json", "--library", own)
    run("export", "red.json", "--query", "red", "--limit", 5, "--library", own)
    read = coco(tmp_path / "all.json")
    assert len(read.getImgIds()) == 12
    assert len(read.getAnnIds()) == run("status", "--library", own, "--json").json["segments"]
    assert len(coco(tmp_path / "red.json").getAnnIds()) == 5
    with serve_library(own):
        run("export", "served.json", "--library", own)
        run("export", "served-red.json", "--query", "red", "--limit", 5, "--library", own)
    for here, there in (("all", "served"), ("red", "served-red")):
        assert ids_of(tmp_path / f"{there}.json") == ids_of(tmp_path / f"{here}.json")
    assert not list(tmp_path.glob("*.part"))


def ids_of(path: Path) -> list[str]:
    return [each["segment_id"] for each in json.loads(path.read_text())["annotations"]]


@pytest.mark.parametrize("form", ["png", "webp"])
def test_crop_files_are_named_by_photo_and_segment(
    run: Commands, sample: Sample, tmp_path: Path, form: str
) -> None:
    flags = ("--format", "crops", "--min-area", 0.02, "--picture", form, *sample.flags)
    said = run("export", "crops", *flags, "--background", "transparent", "--json").json
    files = sorted((tmp_path / "crops").iterdir())
    assert len(files) == said["segments"] > 20
    stem, photo, segment_id, suffix = files[0].name.split(".")
    assert suffix == form
    segment = run("show", segment_id, *sample.flags).json["segment"]
    assert segment["photo_id"].startswith(photo)
    path = Path(run("show", segment["photo_id"], *sample.flags).json["photo"]["path"])
    assert path.stem == stem
    with Image.open(files[0]) as crop:
        w, h = segment["bbox_xywh"][2:]
        assert crop.size == (w + 1, h + 1)
        assert crop.mode == "RGBA"


def test_an_unavailable_photo_is_skipped_and_reported(
    run: Commands, own: Path, sample: Sample, tmp_path: Path
) -> None:
    hit = run("search", "red", "--library", own, "--json").json["hits"][0]
    path = Path(hit["path"])
    away = path.rename(path.with_suffix(".away"))
    try:
        ran = run("export", "out", "--format", "crops", "--min-area", 0.1, "--library", own, code=3)
    finally:
        away.rename(path)
    assert "skipped" in ran.err
    assert str(path) in ran.err
    assert "of 11 photos written" in ran.out


def test_an_unwritable_output_is_refused_at_once(
    run: Commands, sample: Sample, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert "name it *.json" in run.refused("export", "out.txt", *sample.flags)
    assert "no folder" in run.refused("export", "nowhere/out.json", *sample.flags)
    assert "not a folder" in run.refused("export", "file", "--format", "crops", *sample.flags)
    assert "--limit" in run.refused(
        "export", "a.json", "--query", "red", "--limit", 0, *sample.flags
    )
    assert "ids are UUIDs" in run.refused("export", "a.json", "--segment", "x", *sample.flags)
