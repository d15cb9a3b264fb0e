"""Finding, against brute force in numpy on a real embedded index and a predictable encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from index_samples import (
    DIM,
    VECTOR_NAME,
    Sample,
    fill,
    iter_filters,
    make_sample,
    ranked_photos,
    ranked_segments,
    unit_vectors,
)
from numpy.typing import NDArray

from search.edge_index import EdgeIndex
from search.embedding import photo_vector, segment_vectors
from search.encoder import unit_rows
from search.errors import UnknownIdError, UsageError
from search.finder import DIVERSITY_POOL, Finder, diverse_order
from search.masks import bbox_xywh_from_array, mask_from_array
from search.query import (
    MAX_LIMIT,
    Example,
    PhotoExample,
    PictureExample,
    Query,
    SegmentExample,
    TextExample,
)
from search.records import RgbImage, SearchFilter, Vectors
from starter.scenes import draw_scene

NOWHERE = "00000000-0000-4000-8000-000000000000"
EVERYWHERE = SearchFilter()
WORDS = ("mug", "boat", "stripes", "kite")
CLOSE = 2e-6  # scores in float32, summed in another order


@dataclass(frozen=True)
class TableEncoder:
    """Words have a fixed vector each; a crop's vector is a fixed mix of its colours."""

    words: dict[str, Vectors]
    name: str = "table"
    fingerprint: str = "7ab1e"
    dim: int = DIM
    input_px: int = 8
    mean_rgb: tuple[int, int, int] = (128, 128, 128)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Whatever else a phrasing says, the word in it decides."""
        known = [next(v for word, v in self.words.items() if word in text) for text in texts]
        return np.array(known, np.float32).reshape(-1, self.dim)

    def encode_crops(self, crops: Sequence[RgbImage] | RgbImage) -> Vectors:
        colors = np.array([np.asarray(crop).mean(axis=(0, 1)) / 255 for crop in crops])
        mix = np.random.default_rng(9).normal(size=(3, self.dim))
        return unit_rows((colors.reshape(-1, 3) @ mix + 0.1).astype(np.float32))


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample(seed=3)


@pytest.fixture(scope="module")
def index(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeIndex]:
    with opened(tmp_path_factory.mktemp("finder"), sample) as index:
        yield index


@contextmanager
def opened(folder: Path, sample: Sample) -> Iterator[EdgeIndex]:
    """An embedded index that holds a sample."""
    index = EdgeIndex.open(folder, vector_name=VECTOR_NAME, dim=DIM)
    fill(index, sample)
    yield index
    index.close()


@pytest.fixture(scope="module")
def encoder() -> TableEncoder:
    return TableEncoder(dict(zip(WORDS, unit_vectors(77, len(WORDS)), strict=True)))


@pytest.fixture(scope="module")
def finder(index: EdgeIndex, encoder: TableEncoder) -> Finder:
    return Finder(index, lambda: encoder)


def segment_row(sample: Sample, number: int) -> Vectors:
    return sample.segment_vectors[number]


def assert_hits(found: Sequence[tuple[str, float]], wanted: Sequence[tuple[str, float]]) -> None:
    """The same segments with the same scores, in the same order but for equal scores."""
    assert [score for _, score in found] == pytest.approx([s for _, s in wanted], abs=CLOSE)
    assert len({segment_id for segment_id, _ in found}) == len(found)
    for (segment_id, _), (wanted_id, score) in zip(found, wanted, strict=True):
        ties = {each for each, other in wanted if abs(other - score) <= 2 * CLOSE}
        assert segment_id == wanted_id or segment_id in ties


def hits_of(finder: Finder, query: Query) -> list[tuple[str, float]]:
    return [(hit.segment.segment_id, hit.score) for hit in finder.search(query).hits]


def unit(row: NDArray[np.floating]) -> Vectors:
    return np.asarray(row / np.linalg.norm(row), np.float32).reshape(1, -1)


@pytest.mark.parametrize("word", WORDS)
def test_words_find_what_brute_force_finds(
    finder: Finder, sample: Sample, encoder: TableEncoder, word: str
) -> None:
    wanted = ranked_segments(sample, encoder.words[word][None], EVERYWHERE)[:20]
    assert_hits(hits_of(finder, Query([TextExample(f"two {word}s")])), wanted)


@pytest.mark.parametrize("number", [0, 17, 311])
def test_a_segment_finds_itself_and_then_what_is_like_it(
    finder: Finder, sample: Sample, number: int
) -> None:
    segment = sample.segments[number]
    found = hits_of(finder, Query([SegmentExample(segment.segment_id)], limit=50))
    assert found[0] == (segment.segment_id, pytest.approx(1, abs=CLOSE))
    wanted = ranked_segments(sample, segment_row(sample, number)[None], EVERYWHERE)[:50]
    assert_hits(found, wanted)


def test_a_photo_finds_the_segments_that_are_like_the_whole_of_it(
    finder: Finder, sample: Sample
) -> None:
    found = hits_of(finder, Query([PhotoExample(sample.photos[5].photo_id)]))
    wanted = ranked_segments(sample, sample.photo_vectors[5][None], EVERYWHERE)[:20]
    assert_hits(found, wanted)


def test_a_photo_finds_photos(finder: Finder, sample: Sample) -> None:
    query = Query([PhotoExample(sample.photos[5].photo_id)], limit=10)
    found = [(hit.photo.photo_id, hit.score) for hit in finder.search_photos(query)]
    assert found[0][0] == sample.photos[5].photo_id
    assert_hits(found, ranked_photos(sample, sample.photo_vectors[5][None], EVERYWHERE)[:10])


def test_a_picture_is_embedded_as_photos_and_segments_are(
    finder: Finder, sample: Sample, encoder: TableEncoder
) -> None:
    scene = draw_scene(4, (96, 64))
    mask_hw = np.zeros((64, 96), np.bool_)
    mask_hw[10:40, 20:70] = True
    mask, box = mask_from_array(mask_hw), bbox_xywh_from_array(mask_hw)
    whole = photo_vector(encoder, scene.image)
    part = segment_vectors(encoder, scene.image, [(mask, box)], "fusion")
    assert not np.allclose(whole, part, atol=0.01)
    for example, vector in (
        (PictureExample(scene.image), whole),
        (PictureExample(scene.image, mask, box), part),
    ):
        found = hits_of(finder, Query([example]))
        assert_hits(found, ranked_segments(sample, vector, EVERYWHERE)[:20])


def test_the_crop_recipe_of_the_library_is_used(index: EdgeIndex, encoder: TableEncoder) -> None:
    scene = draw_scene(6, (96, 64))
    mask_hw = np.zeros((64, 96), np.bool_)
    mask_hw[30:50, 40:60] = np.eye(20, dtype=np.bool_)
    mask, box = mask_from_array(mask_hw), bbox_xywh_from_array(mask_hw)
    found = [
        Finder(index, lambda: encoder, recipe).query_vector(
            [PictureExample(scene.image, mask, box)]
        )
        for recipe in ("masked", "tight")
    ]
    assert not np.allclose(found[0], found[1], atol=0.01)


@pytest.mark.parametrize("where", list(iter_filters(8, 25, make_sample(seed=3))))
def test_filters_let_through_what_brute_force_lets_through(
    finder: Finder, sample: Sample, encoder: TableEncoder, where: SearchFilter
) -> None:
    wanted = ranked_segments(sample, encoder.words["boat"][None], where)[:30]
    assert_hits(hits_of(finder, Query([TextExample("boat")], where, limit=30)), wanted)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 2.0), (1.0, -0.5), (-1.0, 0.2), (5.0, 5.0)])
def test_a_mix_of_one_kind_is_the_normalised_weighted_sum(
    finder: Finder, sample: Sample, weights: tuple[float, float]
) -> None:
    a, b = segment_row(sample, 1), segment_row(sample, 200)
    vector = unit(weights[0] * a + weights[1] * b)
    examples = [
        SegmentExample(sample.segments[1].segment_id, weights[0]),
        SegmentExample(sample.segments[200].segment_id, weights[1]),
    ]
    assert finder.query_vector(examples) == pytest.approx(vector, abs=1e-6)
    wanted = ranked_segments(sample, vector, EVERYWHERE)[:20]
    assert_hits(hits_of(finder, Query(examples)), wanted)


def test_a_query_vector_has_unit_length_whatever_the_weights(
    finder: Finder, sample: Sample
) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        examples: list[Example] = [
            TextExample("mug", float(rng.uniform(-3, 3))),
            SegmentExample(sample.segments[rng.integers(600)].segment_id, rng.uniform(0.01, 9)),
            PhotoExample(sample.photos[rng.integers(60)].photo_id, float(rng.uniform(-3, 3))),
        ]
        vector = finder.query_vector(examples)
        assert vector.shape == (1, DIM)
        assert vector.dtype == np.float32
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_a_negative_example_pushes_its_likes_down(finder: Finder, sample: Sample) -> None:
    liked, unliked = sample.segments[1].segment_id, sample.segments[200].segment_id
    plain = Query([SegmentExample(liked)], limit=MAX_LIMIT)
    pushed = Query([SegmentExample(liked), SegmentExample(unliked, -0.7)], limit=MAX_LIMIT)
    places = [[i for i, _ in hits_of(finder, query)].index(unliked) for query in (plain, pushed)]
    assert places[1] > places[0]


def two_scales(seed: int = 0) -> tuple[Sample, TableEncoder, Vectors]:
    """Segments, and words whose scores vary five times less than those of pictures.

    As with CLIP: all words lie in one narrow cone away from all pictures.
    """
    rng = np.random.default_rng(seed)
    sample = make_sample(seed)
    rows = rng.normal(size=(len(sample.segments), DIM))
    rows[:, 0] = 0  # the direction in which only words lie
    gap = np.eye(DIM)[0]
    meaning = np.eye(DIM)[1]
    picture = np.eye(DIM)[2]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    rows[0] = picture  # the example itself
    text = unit(np.sqrt(1 - 0.2**2) * gap + 0.2 * meaning)
    changed = replace(sample, segment_vectors=rows.astype(np.float32))
    return changed, TableEncoder({"mug": text[0]}), text


def rank_correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Spearman's."""
    return float(np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])


