"""Finding, against brute force in numpy on a real embedded index and a predictable encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.finder_samples import (
    CLOSE,
    EVERYWHERE,
    WORDS,
    TableEncoder,
    assert_hits,
    hits_of,
    opened,
)
from support.index_samples import (
    DIM,
    Sample,
    iter_filters,
    make_sample,
    ranked_photos,
    ranked_segments,
)

from search.errors import UnknownIdError, UsageError
from search.finder import Finder
from search.index.edge import EdgeIndex
from search.masks.rle import bbox_xywh_from_array, mask_from_array
from search.models.embedding import photo_vector, segment_vectors
from search.query import (
    MAX_LIMIT,
    Example,
    PhotoExample,
    PictureExample,
    Query,
    SegmentExample,
    TextExample,
)
from search.records import SearchFilter, Vectors
from starter.scenes import draw_scene

NOWHERE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample(seed=3)


@pytest.fixture(scope="module")
def index(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeIndex]:
    with opened(tmp_path_factory.mktemp("finder"), sample) as index:
        yield index


def segment_row(sample: Sample, number: int) -> Vectors:
    row: Vectors = sample.segment_vectors[number]
    return row


def unit(row: NDArray[np.floating]) -> Vectors:
    return np.asarray(row / np.linalg.norm(row), np.float32).reshape(1, -1)


@pytest.mark.parametrize("word", WORDS)
def test_text_search_equals_brute_force(
    finder: Finder, sample: Sample, encoder: TableEncoder, word: str
) -> None:
    wanted = ranked_segments(sample, encoder.words[word][None], EVERYWHERE)[:20]
    assert_hits(hits_of(finder, Query([TextExample(f"two {word}s")])), wanted)


@pytest.mark.parametrize("number", [0, 17, 311])
def test_a_segment_example_finds_itself_first(finder: Finder, sample: Sample, number: int) -> None:
    segment = sample.segments[number]
    found = hits_of(finder, Query([SegmentExample(segment.segment_id)], limit=50))
    assert found[0][0] == segment.segment_id
    assert found[0][1] == pytest.approx(1, abs=CLOSE)
    wanted = ranked_segments(sample, segment_row(sample, number)[None], EVERYWHERE)[:50]
    assert_hits(found, wanted)


def test_a_photo_example_finds_segments_similar_to_the_whole_photo(
    finder: Finder, sample: Sample
) -> None:
    found = hits_of(finder, Query([PhotoExample(sample.photos[5].photo_id)]))
    wanted = ranked_segments(sample, sample.photo_vectors[5][None], EVERYWHERE)[:20]
    assert_hits(found, wanted)


def test_a_photo_example_finds_photos(finder: Finder, sample: Sample) -> None:
    query = Query([PhotoExample(sample.photos[5].photo_id)], limit=10)
    found = [(hit.photo.photo_id, hit.score) for hit in finder.search_photos(query)]
    assert found[0][0] == sample.photos[5].photo_id
    assert_hits(found, ranked_photos(sample, sample.photo_vectors[5][None], EVERYWHERE)[:10])


def test_an_image_is_embedded_like_photos_and_segments(
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
def test_examples_of_one_kind_are_a_normalized_weighted_sum(
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


def test_a_negative_example_lowers_similar_segments(finder: Finder, sample: Sample) -> None:
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


def test_text_and_images_of_equal_weight_count_equally(tmp_path: Path) -> None:
    sample, encoder, text = two_scales()
    rows, picture = sample.segment_vectors, sample.segment_vectors[0]
    by_text, by_picture = rows @ text[0], rows @ picture
    assert by_picture.std() / by_text.std() == pytest.approx(5, rel=0.15)
    plain = rows @ unit(text[0] + picture)[0]  # without calibration the words hardly count
    assert rank_correlation(plain, by_picture) > 0.9
    assert rank_correlation(plain, by_text) < 0.35
    with opened(tmp_path, sample) as index:
        examples: list[Example] = [
            TextExample("mug"),
            SegmentExample(sample.segments[0].segment_id),
        ]
        mixed = rows @ Finder(index, lambda: encoder).query_vector(examples)[0]
    ours = [rank_correlation(mixed, each) for each in (by_text, by_picture)]
    assert min(ours) > 0.6
    assert abs(ours[0] - ours[1]) < 0.1


@pytest.mark.parametrize("weight", [0.25, 4.0])
def test_weights_of_text_and_images_are_calibrated(tmp_path: Path, weight: float) -> None:
    sample, encoder, text = two_scales()
    with opened(tmp_path, sample) as index:
        segment_id = sample.segments[0].segment_id
        examples: list[Example] = [TextExample("mug", weight), SegmentExample(segment_id)]
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


def test_text_and_image_examples_can_be_mixed_in_an_empty_library(
    tmp_path: Path, encoder: TableEncoder
) -> None:
    with opened(tmp_path, make_sample(photo_count=0)) as index:
        finder = Finder(index, lambda: encoder)
        query = Query([TextExample("mug"), PictureExample(draw_scene(1, (64, 64)).image)])
        assert finder.search(query).hits == []
        assert finder.search_grouped(query).groups == []


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
def test_an_invalid_cursor_is_refused(finder: Finder, cursor: str, way: str) -> None:
    with pytest.raises(UsageError, match="not a cursor"):
        getattr(finder, way)(Query([TextExample("mug")], cursor=cursor))


def test_a_query_without_examples_is_refused(finder: Finder) -> None:
    with pytest.raises(UsageError, match="needs text, a segment, a photo or an image"):
        finder.search(Query([]))


def test_examples_that_cancel_each_other_out_are_refused(finder: Finder, sample: Sample) -> None:
    segment_id = sample.segments[3].segment_id
    for weight in (1.0, 0.1):
        examples = [SegmentExample(segment_id, weight), SegmentExample(segment_id, -weight)]
        with pytest.raises(UsageError, match="cancel each other out"):
            finder.search(Query(examples))
    with pytest.raises(UsageError, match="cancel each other out"):
        finder.search(Query([TextExample("mug", float("nan"))]))


def test_an_empty_text_is_refused(finder: Finder) -> None:
    with pytest.raises(UsageError, match="text to search for is empty"):
        finder.search(Query([TextExample("  ")]))


@pytest.mark.parametrize("example", [SegmentExample(NOWHERE), PhotoExample(NOWHERE)])
def test_an_unknown_example_is_named(finder: Finder, example: Example) -> None:
    with pytest.raises(UnknownIdError, match=NOWHERE):
        finder.search(Query([example]))


def test_segment_and_photo_examples_load_no_encoder(index: EdgeIndex, sample: Sample) -> None:
    def never() -> TableEncoder:
        raise AssertionError("the encoder was asked for")

    finder = Finder(index, never)
    examples: list[Example] = [
        SegmentExample(sample.segments[0].segment_id),
        PhotoExample(sample.photos[0].photo_id, -0.5),
    ]
    assert finder.search(Query(examples)).hits


def test_hidden_photos_are_not_found_but_can_be_examples(finder: Finder, sample: Sample) -> None:
    hidden = next(s for s in sample.segments if sample.photo_of(s).facts.hidden)
    hits = hits_of(finder, Query([SegmentExample(hidden.segment_id)], limit=MAX_LIMIT))
    shown = {s.segment_id for s in sample.segments if not sample.photo_of(s).facts.hidden}
    assert {segment_id for segment_id, _ in hits} == shown
