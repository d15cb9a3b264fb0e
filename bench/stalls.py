"""How long the embedded index keeps a server from doing anything else: `make bench-stalls`.

While it works, the embedded engine lets no other thread of the process run: not the event loop
either. Here the index does in one thread what it does for a server, on a library as large as asked
for, while another thread stands in for the event loop and notes how late it wakes. The table is for
people; the last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np

from bench.search import (
    DIM,
    SEGMENTS_PER_PHOTO,
    TENTH,
    Cloud,
    NearestYet,
    apart,
    make_photos,
    open_edge,
    optimize_edge,
    write_edge,
)
from search.finder import Finder
from search.index.edge import EdgeIndex
from search.models.encoder import Encoder
from search.query import Query, SegmentExample
from search.records import SearchFilter, Vectors

EVERY_S = 0.002  # the stand-in wakes
EXAMPLES, PHOTOS_PUT = 200, 60
Work = Callable[[int], object]


class Waking:
    """Wakes again and again while the `with` block runs, and notes how long it slept."""

    def __enter__(self) -> Waking:
        self.slept_s: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        last = time.perf_counter()
        while not self._ended.is_set():
            time.sleep(EVERY_S)
            now = time.perf_counter()
            self.slept_s.append(now - last)
            last = now


def works(index: EdgeIndex, questions: Vectors) -> dict[str, tuple[Work, int]]:
    """Return what an index does for a server, by name, and how often it is to be done."""
    segment_ids = [segment.segment_id for segment in islice(index.iter_segments(), EXAMPLES)]
    photo_ids = [photo.photo_id for photo in islice(index.iter_photos(), EXAMPLES)]
    made = make_photos(np.random.default_rng(5), range(1_000_000_000, 1_000_000_000 + PHOTOS_PUT))
    rows = np.random.default_rng(6).normal(size=(SEGMENTS_PER_PHOTO, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    def nearest(where: SearchFilter, limit: int, offset: int = 0) -> Work:
        return lambda n: index.nearest_segments(
            questions[n % len(questions)][None], where, limit=limit, offset=offset
        )

    def grouped(limit: int) -> Work:
        finder = Finder(index, _no_encoder)
        return lambda n: finder.search_grouped(Query([SegmentExample(segment_ids[n])], limit=limit))

    def put(number: int) -> None:
        photo, segments = made[number]
        index.put_segments(photo, segments, rows[: len(segments)])
        index.put_photo(photo, rows[:1])

    def put_and_flush(number: int) -> None:
        put(number)
        index.flush()

    return {
        "nothing": (lambda _: time.sleep(0.01), 50),
        "a page of 40": (nearest(SearchFilter(), 41), 60),
        "a filtered page": (nearest(TENTH, 41), 60),
        "a page of 1,000": (nearest(SearchFilter(), 1000), 20),
        "the 250th page": (nearest(SearchFilter(), 40, 10_000), 20),
        "40 photos' hits": (grouped(40), 20),
        "200 photos' hits": (grouped(200), 10),
        "a photo's segments": (lambda n: index.segments_of(photo_ids[n], with_masks=True), 100),
        "a sample of vectors": (lambda _: index.sample_vectors(512), 10),
        "counting": (lambda _: index.count("segments", TENTH), 20),
        "writing a photo": (put, PHOTOS_PUT),
        "and flushing": (put_and_flush, 20),
        "re-tagging": (lambda n: index.update_facts(made[n][0].photo_id, made[n][0].facts), 20),
        "forgetting": (lambda n: index.delete_photo(made[n][0].photo_id), 20),
    }


def _no_encoder() -> Encoder:
    raise NotImplementedError("examples are segments here")


def measured(folder: Path, cloud: Cloud) -> dict[str, float]:
    """Let the index do everything; print a line for each, and return the longest sleeps in ms."""
    worst: dict[str, float] = {}
    print(f"{'':24}{'p50 ms':>10}{'max ms':>10}{'woke late by ms, at most':>28}")
    with closing(open_edge(folder)) as index:
        for name, (work, times) in works(index, cloud.questions()).items():
            took_s = []
            with Waking() as waking:
                for number in range(times):
                    begun = time.perf_counter()
                    work(number)
                    took_s.append(time.perf_counter() - begun)
            worst[name] = 1000 * (max(waking.slept_s, default=0.0) - EVERY_S)
            p50_ms, max_ms = 1000 * float(np.median(took_s)), 1000 * max(took_s)
            print(f"{name:24}{p50_ms:10.1f}{max_ms:10.1f}{worst[name]:28.1f}", flush=True)
    return worst


def main() -> None:
    """Make a library where there is none, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100_000, help="segments")
    parser.add_argument("--folder", type=Path, help="a library that bench.search has made")
    asked = parser.parse_args()
    cloud = Cloud(asked.n)
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        if not (folder / "index").exists():
            photos = range(asked.n // SEGMENTS_PER_PHOTO)
            apart(write_edge, folder, cloud, photos, NearestYet(cloud.questions()))
            apart(optimize_edge, folder)
        worst = measured(folder, cloud)
    print(json.dumps({"n": asked.n, "worst_ms": round(max(worst.values()), 1)}))


if __name__ == "__main__":
    main()
