"""What only a server can get wrong: what is asked of it, and what happens when it does not answer.

The server here is a small HTTP server in this process that answers as Qdrant does and remembers
what it was asked, over real TCP.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from support.index_samples import DIM, VECTOR_NAME, make_sample, unit_vectors

from search.errors import MismatchError, StoreError, StoreUnreachableError
from search.index import qdrant as server_index
from search.index.payload import FIELDS
from search.index.qdrant import QdrantIndex, open_qdrant_index
from search.index.qdrant_connection import QdrantConnection, server_address
from search.records import SearchFilter
from search.settings import SearchSettings

ANYTHING = SearchFilter()
POINTS = "/collections/segsearch_segments/points"


class FakeQdrant:
    """Answers as Qdrant does; `status` is what the next `failures` writes of points get instead."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.collections: dict[str, dict[str, Any]] = {}
        self.failures = 0
        self.status = 500
        self.about = {"version": "1.18.3"}
        self.page: bytes | None = None  # what answers everything instead
        self.most_points, self.too_large = 1_000_000, 413
        self.error = "out of luck"
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.thread = Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def bodies(self, method: str, path: str) -> list[Any]:
        """What was sent there, oldest first."""
        return [body for m, p, body in self.asked if (m, p.partition("?")[0]) == (method, path)]

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Return the status (0: hang up) and the result."""
        self.asked.append((method, path, body))
        path = path.partition("?")[0]
        if method == "PUT" and "/points" in path and len(body["points"]) > self.most_points:
            return self.too_large, None
        if "/points" in path and self.failures:
            self.failures -= 1
            return self.status, None
        _, _, name, *rest = path.split("/")
        if rest == ["exists"]:
            return 200, {"exists": name in self.collections}
        if rest == ["points", "query"]:
            return 200, {"points": []}
        if not rest and method == "PUT":
            self.collections[name] = body
            return 200, True
        if not rest:
            return 200, _collection_info(self.collections[name])
        return 200, {"operation_id": 1, "status": "completed"}


def _handler(fake: FakeQdrant) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            if fake.page is not None:
                return self._send_bytes(200, fake.page)
            if self.path == "/":
                return self._send(200, {"title": "qdrant - vector search engine", **fake.about})
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"null")
            status, result = fake.answer(self.command, self.path, body)
            if status == 0:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            too_large = "JSON payload (9 bytes) is larger than allowed (limit: 8 bytes)."
            why = too_large if status in (400, 413) else fake.error
            said = "ok" if status == 200 else {"error": why}
            self._send(status, {"result": result, "status": said, "time": 0.0})

        def _send(self, status: int, answer: Any) -> None:
            self._send_bytes(status, json.dumps(answer).encode())

        def _send_bytes(self, status: int, text: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler


def _collection_info(created: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": "green",
        "optimizer_status": "ok",
        "segments_count": 1,
        "payload_schema": created.get("payload_schema", {}),
        "config": {
            "params": {"vectors": created["vectors"]},
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
            "optimizer_config": {"default_segment_number": 0, "flush_interval_sec": 5},
        },
    }


@pytest.fixture
def qdrant() -> Iterator[FakeQdrant]:
    fake = FakeQdrant()
    yield fake
    fake.stop()


OpenIndex = Callable[..., QdrantIndex]


@pytest.fixture
def open_index(qdrant: FakeQdrant) -> Iterator[OpenIndex]:
    opened: list[QdrantIndex] = []

    def open_with(**settings: Any) -> QdrantIndex:
        given = SearchSettings.model_validate({"qdrant": qdrant.url, **settings})
        opened.append(open_qdrant_index(given, vector_name=VECTOR_NAME, dim=DIM, create=True))
        return opened[-1]

    yield open_with
    for index in opened:
        index.close()


def test_collections_are_created_from_the_settings(
    qdrant: FakeQdrant, open_index: OpenIndex
) -> None:
    open_index(shard_number=3, replication_factor=2, vectors_on_disk=True)
    for name in ("segsearch_photos", "segsearch_segments"):
        created = qdrant.collections[name]
        params = created["vectors"][VECTOR_NAME]
        assert params["size"] == DIM
        assert params["distance"] == "Cosine"
        assert params["on_disk"] is True
        assert created["shard_number"] == 3
        assert created["replication_factor"] == 2
        assert created.get("quantization_config") is None


def test_payload_fields_that_filters_use_are_indexed(
    qdrant: FakeQdrant, open_index: OpenIndex
) -> None:
    open_index(collection_prefix="mine")
    for collection, fields in FIELDS.items():
        sent = qdrant.bodies("PUT", f"/collections/mine_{collection}/index")
        assert {(body["field_name"], body["field_schema"]) for body in sent} == {
            (field.key, field.kind) for field in fields
        }


@pytest.mark.parametrize(
    ("quantization", "config", "oversampling"),
    [
        ("int8", {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}}, 2.0),
        ("binary", {"binary": {"always_ram": True}}, 4.0),
    ],
)
def test_quantized_vectors_are_rescored(
    qdrant: FakeQdrant,
    open_index: OpenIndex,
    quantization: str,
    config: dict[str, Any],
    oversampling: float,
) -> None:
    index = open_index(quantization=quantization)
    assert qdrant.collections["segsearch_segments"]["quantization_config"] == config
    index.nearest_segments(unit_vectors(0, 1), ANYTHING, limit=5, min_score=0.25)
    (asked,) = qdrant.bodies("POST", f"{POINTS}/query")
    assert asked["params"]["quantization"] == {"rescore": True, "oversampling": oversampling}
    assert asked["score_threshold"] == 0.25
    assert asked["using"] == VECTOR_NAME
    assert asked["with_payload"] == {"exclude": ["mask_rle", "mask_size_wh"]}


def test_existing_collections_are_unchanged(qdrant: FakeQdrant, open_index: OpenIndex) -> None:
    open_index()
    for collection, fields in FIELDS.items():
        schema = {field.key: {"data_type": field.kind, "points": 0} for field in fields}
        qdrant.collections[f"segsearch_{collection}"]["payload_schema"] = schema
    qdrant.asked.clear()
    open_index(shard_number=5)
    assert {method for method, _, _ in qdrant.asked} == {"GET"}


def test_payload_indexes_that_a_cut_short_start_left_out_are_added(
    qdrant: FakeQdrant, open_index: OpenIndex
) -> None:
    open_index()
    schema = {"camera": {"data_type": "keyword", "points": 0}}
    qdrant.collections["segsearch_photos"]["payload_schema"] = schema
    qdrant.asked.clear()
    open_index()
    sent = qdrant.bodies("PUT", "/collections/segsearch_photos/index")
    assert {body["field_name"] for body in sent} == {f.key for f in FIELDS["photos"]} - {"camera"}


@pytest.mark.parametrize(("vector_name", "dim"), [("other", DIM), (VECTOR_NAME, DIM + 1)])
def test_vectors_of_another_name_or_length_are_refused(vector_name: str, dim: int) -> None:
    client = QdrantClient(":memory:")
    QdrantIndex.open(client, SearchSettings(), vector_name=VECTOR_NAME, dim=DIM)
    with pytest.raises(MismatchError, match="another encoder or crop recipe"):
        QdrantIndex.open(client, SearchSettings(), vector_name=vector_name, dim=dim)
    client.close()


def test_a_collection_of_unnamed_vectors_is_refused() -> None:
    client = QdrantClient(":memory:")
    params = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
    client.create_collection("segsearch_photos", vectors_config=params)
    with pytest.raises(MismatchError, match="segsearch_photos"):
        QdrantIndex.open(client, SearchSettings(), vector_name=VECTOR_NAME, dim=DIM)
    client.close()


def test_writes_are_split_into_batches_and_wait_for_the_server(
    qdrant: FakeQdrant, open_index: OpenIndex
) -> None:
    sample = make_sample(photo_count=1, segments_each=10)
    open_index(write_batch=4).put_segments(
        sample.photos[0], sample.segments, sample.segment_vectors
    )
    sizes = [len(body["points"]) for body in qdrant.bodies("PUT", POINTS)]
    assert sizes == [4, 4, 2]
    assert all("wait=true" in path for _, path, _ in qdrant.asked if POINTS in path)


@pytest.mark.parametrize("status", [500, 503, 0], ids=["error", "unavailable", "hung up"])
def test_a_write_is_retried_until_it_succeeds(
    qdrant: FakeQdrant, open_index: OpenIndex, status: int
) -> None:
    sample = make_sample(photo_count=1, segments_each=10)
    index = open_index(retry_wait_s=30)
    qdrant.failures, qdrant.status = 2, status
    index.put_segments(sample.photos[0], sample.segments, sample.segment_vectors)
    first, second, third = qdrant.bodies("PUT", POINTS)
    assert first == second == third
    assert len(third["points"]) == 10


def test_a_refused_write_is_not_retried(qdrant: FakeQdrant, open_index: OpenIndex) -> None:
    sample = make_sample(photo_count=1)
    index = open_index(retry_wait_s=30)
    qdrant.failures, qdrant.status = 1, 403
    with pytest.raises(StoreError, match="403") as caught:
        index.put_segments(sample.photos[0], sample.segments, sample.segment_vectors)
    assert not isinstance(caught.value, StoreUnreachableError)
    assert len(qdrant.bodies("PUT", POINTS)) == 1


@pytest.mark.parametrize("grpc", [False, True], ids=["REST", "gRPC"])
def test_writing_to_an_unreachable_server_ends_in_time(qdrant: FakeQdrant, grpc: bool) -> None:
    sample = make_sample(photo_count=1)
    settings = SearchSettings(qdrant=qdrant.url, retry_wait_s=1.0)
    client = QdrantClient(
        url=qdrant.url, prefer_grpc=grpc, grpc_port=_free_port(), check_compatibility=False
    )
    connection = QdrantConnection(client, settings)
    index = QdrantIndex(connection, settings, vector_name=VECTOR_NAME, dim=DIM)
    qdrant.failures = 10_000
    started = time.monotonic()
    with pytest.raises(StoreUnreachableError, match="kept: the command can be run again") as caught:
        index.put_segments(sample.photos[0], sample.segments, sample.segment_vectors)
    assert time.monotonic() - started < 15  # the default would wait for a minute
    assert qdrant.url in str(caught.value)
    index.close()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost", "http://localhost:6333"),
        ("http://localhost/", "http://localhost:6333"),
        ("https://qdrant.example.org", "https://qdrant.example.org:6333"),
        ("https://example.org/qdrant", "https://example.org:443/qdrant"),
        ("http://example.org/qdrant/", "http://example.org:80/qdrant"),
        ("http://[::1]:6334/", "http://[::1]:6334"),
        (" http://localhost:1 ", "http://localhost:1"),
    ],
)
def test_a_server_address_gets_its_default_port(url: str, address: str) -> None:
    assert server_address(url) == address


@pytest.mark.parametrize(
    "url", ["localhost:6333", "ftp://localhost", "http://", "http://x:port", "http://x:99999", ""]
)
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="is not the URL of a Qdrant server"):
        server_address(url)


@pytest.mark.parametrize(
    "page",
    [
        b"<html><title>Sign in</title></html>",
        b"\xff\xfe\x00broken",
        b"",
        b"[]",
        b'{"hello": "world"}',
        b'{"title": "another database", "version": "9.9.9"}',
    ],
)
def test_another_service_at_the_address_is_detected_before_anything_is_written(
    qdrant: FakeQdrant, open_index: OpenIndex, page: bytes
) -> None:
    qdrant.page = page
    with pytest.raises(StoreError, match="no Qdrant server answers at") as caught:
        open_index()
    assert qdrant.url in str(caught.value)
    assert not qdrant.asked


def test_a_too_old_server_is_refused_before_anything_is_written(
    qdrant: FakeQdrant, open_index: OpenIndex
) -> None:
    qdrant.about["version"] = "1.9.2"
    with pytest.raises(StoreError, match=r"is version 1\.9\.2; segsearch needs 1\.16 or newer"):
        open_index()
    assert not qdrant.asked


@pytest.mark.parametrize("status", [413, 400])
def test_a_request_refused_for_its_size_is_split(
    qdrant: FakeQdrant, open_index: OpenIndex, status: int
) -> None:
    sample = make_sample(photo_count=1, segments_each=40)
    index = open_index()
    qdrant.most_points, qdrant.too_large = 6, status
    index.put_segments(sample.photos[0], sample.segments, sample.segment_vectors)
    taken = [len(body["points"]) for body in qdrant.bodies("PUT", POINTS)]
    assert sum(count for count in taken if count <= 6) == 40
    before = len(taken)
    index.put_segments(sample.photos[0], sample.segments, sample.segment_vectors)
    taken = [len(body["points"]) for body in qdrant.bodies("PUT", POINTS)][before:]
    assert max(taken) <= 6  # it is remembered
    assert sum(taken) == 40


def test_a_single_point_over_the_request_limit_is_an_error(
    qdrant: FakeQdrant, open_index: OpenIndex
) -> None:
    sample = make_sample(photo_count=1)
    index = open_index()
    qdrant.most_points, qdrant.too_large = 0, 413
    with pytest.raises(StoreError, match="refuses a request for its size"):
        index.put_segments(sample.photos[0], sample.segments, sample.segment_vectors)


def test_requests_are_bounded_by_bytes_too(
    qdrant: FakeQdrant, open_index: OpenIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_index, "WRITE_BYTES", 5_000)
    sample = make_sample(photo_count=1, segments_each=20)
    index = open_index()
    index.put_segments(sample.photos[0], sample.segments, sample.segment_vectors)
    sizes = [len(json.dumps(body)) for body in qdrant.bodies("PUT", POINTS)]
    assert len(sizes) > 4
    assert max(sizes) < 5_000


def test_a_full_disk_of_the_server_is_reported_without_retries(
    qdrant: FakeQdrant, open_index: OpenIndex
) -> None:
    sample = make_sample(photo_count=1)
    index = open_index(retry_wait_s=60)
    qdrant.failures, qdrant.error = 1_000, "Service internal error: No space left on device"
    with pytest.raises(StoreError, match=r"the disk of Qdrant at .* is full") as caught:
        index.put_segments(sample.photos[0], sample.segments, sample.segment_vectors)
    assert "no answer" not in str(caught.value)
    assert len(qdrant.bodies("PUT", POINTS)) == 1


def test_an_error_response_is_not_reported_as_no_answer(
    qdrant: FakeQdrant, open_index: OpenIndex
) -> None:
    sample = make_sample(photo_count=1)
    index = open_index(retry_wait_s=0.1)
    qdrant.failures = 1_000
    with pytest.raises(StoreUnreachableError, match="can't do it now") as caught:
        index.put_segments(sample.photos[0], sample.segments, sample.segment_vectors)
    assert "no answer" not in str(caught.value)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_opening_and_reading_fail_quickly_without_an_answer(
    qdrant: FakeQdrant, open_index: OpenIndex
) -> None:
    index = open_index(retry_wait_s=30)
    qdrant.failures, qdrant.status = 10_000, 0
    started = time.monotonic()
    with pytest.raises(StoreUnreachableError, match=qdrant.url):
        index.nearest_segments(unit_vectors(0, 1), ANYTHING, limit=5)
    with pytest.raises(StoreUnreachableError, match="no answer from Qdrant"):
        open_index(qdrant=f"http://127.0.0.1:{_free_port()}")
    assert time.monotonic() - started < 15  # each is tried for a second


@pytest.mark.parametrize("status", [408, 429, 502, 0])
def test_a_failed_read_is_retried(qdrant: FakeQdrant, open_index: OpenIndex, status: int) -> None:
    index = open_index()
    qdrant.failures, qdrant.status = 1, status
    assert index.nearest_segments(unit_vectors(0, 1), ANYTHING, limit=5) == []
    assert len(qdrant.bodies("POST", f"{POINTS}/query")) == 2


def test_an_invalid_server_url_is_refused(open_index: OpenIndex) -> None:
    with pytest.raises(StoreError, match="is not the URL of a Qdrant server"):
        open_index(qdrant="ftp://nowhere")
