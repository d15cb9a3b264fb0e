"""Distinct hits, against brute force over pixels on a real embedded index."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import qdrant_edge as edge
from numpy.typing import NDArray
from support.finder_samples import TableEncoder, opened, table_encoder
from support.index_samples import Sample, make_sample, ranked_segments

from search.errors import DamagedError, UsageError
from search.finder import DIVERSITY_POOL, Finder, ReadSizes
from search.index.edge import EdgeIndex
from search.masks.outlines import Outlines, ends_of_runs
from search.masks.overlap import MIN_OVERLAP, overlap
from search.masks.rle import (
    array_from_mask,
    bbox_xywh_from_array,
    mask_from_array,
)
from search.query import Query, TextExample
from search.records import Mask, SearchFilter, Segment

HW = (24, 32)
MUG = Query([TextExample("mug")])


def rectangle(rng: np.random.Generator, hw: tuple[int, int] = HW) -> NDArray[np.bool_]:
    mask_hw = np.zeros(hw, np.bool_)
    y0, x0 = (int(rng.integers(0, side - 2)) for side in hw)
    y1, x1 = (int(rng.integers(at + 1, side)) for at, side in zip((y0, x0), hw, strict=True))
    mask_hw[y0:y1, x0:x1] = True
    return mask_hw


def with_mask(segment: Segment, mask_hw: NDArray[np.bool_]) -> Segment:
    """The segment with this mask, and box and area as they would be in its photo of 640 x 480."""
    times = 640 // mask_hw.shape[1]
    large = mask_hw.repeat(times, 0).repeat(times, 1)
    area_px = max(1, int(large.sum()))
    return segment.model_copy(
        update={
            "mask": mask_from_array(mask_hw),
            "bbox_xywh": bbox_xywh_from_array(large),
            "area_px": area_px,
            "area_fraction": area_px / large.size,
        }
    )


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Photos of 30 rectangles that overlap."""
    rng = np.random.default_rng(4)
    made = make_sample(seed=4, photo_count=12, segments_each=30)
    return replace(made, segments=[with_mask(each, rectangle(rng)) for each in made.segments])


@pytest.fixture(scope="module")
def index(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeIndex]:
    with opened(tmp_path_factory.mktemp("distinct"), sample) as index:
        yield index


def distinct_by_brute_force(
    sample: Sample, encoder: TableEncoder, where: SearchFilter
) -> list[str]:
    segments = {segment.segment_id: segment for segment in sample.segments}
    better: dict[str, list[NDArray[np.bool_]]] = defaultdict(list)
    found = []
    for segment_id, _ in ranked_segments(sample, encoder.words["mug"][None], where):
        segment = segments[segment_id]
        assert segment.mask is not None
        mask_hw = array_from_mask(segment.mask)
        if any(
            (mask_hw & other).sum() > MIN_OVERLAP * min(mask_hw.sum(), other.sum())
            for other in better[segment.photo_id]
        ):
            continue
        better[segment.photo_id].append(mask_hw)
        found.append(segment_id)
    return found


def pages(finder: Finder, query: Query) -> Iterator[list[Segment]]:
    cursor = None
    while True:
        page = finder.search(replace(query, cursor=cursor))
        yield [hit.segment for hit in page.hits]
        cursor = page.cursor
        if cursor is None:
            return


@pytest.mark.parametrize("limit", [1, 5, 30, 500])
def test_pages_of_distinct_hits_together_are_those_of_brute_force(
    finder: Finder, sample: Sample, encoder: TableEncoder, limit: int
) -> None:
    where = SearchFilter(min_stability_score=0.9)
    wanted = distinct_by_brute_force(sample, encoder, where)
    found = list(pages(finder, replace(MUG, where=where, limit=limit, distinct=True)))
    assert [segment.segment_id for page in found for segment in page] == wanted
    assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
    assert found[-1]
    assert len(wanted) < 0.7 * len(ranked_segments(sample, encoder.words["mug"][None], where))


def test_outlines_are_cached_and_the_least_recently_used_evicted(sample: Sample) -> None:
    segments = {segment.segment_id: segment for segment in sample.segments[:6]}
    asked: list[list[str]] = []

    def read(ids: Sequence[str]) -> list[Segment]:
        asked.append(list(ids))
        return [segments[each] for each in ids if each in segments]

    ids = list(segments)
    ends = [ends_of_runs(mask) for each in ids if (mask := segments[each].mask)]
    sizes = [each.nbytes for each in ends if each is not None]
    outlines = Outlines(max_bytes=sum(sizes[2:]))
    assert list(outlines.of([*ids[:2], "deleted"], read)) == ids[:2]
    assert set(outlines.of(ids, read)) == set(ids)  # more than are kept
    assert outlines.of(ids[2:], read)[ids[2]].bbox_xywh == segments[ids[2]].bbox_xywh
    outlines.of(ids[:1], read)
    assert asked == [[*ids[:2], "deleted"], ids[2:], ids[:1]]


def test_the_outline_of_a_damaged_mask_is_read_again(sample: Sample) -> None:
    whole = sample.segments[0]
    damaged = whole.model_copy(update={"mask": Mask(size_wh=(32, 24), counts="oo")})
    outlines, reads = Outlines(), iter([damaged, whole])

    def ends() -> object:
        return outlines.of([whole.segment_id], lambda _: [next(reads)])[whole.segment_id].ends

    assert ends() is None
    assert ends() is not None