def test_words_and_pictures_of_equal_weight_say_about_equally_much(tmp_path: Path) -> None:
    sample, encoder, text = two_scales()
    rows, picture = sample.segment_vectors, sample.segment_vectors[0]
    by_text, by_picture = rows @ text[0], rows @ picture
    assert by_picture.std() / by_text.std() == pytest.approx(5, rel=0.15)
    plain = rows @ unit(text[0] + picture)[0]  # without calibration the words hardly count
    assert rank_correlation(plain, by_picture) > 0.9
    assert rank_correlation(plain, by_text) < 0.35
    with opened(tmp_path, sample) as index:
        examples = [TextExample("mug"), SegmentExample(sample.segments[0].segment_id)]
        mixed = rows @ Finder(index, lambda: encoder).query_vector(examples)[0]
    ours = [rank_correlation(mixed, each) for each in (by_text, by_picture)]
    assert min(ours) > 0.6
    assert abs(ours[0] - ours[1]) < 0.1


@pytest.mark.parametrize("weight", [0.25, 4.0])
def test_a_weight_of_words_against_pictures_means_what_it_says(
    tmp_path: Path, weight: float
) -> None:
    sample, encoder, text = two_scales()
    with opened(tmp_path, sample) as index:
        examples = [TextExample("mug", weight), SegmentExample(sample.segments[0].segment_id)]
        mixed = sample.segment_vectors @ Finder(index, lambda: encoder).query_vector(examples)[0]
    by_text = rank_correlation(mixed, sample.segment_vectors @ text[0])
    by_picture = rank_correlation(mixed, sample.segment_vectors @ sample.segment_vectors[0])
    assert (by_text > by_picture + 0.4) if weight > 1 else (by_picture > by_text + 0.4)


