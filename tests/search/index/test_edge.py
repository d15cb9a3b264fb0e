"""What only the embedded engine can get wrong: kills, locks, folders, graphs, threads."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge
from support.index_samples import (
    DIM,
    VECTOR_NAME,
    assert_same_segments,
    fill,
    make_sample,
    ranked_segments,
    unit_vectors,
)

from search.errors import MismatchError, SegsearchError, StoreError
from search.index import edge as edge_index
from search.index.edge import EdgeIndex, Limits
from search.index.payload import FIELDS
from search.records import PhotoFacts, SearchFilter

ANYTHING = SearchFilter()
SPAWN = multiprocessing.get_context("spawn")
STARTUP_S = 60  # a child imports numpy and pydantic first, on a busy machine


def open_edge(folder: Path, dim: int = DIM, limits: Limits | None = None) -> EdgeIndex:
    return EdgeIndex.open(
        folder, vector_name=VECTOR_NAME, dim=dim, create=True, limits=limits or Limits()
    )


def _open_and_tell(folder: Path, pipe: Connection) -> None:
    pipe.send("ready")
    try:
        open_edge(folder).close()
    except SegsearchError as error:
        pipe.send(error)
    else:
        pipe.send(None)


def _write_and_tell(folder: Path, pipe: Connection) -> None:
    sample = make_sample(photo_count=200)
    index = open_edge(folder)
    for number, photo in enumerate(sample.photos):
        index.put_segments(photo, *sample.of_photo(photo))
        index.put_photo(photo, sample.photo_vectors[number : number + 1])
        pipe.send(number)
    time.sleep(STARTUP_S)  # it is to be killed, not to end and flush


def test_points_survive_closing_and_opening(tmp_path: Path) -> None:
    sample = make_sample(photo_count=5)
    index = open_edge(tmp_path)
    fill(index, sample)
    index.close()
    again = open_edge(tmp_path)
    assert_same_segments(
        again.iter_segments(with_masks=True), sorted(sample.segments, key=lambda s: s.segment_id)
    )
    assert again.photos([photo.photo_id for photo in sample.photos]) == sample.photos
    again.close()


def test_points_survive_a_kill(tmp_path: Path) -> None:
    here, there = SPAWN.Pipe()
    writer = SPAWN.Process(target=_write_and_tell, args=(tmp_path, there))
    writer.start()
    announced = -1
    while announced < 40:
        assert here.poll(STARTUP_S), "the writer came to nothing"
        announced = here.recv()
    writer.kill()
    writer.join()
    while here.poll():
        announced = here.recv()

    sample = make_sample(photo_count=200)
    index = open_edge(tmp_path)
    photos = index.photos([photo.photo_id for photo in sample.photos])
    assert announced + 1 <= len(photos) <= announced + 2
    assert photos == sample.photos[: len(photos)]
    for photo in photos:
        segments, vectors = sample.of_photo(photo)
        ids = [segment.segment_id for segment in segments]
        assert_same_segments(index.segments(ids, with_masks=True), segments)
        assert index.segment_vectors(ids) == pytest.approx(vectors, abs=1e-6)
    assert index.count("segments") % 10 == 0  # a photo's segments are all there or none is
    index.close()


@pytest.mark.parametrize("after_s", [0.02, 0.1, 0.25])
def test_a_folder_half_created_by_a_kill_is_usable(tmp_path: Path, after_s: float) -> None:
    here, there = SPAWN.Pipe()
    maker = SPAWN.Process(target=_open_and_tell, args=(tmp_path, there))
    maker.start()
    assert here.recv() == "ready"
    time.sleep(after_s)
    maker.kill()
    maker.join()
    index = open_edge(tmp_path)
    fill(index, make_sample(photo_count=1))
    assert index.count("segments", ANYTHING) == 10
    index.close()


def test_a_half_created_collection_is_created_again(tmp_path: Path) -> None:
    open_edge(tmp_path).close()
    shutil.rmtree(tmp_path / "segments" / "segments")
    (tmp_path / "segments").rename(tmp_path / "segments.new")
    index = open_edge(tmp_path)
    assert index.count("segments") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "segments"]
    index.close()


def test_a_second_process_can_not_open_the_folder(tmp_path: Path) -> None:
    index = open_edge(tmp_path)
    here, there = SPAWN.Pipe()
    second = SPAWN.Process(target=_open_and_tell, args=(tmp_path, there))
    second.start()
    assert here.recv() == "ready"
    assert here.poll(5), "opening a folder in use must not wait"
    error = here.recv()
    second.join()
    assert isinstance(error, StoreError)
    assert "is open in another process" in str(error)
    index.close()


def test_a_folder_in_use_can_be_opened_once_it_is_closed(tmp_path: Path) -> None:
    index = open_edge(tmp_path)
    with pytest.raises(StoreError, match="open in another process"):
        open_edge(tmp_path)
    index.close()
    index.close()
    open_edge(tmp_path).close()


def test_vectors_of_another_name_or_length_are_refused(tmp_path: Path) -> None:
    open_edge(tmp_path).close()
    with pytest.raises(MismatchError, match="another encoder or crop recipe"):
        open_edge(tmp_path, dim=DIM + 1)
    with pytest.raises(MismatchError, match="another encoder or crop recipe"):
        EdgeIndex.open(tmp_path, vector_name="other", dim=DIM, create=True)
    open_edge(tmp_path).close()  # and the refusals left nothing locked


def test_a_closed_index_raises_store_error(tmp_path: Path) -> None:
    index = open_edge(tmp_path)
    index.close()
    with pytest.raises(StoreError, match="can't be used"):
        index.count("segments")


def test_a_folder_that_is_a_file_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "vectors").write_text("not a folder")
    with pytest.raises(StoreError, match="vectors"):
        open_edge(tmp_path / "vectors")


def test_a_damaged_collection_is_a_store_error(tmp_path: Path) -> None:
    open_edge(tmp_path).close()
    for state in (tmp_path / "segments").rglob("segment.json"):
        state.write_text("{")
    with pytest.raises(StoreError, match="can't be used"):
        open_edge(tmp_path)


def test_a_full_disk_is_detected_before_the_engine_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = make_sample(photo_count=1)
    index = open_edge(tmp_path)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(StoreError, match="Make room and run the command again"):
        fill(index, sample)
    assert index.count("segments") == 0  # reading goes on
    index.close()
    with pytest.raises(StoreError, match=r"disk of .* is full"):
        open_edge(tmp_path)


def test_small_collections_are_left_without_a_graph(tmp_path: Path) -> None:
    index = open_edge(tmp_path)
    fill(index, make_sample(photo_count=3))
    assert index.optimize() is False
    index.close()


@pytest.mark.parametrize("full_scan_kb", [edge_index.FULL_SCAN_KB, 50])
def test_optimizing_builds_a_graph_and_keeps_every_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_scan_kb: int
) -> None:
    monkeypatch.setattr(edge_index, "FULL_SCAN_KB", full_scan_kb)  # at 50 filters use the graph
    dim = 256
    sample = make_sample(photo_count=40, segments_each=300)
    count = len(sample.segments)  # 12 MB of vectors: over Edge's own threshold
    drawn = unit_vectors(4, count + 10, dim=dim)
    vectors, questions = drawn[:count], drawn[count:]
    few = np.quantile([s.predicted_iou for s in sample.segments], 0.9)
    filters = [ANYTHING, SearchFilter(min_predicted_iou=float(few))]

    def answers(index: EdgeIndex) -> list[set[str]]:
        asked = [(q[None], where) for where in filters for q in questions]
        return [{h.segment.segment_id for h in index.nearest_segments(*a, limit=10)} for a in asked]

    index = open_edge(tmp_path, dim, Limits(min_graph_points=10_000))
    for photo in sample.photos:
        rows = [i for i, s in enumerate(sample.segments) if s.photo_id == photo.photo_id]
        index.put_segments(photo, [sample.segments[i] for i in rows], vectors[rows])
    before = answers(index)
    index.close()
    assert _graph_size(tmp_path) == 0  # neither writing nor searching built one

    index = open_edge(tmp_path, dim, Limits(min_graph_points=10_000))
    assert index.optimize() is True
    shares = [len(old & new) / 10 for old, new in zip(before, answers(index), strict=True)]
    assert np.mean(shares[: len(questions)]) >= 0.95
    assert np.mean(shares[len(questions) :]) >= 0.95  # a tenth of the points, by the filter
    assert index.count("segments") == count
    assert index.optimize() is False
    index.close()
    assert _graph_size(tmp_path) == count


def _graph_size(folder: Path) -> int:
    shard = qdrant_edge.EdgeShard.load(str(folder / "segments"))
    size = shard.info().indexed_vectors_count
    shard.close()
    return size


def test_a_payload_is_the_same_whether_facts_were_put_or_updated(tmp_path: Path) -> None:
    sample = make_sample(photo_count=1, segments_each=1)
    segments, vectors = sample.of_photo(sample.photos[0])
    bare = PhotoFacts(sort_at=sample.photos[0].facts.sort_at)
    photo = sample.photos[0].model_copy(update={"facts": bare})
    index = open_edge(tmp_path)
    index.put_segments(photo, segments, vectors)
    put = index._retrieve("segments", [segments[0].segment_id], "all")[0].payload
    index.update_facts(photo.photo_id, bare.model_copy(update={"camera": "Leica"}))
    index.update_facts(photo.photo_id, bare)
    told = index._retrieve("segments", [segments[0].segment_id], "all")[0].payload
    assert told == put
    index.close()


def test_an_index_of_payload_format_1_is_read_and_gets_new_payload_indexes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = make_sample(photo_count=1, segments_each=1)
    segments, vectors = sample.of_photo(sample.photos[0])
    dated = sample.photos[0].facts.model_copy(update={"date_source": "exif"})
    photo = sample.photos[0].model_copy(update={"facts": dated})
    new = {"taken_at", "local_at", "date_source"}
    old_fields = {
        name: tuple(field for field in fields if field.key not in new)
        for name, fields in FIELDS.items()
    }
    with monkeypatch.context() as before:
        before.setattr(edge_index, "FIELDS", old_fields)
        index = open_edge(tmp_path)
    index.put_segments(photo, segments, vectors)
    index.put_photo(photo, sample.photo_vectors)
    index._set_payload("photos", [], dict.fromkeys(new))  # as they were written then
    index.close()
    index = open_edge(tmp_path)
    facts = index.photos([photo.photo_id])[0].facts
    assert (facts.sort_at, facts.date_source) == (photo.facts.sort_at, "unknown")
    index.create_payload_indexes()
    index.update_facts(photo.photo_id, photo.facts)
    local_at = photo.facts.local_at
    assert index.count("segments", SearchFilter(taken_from=local_at)) == 1
    index.close()
    shard = qdrant_edge.EdgeShard.load(str(tmp_path / "segments"))
    assert new <= shard.info().payload_schema.keys()
    shard.close()


def test_too_little_address_space_is_detected_before_the_engine_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (500_000_000, resource.RLIM_INFINITY))
    with pytest.raises(StoreError, match="may use 500 MB of memory"):
        open_edge(tmp_path)


def test_threads_may_write_and_search_at_once(tmp_path: Path) -> None:
    sample = make_sample(photo_count=24)
    index = open_edge(tmp_path)

    def put_and_search(number: int) -> int:
        photo = sample.photos[number]
        index.put_segments(photo, *sample.of_photo(photo))
        index.put_photo(photo, sample.photo_vectors[number : number + 1])
        index.update_facts(photo.photo_id, photo.facts)
        return len(index.nearest_segments(unit_vectors(number, 1), ANYTHING, limit=5))

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(put_and_search, range(24)))) == 24
    vector = unit_vectors(1, 1)
    hits = index.nearest_segments(vector, ANYTHING, limit=1000)
    assert [(hit.segment.segment_id) for hit in hits] == [
        segment_id for segment_id, _ in ranked_segments(sample, vector, ANYTHING)
    ]
    index.close()
