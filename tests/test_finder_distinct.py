"""Distinct hits, against brute force over pixels on a real embedded index."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from finder_samples import TableEncoder, opened, table_encoder
from index_samples import Sample, make_sample, ranked_segments
from numpy.typing import NDArray

from search.edge_index import EdgeIndex
from search.errors import UsageError
from search.finder import DIVERSITY_POOL, OVERLAPS, Finder
from search.masks import array_from_mask, is_whole, mask_from_array, overlaps
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


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Photos of 30 rectangles that overlap."""
    rng = np.random.default_rng(4)
    made = make_sample(seed=4, photo_count=12, segments_each=30)
    segments = [
        segment.model_copy(update={"mask": mask_from_array(rectangle(rng))})
        for segment in made.segments
    ]
    return replace(made, segments=segments)


@pytest.fixture(scope="module")
def index(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeIndex]:
    with opened(tmp_path_factory.mktemp("distinct"), sample) as index:
        yield index


@pytest.fixture(scope="module")
def encoder() -> TableEncoder:
    return table_encoder()


@pytest.fixture(scope="module")
def finder(index: EdgeIndex, encoder: TableEncoder) -> Finder:
    return Finder(index, lambda: encoder)


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
            (mask_hw & other).sum() > OVERLAPS * min(mask_hw.sum(), other.sum())
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


def test_a_page_reads_on_until_it_is_full(
    finder: Finder, sample: Sample, encoder: TableEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.finder.HITS_A_DISTINCT", 1)
    monkeypatch.setattr("search.finder.MAX_READING", 7)
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
    with pytest.raises(UsageError, match="distinct is for single segments"):
        finder.search_grouped(replace(MUG, distinct=True))


def test_masks_that_are_damaged_or_of_another_size_are_compared_with_none(tmp_path: Path) -> None:
    sample = make_sample(photo_count=1, segments_each=4)
    whole = np.ones(HW, np.bool_)
    masks = [
        mask_from_array(whole),
        Mask(size_wh=(32, 24), counts="5o"),
        mask_from_array(np.ones((12, 16), np.bool_)),
        mask_from_array(whole),
    ]
    assert [is_whole(mask) for mask in masks] == [True, False, True, True]
    segments = [
        segment.model_copy(update={"mask": mask})
        for segment, mask in zip(sample.segments, masks, strict=True)
    ]
    encoder = table_encoder()
    with opened(tmp_path / "index", replace(sample, segments=segments)) as index:
        hits = Finder(index, lambda: encoder).search(replace(MUG, distinct=True)).hits
    found = {hit.segment.segment_id for hit in hits}
    assert len(found) == 3
    assert {segments[1].segment_id, segments[2].segment_id} <= found


def test_overlaps_are_parts_of_the_smaller_mask() -> None:
    rng = np.random.default_rng(8)
    arrays = [rectangle(rng) for _ in range(40)]
    one, others = arrays[0], arrays[1:]
    found = overlaps(mask_from_array(one), [mask_from_array(each) for each in others])
    wanted = [(one & each).sum() / min(one.sum(), each.sum()) for each in others]
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    nothing = mask_from_array(np.zeros(HW, np.bool_))
    assert overlaps(nothing, [nothing, mask_from_array(one)]).tolist() == [0, 0]