def test_examples_of_one_kind_are_not_calibrated(tmp_path: Path) -> None:
    sample, encoder, text = two_scales()
    other = unit(np.eye(DIM)[0] * 0.98 + np.eye(DIM)[5] * 0.2)
    both = replace(encoder, words={"mug": text[0], "boat": other[0]})
    with opened(tmp_path, sample) as index:
        vector = Finder(index, lambda: both).query_vector([TextExample("mug"), TextExample("boat")])
    assert vector == pytest.approx(unit(text[0] + other[0]), abs=1e-6)


def test_kinds_can_be_mixed_in_a_library_of_nothing(tmp_path: Path, encoder: TableEncoder) -> None:
    with opened(tmp_path, make_sample(photo_count=0)) as index:
        finder = Finder(index, lambda: encoder)
        query = Query([TextExample("mug"), PictureExample(draw_scene(1, (64, 64)).image)])
        assert finder.search(query).hits == []
        assert finder.search_grouped(query).groups == []


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


def test_nothing_under_the_lowest_score_is_found(
    finder: Finder, sample: Sample, encoder: TableEncoder
) -> None:
    ranked = ranked_segments(sample, encoder.words["mug"][None], EVERYWHERE)
    lowest = (ranked[24][1] + ranked[25][1]) / 2
    page = finder.search(Query([TextExample("mug")], limit=100, min_score=lowest))
    assert len(page.hits) == 25
    assert page.cursor is None


