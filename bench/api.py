"""How the HTTP API does under load: `make bench-api`, or ARGS="--seconds 20" for a shorter one.

A real `segsearch serve` serves the library of the demo. While it ingests more photos, 64 clients
ask what people with the page ask: searches, lists, pictures, now and then a picture of their own.
Each asks again as soon as it has its answer (--think-s makes it wait, as a person does), so all
wait for one another: times are those of a full server. A client that is told to come back later
(429, 503) does so, and its wait counts. The table is for people; the last line is one JSON
document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from PIL import Image

from ingest.imaging.decode import decode_photo
from starter.sample_library import draw_sample_library

SEGSEARCH = (sys.executable, "-P", "-m", "api.cli.main")
STARTS_WITHIN_S, ANSWERS_WITHIN_S = 120.0, 60.0
UPLOAD_PX = 640  # long side of a picture that somebody sends
ANSWERED_LATER = (429, 503)
PHOTOS_A_SECOND = 0.5  # that are drawn for the ingest: more than two cores ingest while they serve
COLORS = ("red", "green", "blue", "yellow", "orange", "purple", "white", "brown")
FORMS = ("", "circle", "square", "star", "boat", "ball", "cup", "striped", "dotted")


class Ask(NamedTuple):
    """One request, and what its answer must hold."""

    method: str
    path: str
    expects: bytes = b""
    how: dict[str, Any] = {}  # noqa: RUF012  (nobody writes to it)


class Answered(NamedTuple):
    """How a request went; `seconds` include the waits that the server asked for."""

    kind: str
    seconds: float
    waits: int
    trouble: str | None


@dataclass(frozen=True)
class Seen:
    """What a person has on the screen, to ask more about."""

    photos: Sequence[str]
    segments: Sequence[str]
    months: Sequence[str]
    pictures: Sequence[bytes]  # of their own, as JPEG


def by_words(draw: random.Random, seen: Seen) -> Ask:
    """Words in the search field."""
    return _search(text=f"{draw.choice(COLORS)} {draw.choice(FORMS)}".strip(), limit=40)


def by_segment(draw: random.Random, seen: Seen) -> Ask:
    """Find this everywhere, best photos first or best segments."""
    example = {"segment_id": draw.choice(seen.segments)}
    return _search(positive=[example], limit=40, group_by_photo=draw.random() < 0.3)


def refined(draw: random.Random, seen: Seen) -> Ask:
    """Words, a plus, a minus, and a filter."""
    return _search(
        text=draw.choice(COLORS),
        positive=[{"segment_id": draw.choice(seen.segments)}],
        negative=[{"text": draw.choice(FORMS[-2:]), "weight": 0.5}],
        filter={"min_area_fraction": 0.002},
        limit=40,
    )


def _search(**asked: object) -> Ask:
    return Ask("POST", "/v1/search", b'"segment_id"', {"json": asked})


def batch(draw: random.Random, seen: Seen) -> Ask:
    """A program's searches, four at once."""
    searches = [by_words(draw, seen).how["json"] | {"limit": 10} for _ in range(4)]
    return Ask("POST", "/v1/search/batch", b'"segment_id"', {"json": {"searches": searches}})


def by_picture(draw: random.Random, seen: Seen) -> Ask:
    """A picture of one's own."""
    files = {"file": ("mine.jpg", draw.choice(seen.pictures), "image/jpeg")}
    return Ask("POST", "/v1/search/image", b'"segment_id"', {"files": files})


def browse(draw: random.Random, seen: Seen) -> Ask:
    """A page of the library, or of what is younger than a month."""
    month = f"&taken_from={draw.choice(seen.months)}-01T00:00:00Z" if draw.random() < 0.5 else ""
    return Ask("GET", f"/v1/photos?limit=50{month}", b'"photo_id"')


def counts(draw: random.Random, seen: Seen) -> Ask:
    """What there is to filter by."""
    return Ask("GET", "/v1/facets", b'"cameras"')


def tile(draw: random.Random, seen: Seen) -> Ask:
    """A result's picture."""
    return Ask("GET", f"/v1/segments/{draw.choice(seen.segments)}/tile.jpg?size=220", b"\xff\xd8")


def crop(draw: random.Random, seen: Seen) -> Ask:
    """A segment cut out."""
    return Ask("GET", f"/v1/segments/{draw.choice(seen.segments)}/crop.png", b"\x89PNG")


def image(draw: random.Random, seen: Seen) -> Ask:
    """A photo, small in the library or opened."""
    size = draw.choice((320, 320, 1280))
    return Ask("GET", f"/v1/photos/{draw.choice(seen.photos)}/image?size={size}", b"\xff\xd8")


