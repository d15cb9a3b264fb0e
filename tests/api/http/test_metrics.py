"""What the server tells who runs it: metrics, ids of requests, lines of the log."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.commands import serve
from support.servers.api_samples import NOWHERE, assert_problem
from support.servers.locked import FULL_KEY, KEYRING, READ_KEY, WAIT_S, Site, site, wait_until

from api.http.logs import TEXT, JsonLines, TextLines, configure_logging
from api.settings import Settings


@pytest.fixture
def here(stock: Path, tmp_path: Path) -> Iterator[Site]:
    with site(stock, tmp_path) as site_here:
        yield site_here


def value(here: Site, name: str, **labels: str) -> float | None:
    """The value of a sample of the metrics; None if there is none with these labels."""
    text = here.ask("GET", "/metrics").text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return None


# metrics


def test_requests_are_counted_by_route(here: Site) -> None:
    for photo_id in here.photos.values():
        here.ask("GET", f"/v1/photos/{photo_id}")
    here.ask("GET", f"/v1/photos/{NOWHERE}")
    for path in ("/nowhere", "/nowhere/else"):
        here.ask("GET", path)
    here.ask("BREW", "/nowhere")
    here.ask("GET", "/v1/library", headers={"Host": "evil.example"})

    def count(route: str, method: str, status: int) -> float | None:
        labels = {"route": route, "method": method, "status": str(status)}
        return value(here, "segsearch_requests_total", **labels)

    assert count("/v1/photos/{photo_id}", "GET", 200) == len(here.photos)
    assert count("/v1/photos/{photo_id}", "GET", 404) == 1
    assert count("none", "GET", 404) == 2
    assert count("none", "other", 404) == 1
    assert count("none", "GET", 421) == 1  # refused before it came to a route
    labels = {"route": "/v1/photos/{photo_id}", "method": "GET"}
    assert value(here, "segsearch_request_seconds_count", **labels) == len(here.photos) + 1
    seconds = value(here, "segsearch_request_seconds_sum", **labels)
    assert seconds is not None
    assert 0 < seconds < 60


def test_stages_are_timed_where_they_happen(here: Site) -> None:
    def counts() -> dict[str, float | None]:
        stages = ("encode", "find", "encode_photo", "segment", "picture")
        name = "segsearch_stage_seconds_count"
        return {stage: value(here, name, stage=stage) for stage in stages}

    nothing = dict.fromkeys(counts(), 0.0)
    assert counts() == nothing
    here.ask("POST", "/v1/search", json={"text": "red"})
    assert counts() == nothing | {"encode": 1, "find": 1}
    here.click()
    here.click()  # the photo is kept, as it was read and encoded
    here.ask("GET", f"/v1/photos/{here.photos['gone.png']}/image")
    assert counts() == {"encode": 1, "find": 1, "encode_photo": 1, "segment": 2, "picture": 2}


def test_metrics_include_the_library_and_readiness(here: Site) -> None:
    assert value(here, "segsearch_ready", part="encoder") == 0
    assert value(here, "segsearch_load_seconds", part="encoder") is None
    for _ in range(200):
        if here.ask("GET", "/ready").status_code == 200:
            break
    assert value(here, "segsearch_ready", part="encoder") == 1
    for part in ("index", "segmenter", "encoder"):
        assert value(here, "segsearch_load_seconds", part=part) is not None
    counts = here.ask("GET", "/v1/library").json()
    for what in ("photos", "segments", "files"):
        assert value(here, "segsearch_library", what=what) == counts[what]
    assert value(here, "segsearch_segmenting_waiting") == 0
    assert value(here, "process_resident_memory_bytes")


def test_metrics_need_a_key_if_there_are_keys(stock: Path, tmp_path: Path) -> None:
    with site(stock, tmp_path, KEYRING) as here:
        assert_problem(here.ask("GET", "/metrics"), 401)
        answer = here.ask("GET", "/metrics", READ_KEY)
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert FULL_KEY not in answer.text


# ids and the log


def test_a_request_keeps_the_id_of_its_proxy(here: Site) -> None:
    given = here.ask("GET", "/health", headers={"X-Request-ID": "edge-7.3_a"})
    assert given.headers["x-request-id"] == "edge-7.3_a"


@pytest.mark.parametrize("forged", ["", "a b", "x" * 65, 'a","level":"info', "ä"])
def test_an_id_that_could_forge_a_log_line_is_replaced(here: Site, forged: str) -> None:
    headers = {"X-Request-ID": forged.encode("latin-1")}
    ids = {here.ask("GET", "/health", headers=headers).headers["x-request-id"] for _ in range(2)}
    assert forged not in ids
    assert len(ids) == 2


def test_an_internal_error_names_the_request_and_details_are_only_logged(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"X-Request-ID": "find-me"}
    answer = here.ask("POST", "/v1/search", json={"text": "crash"}, headers=headers)
    assert_problem(answer, 500, "find-me", "log")
    assert answer.headers["x-request-id"] == "find-me"
    for inside in ("secret", "Traceback", "fakes.py", "RuntimeError"):
        assert inside not in answer.text
    assert "a secret of the inside" in caplog.text


def test_a_store_that_fails_is_a_warning_in_the_log(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    here.library.index().close()
    assert here.ask("POST", "/v1/search", json={"text": "red"}).status_code >= 500
    assert "POST /v1/search: " in caplog.text


def lines_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """What the log has of requests, as JSON lines."""
    form = JsonLines()
    records = [
        record for record in caplog.records if record.name == "api.http.middleware.request_log"
    ]
    return [json.loads(form.format(record)) for record in records]


def test_each_request_is_logged_with_its_stage_times(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "api"):
        here.ask("POST", "/v1/search", json={"text": "red, my secret"})
        here.click()
        here.ask("GET", "/v1/facets?camera=secret")
        wait_until(lambda: len(lines_of(caplog)) == 3)  # a line follows its answer
    searched, clicked, _ = lines_of(caplog)
    assert (searched["method"], searched["path"]) == ("POST", "/v1/search")
    assert (searched["route"], searched["status"]) == ("/v1/search", 200)
    assert searched["level"] == "info"
    assert {"encode_ms", "find_ms"} <= set(searched)
    assert float(str(searched["ms"])) >= float(str(searched["encode_ms"]))
    assert int(str(searched["bytes"])) > 100
    assert {"encode_photo_ms", "segment_ms", "picture_ms"} <= set(clicked)
    assert "secret" not in caplog.text


def test_a_url_path_can_not_forge_a_log_line(here: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "api"):
        here.ask("GET", "/nowhere%0aforged")
        wait_until(lambda: len(lines_of(caplog)) == 1)
    [record] = [
        record for record in caplog.records if record.name == "api.http.middleware.request_log"
    ]
    record.request_id = "-"
    said = TextLines(TEXT).format(record)
    assert r"/nowhere\nforged" in said
    assert len(said.splitlines()) == 1


def test_log_lines_of_threads_have_the_request_id(
    here: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    root, api = logging.getLogger(), logging.getLogger("api")
    before = root.handlers[:], root.level, api.level
    try:
        configure_logging(Settings(log_format="json", log_requests=True))
        headers = {"X-Request-ID": "find-me"}
        here.ask("POST", "/v1/search", json={"text": "crash"}, headers=headers)
        written = io.StringIO()

        def is_through() -> bool:
            written.write(capsys.readouterr().err)
            return " 500, " in written.getvalue()

        wait_until(is_through)
    finally:
        root.handlers[:], root.level, api.level = before
        api.manager._clear_cache()  # type: ignore[attr-defined]  # of what is enabled
    said = [json.loads(line) for line in written.getvalue().splitlines()]
    ours = [line for line in said if line["request_id"] == "find-me"]
    assert [line["level"] for line in ours] == ["error", "info"]
    assert "a secret of the inside" in ours[0]["trace"]
    assert ours[1]["status"] == 500


def test_requests_are_only_logged_if_enabled(here: Site, caplog: pytest.LogCaptureFixture) -> None:
    here.ask("GET", "/v1/library")
    here.ask("GET", "/v1/library")  # by now the line of the first would be there
    assert lines_of(caplog) == []


def test_a_stopped_server_has_logged_only_json(own: Path) -> None:
    (own.parent / "segsearch.toml").write_text('log_format = "json"\nlog_requests = true\n')
    with serve(own) as server:
        answer = httpx.post(
            f"{server.address}/v1/search",
            json={"text": "red"},
            headers={"X-Request-ID": "find-me"},
            trust_env=False,
            timeout=WAIT_S,
        )
        assert answer.status_code == 200
        server.process.terminate()
        _, said = server.process.communicate(timeout=WAIT_S)
    assert server.process.returncode == 0
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["status"] for line in lines if line["request_id"] == "find-me"] == [200]
    assert {line["level"] for line in lines} == {"info"}
