"""Groups, pages and diversity of what was found, against brute force on a real embedded index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from support.finder_samples import (
    EVERYWHERE,
    TableEncoder,
    assert_hits,
    hits_of,
    opened,
)
from support.index_samples import (
    Sample,
    make_sample,
    ranked_segments,
    unit_vectors,
)

from search.errors import UsageError
from search.finder import DIVERSITY_POOL, Finder
from search.index.edge import EdgeIndex
from search.query import (
    Query,
    TextExample,
)
from search.ranking.diversity import diverse_order
from search.records import SearchFilter, Vectors


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample(seed=3)


@pytest.fixture(scope="module")
def index(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeIndex]:
    with opened(tmp_path_factory.mktemp("finder"), sample) as index:
        yield index


def groups_by_brute_force(
    ranked: Sequence[tuple[str, float]], sample: Sample, hits_per_photo: int
) -> dict[str, list[tuple[str, float]]]:
    photo_of = {segment.segment_id: segment.photo_id for segment in sample.segments}
    groups: dict[str, list[tuple[str, float]]] = {}
    for segment_id, score in ranked:
        groups.setdefault(photo_of[segment_id], []).append((segment_id, score))
    return {photo_id: hits[:hits_per_photo] for photo_id, hits in groups.items()}


@pytest.mark.parametrize("hits_per_photo", [1, 3, 20])
@pytest.mark.parametrize("limit", [1, 4, 200])
def test_groups_are_those_of_brute_force(
    finder: Finder, sample: Sample, encoder: TableEncoder, limit: int, hits_per_photo: int
) -> None:
    ranked = ranked_segments(sample, encoder.words["kite"][None], EVERYWHERE)
    wanted = groups_by_brute_force(ranked, sample, hits_per_photo)
    page = finder.search_grouped(
        Query([TextExample("kite")], limit=limit), hits_per_photo=hits_per_photo
    )
    assert [group.photo_id for group in page.groups] == list(wanted)[:limit]
    for group in page.groups:
        found = [(hit.segment.segment_id, hit.score) for hit in group.hits]
        assert_hits(found, wanted[group.photo_id])


def test_groups_keep_to_the_filter_and_the_lowest_score(
    finder: Finder, sample: Sample, encoder: TableEncoder
) -> None:
    where = SearchFilter(min_area_fraction=0.3, camera="Pixel 9")
    ranked = ranked_segments(sample, encoder.words["boat"][None], where)
    lowest = ranked[len(ranked) // 2][1]
    wanted = groups_by_brute_force([hit for hit in ranked if hit[1] >= lowest], sample, 3)
    page = finder.search_grouped(Query([TextExample("boat")], where, limit=50, min_score=lowest))
    assert [group.photo_id for group in page.groups] == list(wanted)
    for group in page.groups:
        assert_hits([(h.segment.segment_id, h.score) for h in group.hits], wanted[group.photo_id])
    assert page.cursor is None


@pytest.mark.parametrize("limit", [1, 7, 50, 540])
def test_pages_neither_overlap_nor_miss_anything(
    finder: Finder, sample: Sample, encoder: TableEncoder, limit: int
) -> None:
    where = SearchFilter(min_predicted_iou=0.9) if limit == 1 else EVERYWHERE
    found: list[tuple[str, float]] = []
    cursor, pages = None, 0
    while cursor is not None or not pages:
        page = finder.search(Query([TextExample("mug")], where, limit=limit, cursor=cursor))
        found += [(hit.segment.segment_id, hit.score) for hit in page.hits]
        cursor, pages = page.cursor, pages + 1
    wanted = ranked_segments(sample, encoder.words["mug"][None], where)
    assert_hits(found, wanted)
    assert pages == -(-len(wanted) // limit)


@pytest.mark.parametrize("limit", [1, 7, 54])
def test_pages_of_groups_neither_overlap_nor_miss_anything(
    finder: Finder, sample: Sample, encoder: TableEncoder, limit: int
) -> None:
    found: list[str] = []
    cursor, pages = None, 0
    while cursor is not None or not pages:
        page = finder.search_grouped(Query([TextExample("mug")], limit=limit, cursor=cursor))
        found += [group.photo_id for group in page.groups]
        cursor, pages = page.cursor, pages + 1
    ranked = ranked_segments(sample, encoder.words["mug"][None], EVERYWHERE)
    assert found == list(groups_by_brute_force(ranked, sample, 1))
    assert pages == -(-len(found) // limit)


def test_a_cursor_past_the_end_gives_an_empty_last_page(finder: Finder) -> None:
    query = Query([TextExample("mug")], cursor="after-100000")
    assert finder.search(query).hits == []
    assert finder.search(query).cursor is None
    assert finder.search_grouped(query).groups == []


def test_min_score_limits_results(finder: Finder, sample: Sample, encoder: TableEncoder) -> None:
    ranked = ranked_segments(sample, encoder.words["mug"][None], EVERYWHERE)
    lowest = (ranked[24][1] + ranked[25][1]) / 2
    page = finder.search(Query([TextExample("mug")], limit=100, min_score=lowest))
    assert len(page.hits) == 25
    assert page.cursor is None


def test_masks_are_read_only_on_request(finder: Finder, sample: Sample) -> None:
    masks = {segment.segment_id: segment.mask for segment in sample.segments}
    for with_masks in (True, False):
        query = Query([TextExample("mug")], with_masks=with_masks)
        hits = finder.search(query).hits
        hits += [hit for group in finder.search_grouped(query).groups for hit in group.hits]
        for hit in hits:
            assert hit.segment.mask == (masks[hit.segment.segment_id] if with_masks else None)


def likeness_of_nearest(rows: Vectors) -> float:
    """How like each other the most alike are, on average."""
    return float(((rows @ rows.T) - 2 * np.eye(len(rows))).max(axis=1).mean())


def test_diversity_gives_hits_that_are_less_alike_but_still_fit(
    finder: Finder, index: EdgeIndex, sample: Sample, encoder: TableEncoder
) -> None:
    alike, fits = [], []
    for diversity in (0.0, 0.3, 0.7):
        hits = hits_of(finder, Query([TextExample("boat")], limit=15, diversity=diversity))
        alike.append(likeness_of_nearest(index.segment_vectors([i for i, _ in hits])))
        fits.append(float(np.mean([score for _, score in hits])))
    assert alike[0] > alike[1] > alike[2]
    assert fits[0] >= fits[1] >= fits[2]
    pool = ranked_segments(sample, encoder.words["boat"][None], EVERYWHERE)[: 15 * DIVERSITY_POOL]
    assert {segment_id for segment_id, _ in hits} <= {segment_id for segment_id, _ in pool}


def test_diversity_of_nothing_is_the_plain_order() -> None:
    rows = unit_vectors(5, 40)
    scores = np.sort(np.random.default_rng(5).random(40))[::-1].astype(np.float32)
    assert diverse_order(scores, rows, 12, 0.0) == list(range(12))


def test_the_best_hit_comes_first_whatever_the_diversity() -> None:
    rows = unit_vectors(6, 40)
    scores = np.linspace(0.9, 0.1, 40, dtype=np.float32)
    for diversity in (0.0, 0.4, 1.0):
        chosen = diverse_order(scores, rows, 40, diversity)
        assert chosen[0] == 0
        assert sorted(chosen) == list(range(40))


def test_each_next_hit_is_the_one_of_largest_marginal_relevance() -> None:
    rows, diversity = unit_vectors(7, 30), 0.5
    scores = np.linspace(0.9, 0.1, 30, dtype=np.float32)
    chosen = diverse_order(scores, rows, 10, diversity)
    for place in range(1, 10):
        before = rows[chosen[:place]]
        left = [i for i in range(30) if i not in chosen[:place]]
        gains = [(1 - diversity) * scores[i] - diversity * (before @ rows[i]).max() for i in left]
        assert chosen[place] == left[int(np.argmax(gains))]


def test_diversity_of_no_hits_is_no_hits(finder: Finder) -> None:
    query = Query([TextExample("mug")], SearchFilter(camera="none"), diversity=0.5)
    assert finder.search(query).hits == []


def test_diverse_results_have_one_page_and_no_groups(finder: Finder) -> None:
    query = Query([TextExample("mug")], diversity=0.5)
    assert finder.search(query).cursor is None
    with pytest.raises(UsageError, match="one page"):
        finder.search(replace(query, cursor="after-20"))
    with pytest.raises(UsageError, match="can't be combined with grouping"):
        finder.search_grouped(query)
