"""No request stalls the server: what is slow waits its turn, what takes too long is given up."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from fastapi import APIRouter, FastAPI
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from support.servers.api_samples import assert_problem, flat_photo, in_base64
from support.servers.locked import KEYRING, WAIT_S, GatedSegmenter, Site, site, wait_until

from api.http.admission import MAX_RUNNING, AdmissionLimiter
from api.http.middleware.time_limit import TimeLimitMiddleware
from api.http.problems import add_problem_handlers
from api.http.routes.shared import JsonRoute
from api.http.server import Server
from api.render.photo_pixels import BASE64_PIECE, bytes_from_base64
from api.schemas.library import KeyIn
from api.schemas.prompts import MAX_MASK_CHARS
from search.errors import BusyError

NAMES = ("flat.png", "trip/scene.png", "trip/large.png", "gone.png")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads


def begin_clicks(
    here: Site, segmenter: GatedSegmenter, pool: ThreadPoolExecutor, count: int
) -> list[Future[httpx.Response]]:
    """Click on photos; one click has arrived at the segmenter, which is shut, the others wait."""
    clicks = [pool.submit(here.click, NAMES[number % len(NAMES)]) for number in range(count)]
    assert segmenter.arrived.acquire(timeout=WAIT_S)
    limiter: AdmissionLimiter = here.app.state.limiter
    wait_until(lambda: limiter.waiting + limiter.running == count)
    return clicks


# what a body may hold

HOSTILE = {
    "unknown fields": b"{" + b",".join(b'"f%d":0' % n for n in range(300_000)) + b"}",
    "bad list items": b'{"positive":[' + b",".join([b"0"] * 1_500_000) + b"]}",
    "many keys": b"{" + b",".join(b'"f%d":0' % n for n in range(2_000)) + b"}",
    "deep": b'{"positive":' + b"[" * 500_000,
    "long texts": b'{"positive":[' + b",".join([b'"' + b"x" * 90_000 + b'"'] * 30) + b"]}",
    "lone surrogate": b'{"text":"red","filter":{"camera":"\\ud800"}}',
    "invalid UTF-8": b'{"text":"\xff"}',
}


@pytest.mark.parametrize("route", ["/v1/search", "/v1/search/batch", "/v1/segment", "/v1/ingest"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_body_is_refused_without_delaying_others(
    stock: Path, tmp_path: Path, pool: ThreadPoolExecutor, route: str, hostile: str
) -> None:
    with site(stock, tmp_path) as here:
        headers = {"Content-Type": "application/json"}
        sent = [
            pool.submit(here.ask, "POST", route, content=HOSTILE[hostile], headers=headers)
            for _ in range(4)
        ]
        assert here.http.get("/health", timeout=10.0).status_code == 200
        for answer in sent:
            assert answer.result(timeout=WAIT_S).status_code in (413, 422)


def test_sign_in_bodies_are_limited_to_a_key(stock: Path, tmp_path: Path) -> None:

    with site(stock, tmp_path, KEYRING) as here:
        long = {"key": "a" * 32, **{f"f{n}": n for n in range(1_000)}}
        assert_problem(here.ask("POST", "/v1/session", json=long), 413, "MB")
        assert_problem(here.ask("POST", "/v1/session", json={"key": "b" * 32}), 401)


def test_only_image_routes_accept_large_bodies(stock: Path, tmp_path: Path) -> None:
    with site(stock, tmp_path) as here:
        long = b'{"paths":["' + b"x" * 1_100_000 + b'"]}'
        headers = {"Content-Type": "application/json"}
        for method, route in (("POST", "/v1/ingest"), ("DELETE", "/v1/photos/missing")):
            assert_problem(here.ask(method, route, content=long, headers=headers), 413, "1.0 MB")


def test_separators_in_text_do_not_count_as_values(stock: Path, tmp_path: Path) -> None:
    with site(stock, tmp_path) as here:
        answer = here.ask("POST", "/v1/search", json={"text": "red" + ",:[{" * 200})
        assert answer.status_code == 200


# admission


def test_slow_segmentation_leaves_threads_for_fast_requests(
    stock: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    segmenter = GatedSegmenter()
    with site(stock, tmp_path, segmenter=segmenter) as here:
        clicks = begin_clicks(here, segmenter, pool, 12)
        try:
            text = here.ask("GET", "/metrics").text
            assert f"segsearch_segmenting_running {MAX_RUNNING}.0" in text
            assert f"segsearch_segmenting_waiting {12 - MAX_RUNNING}.0" in text
            assert here.ask("POST", "/v1/search", json={"text": "red"}).status_code == 200
            for path in ("/v1/library", f"/v1/photos/{here.photos['flat.png']}/image"):
                assert here.ask("GET", path).status_code == 200
            assert not any(click.done() for click in clicks)
        finally:
            segmenter.let.set()
        assert {click.result(WAIT_S).status_code for click in clicks} == {200}


@pytest.mark.parametrize("by", ["click", "picture"])
def test_searches_that_decode_or_segment_are_limited_too(
    stock: Path, tmp_path: Path, pool: ThreadPoolExecutor, by: str
) -> None:
    segmenter = GatedSegmenter()
    with site(stock, tmp_path, segmenter=segmenter) as here:
        limiter = here.app.state.limiter = AdmissionLimiter(max_running=1)
        clicks = begin_clicks(here, segmenter, pool, 1)
        prompt = {"points": [{"x": 12, "y": 22}]}
        examples = {
            "click": {"photo_id": here.photos["flat.png"], "prompt": prompt},
            "picture": {"image_base64": in_base64(flat_photo())},
        }
        asked = pool.submit(here.ask, "POST", "/v1/search", json={"positive": [examples[by]]})
        wait_until(lambda: limiter.waiting == 1)
        segmenter.let.set()
        assert asked.result(WAIT_S).json()["hits"]
        assert clicks[0].result(WAIT_S).status_code == 200


def test_beyond_max_waiting_requests_are_refused(
    stock: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    segmenter = GatedSegmenter()
    with site(stock, tmp_path, segmenter=segmenter) as here:
        here.app.state.limiter = AdmissionLimiter(max_running=1, max_waiting=2)
        clicks = begin_clicks(here, segmenter, pool, 3)
        refused = here.click()
        assert_problem(refused, 503, "2 requests are waiting", "try again")
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["error"] == "BusyError"
        segmenter.let.set()
        assert {click.result(WAIT_S).status_code for click in clicks} == {200}
        assert here.click().status_code == 200


def test_a_free_slot_does_not_count_as_waiting() -> None:
    limiter = AdmissionLimiter(max_running=1, max_waiting=1)

    async def two_at_once() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(limiter.run, time.sleep, 0.01)

    anyio.run(two_at_once)


def test_waiting_for_a_slot_times_out() -> None:
    limiter = AdmissionLimiter(max_running=1, timeout_s=0.05)

    async def two() -> None:
        let = threading.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(limiter.run, let.wait)
            await anyio.sleep(0.01)
            with pytest.raises(BusyError, match="waited longer than"):
                await limiter.run(int)
            let.set()
        assert (limiter.waiting, limiter.running) == (0, 0)
        assert await limiter.run(int) == 0

    anyio.run(two)


def test_a_failing_request_releases_its_slot() -> None:
    limiter = AdmissionLimiter(max_running=1)

    async def fail() -> None:
        for _ in range(3):
            with pytest.raises(ValueError, match="invalid literal"):
                await limiter.run(int, "x")

    anyio.run(fail)
    assert limiter.running == 0


# time


def test_a_request_over_the_time_limit_is_aborted(
    stock: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    segmenter = GatedSegmenter()
    with site(stock, tmp_path, segmenter=segmenter, request_timeout_s=3.0) as here:
        late = here.click()  # in a thread that nothing can stop
        assert_problem(late, 503, "longer than 3 s")
        assert int(late.headers["retry-after"]) > 0
        assert late.headers["x-request-id"]
        assert here.ask("GET", "/v1/library").status_code == 200
        segmenter.let.set()
        wait_until(lambda: here.app.state.limiter.running == 0)
        text = here.ask("GET", "/metrics").text
        assert 'segsearch_stage_seconds_count{stage="encode_photo"} 1.0' in text
        assert 'segsearch_stage_seconds_count{stage="segment"} 0.0' in text  # nobody asks any more
        assert here.click().status_code == 200


def test_a_timed_out_request_leaves_the_queue(
    stock: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    segmenter = GatedSegmenter()
    with site(stock, tmp_path, segmenter=segmenter, request_timeout_s=2.0) as here:
        limiter = here.app.state.limiter = AdmissionLimiter(max_running=1)
        clicks = begin_clicks(here, segmenter, pool, 3)
        assert {click.result(WAIT_S).status_code for click in clicks} == {503}
        wait_until(lambda: limiter.waiting == 0)
        segmenter.let.set()


def test_a_started_response_has_no_time_limit() -> None:
    async def slowly() -> Any:
        for _ in range(4):
            yield b"piece "
            await anyio.sleep(0.2)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(slowly())(scope, receive, send)

    assert ask_app(TimeLimitMiddleware(app, timeout_s=0.5, exempt="/internal")).text == "piece " * 4


def test_an_awaiting_request_is_canceled_at_its_time_limit() -> None:
    stopped = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await anyio.sleep(WAIT_S)
        finally:
            stopped.append(True)

    begun = time.monotonic()
    assert ask_app(TimeLimitMiddleware(app, timeout_s=0.1, exempt="/internal")).status_code == 503
    assert time.monotonic() - begun < WAIT_S / 2
    assert stopped == [True]


def ask_app(app: Any, method: str = "GET", path: str = "/", **how: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return await http.request(method, path, **how)

    return asyncio.run(ask())


# the event loop


def test_slow_segmentation_does_not_block_the_event_loop(stock: Path, tmp_path: Path) -> None:
    segmenter = GatedSegmenter()

    async def ask_during_a_cut(here: Site) -> list[int]:
        body = {
            "photo_id": here.photos["trip/large.png"],
            "prompt": {"points": [{"x": 12, "y": 22}]},
        }
        here.app.state.limiter = AdmissionLimiter()  # these belong to one event loop
        transport = httpx.ASGITransport(here.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            cut = asyncio.create_task(http.post("/v1/segment", json=body))
            assert await asyncio.to_thread(segmenter.arrived.acquire, timeout=WAIT_S)
            meanwhile = await http.get("/v1/library")
            assert not cut.done()
            segmenter.let.set()
            return [meanwhile.status_code, (await cut).status_code]

    with site(stock, tmp_path, segmenter=segmenter) as here:
        assert asyncio.run(ask_during_a_cut(here)) == [200, 200]


# what is sent


def test_a_mask_that_is_slow_to_decode_is_refused(stock: Path, tmp_path: Path) -> None:
    with site(stock, tmp_path) as here:
        mask = {"size_wh": [10_000, 10_000], "counts": "1" * (MAX_MASK_CHARS + 1)}
        body = {"photo_id": here.photos["flat.png"], "prompt": {"mask": mask}}
        refused = here.ask("POST", "/v1/segment", json=body)
        assert_problem(refused, 422, "prompt.mask", "200,000 characters")


@pytest.mark.parametrize(
    "body",
    [
        b'{"key": "a"}',
        b'{"key": "a", "key": "b"}',
        b'{"key": NaN}',
        b'{"key": "a"',
        b'{"key": "a"} x',
        b"",
    ],
    ids=lambda body: ascii(body[:20]),
)
def test_fast_json_parsing_equals_the_standard_library(body: bytes) -> None:
    async def shown(sent: KeyIn) -> str:
        return ascii(sent.key)

    plain, quick = (
        post_json(shown, body, APIRouter()),
        post_json(shown, body, APIRouter(route_class=JsonRoute)),
    )
    assert (quick.status_code, quick.text) == (plain.status_code, plain.text)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"key": "\\ud800"}', "invalid Unicode"),
        ('{"key": "\xe4"}'.encode("utf-16"), "can't decode byte"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"key": ' * 300 + b"1" + b"}" * 300, "nested too deeply"),
        (b"1" * 5_000, "4300 digits"),
        (b"\xff", "can't decode byte"),
    ],
    ids=lambda body: ascii(body[:20]),
)
def test_invalid_json_text_is_refused_with_the_reason(body: bytes, why: str) -> None:
    async def shown(sent: KeyIn) -> str:
        return ascii(sent.key)

    assert_problem(post_json(shown, body, APIRouter(route_class=JsonRoute)), 422, why)


def post_json(endpoint: Any, body: bytes, router: APIRouter) -> httpx.Response:
    app = FastAPI()
    add_problem_handlers(app)
    router.post("/")(endpoint)
    app.include_router(router)
    return ask_app(app, "POST", "/", content=body, headers={"Content-Type": "application/json"})


def test_base64_is_decoded_in_pieces() -> None:
    for length in (0, 1, 5, BASE64_PIECE, BASE64_PIECE * 3 // 4 * 2, BASE64_PIECE * 2 + 1):
        sent = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
        assert bytes_from_base64(base64.b64encode(sent).decode()) == sent


# stopping


def test_running_requests_finish_before_shutdown(
    stock: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    segmenter = GatedSegmenter()
    with site(stock, tmp_path, segmenter=segmenter) as here:
        answered: list[int] = []

        def write_what_is_in_progress() -> None:
            answered.append(httpx.get(f"{address}/health", trust_env=False).status_code)

        server = Server(here.app, here.library.settings, write_what_is_in_progress)
        running = run_beside(server, pool)
        address = address_of_server(server)
        prompt = {"points": [{"x": 12, "y": 22}]}
        body = {"photo_id": here.photos["flat.png"], "prompt": prompt}
        asked = pool.submit(httpx.post, f"{address}/v1/segment", json=body, timeout=WAIT_S)
        assert segmenter.arrived.acquire(timeout=WAIT_S)
        server.should_exit = True
        wait_until(lambda: is_refused(address))
        assert answered == [200]
        assert not asked.done()
        segmenter.let.set()
        assert asked.result(WAIT_S).status_code == 200
        running.result(WAIT_S)


def run_beside(server: uvicorn.Server, pool: ThreadPoolExecutor) -> Future[None]:
    server.config.port = 0
    running = pool.submit(server.run)
    wait_until(lambda: server.started)
    return running


def address_of_server(server: uvicorn.Server) -> str:
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    return f"http://{host}:{port}"


def is_refused(address: str) -> bool:
    """Say whether the server takes no more connections."""
    try:
        httpx.get(f"{address}/health", trust_env=False)
    except httpx.TransportError:
        return True
    return False