def test_masks_come_along_only_when_asked_for(finder: Finder, sample: Sample) -> None:
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
    with pytest.raises(UsageError, match="leave it out, or the grouping"):
        finder.search_grouped(query)


@pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1])
@pytest.mark.parametrize("way", ["search", "search_grouped", "search_photos"])
def test_a_limit_out_of_range_is_refused(finder: Finder, limit: int, way: str) -> None:
    with pytest.raises(UsageError, match=f"from 1 to {MAX_LIMIT}, not {limit}"):
        getattr(finder, way)(Query([TextExample("mug")], limit=limit))


@pytest.mark.parametrize("diversity", [-0.1, 1.1, float("nan")])
def test_a_diversity_out_of_range_is_refused(finder: Finder, diversity: float) -> None:
    with pytest.raises(UsageError, match="diversity must be from 0 to 1"):
        finder.search(Query([TextExample("mug")], diversity=diversity))


@pytest.mark.parametrize(
    "cursor", ["", "20", "after-", "after--5", "after-1.5", "after-x", "before-3", "after-20 "]
)
@pytest.mark.parametrize("way", ["search", "search_grouped", "search_photos"])
def test_a_cursor_from_elsewhere_is_refused(finder: Finder, cursor: str, way: str) -> None:
    with pytest.raises(UsageError, match="not a cursor"):
        getattr(finder, way)(Query([TextExample("mug")], cursor=cursor))


def test_a_query_without_examples_is_refused(finder: Finder) -> None:
    with pytest.raises(UsageError, match="needs words, a segment, a photo or a picture"):
        finder.search(Query([]))


def test_examples_that_cancel_each_other_out_are_refused(finder: Finder, sample: Sample) -> None:
    segment_id = sample.segments[3].segment_id
    for weight in (1.0, 0.1):
        examples = [SegmentExample(segment_id, weight), SegmentExample(segment_id, -weight)]
        with pytest.raises(UsageError, match="cancel each other out"):
            finder.search(Query(examples))
    with pytest.raises(UsageError, match="cancel each other out"):
        finder.search(Query([TextExample("mug", float("nan"))]))


def test_empty_words_are_refused(finder: Finder) -> None:
    with pytest.raises(UsageError, match="text to search for is empty"):
        finder.search(Query([TextExample("  ")]))


@pytest.mark.parametrize("example", [SegmentExample(NOWHERE), PhotoExample(NOWHERE)])
def test_an_example_that_is_not_in_the_library_is_named(finder: Finder, example: Example) -> None:
    with pytest.raises(UnknownIdError, match=NOWHERE):
        finder.search(Query([example]))


def test_no_encoder_is_made_for_segments_and_photos(index: EdgeIndex, sample: Sample) -> None:
    def never() -> TableEncoder:
        raise AssertionError("the encoder was asked for")

    finder = Finder(index, never)
    examples = [
        SegmentExample(sample.segments[0].segment_id),
        PhotoExample(sample.photos[0].photo_id, -0.5),
    ]
    assert finder.search(Query(examples)).hits


def test_hidden_photos_are_not_found_but_can_be_examples(finder: Finder, sample: Sample) -> None:
    hidden = next(s for s in sample.segments if sample.photo_of(s).facts.hidden)
    hits = hits_of(finder, Query([SegmentExample(hidden.segment_id)], limit=MAX_LIMIT))
    shown = {s.segment_id for s in sample.segments if not sample.photo_of(s).facts.hidden}
    assert {segment_id for segment_id, _ in hits} == shown
