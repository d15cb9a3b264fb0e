"""Who may ask, how much may be sent, and how refusals look: over a real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from support.fakes import ColorPhoto, ColorSegmenter, make_library
from support.servers.api_samples import (
    MAX_UPLOAD_BYTES,
    Served,
    assert_problem,
    flat_photo,
    served_sample,
)
from support.servers.served import serving

from api.http.app import MAX_JSON_BYTES, create_app
from api.http.middleware.host_check import authority
from api.library.encoded_photos import EncodedPhotos
from ingest.segmentation.types import Prompt
from search.records import RgbImage


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_sample(tmp_path_factory.mktemp("api")) as sample:
        yield sample


def port(served: Served) -> int:
    assert served.http.base_url.port is not None
    return served.http.base_url.port


def ask(served: Served, **headers: str) -> httpx.Response:
    return served.http.get("/v1/library", headers=headers)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_own_host_names_are_accepted_with_any_port(served: Served, host: str) -> None:
    for suffix in ("", ":80", f":{port(served)}"):
        assert ask(served, Host=host + suffix).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8765", "127.0.0.1@evil", ""],
)
def test_another_host_is_refused(served: Served, host: str) -> None:
    assert_problem(ask(served, Host=host), 421, "127.0.0.1")


def test_two_hosts_are_refused(served: Served) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port(served)), timeout=5) as connection:
        connection.sendall(request)
        assert connection.recv(100).split()[1] in (b"400", b"421")


def test_own_origins_are_accepted(served: Served) -> None:
    for name in ("127.0.0.1", "localhost", "[::1]"):
        assert ask(served, Origin=f"http://{name}:{port(served)}").status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1.evil.example",
        "http://localhost:1",  # another program of this machine
        "http://localhost",
        "file://",
    ],
)
def test_other_origins_are_refused(served: Served, origin: str) -> None:
    assert_problem(ask(served, Origin=origin), 403, "other sites")
    written = served.http.post("/v1/search", json={"text": "red"}, headers={"Origin": origin})
    assert_problem(written, 403)


@pytest.mark.parametrize("path", ["/v1/library", "/health", "/v1/photos/x", "/nowhere"])
def test_every_response_has_security_headers(served: Served, path: str) -> None:
    headers = served.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert headers["cache-control"] == "no-store"


def test_unknown_routes_and_methods_are_problems_too(served: Served) -> None:
    assert_problem(served.get("/nowhere"), 404, "/nowhere", "/openapi.json")
    assert_problem(served.http.delete("/v1/library"), 405, "DELETE")
    assert_problem(served.http.get("/v1/search"), 405, "GET")


@pytest.mark.parametrize("path", ["/health", "/v1/library", "/v1/photos", "/"])
def test_head_equals_get_without_the_body(served: Served, path: str) -> None:
    get, head = served.http.get(path), served.http.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert served.http.head("/nowhere").status_code == 404


def test_a_content_length_over_the_limit_is_refused(served: Served) -> None:
    content = b"x" * (MAX_UPLOAD_BYTES * 2 + MAX_JSON_BYTES)
    assert_problem(served.http.post("/v1/search", content=content), 413, "MB")


@pytest.mark.parametrize("route", ["/v1/search", "/v1/search/image"])
def test_a_chunked_body_is_stopped_at_the_limit(served: Served, route: str) -> None:
    def pieces() -> Iterator[bytes]:
        if route.endswith("image"):
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for _ in range(1_000):
            yield b"x" * 10_000

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert_problem(served.http.post(route, content=pieces(), headers=headers), 413, "MB")


def test_index_calls_are_404_without_ownership(served: Served) -> None:
    assert_problem(served.http.post("/internal/index/count", json={}), 404)


def test_a_configured_host_is_accepted(tmp_path: Path) -> None:
    with (
        make_library(tmp_path, host="photos.lan") as library,
        serving(create_app(library)) as address,
    ):
        for host, status in ("photos.lan", 200), ("photos.lan:80", 200), ("other.lan", 421):
            answer = httpx.get(f"{address}/health", headers={"Host": host}, trust_env=False)
            assert answer.status_code == status


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("localhost", ("localhost", "")),
        ("LocalHost:80", ("localhost", "80")),
        ("[::1]:8765", ("[::1]", "8765")),
        ("::1", None),
        ("a:b", None),
        ("a/b", None),
        ("localhost:80\n", None),
        ("", None),
    ],
)
def test_authorities_are_parsed(text: str, parts: tuple[str, str] | None) -> None:
    assert authority(text) == parts


def test_many_requests_run_concurrently(served: Served) -> None:
    photo_id = served.photos["flat.png"]
    request = {"photo_id": photo_id, "prompt": {"points": [{"x": 12, "y": 22}]}}

    def round_trip(number: int) -> int:
        if number % 2:
            return served.http.post("/v1/segment", json=request).status_code
        return served.http.post("/v1/search", json={"text": "red"}).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(round_trip, range(48))) == {200}


class _AloneOnly(ColorSegmenter):
    """Fails if two threads are in it at once."""

    alone = threading.Lock()

    def encode(self, rgb: RgbImage) -> ColorPhoto:
        assert self.alone.acquire(blocking=False)
        try:
            return super().encode(rgb)
        finally:
            self.alone.release()


def test_one_thread_segments_at_a_time_and_few_photos_are_cached() -> None:
    segmenter = _AloneOnly()
    encoded = EncodedPhotos(lambda: segmenter, size=2)
    rgb = flat_photo()

    def click(number: int) -> int:
        photo = encoded.get(str(number % 3), lambda: rgb)
        return len(photo.masks(Prompt(points_xy=((12, 22),), labels=(1,))))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(click, range(24))) == {3}
    before = segmenter.photos_encoded
    for photo_id in ("a", "b", "a", "b", "c", "b", "a"):  # a was let go when c came
        encoded.get(photo_id, lambda: rgb)
    assert segmenter.photos_encoded == before + 4
