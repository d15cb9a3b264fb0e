"""Several searches at once: in order, each with its results or its problem, and not too many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.servers.api_samples import NOWHERE, Served, assert_problem, served_sample

from api.schemas.search import MAX_BATCH_HITS, MAX_SEARCHES


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_sample(tmp_path_factory.mktemp("batch")) as sample:
        yield sample


def batch(served: Served, *searches: dict[str, Any]) -> Any:
    return served.http.post("/v1/search/batch", json={"searches": searches})


def test_batch_results_equal_single_searches_and_keep_their_order(served: Served) -> None:
    point = {"points": [{"x": 12, "y": 22}]}
    searches: list[dict[str, Any]] = [
        {"text": "red", "limit": 3},
        {"text": "blue", "group_by_photo": True},
        {"positive": [{"photo_id": served.photos["flat.png"], "prompt": point}], "limit": 1},
    ]
    results = batch(served, *searches).json()["results"]
    for search, result in zip(searches, results, strict=True):
        alone = served.http.post("/v1/search", json=search).json()
        assert result == {"response": alone, "problem": None}


def test_a_failing_search_does_not_affect_the_others(served: Served) -> None:
    results = batch(
        served,
        {"positive": [{"segment_id": NOWHERE}]},
        {"text": "red"},
        {"text": "unloadable"},
    ).json()["results"]
    assert [bool(result["response"]) for result in results] == [False, True, False]
    unknown, broken = results[0]["problem"], results[2]["problem"]
    assert (unknown["status"], unknown["error"]) == (404, "UnknownIdError")
    assert NOWHERE in unknown["detail"]
    assert (broken["status"], broken["error"]) == (503, "ModelError")


def test_too_many_searches_and_too_many_hits_are_refused(served: Served) -> None:
    assert_problem(batch(served), 422, "searches")
    one = {"text": "red", "limit": 1}
    assert len(batch(served, *[one] * MAX_SEARCHES).json()["results"]) == MAX_SEARCHES
    assert_problem(batch(served, *[one] * (MAX_SEARCHES + 1)), 422, "searches")
    large = {"text": "red", "limit": MAX_BATCH_HITS // 2}
    assert_problem(batch(served, large, large, one), 422, str(MAX_BATCH_HITS))
    assert_problem(batch(served, one, {"limit": 5}), 422, "searches.1")
