"""How fast the embedded index writes, opens and finds: `python bench/index.py --n 100000`.

Segments are made up: 512 numbers in clusters as CLIP's are, masks of a length like that of real
ones. The table is for people; the last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
from qdrant_client import QdrantClient

from search.edge_index import EdgeIndex, Limits
from search.index import SegmentIndex
from search.records import (
    Box,
    Mask,
    Photo,
    PhotoFacts,
    SearchFilter,
    Segment,
    Vectors,
    photo_id_from_digest,
    segment_id_from_mask,
)
from search.server_index import ServerIndex
from search.settings import Settings

DIM = 512  # ViT-B/32
VECTOR_NAME = "fusion_bench"
SEGMENTS_PER_PHOTO = 40
CLUSTERS = 300
SPREAD = 0.7  # noise in a cluster, where its center's numbers are spread by 1
RLE_MEDIAN_CHARS, RLE_SIGMA = 1500, 1.0  # masks at a long side of 1,024 px; 95% are below 8 KB
QUESTIONS, WARM_UP, TOP = 60, 10, 10
TENTH = SearchFilter(min_predicted_iou=0.95)  # lets about a tenth of the segments through
START = datetime(2024, 1, 1, tzinfo=UTC)


class Figures(NamedTuple):
    """What was measured of one index."""

    write_per_s: float
    p50_ms: float
    p95_ms: float
    filtered_p50_ms: float
    recall_at_10: float


def clustered(rng: np.random.Generator, n: int) -> Vectors:
    """Return (n, DIM) rows of unit length."""
    centers = rng.normal(size=(CLUSTERS, DIM)).astype(np.float32)
    rows = centers[rng.integers(CLUSTERS, size=n)]
    rows += SPREAD * rng.standard_normal(size=(n, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def iter_photos(rng: np.random.Generator, n: int) -> Iterator[tuple[Photo, list[Segment]]]:
    """Make photos until they have `n` segments together."""
    noise = "".join(chr(48 + c) for c in rng.integers(0, 64, size=1_000_000))
    for number in count():
        left = n - number * SEGMENTS_PER_PHOTO
        if left <= 0:
            return
        facts = PhotoFacts(
            sort_at=START + timedelta(minutes=number),
            camera=f"camera {number % 7}",
            folders=("root", f"root/{number % 50}"),
        )
        photo_id = photo_id_from_digest(f"{number}")
        photo = Photo(photo_id=photo_id, size_wh=(4000, 3000), facts=facts, segmented_with="bench")
        segments = min(left, SEGMENTS_PER_PHOTO)
        yield photo, [make_segment(rng, photo_id, noise) for _ in range(segments)]


def make_segment(rng: np.random.Generator, photo_id: str, noise: str) -> Segment:
    """Make a segment whose mask has a length like that of real ones."""
    chars = int(min(RLE_MEDIAN_CHARS * rng.lognormal(0, RLE_SIGMA), 100_000)) + 20
    start = int(rng.integers(len(noise) - chars))
    mask = Mask(size_wh=(1024, 768), counts=noise[start : start + chars])
    area_px = int(rng.integers(6_000, 4_000_000))
    return Segment(
        segment_id=segment_id_from_mask(photo_id, mask),
        photo_id=photo_id,
        bbox_xywh=Box(10, 20, 300, 400),
        area_px=area_px,
        area_fraction=area_px / 12_000_000,
        predicted_iou=float(rng.uniform(0.5, 1)),
        stability_score=float(rng.uniform(0.9, 1)),
        point_xy=(100, 200),
        mask=mask,
    )


def write(index: SegmentIndex, vectors: Vectors) -> tuple[list[str], float]:
    """Put a segment for each row; return their ids, in that order, and the seconds it took."""
    rng = np.random.default_rng(1)
    ids: list[str] = []
    spent_s = 0.0
    for photo, segments in iter_photos(rng, len(vectors)):
        rows = vectors[len(ids) : len(ids) + len(segments)]
        started = time.perf_counter()
        index.put_segments(photo, segments, rows)
        index.put_photo(photo, rows[:1])
        spent_s += time.perf_counter() - started
        ids += [segment.segment_id for segment in segments]
    started = time.perf_counter()
    index.flush()
    return ids, spent_s + time.perf_counter() - started


def times_ms(ask: Callable[[Vectors], object], questions: Vectors) -> list[float]:
    """Ask one question after another; return what each took, without those that warm up."""
    spent = []
    for question in questions:
        started = time.perf_counter()
        ask(question[None])
        spent.append(1000 * (time.perf_counter() - started))
    return spent[WARM_UP:]


def recall(index: SegmentIndex, ids: list[str], vectors: Vectors, questions: Vectors) -> float:
    """Return which part of the true first TOP is found."""
    shares = []
    for question in questions:
        best = np.argpartition(-(vectors @ question), TOP)[:TOP]
        hits = index.nearest_segments(question[None], SearchFilter(), limit=TOP)
        shares.append(len({ids[i] for i in best} & {hit.segment.segment_id for hit in hits}) / TOP)
    return float(np.mean(shares))


def measure(
    index: SegmentIndex, vectors: Vectors, questions: Vectors, *, optimize: bool = False
) -> Figures:
    """Fill an index and ask it."""
    ids, write_s = write(index, vectors)
    if optimize:
        index.optimize()
    plain = times_ms(lambda q: index.nearest_segments(q, SearchFilter(), limit=TOP), questions)
    filtered = times_ms(lambda q: index.nearest_segments(q, TENTH, limit=TOP), questions)
    return Figures(
        write_per_s=len(vectors) / write_s,
        p50_ms=float(np.median(plain)),
        p95_ms=float(np.percentile(plain, 95)),
        filtered_p50_ms=float(np.median(filtered)),
        recall_at_10=recall(index, ids, vectors, questions),
    )


def open_edge(folder: Path, limits: Limits) -> EdgeIndex:
    """Open the embedded index."""
    return EdgeIndex.open(folder, vector_name=VECTOR_NAME, dim=DIM, limits=limits)


def open_client_local() -> ServerIndex:
    """Open qdrant-client's own local mode, in memory."""
    return ServerIndex.open(QdrantClient(":memory:"), Settings(), vector_name=VECTOR_NAME, dim=DIM)