def test_a_damaged_mask_is_a_hit_that_overlaps_nothing(
    sample: Sample, encoder: TableEncoder, tmp_path: Path
) -> None:
    with opened(tmp_path, sample) as index:
        finder = Finder(index, lambda: encoder)
        best = finder.search(replace(MUG, limit=1)).hits[0].segment
        shard = index._shards["segments"]
        shard.update(edge.UpdateOperation.set_payload([UUID(best.segment_id)], {"mask_rle": ""}))
        with pytest.raises(DamagedError):
            index.segments([best.segment_id], with_masks=True)
        first, *others = finder.search(replace(MUG, limit=30, distinct=True)).hits
        assert first.segment == best
        assert len(others) == 29


def test_a_page_ends_at_the_rank_limit_with_a_cursor(
    index: EdgeIndex, sample: Sample, encoder: TableEncoder
) -> None:
    finder = Finder(index, lambda: encoder, read_sizes=ReadSizes(most_per_page=20))
    found = list(pages(finder, replace(MUG, limit=15, distinct=True)))
    wanted = distinct_by_brute_force(sample, encoder, SearchFilter())
    assert [segment.segment_id for page in found for segment in page] == wanted
    assert min(map(len, found)) < 15


def test_beyond_the_last_rank_nothing_is_read(
    index: EdgeIndex, encoder: TableEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, object]] = []
    ranked = index.ranked_segments

    def counted(*args: Any, **how: Any) -> Any:
        asked.append(how)
        return ranked(*args, **how)

    monkeypatch.setattr(index, "ranked_segments", counted)
    finder = Finder(index, lambda: encoder)
    page = finder.search(replace(MUG, cursor="after-9999999", distinct=True))
    assert (page.hits, page.cursor) == ([], None)
    assert len(asked) == 1


def test_a_page_reads_more_ranks_until_it_is_full(
    index: EdgeIndex, sample: Sample, encoder: TableEncoder
) -> None:
    finder = Finder(index, lambda: encoder, read_sizes=ReadSizes(per_distinct=1, most=7))
    page = finder.search(replace(MUG, limit=10, distinct=True))
    wanted = distinct_by_brute_force(sample, encoder, SearchFilter())
    assert [hit.segment.segment_id for hit in page.hits] == wanted[:10]


def test_scores_and_masks_are_those_of_the_plain_search(finder: Finder) -> None:
    plain = {hit.segment.segment_id: hit for hit in finder.search(replace(MUG, limit=400)).hits}
    for with_masks in (True, False):
        query = replace(MUG, limit=50, distinct=True, with_masks=with_masks)
        for hit in finder.search(query).hits:
            was = plain[hit.segment.segment_id]
            assert hit.score == pytest.approx(was.score, abs=1e-6)
            assert (hit.segment.mask is not None) is with_masks
            assert hit.segment.model_copy(update={"mask": None}) == was.segment


def test_diverse_hits_may_be_distinct_too(
    finder: Finder, sample: Sample, encoder: TableEncoder
) -> None:
    page = finder.search(replace(MUG, limit=10, distinct=True, diversity=0.5))
    wanted = distinct_by_brute_force(sample, encoder, SearchFilter())
    assert len(page.hits) == 10
    assert {hit.segment.segment_id for hit in page.hits} <= set(wanted[: 10 * DIVERSITY_POOL])


def test_groups_are_not_distinct(finder: Finder) -> None:
    with pytest.raises(UsageError, match="distinct can't be combined"):
        finder.search_grouped(replace(MUG, distinct=True))


def test_masks_that_are_damaged_or_of_another_size_are_compared_with_none(tmp_path: Path) -> None:
    sample = make_sample(photo_count=1, segments_each=4)
    whole = np.ones(HW, np.bool_)
    damaged = Mask(size_wh=(32, 24), counts="5o")
    assert ends_of_runs(damaged) is None
    segments = [
        with_mask(segment, mask_hw)
        for segment, mask_hw in zip(
            sample.segments, (whole, whole, np.ones((12, 16), np.bool_), whole), strict=True
        )
    ]
    segments[1] = segments[1].model_copy(update={"mask": damaged})
    encoder = table_encoder()
    with opened(tmp_path / "index", replace(sample, segments=segments)) as index:
        hits = Finder(index, lambda: encoder).search(replace(MUG, distinct=True)).hits
    found = {hit.segment.segment_id for hit in hits}
    assert len(found) == 3
    assert {segments[1].segment_id, segments[2].segment_id} <= found


def test_overlap_is_the_part_of_the_smaller_mask() -> None:
    rng = np.random.default_rng(8)
    arrays = [rectangle(rng), ~rectangle(rng), *(rng.random((20, *HW)) < 0.4)]
    for one, other in itertools.product(arrays, arrays):
        wanted = (one & other).sum() / min(one.sum(), other.sum())
        assert overlap(ends_of(one), ends_of(other)) == pytest.approx(wanted, abs=1e-12)
    nothing = ends_of(np.zeros(HW, np.bool_))
    assert overlap(nothing, nothing) == overlap(nothing, ends_of(arrays[0])) == 0


def ends_of(mask_hw: NDArray[np.bool_]) -> NDArray[np.int64]:
    ends = ends_of_runs(mask_from_array(mask_hw))
    assert ends is not None
    return ends
