"""How the embedded engine grows: `make bench-search ARGS="--n 1000000"`.

Segments are made up: vectors of 512 numbers as CLIP's lie (see `Cloud`), masks as long as real
ones. A process writes them, another builds the graph, a third opens the library and asks, so that
each one's memory is its own. The same questions go to qdrant-client's local mode, beside it. The
table is for people; the last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import qdrant_edge as edge
from numpy.typing import NDArray
from qdrant_client import QdrantClient

from api.settings import Settings
from ingest.catalog.ledger import Ledger
from ingest.catalog.records import FileKey, FileStamp
from search.finder import Finder
from search.index.base import SegmentIndex
from search.index.edge import EdgeIndex
from search.index.filters import conditions_from_filter
from search.index.points import NearestQuery
from search.index.qdrant import QdrantIndex
from search.manifest import Manifest, ModelName, save_manifest
from search.query import Query, TextExample
from search.records import (
    NAMESPACE,
    Box,
    Mask,
    Photo,
    PhotoFacts,
    SearchFilter,
    Segment,
    Vectors,
    photo_id_from_digest,
)

DIM = 512  # ViT-B/32
SEGMENTS_PER_PHOTO = 40
BLOCK = 250  # photos between two flushes; ingest flushes every two seconds
RLE_MEDIAN_CHARS, RLE_SIGMA = 1500, 1.0  # masks at a long side of 1,024 px; 95% are below 8 KB
PICTURES, WORDS = 30, 30  # questions
WARM_UP, TOP = 5, 10
SCANS = 10  # questions asked of all vectors, one by one: slow where there are many
TENTH = SearchFilter(min_predicted_iou=0.95)  # lets about a tenth of the segments through
START = datetime(2024, 1, 1, tzinfo=UTC)
SPAWN = multiprocessing.get_context("spawn")
BENCH = ModelName(name="bench", fingerprint="bench")
MANIFEST = Manifest(
    segmenter=BENCH, encoder=BENCH, crop_recipe="fusion", crop_fingerprint="bench", dim=DIM
)
SUMMARY = (
    *("n", "write_per_s", "open_s", "p50_ms", "p95_ms", "filtered_p50_ms", "recall_at_10"),
    *("rss_mb", "cpu_p50_ms", "finder_vs_engine", "optimize_s", "status_s"),
)


@dataclass(frozen=True)
class Cloud:
    """Vectors as CLIP's lie, for a library of `n` segments.

    They fill a narrow cone (two chosen by chance have a cosine of about 0.5), in clusters of some
    200, and vary much along a few directions and little along most: variance falls as 1/k over the
    directions, which leaves about 28 that count. Words lie in another cone, far off.
    """

    n: int
    seed: int = 0

    @cached_property
    def directions(self) -> Vectors:
        """(DIM, DIM): rows at right angles, shorter and shorter."""
        rng = np.random.default_rng(self.seed)
        turned = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
        lengths = np.arange(1, DIM + 1) ** -0.5
        scaled: Vectors = (turned * (lengths / np.linalg.norm(lengths))[:, None]).astype(np.float32)
        return scaled

    @cached_property
    def centers(self) -> Vectors:
        """(clusters, DIM)."""
        rng = np.random.default_rng(self.seed + 1)
        return self._varied(rng, max(50, self.n // 200))

    def pictures(self, rng: np.random.Generator, rows: int) -> Vectors:
        """Return (rows, DIM) vectors of segments, of unit length."""
        middle = _unit(np.random.default_rng(self.seed + 2).normal(size=(1, DIM)))
        centers = self.centers[rng.integers(len(self.centers), size=rows)]
        return _unit(middle + 0.8 * centers + 0.6 * self._varied(rng, rows))

    def words(self, rng: np.random.Generator, rows: int) -> Vectors:
        """Return (rows, DIM) vectors of words that mean clusters, of unit length."""
        middle = _unit(np.random.default_rng(self.seed + 3).normal(size=(1, DIM)))
        centers = self.centers[rng.integers(len(self.centers), size=rows)]
        return _unit(0.8 * middle + 0.35 * centers + 0.25 * self._varied(rng, rows))

    def questions(self) -> Vectors:
        """Return (PICTURES + WORDS, DIM) vectors that are in no library."""
        rng = np.random.default_rng(self.seed + 4)
        return np.concatenate([self.pictures(rng, PICTURES), self.words(rng, WORDS)])

    def _varied(self, rng: np.random.Generator, rows: int) -> Vectors:
        return rng.standard_normal(size=(rows, DIM), dtype=np.float32) @ self.directions


def _unit(rows: NDArray[Any]) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


class NearestYet:
    """The true TOP of each question, kept while vectors pass by."""

    def __init__(self, questions: Vectors) -> None:
        self._questions = questions
        self._scores = np.full((len(questions), TOP), -np.inf, dtype=np.float32)
        self.ids = np.full((len(questions), TOP), "", dtype=object)

    def see(self, ids: Sequence[str], vectors: Vectors) -> None:
        """Take (n, DIM) more vectors in."""
        scores = np.concatenate([self._scores, self._questions @ vectors.T], axis=1)
        known = np.broadcast_to(np.array(ids, dtype=object), (len(self.ids), len(ids)))
        best = np.argpartition(-scores, TOP - 1, axis=1)[:, :TOP]
        self._scores = np.take_along_axis(scores, best, axis=1)
        self.ids = np.take_along_axis(np.concatenate([self.ids, known], axis=1), best, axis=1)


class Written(NamedTuple):
    """What came of writing."""

    write_per_s: float
    write_cpu_us: float  # of processor time, a segment
    write_rss_mb: float


class Optimized(NamedTuple):
    """What came of building the graph."""

    optimize_s: float
    optimize_cpu_s: float
    optimize_rss_mb: float


class Asked(NamedTuple):
    """What came of opening and asking: medians, and recall of the true first TOP."""

    open_s: float
    fresh_p50_ms: float  # of questions that no process before asked: pages of files are mapped
    p50_ms: float  # of the same ones again
    p95_ms: float
    cpu_p50_ms: float  # of processor time, whoever else uses the machine
    filtered_p50_ms: float
    filtered_cpu_p50_ms: float
    engine_p50_ms: float  # the engine's own query, with nothing but ids for an answer
    engine_cpu_p50_ms: float
    answer_p50_ms: float  # the engine's own query with what a search asks for: shown, with facts
    answer_cpu_p50_ms: float
    scan_p50_ms: float  # the engine's own query, of all vectors one by one
    scan_cpu_p50_ms: float
    recall_at_10: float
    recall_of_words: float
    rss_mb: float
    own_mb: float  # without the pages of files, which the system takes back when it needs them


class Times(NamedTuple):
    """What questions took."""

    p50_ms: float
    p95_ms: float
    cpu_p50_ms: float


def make_photos(rng: np.random.Generator, numbers: range) -> list[tuple[Photo, list[Segment]]]:
    """Make photos with SEGMENTS_PER_PHOTO segments each."""
    noise = "".join(chr(48 + c) for c in rng.integers(0, 64, size=1_000_000))
    photos = [make_photo(number) for number in numbers]
    return [
        (photo, [make_segment(rng, photo.photo_id, noise) for _ in range(SEGMENTS_PER_PHOTO)])
        for photo in photos
    ]


def make_photo(number: int) -> Photo:
    """Make a photo without its segments."""
    return Photo(
        photo_id=photo_id_from_digest(f"{number}"),
        size_wh=(4000, 3000),
        facts=PhotoFacts(
            sort_at=START + timedelta(minutes=number),
            camera=f"camera {number % 7}",
            folders=("root", f"root/{number % 50}"),
        ),
        segmented_with="bench",
        segment_count=SEGMENTS_PER_PHOTO,
    )


def make_segment(rng: np.random.Generator, photo_id: str, noise: str) -> Segment:
    """Make a segment whose mask has a length like that of real ones."""
    chars = int(min(RLE_MEDIAN_CHARS * rng.lognormal(0, RLE_SIGMA), 100_000)) + 20
    start = int(rng.integers(len(noise) - chars))
    mask = Mask(size_wh=(1024, 768), counts=noise[start : start + chars])
    area_px = int(rng.integers(6_000, 4_000_000))
    return Segment(
        segment_id=str(uuid.uuid5(NAMESPACE, f"{photo_id}:{mask.counts}")),
        photo_id=photo_id,
        bbox_xywh=Box(10, 20, 300, 400),
        area_px=area_px,
        area_fraction=area_px / 12_000_000,
        predicted_iou=float(rng.uniform(0.5, 1)),
        stability_score=float(rng.uniform(0.9, 1)),
        point_xy=(100, 200),
        mask=mask,
    )


def write(
    index: SegmentIndex, cloud: Cloud, photos: range, ledger: Ledger | None, nearest: NearestYet
) -> Written:
    """Put photos into an index and a ledger; only the index is timed."""
    wall_s = cpu_s = 0.0
    for start in range(photos.start, photos.stop, BLOCK):
        rng = np.random.default_rng((1, start))
        some = make_photos(rng, range(start, min(start + BLOCK, photos.stop)))
        vectors = cloud.pictures(rng, len(some) * SEGMENTS_PER_PHOTO)
        started, started_cpu = time.perf_counter(), time.process_time()
        rows = vectors.reshape(len(some), SEGMENTS_PER_PHOTO, DIM)
        for (photo, segments), of_photo in zip(some, rows, strict=True):
            index.put_segments(photo, segments, of_photo)
            index.put_photo(photo, of_photo[:1])
        index.flush()
        wall_s += time.perf_counter() - started
        cpu_s += time.process_time() - started_cpu
        nearest.see([s.segment_id for _, segments in some for s in segments], vectors)
        if ledger is not None:
            note(ledger, [photo for photo, _ in some])
    count = len(photos) * SEGMENTS_PER_PHOTO
    return Written(count / wall_s, 1e6 * cpu_s / count, rss_mb())


def note(ledger: Ledger, photos: Sequence[Photo]) -> None:
    """Note photos as ingest does."""
    root = ledger.root_for(Path("/photos/0")) or ledger.add_root(Path("/photos"))
    for photo in photos:
        key = FileKey(root, f"{photo.photo_id}.jpg".encode())
        ledger.finish_photo(photo, key, FileStamp(1, 1), photo.photo_id)


@dataclass(frozen=True)
class Answers:
    """An encoder that knows the questions' vectors by their numbers."""

    questions: Vectors
    name: str = "bench"
    fingerprint: str = "bench"
    dim: int = DIM
    input_px: int = 224
    mean_rgb: tuple[int, int, int] = (0, 0, 0)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return the questions' vectors."""
        numbers = ["".join(filter(str.isdigit, text)) for text in texts]  # in a template
        return self.questions[[int(number) for number in numbers]]

    def encode_crops(self, crops: object) -> Vectors:
        """Never asked for."""
        raise NotImplementedError


