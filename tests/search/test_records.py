"""Records check themselves; ids derive from content; vectors that are no vectors are refused."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from search.masks.rle import mask_from_array
from search.records import (
    Box,
    MaskOrigin,
    PhotoFacts,
    Place,
    SearchFilter,
    Segment,
    checked_vectors,
    folder_chain,
    photo_id_from_digest,
    segment_id_from_origin,
)

PHOTO_ID = photo_id_from_digest("ab" * 32)
MASK = mask_from_array(np.eye(4, dtype=np.bool_))
ORIGIN = MaskOrigin((0, 0, 640, 480), (10.5, 20.25), 1)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def segment(**other: object) -> Segment:
    fields = {
        "segment_id": segment_id_from_origin(PHOTO_ID, "f00d", ORIGIN),
        "photo_id": PHOTO_ID,
        "bbox_xywh": (1, 2, 3, 4),
        "area_px": 10,
        "area_fraction": 0.5,
        "predicted_iou": 0.9,
        "stability_score": 0.95,
        "point_xy": (1, 2),
        "mask": MASK,
    }
    return Segment.model_validate({**fields, **other})


def test_a_segment_survives_json() -> None:
    there_and_back = Segment.model_validate_json(segment().model_dump_json())
    assert there_and_back == segment()
    assert isinstance(there_and_back.bbox_xywh, Box)
    assert json.loads(segment().model_dump_json())["bbox_xywh"] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "wrong",
    [
        {"area_px": 0},
        {"area_fraction": 0},
        {"area_fraction": 1.01},
        {"segment_id": "7"},
        {"photo_id": ""},
        {"predicted_iou": float("nan")},
        {"stability_score": float("inf")},
        {"bbox_xywh": (0, 0, float("nan"), 1)},
        {"bbox_xywh": (0, 0, 1)},
        {"point_xy": (float("inf"), 0)},
        {"mask": {"size_wh": (0, 4), "counts": "0"}},
        {"mask": {"size_wh": (4, 4), "counts": ""}},
        {"label": "mug"},
    ],
)
def test_an_invalid_segment_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        segment(**wrong)


def test_records_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        segment().area_px = 11  # type: ignore[misc]


def test_ids_are_normalized() -> None:
    found = segment(photo_id=PHOTO_ID.upper())
    assert found.photo_id == PHOTO_ID


def test_the_same_photo_and_mask_give_the_same_ids_everywhere_and_always() -> None:
    # written down: were these to change, every library would be doubled by its next ingest
    assert photo_id_from_digest("0" * 64) == "95998b92-a616-5507-aac7-5e79f0334914"
    assert segment_id_from_origin(PHOTO_ID, "f00d", ORIGIN) == (
        "22cc3c68-e896-57a3-8f59-652b4bd69504"
    )


def test_another_photo_recipe_crop_point_or_candidate_gives_another_segment() -> None:
    origins = (
        ORIGIN,
        ORIGIN._replace(crop_xyxy=(0, 0, 639, 480)),
        ORIGIN._replace(point_xy=(10.5, 20.26)),
        ORIGIN._replace(candidate=2),
    )
    ids = {
        segment_id_from_origin(photo, recipe, origin)
        for photo in (PHOTO_ID, "other")
        for recipe in ("f00d", "0dd")
        for origin in origins
    }
    assert len(ids) == 16
    assert {uuid.UUID(each).version for each in ids} == {5}


def test_a_segment_id_does_not_depend_on_how_a_point_is_rounded() -> None:
    rounded = ORIGIN._replace(point_xy=(10.500001, 20.249999))
    assert segment_id_from_origin(PHOTO_ID, "f00d", rounded) == segment_id_from_origin(
        PHOTO_ID, "f00d", ORIGIN
    )


def test_a_box_converts_to_xyxy() -> None:
    assert Box(1, 2, 3, 4).xyxy == (1, 2, 4, 6)


def test_a_month_is_in_local_time_of_the_photo() -> None:
    new_year = datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert PhotoFacts(sort_at=new_year).year_month == "2024-01"
    assert PhotoFacts(sort_at=datetime(983, 4, 5, tzinfo=UTC)).year_month == "0983-04"


def test_a_moment_without_an_offset_is_refused() -> None:
    with pytest.raises(ValidationError, match="UTC offset"):
        PhotoFacts(sort_at=datetime(2024, 1, 1))


def test_a_photo_is_undated_if_its_date_is_the_modification_time() -> None:
    for source in ("exif", "xmp", "png text", "unknown"):
        facts = PhotoFacts(sort_at=NOON, date_source=source)
        assert (facts.taken_at, facts.local_at) == (NOON, NOON.replace(tzinfo=None))
    facts = PhotoFacts(sort_at=NOON, date_source="file")
    assert (facts.taken_at, facts.local_at) == (None, None)


@pytest.mark.parametrize(
    ("lat", "lon"), [(91, 0), (-90.1, 0), (0, 181), (0, -180.5), (float("nan"), 0)]
)
def test_coordinates_must_be_valid_degrees(lat: float, lon: float) -> None:
    with pytest.raises(ValidationError):
        Place(lat=lat, lon=lon)


def test_a_filter_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValidationError, match="taken_from must be earlier"):
        SearchFilter(taken_from=NOON, taken_before=NOON)
    day = datetime(2024, 1, 1)
    with pytest.raises(ValidationError, match="taken_from must be earlier"):
        SearchFilter(taken_from=day, taken_before=day)
    assert SearchFilter(taken_from=day, taken_before=NOON)  # which is later depends on the photo
    with pytest.raises(ValidationError, match="min_area_fraction must not be larger"):
        SearchFilter(min_area_fraction=0.5, max_area_fraction=0.4)
    assert SearchFilter(min_area_fraction=0.5, max_area_fraction=0.5)


@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros((2, 3)),
        np.full((2, 3), np.nan),
        np.array([[1.0, 0, 0], [np.inf, 0, 0]]),
        np.array([[1.0, 0, 0], [1.1, 0, 0]]),
        np.array([[1.0, 0, 0], [0.9, 0, 0]]),
        np.eye(3),
        np.array([1.0, 0.0]),
    ],
)
def test_vectors_of_another_length_shape_or_not_finite_are_refused(vectors: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"vector|expected"):
        checked_vectors(vectors, 2)


def test_the_worst_of_the_lengths_is_named() -> None:
    with pytest.raises(ValueError, match="one of 3"):
        checked_vectors(np.array([[1.0, 0.0], [3.0, 0.0]]), 2)


def test_good_vectors_come_back_as_rows_of_float32() -> None:
    found = checked_vectors(np.asfortranarray(np.eye(3)), 3)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert checked_vectors(np.empty((0, 5)), 0).shape == (0, 5)


def test_a_folder_is_found_by_each_of_its_parents() -> None:
    assert folder_chain("root/a/b") == ("root", "root/a", "root/a/b")
    assert folder_chain("root") == ("root",)


@given(st.lists(st.text(st.characters(exclude_characters="/"), min_size=1), min_size=1))
def test_every_folder_of_a_chain_begins_the_next(parts: list[str]) -> None:
    chain = folder_chain("/".join(parts))
    assert len(chain) == len(parts)
    assert all(b.startswith(f"{a}/") for a, b in pairwise(chain))
