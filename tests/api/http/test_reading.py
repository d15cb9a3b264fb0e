"""The HTTP API over a real library and a real server: what is read."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.servers.api_samples import (
    FLAT_BLOCKS,
    FLAT_WH,
    NOWHERE,
    SAMPLE,
    Served,
    assert_problem,
    pixels,
    served_sample,
)

from api.render.draw import overlay, thumbnail
from search.masks.rle import array_from_mask, resized
from search.records import Mask, MaskArray

PHOTO_ROUTES = ("", "/image", "/segments", "/overlay.png")
SEGMENT_ROUTES = ("", "/crop.png", "/mask.png")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_sample(tmp_path_factory.mktemp("api")) as sample:
        yield sample


def mask_of(segment: dict[str, Any]) -> MaskArray:
    height, width = segment["mask"]["size"]
    return array_from_mask(Mask(size_wh=(width, height), counts=segment["mask"]["counts"]))


# alive, ready, what is in


def test_health_is_alive(served: Served) -> None:
    assert served.get("/health").json() == {"alive": True}


def test_the_server_becomes_ready(served: Served) -> None:
    for _ in range(100):
        answer = served.get("/ready")
        if answer.status_code == 200:
            break
    assert answer.json() == {
        "ready": True,
        "parts": {"index": "ready", "segmenter": "ready", "encoder": "ready"},
    }


def test_the_library_lists_its_contents(served: Served) -> None:
    holds = served.get("/v1/library").json()
    assert (holds["photos"], holds["photos_hidden"]) == (3, 1)
    assert (holds["files"], holds["files_vanished"]) == (3, 1)
    assert holds["roots"][0]["root_id"] == served.root_id
    assert holds["engine"].startswith("Qdrant Edge")


# photos


def test_photos_are_newest_first_without_hidden_ones(served: Served) -> None:
    answer = served.get("/v1/photos").json()
    names = ["trip/large.png", "trip/scene.png", "flat.png"]
    assert [photo["photo_id"] for photo in answer["photos"]] == [served.photos[n] for n in names]
    assert answer["cursor"] is None
    assert answer["photos"][2]["size_wh"] == list(FLAT_WH)
    assert answer["photos"][2]["path"].endswith("flat.png")


def test_pages_add_up_to_all_photos(served: Served) -> None:
    whole = [photo["photo_id"] for photo in served.get("/v1/photos").json()["photos"]]
    found, cursor = [], ""
    for _ in range(3):
        query = {"cursor": cursor} if cursor else {}
        page = served.get("/v1/photos", limit=1, **query).json()
        found += [photo["photo_id"] for photo in page["photos"]]
        cursor = page["cursor"]
    assert found == whole
    assert cursor is None


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"camera": "Test Two"}, ["trip/large.png", "trip/scene.png"]),
        ({"taken_from": "2024-05-02T00:00:00Z"}, ["trip/large.png", "trip/scene.png"]),
        ({"taken_before": "2024-05-02T02:00:00+02:00"}, ["flat.png"]),
        ({"taken_before": "2024-05-02T02:00:00 02:00"}, ["flat.png"]),  # a plus sign, unescaped
        ({"taken_from": "2024-05-02"}, ["trip/large.png", "trip/scene.png"]),
        (
            {"taken_from": "2024-05-02", "taken_before": "2025"},
            ["trip/large.png", "trip/scene.png"],
        ),
        ({"taken_before": "2024"}, []),
        ({"taken_before": "2024-05"}, []),
        ({"taken_before": "2024-05-02T00:00:00"}, ["flat.png"]),
        ({"undated": "true"}, []),
        ({"undated": "false", "camera": "Test One"}, ["flat.png"]),
        ({"near": "52.5,13.4,5000"}, ["flat.png"]),
        ({"near": "52.5,13.4,5000", "camera": "Test Two"}, []),
    ],
)
def test_photos_can_be_filtered(served: Served, query: dict[str, str], names: list[str]) -> None:
    found = served.get("/v1/photos", **query).json()["photos"]
    assert [photo["photo_id"] for photo in found] == [served.photos[name] for name in names]


def test_facets_count_the_matching_photos(served: Served) -> None:
    found = served.get("/v1/facets").json()
    assert found["cameras"] == [
        {"value": "Test Two", "count": 2},
        {"value": "Test One", "count": 1},
    ]
    assert found["months"] == [{"value": "2024-05", "count": 3}]
    assert found["undated"] == 0
    root, trip = found["folders"]
    assert (root["folder"], root["count"]) == (served.root_id, 3)
    assert trip == {"folder": f"{served.root_id}/trip", "name": "trip", "count": 2}
    only = served.get("/v1/facets", camera="Test One", folder=served.root_id).json()
    assert [(c["value"], c["count"]) for c in only["cameras"]] == [("Test One", 1)]
    assert [folder["count"] for folder in only["folders"]] == [1]
    for folder in found["folders"]:  # a count is what the filter then gives
        page = served.get("/v1/photos", folder=folder["folder"]).json()
        assert len(page["photos"]) == folder["count"]


def test_a_folder_filter_includes_subfolders(served: Served) -> None:
    for folder, count in (served.root_id, 3), (f"{served.root_id}/trip", 2), ("other", 0):
        assert len(served.get("/v1/photos", folder=folder).json()["photos"]) == count


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"limit": "0"}, ["limit", "greater than"]),
        ({"limit": "many"}, ["limit", "integer"]),
        ({"cursor": "nonsense"}, ["'nonsense' is not a cursor"]),
        ({"cursor": "WzEsMl0"}, ["is not a cursor"]),
        ({"near": "here"}, ["lat,lon,radius_m", "here"]),
        ({"near": "91,0,5"}, ["lat,lon,radius_m"]),
        ({"taken_from": "yesterday"}, ["taken_from"]),
        ({"taken_from": "0000"}, ["taken_from"]),
        ({"taken_from": "1714608000"}, ["taken_from"]),
        ({"taken_from": "2024-05-02T00:00Z", "taken_before": "2024-05-01T00:00Z"}, ["earlier"]),
        ({"taken_from": "2024-05-02", "taken_before": "2024-05-01"}, ["earlier"]),
        ({"undated": "perhaps"}, ["undated", "boolean"]),
        ({"colour": "red"}, ["colour", "no such query parameter"]),
    ],
)
def test_an_invalid_filter_is_explained(
    served: Served, query: dict[str, str], words: list[str]
) -> None:
    assert_problem(served.get("/v1/photos", **query), 422, *words)


def test_one_photo_is_shown_hidden_or_not(served: Served) -> None:
    shown = served.get(f"/v1/photos/{served.photos['flat.png']}").json()
    assert (shown["hidden"], shown["camera"]) == (False, "Test One")
    assert shown["location"]["lat"] == pytest.approx(52.52, abs=1e-3)
    gone = served.get(f"/v1/photos/{served.photos['gone.png']}").json()
    assert (gone["hidden"], gone["path"]) == (True, None)


@pytest.mark.parametrize("route", PHOTO_ROUTES)
def test_an_unknown_photo_is_404_and_an_invalid_id_422(served: Served, route: str) -> None:
    assert_problem(served.get(f"/v1/photos/{NOWHERE}{route}"), 404, NOWHERE)
    assert_problem(served.get(f"/v1/photos/nonsense{route}"), 422, "nonsense", "UUID")


@pytest.mark.parametrize("route", ["/image", "/overlay.png"])
def test_the_image_of_a_missing_photo_is_404(served: Served, route: str) -> None:
    photo_id = served.photos["gone.png"]
    assert_problem(served.get(f"/v1/photos/{photo_id}{route}"), 404, "in reach", "ingest")


def test_the_image_is_the_upright_photo(served: Served) -> None:
    answer = served.get(f"/v1/photos/{served.photos['flat.png']}/image")
    assert answer.headers["content-type"] == "image/jpeg"
    assert "immutable" in answer.headers["cache-control"]
    shown, rgb = pixels(answer).astype(int), SAMPLE["flat.png"][0]
    assert shown.shape == rgb.shape
    assert np.median(np.abs(shown - rgb)) <= 2
    assert not Image.open(BytesIO(answer.content)).getexif()


def test_the_image_has_the_requested_size_but_is_never_enlarged(served: Served) -> None:
    path = f"/v1/photos/{served.photos['flat.png']}/image"
    assert pixels(served.get(path, size=48)).shape == (36, 48, 3)
    assert pixels(served.get(path, size=5000)).shape == (72, 96, 3)
    for size in ("0", "-1", "big", "1000000"):
        assert_problem(served.get(path, size=size), 422, "size")


def test_segments_of_a_photo_are_largest_first_with_masks_on_request(served: Served) -> None:
    path = f"/v1/photos/{served.photos['flat.png']}/segments"
    bare = served.get(path).json()["segments"]
    full = served.get(path, with_masks=True).json()["segments"]
    assert all(segment["mask"] is None for segment in bare)
    assert [s["segment_id"] for s in bare] == [s["segment_id"] for s in full]
    areas = [segment["area_px"] for segment in full]
    assert areas == sorted(areas, reverse=True)
    assert [int(mask_of(segment).sum()) for segment in full] == areas


@pytest.mark.parametrize("name", ["flat.png", "trip/scene.png", "trip/large.png"])
def test_the_overlay_paints_the_photos_segments(served: Served, name: str) -> None:
    masks = [mask_of(segment) for segment in served.segments(name)]
    path, rgb = f"/v1/photos/{served.photos[name]}/overlay.png", SAMPLE[name][0]
    assert np.array_equal(pixels(served.get(path)), overlay(rgb, masks))
    assert np.array_equal(pixels(served.get(path, size=60)), overlay(thumbnail(rgb, 60), masks))


# segments


def test_a_segment_is_shown_with_its_mask(served: Served) -> None:
    for color, (_, (x0, y0, x1, y1)) in FLAT_BLOCKS.items():
        shown = served.get(f"/v1/segments/{served.block(color)['segment_id']}").json()
        inside = np.zeros((FLAT_WH[1], FLAT_WH[0]), bool)
        inside[y0 : y1 + 1, x0 : x1 + 1] = True
        if color == "red":
            inside[30:40, 20:30] = False  # the green block
        assert np.array_equal(mask_of(shown), inside)
        assert shown["area_px"] == inside.sum()
        assert shown["photo_id"] == served.photos["flat.png"]


@pytest.mark.parametrize("route", SEGMENT_ROUTES)
def test_an_unknown_segment_is_404_and_an_invalid_id_422(served: Served, route: str) -> None:
    assert_problem(served.get(f"/v1/segments/{NOWHERE}{route}"), 404, NOWHERE)
    assert_problem(served.get(f"/v1/segments/nonsense{route}"), 422, "nonsense", "UUID")


@pytest.mark.parametrize("name", ["flat.png", "trip/scene.png", "trip/large.png"])
def test_crops_are_the_photos_own_pixels(served: Served, name: str) -> None:
    rgb = SAMPLE[name][0]
    height, width = rgb.shape[:2]
    for segment in served.segments(name)[:6]:
        x, y, w, h = (int(edge) for edge in segment["bbox_xywh"])
        seen = rgb[y : y + h + 1, x : x + w + 1]
        inside = resized(mask_of(segment), (width, height))[y : y + h + 1, x : x + w + 1]
        path = f"/v1/segments/{segment['segment_id']}/crop.png"
        assert np.array_equal(pixels(served.get(path)), seen)
        white = pixels(served.get(path, background="white"))
        assert np.array_equal(white, np.where(inside[..., None], seen, 255))
        clear = pixels(served.get(path, background="transparent"))
        assert np.array_equal(clear[..., 3], inside * 255)
        assert np.array_equal(clear[inside][:, :3], seen[inside])


def test_an_unknown_background_is_refused(served: Served) -> None:
    path = f"/v1/segments/{served.block('red')['segment_id']}/crop.png"
    assert_problem(served.get(path, background="pink"), 422, "background", "'keep'")


def test_masks_are_exact_as_stored_and_at_full_size(served: Served) -> None:
    rgb = SAMPLE["trip/large.png"][0]
    for segment in served.segments("trip/large.png")[:6]:
        path, stored = f"/v1/segments/{segment['segment_id']}/mask.png", mask_of(segment)
        assert max(stored.shape) == 128
        assert np.array_equal(pixels(served.get(path)), stored * 255)
        full = pixels(served.get(path, size="full"))
        assert np.array_equal(full, resized(stored, rgb.shape[1::-1]) * 255)
    assert_problem(served.get(path, size="huge"), 422, "size", "'stored'")


def test_a_missing_photo_has_masks_but_no_crops(served: Served) -> None:
    segment_id = served.segments("gone.png")[0]["segment_id"]
    assert pixels(served.get(f"/v1/segments/{segment_id}/mask.png", size="full")).shape == (64, 64)
    assert_problem(served.get(f"/v1/segments/{segment_id}/crop.png"), 404, "in reach")


# the description


def test_openapi_describes_every_route_and_its_problems(served: Served) -> None:
    document = served.get("/openapi.json").json()
    assert "/internal/index/{method}" not in document["paths"]
    for path, methods in document["paths"].items():
        for route in methods.values():
            assert route["summary"]
            assert route["tags"]
            takes_something = "parameters" in route or "requestBody" in route
            assert not takes_something or "422" in route["responses"], path
            for status, response in route["responses"].items():
                if int(status) >= 400 and path != "/ready":
                    assert "application/problem+json" in response["content"], (path, status)
    assert "Problem" in document["components"]["schemas"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_the_page_references_no_other_host(served: Served) -> None:
    for path in ("/docs", "/redoc"):
        assert_problem(served.get(path), 404, "/openapi.json")


def test_a_tile_dims_everything_but_the_segment(served: Served) -> None:
    segment_id = served.block("blue")["segment_id"]
    answer = served.get(f"/v1/segments/{segment_id}/tile.jpg", size=100)
    assert answer.headers["content-type"] == "image/jpeg"
    tile = np.asarray(Image.open(BytesIO(answer.content)).convert("RGB")).astype(int)
    assert tile.shape == (100, 100, 3)
    assert tile[..., 2].max() > 200  # the blue block as it is
    assert (np.abs(tile - 128 * 0.45).max(axis=2) < 12).any()  # the grey around it, dimmed
    assert_problem(served.get(f"/v1/segments/{NOWHERE}/tile.jpg"), 404, NOWHERE)
    assert_problem(served.get(f"/v1/segments/{segment_id}/tile.jpg", size=5), 422, "size")