def segments(draw: random.Random, seen: Seen) -> Ask:
    """All that lights up in an opened photo."""
    path = f"/v1/photos/{draw.choice(seen.photos)}/segments?with_masks=true"
    return Ask("GET", path, b'"counts"')


# A search shows some forty tiles, most of which the browser has by then; the rest is a guess.
MIX: dict[Callable[[random.Random, Seen], Ask], int] = {
    by_words: 16,
    by_segment: 12,
    refined: 4,
    batch: 2,
    by_picture: 2,
    browse: 8,
    counts: 4,
    tile: 32,
    crop: 2,
    image: 12,
    segments: 6,
}


async def ask(http: httpx.AsyncClient, kind: str, what: Ask) -> Answered:
    """Ask until there is an answer, coming back when the server says so."""
    begun, waits = time.perf_counter(), 0
    while True:
        try:
            answer = await http.request(what.method, what.path, **what.how)
        except httpx.HTTPError as error:
            return Answered(kind, time.perf_counter() - begun, waits, repr(error))
        if answer.status_code not in ANSWERED_LATER or "Retry-After" not in answer.headers:
            break
        waits += 1
        await asyncio.sleep(float(answer.headers["Retry-After"]))
    trouble = None
    if not answer.is_success or what.expects not in answer.content:
        trouble = f"{answer.status_code} {answer.text[:200]}"
    return Answered(kind, time.perf_counter() - begun, waits, trouble)


async def person(
    number: int, http: httpx.AsyncClient, seen: Seen, seconds: float, think_s: float
) -> list[Answered]:
    """Ask one thing after another until the time is over."""
    draw, answered = random.Random(number), []
    until = time.perf_counter() + seconds
    await asyncio.sleep(draw.random() * max(think_s, 0.1))  # nobody begins at the same moment
    while time.perf_counter() < until:
        (make,) = draw.choices(list(MIX), list(MIX.values()))
        answered.append(await ask(http, make.__name__, make(draw, seen)))
        if think_s:
            await asyncio.sleep(draw.uniform(0, 2 * think_s))
    return answered


async def people(address: str, seen: Seen, asked: argparse.Namespace) -> list[Answered]:
    """Let all of them ask, each over a connection of their own as browsers have."""
    secure = ssl.create_default_context()  # not needed here, but slow to make 64 times
    some = [
        httpx.AsyncClient(
            base_url=address, timeout=ANSWERS_WITHIN_S, trust_env=False, verify=secure
        )
        for _ in range(asked.clients)
    ]
    working = (
        person(number, http, seen, asked.seconds, asked.think_s) for number, http in enumerate(some)
    )
    answered = await asyncio.gather(*working)
    await asyncio.gather(*(http.aclose() for http in some))
    return [each for of_one in answered for each in of_one]


@contextmanager
def served(library: Path, log: Path) -> Iterator[httpx.Client]:
    """Serve a library in a process of its own; its log has a line of JSON for each request."""
    flags = ("--port", "0", "--library", str(library), "--log-requests", "--log-format", "json")
    with log.open("w") as lines:
        process = subprocess.Popen([*SEGSEARCH, "serve", *flags], stderr=lines)
    try:
        found = wait_for(lambda: re.search(r"http://\S+", log.read_text()), "the server")
        with httpx.Client(base_url=found[0], timeout=ANSWERS_WITHIN_S, trust_env=False) as http:
            wait_for(lambda: http.get("/ready").is_success, "index and models")
            yield http
    finally:
        process.terminate()
        process.wait(STARTS_WITHIN_S)


def wait_for(look: Callable[[], Any], what: str) -> Any:
    """Look until there is something."""
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise SystemExit(f"{what} was not there within {STARTS_WITHIN_S:.0f} s")


def look_around(http: httpx.Client, paths: Sequence[Path]) -> Seen:
    """Return what there is to ask about."""
    photos = [photo["photo_id"] for photo in http.get("/v1/photos?limit=100").json()["photos"]]
    found = {photo: http.get(f"/v1/photos/{photo}/segments").json()["segments"] for photo in photos}
    return Seen(
        photos=[photo for photo in photos if found[photo]],  # the others are not cut yet
        segments=[segment["segment_id"] for each in found.values() for segment in each],
        months=[month["value"] for month in http.get("/v1/facets").json()["months"]],
        pictures=[_as_upload(path) for path in paths],
    )


def _as_upload(path: Path) -> bytes:
    file = BytesIO()
    picture = Image.fromarray(decode_photo(path, max_pixels=10**8, max_bytes=10**8).rgb)
    picture.thumbnail((UPLOAD_PX, UPLOAD_PX))
    picture.save(file, "JPEG")
    return file.getvalue()