def timed(ask: Callable[[int], object], numbers: Sequence[int]) -> Times:
    """Ask one question after another, the first ones twice, to warm up."""
    return timed_in_turn([ask], numbers)[0]


def timed_in_turn(asks: Sequence[Callable[[int], object]], numbers: Sequence[int]) -> list[Times]:
    """Ask every question in each way before the next one: none has the warmer machine."""
    wall_ms = np.zeros((len(asks), WARM_UP + len(numbers)))
    cpu_ms = wall_ms.copy()
    for place, number in enumerate([*numbers[:WARM_UP], *numbers]):
        for way, ask in enumerate(asks):
            started, started_cpu = time.perf_counter(), time.process_time()
            ask(number)
            wall_ms[way, place] = 1000 * (time.perf_counter() - started)
            cpu_ms[way, place] = 1000 * (time.process_time() - started_cpu)
    p50_ms, p95_ms = np.percentile(wall_ms[:, WARM_UP:], [50, 95], axis=1)
    cpu_p50_ms = np.median(cpu_ms[:, WARM_UP:], axis=1)
    return [Times(*map(float, each)) for each in zip(p50_ms, p95_ms, cpu_p50_ms, strict=True)]


def rss_mb() -> float:
    """Return the peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def own_mb() -> float:
    """Return the memory of this process that is no file's page; 0 where that isn't known."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def find(index: SegmentIndex, questions: Vectors, where: SearchFilter, number: int) -> set[str]:
    """Ask as a search does: a finder, a page of segments."""
    finder = Finder(index, lambda: Answers(questions))
    page = finder.search(Query([TextExample(f"{number}")], where=where, limit=TOP))
    return {hit.segment.segment_id for hit in page.hits}


