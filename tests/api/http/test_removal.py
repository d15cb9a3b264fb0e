"""Photos leave a library over HTTP as they do by `segsearch remove`; their files stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fakes import Quiet
from support.servers.api_samples import NOWHERE, Served, assert_problem, served_sample

from ingest.pipeline import ingest


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with served_sample(tmp_path) as sample:
        yield sample


def shown(served: Served) -> set[str]:
    return {photo["photo_id"] for photo in served.get("/v1/photos").json()["photos"]}


def test_a_removed_photo_loses_its_segments_and_returns_with_the_next_ingest(
    served: Served, tmp_path: Path
) -> None:
    photo_id = served.photos["flat.png"]
    segment_id = served.block("red")["segment_id"]
    served.get(f"/v1/segments/{segment_id}/tile.jpg")
    assert served.library.pictures.size_bytes() > 0
    answer = served.http.delete(f"/v1/photos/{photo_id.upper()}")
    assert answer.json() == {"photos_removed": [photo_id]}
    assert photo_id not in shown(served)
    assert_problem(served.get(f"/v1/photos/{photo_id}"), 404, photo_id)
    assert_problem(served.get(f"/v1/segments/{segment_id}"), 404, segment_id)
    assert_problem(served.get(f"/v1/segments/{segment_id}/tile.jpg"), 404)
    assert list(served.library.pictures._cache) == []
    hits = served.http.post("/v1/search", json={"text": "red", "limit": 100}).json()["hits"]
    assert photo_id not in {hit["photo_id"] for hit in hits}
    assert_problem(served.http.delete(f"/v1/photos/{photo_id}"), 404, photo_id)
    assert (tmp_path / "photos" / "flat.png").is_file()
    assert (
        ingest([tmp_path / "photos"], served.library.ingest_context(), Quiet()).photos_ingested == 1
    )
    assert photo_id in shown(served)
    assert served.get(f"/v1/segments/{segment_id}").status_code == 200


def test_missing_photos_are_forgotten_together(served: Served) -> None:
    before = shown(served)
    answer = served.http.delete("/v1/photos/missing")
    assert answer.json() == {"photos_removed": [served.photos["gone.png"]]}
    assert_problem(served.get(f"/v1/photos/{served.photos['gone.png']}"), 404)
    assert shown(served) == before
    assert served.http.delete("/v1/photos/missing").json() == {"photos_removed": []}


def test_nothing_is_forgotten_while_photos_are_added(served: Served) -> None:
    with served.library.only_writer():
        for what in (served.photos["flat.png"], "missing"):
            answer = served.http.delete(f"/v1/photos/{what}")
            assert_problem(answer, 409, "another command is adding or removing photos")
    assert len(shown(served)) == 3


def test_invalid_ids_are_refused(served: Served) -> None:
    assert_problem(served.http.delete(f"/v1/photos/{NOWHERE}"), 404, NOWHERE)
    assert_problem(served.http.delete("/v1/photos/nonsense"), 422, "UUID")