def stage_ms(log: str, stage: str) -> float:
    """Return the median time that searches spent in a stage, by the server's own log."""
    lines = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    took = [line[stage] for line in lines if line.get("path") == "/v1/search" and stage in line]
    return statistics.median(took) if took else 0.0


def cpu_s(http: httpx.Client) -> float:
    """Return the processor time that the server has used."""
    found = re.search(r"^process_cpu_seconds_total (\S+)", http.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def load(http: httpx.Client, log: Path, seen: Seen, asked: argparse.Namespace) -> None:
    """Begin an ingest, let the clients in, and print how it went."""
    job = f"/v1/jobs/{http.post('/v1/ingest', json={}).raise_for_status().json()['job_id']}"
    wait_for(lambda: http.get(job).json()["photos_ingested"], "the first photo of the ingest")
    before, server_s, own_s = http.get(job).json(), cpu_s(http), time.process_time()
    logged, begun = log.stat().st_size, time.perf_counter()
    answered = asyncio.run(people(str(http.base_url), seen, asked))
    wall_s, own_s = time.perf_counter() - begun, time.process_time() - own_s
    after, server_s = http.get(job).json(), cpu_s(http) - server_s
    http.delete(job)
    show(answered)
    ingested = after["photos_ingested"] - before["photos_ingested"]
    print(
        f"{len(answered) / wall_s:.0f} requests/s in {wall_s:.0f} s, while {ingested} photos were "
        f"ingested; processor time: server {server_s:.0f} s, these clients {own_s:.0f} s"
    )
    if after["state"] != "running":
        print("the ingest ended before the clients did: more --photos keep it busy")
    with log.open() as lines:
        lines.seek(logged)
        said = lines.read()
    print(json.dumps(summary(answered, said)))


def summary(answered: Sequence[Answered], log: str) -> dict[str, float]:
    """Return the last line."""
    times_ms = [1000 * each.seconds for each in answered]
    return {
        "requests": len(answered),
        "errors": sum(each.trouble is not None for each in answered),
        "p50_ms": round(percentile(times_ms, 50), 1),
        "p99_ms": round(percentile(times_ms, 99), 1),
        "search_engine_ms": round(stage_ms(log, "find_ms"), 2),
        "encode_ms": round(stage_ms(log, "encode_ms"), 2),
        "waited": sum(each.waits for each in answered),
    }


def percentile(times_ms: Sequence[float], percent: float) -> float:
    """Return the value that so many percent are not above; 0 of nothing."""
    return float(np.percentile(times_ms, percent)) if times_ms else 0.0


def show(answered: Sequence[Answered]) -> None:
    """Print a line for each kind of request, and the first things that went wrong."""
    by_kind: dict[str, list[Answered]] = defaultdict(list)
    for each in answered:
        by_kind[each.kind].append(each)
        by_kind["all"].append(each)
    print(f"{'':12}{'requests':>10}{'p50 ms':>10}{'p99 ms':>10}{'waited':>8}{'errors':>8}")
    for kind in (*(make.__name__ for make in MIX), "all"):
        times_ms = [1000 * each.seconds for each in by_kind[kind]]
        p50_ms, p99_ms = percentile(times_ms, 50), percentile(times_ms, 99)
        waited = sum(each.waits for each in by_kind[kind])
        errors = sum(each.trouble is not None for each in by_kind[kind])
        print(f"{kind:12}{len(times_ms):10}{p50_ms:10.0f}{p99_ms:10.0f}{waited:8}{errors:8}")
    for each in [each for each in answered if each.trouble][:5]:
        print(f"{each.kind}: {each.trouble}")


def main() -> None:
    """Make a library, serve it, ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long the clients ask")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--think-s", type=float, default=0, help="mean pause between two requests")
    parser.add_argument("--photos", type=int, help="drawn for the ingest; default: by --seconds")
    parser.add_argument("--demo", type=Path, help="of `segsearch demo`; made there if it is absent")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="segsearch-bench-") as scratch:
        demo = asked.demo or Path(scratch) / "demo"
        if not (demo / "library").exists():
            subprocess.run([*SEGSEARCH, "demo", str(demo)], check=True, stdout=subprocess.DEVNULL)
        more = asked.photos or 10 + int(asked.seconds * PHOTOS_A_SECOND)
        seed = time.time_ns() % 2**32  # nothing that an earlier run has brought in
        paths = draw_sample_library(demo / "photos" / f"{seed}", photos=more, seed=seed).paths
        with served(demo / "library", Path(scratch) / "server.log") as http:
            load(http, Path(scratch) / "server.log", look_around(http, paths[:8]), asked)


if __name__ == "__main__":
    main()