def recall(index: SegmentIndex, questions: Vectors, nearest: NearestYet) -> list[float]:
    """Return, for each question, which part of the true first TOP is found."""
    found = [find(index, questions, SearchFilter(), number) for number in range(len(questions))]
    return [len(ids & set(true)) / TOP for ids, true in zip(found, nearest.ids, strict=True)]


def open_edge(folder: Path) -> EdgeIndex:
    """Open the embedded index of a library folder."""
    return EdgeIndex.open(folder / "index", vector_name=MANIFEST.vector_name, dim=DIM, create=True)


def write_edge(
    folder: Path, cloud: Cloud, photos: range, nearest: NearestYet
) -> tuple[Written, NearestYet]:
    """Add photos to a library folder."""
    save_manifest(folder, MANIFEST)
    with closing(Ledger(folder)) as ledger, closing(open_edge(folder)) as index:
        return write(index, cloud, photos, ledger, nearest), nearest


def optimize_edge(folder: Path) -> Optimized:
    """Build the graph."""
    with closing(open_edge(folder)) as index:
        started, started_cpu = time.perf_counter(), time.process_time()
        index.optimize()
        spent_s, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
        return Optimized(spent_s, cpu_s, rss_mb())


def ask_edge(folder: Path, cloud: Cloud, nearest: NearestYet) -> Asked:
    """Open a library's index and ask."""
    questions = cloud.questions()
    mixed = np.arange(len(questions)).reshape(2, -1).T.ravel().tolist()  # a picture, words, ...
    started = time.perf_counter()
    index = open_edge(folder)
    find(index, questions, SearchFilter(), 0)
    open_s = time.perf_counter() - started
    shown = conditions_from_filter(SearchFilter(), "segments")

    def answer(number: int) -> None:
        index._nearest(
            "segments", NearestQuery(questions[number], shown, TOP + 1, 0, None, "light")
        )

    fresh = timed(lambda n: find(index, questions, SearchFilter(), n), mixed)
    plain, answered = timed_in_turn(
        [lambda n: find(index, questions, SearchFilter(), n), answer], mixed
    )
    filtered = timed(lambda n: find(index, questions, TENTH, n), mixed)
    shard = index._shards["segments"]
    engine = timed(lambda n: shard.query(engine_query(questions[n])), mixed)
    shares = recall(index, questions, nearest)
    memory = rss_mb(), own_mb()
    scan = timed(lambda n: shard.query(engine_query(questions[n], exact=True)), mixed[:SCANS])
    index.close()
    return Asked(
        open_s,
        fresh.p50_ms,
        *plain,
        filtered.p50_ms,
        filtered.cpu_p50_ms,
        engine.p50_ms,
        engine.cpu_p50_ms,
        answered.p50_ms,
        answered.cpu_p50_ms,
        scan.p50_ms,
        scan.cpu_p50_ms,
        float(np.mean(shares)),
        float(np.mean(shares[PICTURES:])),
        *memory,
    )


