"""What it costs to leave repeats out of results: `make bench-distinct ARGS="--n 100000"`.

Made-up photos of things, each cut several times over as SAM cuts them (a whole, its parts, what
surrounds it), with vectors that lie close together. Page after page is read of each question, with
repeats (the reference) and without, in turn. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import uuid
from contextlib import closing
from pathlib import Path
from statistics import median

import numpy as np

from bench.search import (
    BLOCK,
    DIM,
    SEGMENTS_PER_PHOTO,
    Answers,
    Cloud,
    apart,
    make_photo,
    open_edge,
    optimize_edge,
)
from search.finder import Finder
from search.masks.rle import bbox_xywh_from_array, mask_from_array
from search.query import Query, TextExample
from search.records import NAMESPACE, Box, Mask, Segment

CUTS = 5  # of each thing
THINGS = SEGMENTS_PER_PHOTO // CUTS
MASK_WH = (1024, 768)
NEAR = 0.3  # how far the vectors of a thing's cuts lie from it
DRAWN = 50  # photos whose masks are drawn; the others have theirs
LIMIT = 60  # hits a page, as the web page asks
PAGES = 20
QUESTIONS = 5


def draw(rng: np.random.Generator) -> list[tuple[Mask, Box, int]]:
    """Draw THINGS with wavy edges, each at CUTS sizes around one middle: masks, boxes, areas."""
    width, height = MASK_WH
    ys, xs = np.mgrid[:height, :width]
    drawn = []
    for _ in range(THINGS):
        x, y = rng.uniform(50, width - 50), rng.uniform(50, height - 50)
        wide, high = rng.uniform(40, 200, 2)
        edge = 1 + 0.1 * np.sin(rng.integers(3, 30) * np.arctan2(ys - y, xs - x))
        distance = np.hypot((xs - x) / wide, (ys - y) / high) / edge
        for size in rng.uniform(0.6, 1.2, CUTS):
            inside = distance < size
            drawn.append((mask_from_array(inside), bbox_xywh_from_array(inside), int(inside.sum())))
    return drawn


def make_segment(photo_id: str, mask: Mask, bbox_xywh: Box, area_px: int) -> Segment:
    """Make a segment of a photo."""
    return Segment(
        segment_id=str(uuid.uuid5(NAMESPACE, f"{photo_id}:{mask.counts}")),
        photo_id=photo_id,
        bbox_xywh=bbox_xywh,
        area_px=area_px,
        area_fraction=area_px / (MASK_WH[0] * MASK_WH[1]),
        predicted_iou=0.9,
        stability_score=0.95,
        point_xy=(bbox_xywh.x, bbox_xywh.y),
        mask=mask,
    )


def write(folder: Path, photos: int) -> None:
    """Write a library's index."""
    rng, cloud = np.random.default_rng(5), Cloud(photos * SEGMENTS_PER_PHOTO)
    drawn = [draw(rng) for _ in range(DRAWN)]
    with closing(open_edge(folder)) as index:
        for number in range(photos):
            photo = make_photo(number)
            segments = [make_segment(photo.photo_id, *each) for each in drawn[number % DRAWN]]
            things = np.repeat(cloud.pictures(rng, THINGS), CUTS, axis=0)
            vectors = things + NEAR * rng.normal(size=things.shape) / DIM**0.5
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            index.put_segments(photo, segments, vectors.astype(np.float32))
            index.put_photo(photo, vectors[:1].astype(np.float32))
            if number % BLOCK == BLOCK - 1:
                index.flush()
        index.flush()


def ask(folder: Path, n: int) -> list[dict[bool, float]]:
    """Return the milliseconds that each page takes, with and without repeats: medians."""
    with closing(open_edge(folder)) as index:
        encoder = Answers(Cloud(n).questions())
        finder = Finder(index, lambda: encoder)
        took: list[dict[bool, list[float]]] = [{False: [], True: []} for _ in range(PAGES)]
        for number in range(-1, QUESTIONS):  # the first one twice, to warm up
            cursors: dict[bool, str | None] = {False: None, True: None}
            for page in took:  # of a small library these soon begin anew
                for distinct, cursor in cursors.items():
                    query = Query(
                        [TextExample(f"{max(number, 0)}")],
                        limit=LIMIT,
                        cursor=cursor,
                        distinct=distinct,
                    )
                    started = time.perf_counter()
                    cursors[distinct] = finder.search(query).cursor
                    if number >= 0:
                        page[distinct].append(1000 * (time.perf_counter() - started))
        return [{distinct: median(ms) for distinct, ms in page.items()} for page in took]


def main() -> None:
    """Measure, print a table, then a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100_000, help="segments")
    parser.add_argument("--folder", type=Path, help="where the library is made, and stays")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        if not (folder / "index").exists():
            apart(write, folder, asked.n // SEGMENTS_PER_PHOTO)
            apart(optimize_edge, folder)
        pages = apart(ask, folder, asked.n)
    print(f"{'page':>4}{'ms with repeats':>18}{'ms without':>13}{'ratio':>8}")
    for number, ms in enumerate(pages, 1):
        if number in (1, 2, 5, 10, PAGES):
            print(f"{number:4}{ms[False]:18.1f}{ms[True]:13.1f}{ms[True] / ms[False]:8.1f}")
    first, last = pages[0], pages[-1]
    told = {
        "n": asked.n,
        "first_page_ms": round(first[True], 1),
        "first_page_ratio": round(first[True] / first[False], 2),
        f"page_{PAGES}_ms": round(last[True], 1),
        f"page_{PAGES}_ratio": round(last[True] / last[False], 2),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
