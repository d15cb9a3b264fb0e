"""The HTTP API over a real library and a real server: what is looked for and cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from support.fakes import WORDS, ColorPhoto
from support.servers.api_samples import (
    MAX_UPLOAD_BYTES,
    NOWHERE,
    SAMPLE,
    Served,
    assert_problem,
    flat_photo,
    in_base64,
    png,
    served_sample,
)

from search.masks.rle import array_from_mask, mask_from_array
from search.records import Mask, RgbImage

IN_RED, IN_GREEN = {"x": 12, "y": 22}, {"x": 25, "y": 35}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_sample(tmp_path_factory.mktemp("api")) as sample:
        yield sample


def search(served: Served, **request: Any) -> httpx.Response:
    return served.http.post("/v1/search", json=request)


def send(served: Served, route: str, rgb: RgbImage, **fields: Any) -> httpx.Response:
    return served.http.post(route, data=fields, files={"file": ("photo.png", png(rgb))})


def first(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["hits"][0]["segment_id"])


def array(candidate: dict[str, Any]) -> np.ndarray:
    height, width = candidate["segmentation"]["size"]
    return array_from_mask(
        Mask(size_wh=(width, height), counts=candidate["segmentation"]["counts"])
    )


# search


@pytest.mark.parametrize("word", ["red", "green", "blue"])
def test_text_finds_segments_of_that_color(served: Served, word: str) -> None:
    in_flat = {"photo_ids": [served.photos["flat.png"]]}
    answer = search(served, text=word, filter=in_flat)
    assert first(answer) == served.block(word)["segment_id"]
    scores = [hit["score"] for hit in answer.json()["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_a_hit_has_all_fields(served: Served) -> None:
    request = {"positive": [{"segment_id": served.block("red")["segment_id"]}]}
    hit = search(served, **request).json()["hits"][0]
    assert hit["photo_id"] == served.photos["flat.png"]
    assert hit["path"].endswith("flat.png")
    assert hit["bbox_xywh"] == [10, 20, 39, 39]
    assert hit["score"] == pytest.approx(1, abs=1e-5)
    assert hit["mask"] is None
    with_mask = search(served, **request, with_masks=True).json()["hits"][0]
    assert with_mask["mask"]["size"] == [72, 96]


def test_a_prompt_on_a_library_photo_selects_its_segment(served: Served) -> None:
    example = {"photo_id": served.photos["flat.png"], "prompt": {"points": [IN_GREEN]}}
    assert first(search(served, positive=[example])) == served.block("green")["segment_id"]


def test_an_uploaded_image_can_be_the_example(served: Served) -> None:
    example = {"image_base64": in_base64(flat_photo()), "prompt": {"box_xywh": [70, 10, 19, 19]}}
    assert first(search(served, positive=[example])) == served.block("blue")["segment_id"]


def test_groups_hold_the_hits_of_their_photo(served: Served) -> None:
    answer = search(served, text="red", group_by_photo=True).json()
    assert answer["hits"] == []
    assert len({group["photo_id"] for group in answer["groups"]}) == len(answer["groups"])
    for group in answer["groups"]:
        assert {hit["photo_id"] for hit in group["hits"]} == {group["photo_id"]}


def test_pages_of_hits_add_up_to_all_hits(served: Served) -> None:
    whole = [hit["segment_id"] for hit in search(served, text="red", limit=8).json()["hits"]]
    page = search(served, text="red", limit=5).json()
    more = search(served, text="red", limit=3, cursor=page["cursor"]).json()
    assert [hit["segment_id"] for hit in page["hits"] + more["hits"]] == whole


def test_hidden_photos_are_not_found(served: Served) -> None:
    found = search(served, text="red", limit=1000).json()["hits"]
    assert served.photos["gone.png"] not in {hit["photo_id"] for hit in found}


@pytest.mark.parametrize(
    ("request_json", "words"),
    [
        ({}, ["text", "positive example"]),
        ({"text": "  "}, ["empty"]),
        ({"text": "red", "limit": 0}, ["limit"]),
        ({"text": "red", "limt": 5}, ["limt", "no such field"]),
        ({"text": "red", "cursor": "x"}, ["'x' is not a cursor"]),
        ({"text": "red", "cursor": "after-9999999999999999999"}, ["cursor"]),
        ({"text": "red", "filter": {"taken_from": "yesterday"}}, ["taken_from"]),
        ({"text": "red", "filter": {"taken_from": 2024}}, ["taken_from", "a date is a text"]),
        ({"positive": [{"text": "red", "weight": -1}]}, ["positive.0.weight"]),
        ({"positive": [{}]}, ["positive.0", "one of text, segment_id"]),
        ({"positive": [{"segment_id": "nonsense"}]}, ["'nonsense' is not an id"]),
        ({"positive": [{"image_base64": "*"}]}, ["base64"]),
        ({"positive": [{"image_base64": "ä"}]}, ["base64"]),
        ({"positive": [{"image_base64": "aGVsbG8="}]}, ["uploaded image"]),
        ({"text": "red\ud800"}, ["text"]),
    ],
)
def test_an_invalid_search_is_explained(
    served: Served, request_json: dict[str, Any], words: list[str]
) -> None:
    headers = {"Content-Type": "application/json"}
    body = json.dumps(request_json)
    assert_problem(served.http.post("/v1/search", content=body, headers=headers), 422, *words)


@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe", b"[" * 100_000, b'{"min_score": NaN}'])
def test_an_invalid_json_body_is_refused(served: Served, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert_problem(served.http.post("/v1/search", content=body, headers=headers), 422)


def test_an_unknown_example_is_404(served: Served) -> None:
    assert_problem(search(served, positive=[{"segment_id": NOWHERE}]), 404, NOWHERE)
    assert_problem(search(served, positive=[{"photo_id": NOWHERE}]), 404, NOWHERE)


def test_an_unavailable_example_is_named(served: Served) -> None:
    example = {"photo_id": served.photos["gone.png"], "prompt": {"points": [{"x": 1, "y": 1}]}}
    assert_problem(search(served, positive=[example]), 422, "in reach")


def test_a_failing_model_is_503_with_its_message(served: Served) -> None:
    assert_problem(search(served, text="unloadable"), 503, "fetch it anew")


def test_an_unhandled_error_is_a_generic_500(served: Served) -> None:
    answer = search(served, text="crash")
    assert_problem(answer, 500, "log")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


# search by a picture in a form


def test_a_form_with_a_point_finds_the_segment_there(served: Served) -> None:
    answer = send(served, "/v1/search/image", flat_photo(), point="12,22")
    assert first(answer) == served.block("red")["segment_id"]


def test_a_form_takes_points_box_filter_and_limit_together(served: Served) -> None:
    answer = send(
        served,
        "/v1/search/image",
        flat_photo(),
        point=["25,35,1", "12,22,0"],
        box="20,30,9,9",
        limit="1",
        filter=json.dumps({"photo_ids": [served.photos["flat.png"]]}),
        with_masks="true",
    )
    assert [hit["segment_id"] for hit in answer.json()["hits"]] == [
        served.block("green")["segment_id"]
    ]
    assert answer.json()["hits"][0]["mask"] is not None


def test_a_form_takes_the_prompt_as_json(served: Served) -> None:
    prompt = json.dumps({"box_xywh": [20, 30, 9, 9]})
    answer = send(served, "/v1/search/image", flat_photo(), prompt=prompt)
    assert first(answer) == served.block("green")["segment_id"]


def test_a_form_without_a_prompt_searches_by_the_whole_image(served: Served) -> None:
    blue = np.full((20, 20, 3), WORDS["blue"], np.uint8)
    in_flat = json.dumps({"photo_ids": [served.photos["flat.png"]]})
    answer = send(served, "/v1/search/image", blue, filter=in_flat)
    assert first(answer) == served.block("blue")["segment_id"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"point": "here"}, ["point", "'here'"]),
        ({"point": "1,2,3"}, ["point", "X,Y"]),
        ({"point": "nan,1"}, ["point"]),
        ({"point": "1000,1"}, ["outside the photo"]),
        ({"box": "1,2,3"}, ["box", "left, top, width, height"]),
        ({"box": "200,200,5,5"}, ["covers nothing"]),
        ({"point": "1,1", "prompt": '{"points": [{"x": 1, "y": 1}]}'}, ["either"]),
        ({"prompt": "{"}, ["prompt", "JSON"]),
        ({"filter": '{"camra": "x"}'}, ["filter.camra", "no such field"]),
        ({"limit": "-3"}, ["limit"]),
        ({"colour": "red"}, ["colour", "no such field"]),
    ],
)
def test_an_invalid_form_is_explained(
    served: Served, fields: dict[str, str], words: list[str]
) -> None:
    assert_problem(send(served, "/v1/search/image", flat_photo(), **fields), 422, *words)


def test_a_form_without_an_image_is_refused(served: Served) -> None:
    assert_problem(served.http.post("/v1/search/image", data={"limit": "3"}), 422, "file")


def test_a_file_that_is_not_an_image_is_422_with_its_name(served: Served) -> None:
    for content in (b"", b"hello", png(flat_photo())[:200]):
        answer = served.http.post("/v1/search/image", files={"file": ("mug.jpg", content)})
        assert_problem(answer, 422, "mug.jpg")


def test_an_image_with_too_many_pixels_or_bytes_is_413(served: Served) -> None:
    wide = np.zeros((10, 6000, 3), np.uint8)
    assert_problem(send(served, "/v1/search/image", wide), 413, "6,000 x 10 pixels")
    content = png(flat_photo()) + b"\0" * MAX_UPLOAD_BYTES
    answer = served.http.post("/v1/search/image", files={"file": ("mug.png", content)})
    assert_problem(answer, 413, "MB")
    assert_problem(search(served, positive=[{"image_base64": in_base64(wide)}]), 413, "pixels")


def test_the_pixel_limit_covers_all_images_of_a_search(served: Served) -> None:
    picture = {"image_base64": in_base64(np.zeros((100, 200, 3), np.uint8))}
    assert search(served, text="red", positive=[picture] * 2).status_code == 200
    refused = search(served, text="red", positive=[picture] * 2, negative=[picture])
    assert_problem(refused, 422, "50,000 pixels together")


def test_library_photos_are_exempt_from_the_upload_limit(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.services.search.segment_in_box", lambda *_: None)
    monkeypatch.setattr(
        "api.services.search.segment_of_mask", lambda *_: None
    )  # nobody has cut it yet
    example = {"photo_id": served.photos["trip/large.png"], "prompt": {"points": [IN_RED]}}
    assert search(served, positive=[example]).json()["hits"]
    assert_problem(search(served, positive=[example] * 2), 422, "50,000 pixels together")


# cut


def test_a_click_on_a_photo_gives_candidates_best_first(served: Served) -> None:
    request = {"photo_id": served.photos["flat.png"], "prompt": {"points": [IN_RED]}}
    answer = served.http.post("/v1/segment", json=request).json()
    assert answer["size_wh"] == [96, 72]
    predicted = [candidate["predicted_iou"] for candidate in answer["candidates"]]
    assert len(predicted) == 3
    assert predicted == sorted(predicted, reverse=True)
    red = (flat_photo() == WORDS["red"]).all(axis=2)
    assert np.array_equal(array(answer["candidates"][0]), red)
    assert answer["candidates"][0]["bbox_xywh"] == [10, 20, 39, 39]
    assert answer["candidates"][0]["area_px"] == red.sum()


def test_the_number_of_candidates_can_be_set(served: Served) -> None:
    request = {"photo_id": served.photos["flat.png"], "prompt": {"points": [IN_RED]}}
    for count in (1, 2, 3):
        answer = served.http.post("/v1/segment", json={**request, "candidates": count})
        assert len(answer.json()["candidates"]) == count


def test_a_second_click_uses_the_cached_encoding(served: Served) -> None:
    request = {"photo_id": served.photos["trip/scene.png"], "prompt": {"points": [IN_RED]}}
    before = served.segmenter.photos_encoded
    for x in (5, 10, 15):
        request["prompt"] = {"points": [{"x": x, "y": 5}]}
        assert served.http.post("/v1/segment", json=request).status_code == 200
    sent = {"image_base64": in_base64(SAMPLE["trip/scene.png"][0]), "prompt": request["prompt"]}
    assert served.http.post("/v1/segment", json=sent).status_code == 200
    assert served.segmenter.photos_encoded == before + 1


def test_an_uploaded_image_is_segmented_like_a_photo(served: Served) -> None:
    sent = send(served, "/v1/segment/image", flat_photo(), point="25,35", candidates="1")
    assert array(sent.json()["candidates"][0]).sum() == 100


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ({}, ["at least one point"]),
        ({"points": [{"x": 500, "y": 5}]}, ["outside the photo"]),
        ({"points": [{"x": 5, "y": 5, "label": 7}]}, ["prompt.points.0.label"]),
        ({"points": [{"x": 5, "y": 5, "label": 0}]}, ["points outside alone"]),
        ({"box_xywh": [500, 500, 9, 9]}, ["covers nothing of the photo"]),
        ({"mask": {"size_wh": [96, 72], "counts": "damaged?"}}, ["prompt.mask"]),
        ({"mask": {"size_wh": [96, 72], "counts": "1"}}, ["prompt.mask", "do not fill"]),
        ({"mask": {"size_wh": [10**9, 10**9], "counts": "1"}}, ["prompt.mask", "at most"]),
    ],
)
def test_an_invalid_prompt_is_explained(
    served: Served, prompt: dict[str, Any], words: list[str]
) -> None:
    request = {"photo_id": served.photos["flat.png"], "prompt": prompt}
    assert_problem(served.http.post("/v1/segment", json=request), 422, *words)


def test_a_prompt_without_a_mask_is_an_error(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ColorPhoto, "masks", lambda *_, **__: [])
    request = {"photo_id": served.photos["flat.png"], "prompt": {"points": [IN_RED]}}
    answer = served.http.post("/v1/segment", json=request)
    assert_problem(answer, 422, "nothing could be segmented there")


def test_a_mask_can_be_refined(served: Served) -> None:
    mask = mask_from_array((flat_photo() == WORDS["red"]).all(axis=2)).model_dump(mode="json")
    prompt = {"mask": mask, "points": [IN_RED]}
    request = {"photo_id": served.photos["flat.png"], "prompt": prompt, "candidates": 1}
    assert served.http.post("/v1/segment", json=request).status_code == 200


def test_segmentation_needs_exactly_one_image(served: Served) -> None:
    prompt = {"points": [IN_RED]}
    for pictures in ({}, {"photo_id": NOWHERE, "image_base64": ""}):
        answer = served.http.post("/v1/segment", json={"prompt": prompt, **pictures})
        assert_problem(answer, 422, "photo_id or an image_base64")
    unknown = served.http.post("/v1/segment", json={"prompt": prompt, "photo_id": NOWHERE})
    assert_problem(unknown, 404, NOWHERE)