def engine_query(vector: Vectors, *, exact: bool = False) -> edge.QueryRequest:
    """Return a question as the engine is asked without segsearch: ids of the nearest, no filter."""
    return edge.QueryRequest(
        query=edge.Query.Nearest(vector.tolist(), using=MANIFEST.vector_name),
        limit=TOP,
        params=edge.SearchParams(exact=exact),
    )


def ask_client_local(cloud: Cloud, photos: range) -> tuple[Times, Written]:
    """Fill qdrant-client's own local mode, in memory, and ask."""
    warnings.filterwarnings("ignore", "Local mode")  # it has no graph and says so
    warnings.filterwarnings("ignore", "Payload indexes have no effect")
    client, questions = QdrantClient(":memory:"), cloud.questions()
    with closing(
        QdrantIndex.open(client, Settings(), vector_name=MANIFEST.vector_name, dim=DIM)
    ) as index:
        written = write(index, cloud, photos, None, NearestYet(questions))
        return timed(lambda n: find(index, questions, SearchFilter(), n), range(SCANS)), written


def status_s(folder: Path) -> float:
    """Return how long `segsearch status` takes, its start and end as a process included."""
    command = [sys.executable, "-m", "api.cli.main", "status", "--library", str(folder)]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


T = TypeVar("T")