def rss_mb() -> float:
    """Return the peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure, print a table, then a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100_000, help="segments")
    parser.add_argument("--n-ratio", type=int, default=10_000, help="segments in both engines")
    parser.add_argument("--optimize", action="store_true", help="build the graph before asking")
    options = parser.parse_args()
    drawn = clustered(np.random.default_rng(0), options.n + QUESTIONS)
    vectors, questions = drawn[: options.n], drawn[options.n :]
    limits = Limits(graph_pays_from_points=0 if options.optimize else options.n + 1)
    with tempfile.TemporaryDirectory() as folder:
        full = open_edge(Path(folder) / "full", limits)
        figures = measure(full, vectors, questions, optimize=options.optimize)
        full.close()
        started = time.perf_counter()
        full = open_edge(Path(folder) / "full", limits)
        full.nearest_segments(questions[:1], SearchFilter(), limit=TOP)
        open_s = time.perf_counter() - started
        full.close()
        peak_mb = rss_mb()  # before the other engine comes
        few = vectors[: options.n_ratio]
        small = open_edge(Path(folder) / "small", limits)
        edge = measure(small, few, questions)
        small.close()
    warnings.filterwarnings("ignore", "Local mode")  # it has no graph and says so
    local = open_client_local()
    client = measure(local, few, questions)
    local.close()
    report(options.n, figures, len(few), edge, client)
    summary = {"n": options.n, **figures._asdict(), "open_s": open_s, "rss_mb": peak_mb}
    summary["ratio_vs_client_local"] = client.p50_ms / edge.p50_ms
    print(json.dumps({key: round(value, 3) for key, value in summary.items()}))


def report(n: int, full: Figures, few: int, edge: Figures, client: Figures) -> None:
    """Print the figures side by side."""
    print(f"{'':18}{f'edge {n:,}':>16}{f'edge {few:,}':>16}{f'client {few:,}':>16}{'ratio':>8}")
    for name in Figures._fields:
        a, b, c = (getattr(figures, name) for figures in (full, edge, client))
        ratio = b / c if name == "write_per_s" else c / b
        print(f"{name:18}{a:16,.2f}{b:16,.2f}{c:16,.2f}{ratio:8.1f}")


if __name__ == "__main__":
    main()