def apart(work: Callable[..., T], *arguments: object) -> T:
    """Run in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as process:
        return process.submit(work, *arguments).result()


def iter_grown(folder: Path, cloud: Cloud, sizes: Sequence[int]) -> Iterator[dict[str, float]]:
    """Grow a library from size to size; measure it at each."""
    nearest, photos = NearestYet(cloud.questions()), 0
    for size in sizes:
        more = range(photos, size // SEGMENTS_PER_PHOTO)
        written, nearest = apart(write_edge, folder, cloud, more, nearest)
        optimized = apart(optimize_edge, folder)
        asked = apart(ask_edge, folder, cloud, nearest)
        photos = more.stop
        disk_mb = sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file()) / 1e6
        yield {
            "n": photos * SEGMENTS_PER_PHOTO,
            **written._asdict(),
            **optimized._asdict(),
            **asked._asdict(),
            "finder_vs_engine": asked.cpu_p50_ms / asked.answer_cpu_p50_ms,
            "status_s": status_s(folder),
            "disk_mb": disk_mb,
        }


def show(figures: dict[str, float]) -> None:
    """Print figures, one a line, at once."""
    for name, value in figures.items():
        print(f"{name:20}{value:14,.3f}", flush=True)
    print()


def main() -> None:
    """Measure, print tables, then a line of JSON about the last size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--n", default="10000,100000", help="segments; of several sizes, each grows from the last"
    )
    parser.add_argument(
        "--client-n", type=int, default=100_000, help="ask both engines at this size; 0: never"
    )
    parser.add_argument("--folder", type=Path, help="where the library is made, and stays")
    options = parser.parse_args()
    sizes = sorted(int(size) for size in options.n.split(","))
    cloud, ratio, figures = Cloud(sizes[-1]), None, dict[str, float]()
    with tempfile.TemporaryDirectory() as temporary:
        for figures in iter_grown(options.folder or Path(temporary), cloud, sizes):
            show(figures)
            if figures["n"] == options.client_n:
                photos = range(options.client_n // SEGMENTS_PER_PHOTO)
                client, written = apart(ask_client_local, cloud, photos)
                show({"client_p50_ms": client.p50_ms, "client_write_per_s": written.write_per_s})
                ratio = client.cpu_p50_ms / figures["cpu_p50_ms"]
    summary = {key: round(figures[key], 3) for key in SUMMARY}
    print(json.dumps({**summary, "ratio_vs_client_local": ratio and round(ratio, 1)}))


if __name__ == "__main__":
    main()
