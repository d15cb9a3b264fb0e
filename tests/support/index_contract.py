"""The contract of every SegmentIndex, as tests: a module that imports them gives `make_index`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from search.errors import MismatchError, UnknownIdError, UsageError
from search.index.base import SegmentIndex
from search.records import PhotoFacts, SearchFilter
from support.index_samples import (
    DIM,
    FILTER_PARTS,
    PHOTO_PARTS,
    Sample,
    assert_same_segments,
    fill,
    iter_filters,
    make_facts,
    make_sample,
    photo_passes,
    ranked_photos,
    ranked_segments,
    segment_passes,
    unit_vectors,
)

ANYTHING = SearchFilter()
# A client in memory scans everything and says that it has no use for a graph's parameters.
pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")
Maker = Callable[[], SegmentIndex]


@pytest.fixture
def index(make_index: Maker) -> Iterator[SegmentIndex]:
    """An empty index, to write to."""
    made = make_index()
    yield made
    made.close()


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample()


@pytest.fixture(scope="module")
def full_index(make_index: Maker, sample: Sample) -> Iterator[SegmentIndex]:
    """An index that holds the sample, to read from."""
    made = make_index()
    fill(made, sample)
    yield made
    made.close()


def assert_ranked_as(found: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    assert [found_id for found_id, _ in found] == [expected_id for expected_id, _ in expected]
    assert [score for _, score in found] == pytest.approx([s for _, s in expected], abs=1e-5)


def found_segments(
    index: SegmentIndex, vector: np.ndarray, where: SearchFilter, limit: int = 1000
) -> list[tuple[str, float]]:
    hits = index.nearest_segments(vector, where, limit=limit)
    return [(hit.segment.segment_id, hit.score) for hit in hits]


def found_photos(
    index: SegmentIndex, vector: np.ndarray, where: SearchFilter
) -> list[tuple[str, float]]:
    return [(h.photo.photo_id, h.score) for h in index.nearest_photos(vector, where, limit=1000)]


def test_putting_the_same_segments_twice_keeps_one_of_each(
    index: SegmentIndex, sample: Sample
) -> None:
    photo = sample.photos[0]
    segments, vectors = sample.of_photo(photo)
    for _ in range(2):
        index.put_segments(photo, segments, vectors)
    assert index.count("segments") == len(segments)
    assert index.segment_ids_of(photo.photo_id) == {s.segment_id for s in segments}


def test_putting_a_photo_again_replaces_it(index: SegmentIndex, sample: Sample) -> None:
    photo = sample.photos[0]
    index.put_photo(photo.model_copy(update={"segmented_with": None}), sample.photo_vectors[:1])
    index.put_photo(photo, sample.photo_vectors[1:2])
    assert index.photos([photo.photo_id]) == [photo]
    assert index.photo_vectors([photo.photo_id]) == pytest.approx(
        sample.photo_vectors[1:2], abs=1e-6
    )


def test_putting_no_segments_does_nothing(index: SegmentIndex, sample: Sample) -> None:
    index.put_segments(sample.photos[0], [], np.empty((0, DIM), dtype=np.float32))
    assert index.count("segments") == 0


def test_an_empty_library_gives_empty_results(index: SegmentIndex) -> None:
    vector = unit_vectors(5, 1)
    nobody = str(uuid.uuid4())
    assert index.nearest_segments(vector, ANYTHING, limit=5) == []
    assert index.nearest_photos(vector, ANYTHING, limit=5) == []
    assert list(index.iter_segments()) == []
    assert index.segments_of(nobody) == []
    assert index.segment_ids_of(nobody) == set()
    assert index.sample_vectors(10).shape == (0, DIM)
    assert index.segment_vectors([]).shape == (0, DIM)
    assert index.count("photos") == index.count("segments") == 0
    index.delete_photo(nobody)
    index.delete_segments([nobody])


def test_vectors_that_are_not_finite_are_refused(index: SegmentIndex, sample: Sample) -> None:
    photo = sample.photos[0]
    segments, vectors = sample.of_photo(photo)
    broken = vectors.copy()
    broken[1, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        index.put_segments(photo, segments, broken)
    with pytest.raises(ValueError, match="not finite"):
        index.nearest_segments(broken[1:2], ANYTHING, limit=1)
    assert index.count("segments") == 0


def test_vectors_of_another_length_are_refused(index: SegmentIndex, sample: Sample) -> None:
    with pytest.raises(ValueError, match="vectors have length 8"):
        index.put_photo(sample.photos[0], unit_vectors(0, 1, dim=8))


def test_photos_are_returned_unchanged_in_the_order_requested(
    full_index: SegmentIndex, sample: Sample
) -> None:
    wanted = [sample.photos[i] for i in (5, 0, 59, 9)]
    ids = [photo.photo_id for photo in wanted]
    assert full_index.photos([*ids, str(uuid.uuid4()), "not-an-id"]) == wanted


def test_segments_are_returned_unchanged_in_the_order_requested(
    full_index: SegmentIndex, sample: Sample
) -> None:
    wanted = [sample.segments[i] for i in (500, 3, 77, 3)]
    ids = [str(uuid.uuid4()), *(segment.segment_id for segment in wanted)]
    assert_same_segments(full_index.segments(ids, with_masks=True), wanted)
    unmasked = [segment.model_copy(update={"mask": None}) for segment in wanted]
    assert_same_segments(full_index.segments(ids), unmasked)


def test_segments_of_a_photo_come_largest_first(full_index: SegmentIndex, sample: Sample) -> None:
    photo = sample.photos[7]
    wanted = sorted(sample.of_photo(photo)[0], key=lambda segment: -segment.area_px)
    assert_same_segments(full_index.segments_of(photo.photo_id, with_masks=True), wanted)
    assert all(segment.mask is None for segment in full_index.segments_of(photo.photo_id))


def test_vectors_are_returned_in_the_order_requested(
    full_index: SegmentIndex, sample: Sample
) -> None:
    rows = [300, 2, 2, 41]
    ids = [sample.segments[row].segment_id for row in rows]
    vectors = full_index.segment_vectors(ids)
    assert vectors.dtype == np.float32
    assert vectors == pytest.approx(sample.segment_vectors[rows], abs=1e-6)
    photo_ids = [sample.photos[row].photo_id for row in (4, 1)]
    assert full_index.photo_vectors(photo_ids) == pytest.approx(
        sample.photo_vectors[[4, 1]], abs=1e-6
    )


@pytest.mark.parametrize("unknown", ["00000000-0000-4000-8000-000000000000", "not-an-id"])
def test_the_vector_of_an_unknown_id_is_an_error(
    full_index: SegmentIndex, sample: Sample, unknown: str
) -> None:
    with pytest.raises(UnknownIdError, match=f"no segment has the id '{unknown}'"):
        full_index.segment_vectors([sample.segments[0].segment_id, unknown])
    with pytest.raises(UnknownIdError, match=f"no photo has the id '{unknown}'"):
        full_index.photo_vectors([unknown])


@pytest.mark.parametrize("seed", range(5))
def test_ranking_equals_brute_force(full_index: SegmentIndex, sample: Sample, seed: int) -> None:
    vector = unit_vectors(seed, 1)
    assert_ranked_as(
        found_segments(full_index, vector, ANYTHING), ranked_segments(sample, vector, ANYTHING)
    )
    assert_ranked_as(
        found_photos(full_index, vector, ANYTHING), ranked_photos(sample, vector, ANYTHING)
    )


@pytest.mark.parametrize("part", sorted(FILTER_PARTS))
def test_ranking_with_one_filter_equals_brute_force(
    full_index: SegmentIndex, sample: Sample, part: str
) -> None:
    rng = np.random.default_rng(3)
    vector = unit_vectors(3, 1)
    for _ in range(4):
        where = SearchFilter.model_validate(FILTER_PARTS[part](rng, sample))
        expected = ranked_segments(sample, vector, where)
        assert 0 < len(expected) < len(ranked_segments(sample, vector, ANYTHING))
        assert_ranked_as(found_segments(full_index, vector, where), expected)
        if part in PHOTO_PARTS:
            expected = ranked_photos(sample, vector, where)
            assert_ranked_as(found_photos(full_index, vector, where), expected)


def test_ranking_with_mixed_filters_equals_brute_force(
    full_index: SegmentIndex, sample: Sample
) -> None:
    for seed, where in enumerate(iter_filters(11, 40, sample)):
        vector = unit_vectors(seed, 1)
        assert_ranked_as(
            found_segments(full_index, vector, where, limit=25),
            ranked_segments(sample, vector, where)[:25],
        )


def test_the_filter_of_no_photos_finds_nothing(full_index: SegmentIndex) -> None:
    nothing = SearchFilter(photo_ids=())
    assert full_index.nearest_segments(unit_vectors(0, 1), nothing, limit=5) == []
    assert full_index.count("segments", nothing) == 0


def test_hidden_photos_are_counted_but_not_found(full_index: SegmentIndex, sample: Sample) -> None:
    hidden = {photo.photo_id for photo in sample.photos if photo.facts.hidden}
    hits = full_index.nearest_segments(unit_vectors(0, 1), ANYTHING, limit=1000)
    assert not hidden & {hit.segment.photo_id for hit in hits}
    assert full_index.count("photos") == len(sample.photos)
    assert full_index.count("photos", ANYTHING) == len(sample.photos) - len(hidden)


def test_counts_equal_brute_force(full_index: SegmentIndex, sample: Sample) -> None:
    for where in iter_filters(12, 15, sample):
        passing = [s for s in sample.segments if segment_passes(s, sample.photo_of(s), where)]
        assert full_index.count("segments", where) == len(passing)
        photos = [photo for photo in sample.photos if photo_passes(photo, where)]
        assert full_index.count("photos", where) == len(photos)


def test_pages_put_together_are_one_long_page(full_index: SegmentIndex) -> None:
    vector = unit_vectors(8, 1)
    long_page = full_index.nearest_segments(vector, ANYTHING, limit=30)
    pages = [
        full_index.nearest_segments(vector, ANYTHING, limit=10, offset=offset)
        for offset in (0, 10, 20)
    ]
    assert [hit for page in pages for hit in page] == long_page
    assert full_index.nearest_segments(vector, ANYTHING, limit=10, offset=10_000) == []
    photo_page = full_index.nearest_photos(vector, ANYTHING, limit=3, offset=2)
    assert photo_page == full_index.nearest_photos(vector, ANYTHING, limit=5)[2:]


def test_min_score_limits_hits(full_index: SegmentIndex, sample: Sample) -> None:
    vector = unit_vectors(9, 1)
    expected = [pair for pair in ranked_segments(sample, vector, ANYTHING) if pair[1] >= 0.3]
    hits = full_index.nearest_segments(vector, ANYTHING, limit=1000, min_score=0.3)
    assert_ranked_as([(hit.segment.segment_id, hit.score) for hit in hits], expected)
    photo_hits = full_index.nearest_photos(vector, ANYTHING, limit=1000, min_score=0.3)
    assert min(hit.score for hit in photo_hits) >= 0.3


def test_ranks_are_those_of_the_hits(full_index: SegmentIndex) -> None:
    vector, where = unit_vectors(4, 1), SearchFilter(min_area_fraction=0.01)
    hits = full_index.nearest_segments(vector, where, limit=50, offset=3, min_score=0.0)
    assert len(hits) > 10
    ranked = full_index.ranked_segments(vector, where, limit=50, offset=3, min_score=0.0)
    for (segment_id, photo_id, score), hit in zip(ranked, hits, strict=True):
        assert (segment_id, photo_id) == (hit.segment.segment_id, hit.segment.photo_id)
        assert score == pytest.approx(hit.score, abs=1e-6)


def test_hits_have_masks_only_on_request(full_index: SegmentIndex, sample: Sample) -> None:
    by_id = {segment.segment_id: segment for segment in sample.segments}
    vector = unit_vectors(2, 1)
    masked = full_index.nearest_segments(vector, ANYTHING, limit=20, with_masks=True)
    wanted = [by_id[hit.segment.segment_id] for hit in masked]
    assert_same_segments([hit.segment for hit in masked], wanted)
    assert all(
        hit.segment.mask is None for hit in full_index.nearest_segments(vector, ANYTHING, limit=20)
    )


def test_iter_segments_is_ordered_by_id(full_index: SegmentIndex, sample: Sample) -> None:
    wanted = sorted(sample.segments, key=lambda segment: segment.segment_id)
    assert len(wanted) > 512  # more than one page of either engine
    assert_same_segments(full_index.iter_segments(with_masks=True), wanted)
    assert next(full_index.iter_segments()).mask is None


def test_iter_photos_is_ordered_by_id(full_index: SegmentIndex, sample: Sample) -> None:
    wanted = sorted(sample.photos, key=lambda photo: photo.photo_id)
    assert [photo.photo_id for photo in full_index.iter_photos()] == [p.photo_id for p in wanted]
    assert next(full_index.iter_photos()) == wanted[0]


def test_a_sample_of_vectors_is_the_same_every_time(
    full_index: SegmentIndex, sample: Sample
) -> None:
    first = full_index.sample_vectors(40)
    assert first.shape == (40, DIM)
    assert (first == full_index.sample_vectors(40)).all()
    ids = sorted(segment.segment_id for segment in sample.segments)[:40]
    assert (first == full_index.segment_vectors(ids)).all()
    assert full_index.sample_vectors(10_000).shape == (len(sample.segments), DIM)


def test_deleted_segments_are_gone_and_the_others_stay(index: SegmentIndex) -> None:
    sample = make_sample(photo_count=2, segments_each=4)
    fill(index, sample)
    gone, kept = sample.segments[:3], sample.segments[3:]
    for _ in range(2):
        index.delete_segments([s.segment_id for s in gone] + [str(uuid.uuid4()), "not-an-id"])
    assert [s.segment_id for s in index.iter_segments()] == sorted(s.segment_id for s in kept)
    assert index.segments([s.segment_id for s in gone]) == []


def test_deleting_a_photo_deletes_its_segments(index: SegmentIndex) -> None:
    sample = make_sample(photo_count=3, segments_each=4)
    fill(index, sample)
    for _ in range(2):
        index.delete_photo(sample.photos[1].photo_id)
    assert index.count("photos") == 2
    assert index.count("segments") == 8
    assert index.segment_ids_of(sample.photos[1].photo_id) == set()
    assert index.photos([photo.photo_id for photo in sample.photos]) == sample.photos[::2]


def test_update_facts_changes_the_photo_and_all_its_segments(index: SegmentIndex) -> None:
    sample = make_sample(photo_count=3, segments_each=4)
    fill(index, sample)
    photo = sample.photos[0]
    rng = np.random.default_rng(77)
    full = PhotoFacts.model_validate(
        make_facts(rng).model_dump() | {"camera": "Leica", "location": {"lat": 1, "lon": 2}}
    )
    bare = PhotoFacts(sort_at=full.sort_at)
    for facts in (full, bare, full):
        index.update_facts(photo.photo_id, facts)
        assert index.photos([photo.photo_id]) == [photo.model_copy(update={"facts": facts})]
        assert index.count("segments", SearchFilter(camera="Leica")) == (4 if facts.camera else 0)
        in_folder = SearchFilter(folder=full.folders[0], photo_ids=(photo.photo_id,))
        assert index.count("segments", in_folder) == (4 if facts.folders else 0)
    others = [photo.photo_id for photo in sample.photos[1:]]
    assert index.photos(others) == sample.photos[1:]
    assert len(index.segments_of(photo.photo_id, with_masks=True)) == 4


def test_hiding_a_photo_hides_its_segments_until_it_is_shown_again(index: SegmentIndex) -> None:
    sample = make_sample(photo_count=2, segments_each=3)
    fill(index, sample)
    photo = sample.photos[0]
    for hidden in (True, False):
        index.update_facts(photo.photo_id, photo.facts.model_copy(update={"hidden": hidden}))
        hits = index.nearest_segments(unit_vectors(0, 1), ANYTHING, limit=10)
        assert (photo.photo_id in {hit.segment.photo_id for hit in hits}) is not hidden


def test_facts_of_an_unknown_photo_change_nothing(index: SegmentIndex, sample: Sample) -> None:
    index.update_facts(sample.photos[0].photo_id, sample.photos[0].facts)
    assert index.count("photos") == 0


def test_a_second_named_vector_changes_nothing_else(make_index: Maker) -> None:
    sample = make_sample(photo_count=6, segments_each=3)
    index = make_index()
    fill(index, sample)
    known = list(index.iter_segments(with_masks=True))
    other = index.with_vectors("other", 8)
    assert set(other.iter_without_vectors("photos")) == {p.photo_id for p in sample.photos}
    assert set(other.iter_without_vectors("segments")) == {s.photo_id for s in sample.segments}
    done, _ = sample.of_photo(sample.photos[0])
    ids = [segment.segment_id for segment in done]
    rows = unit_vectors(5, len(ids), dim=8)
    other.put_vectors("segments", ids, rows)
    other.put_vectors("photos", [sample.photos[0].photo_id], rows[:1])
    other.put_vectors("segments", [], rows[:0])
    assert other.count_vectors("photos") == 1
    assert other.count_vectors("segments") == len(ids)
    left = set(other.iter_without_vectors("segments"))
    assert left == {photo.photo_id for photo in sample.photos[1:]}
    assert np.allclose(other.segment_vectors(ids), rows, atol=1e-5)
    assert other.sample_vectors(1000).shape == (len(ids), 8)
    found = other.nearest_segments(rows[1:2], ANYTHING, limit=100)
    shown = {s.segment_id for s in done if not sample.photos[0].facts.hidden}
    assert {hit.segment.segment_id for hit in found} == shown
    with pytest.raises(UnknownIdError, match="has no vector of this encoder"):
        other.segment_vectors([sample.segments[-1].segment_id])
    assert_same_segments(other.iter_segments(with_masks=True), known)
    assert_same_segments(index.iter_segments(with_masks=True), known)
    wanted = [segment.segment_id for segment in sample.segments]
    assert np.allclose(index.segment_vectors(wanted), sample.segment_vectors, atol=1e-5)
    assert not list(index.iter_without_vectors("photos"))
    index.close()


def test_points_written_again_lack_the_second_vector(make_index: Maker) -> None:
    sample = make_sample(photo_count=2)
    index = make_index()
    fill(index, sample)
    photo = sample.photos[0]
    other = index.with_vectors("other", 8)
    other.put_vectors("photos", [p.photo_id for p in sample.photos], unit_vectors(5, 2, dim=8))
    assert not list(other.iter_without_vectors("photos"))
    other.update_facts(photo.photo_id, photo.facts.model_copy(update={"hidden": True}))
    assert not list(other.iter_without_vectors("photos"))
    index.put_photo(photo, sample.photo_vectors[:1])
    assert list(index.with_vectors("other", 8).iter_without_vectors("photos")) == [photo.photo_id]
    index.close()


def test_a_second_named_vector_can_be_dropped_and_created_again(make_index: Maker) -> None:
    sample = make_sample(photo_count=2)
    index = make_index()
    fill(index, sample)
    other = index.with_vectors("other", 8)
    other.put_vectors("photos", [sample.photos[0].photo_id], unit_vectors(5, 1, dim=8))
    with pytest.raises(UsageError, match="other are in use"):
        other.drop_vectors("other")
    index.drop_vectors("other")
    index.drop_vectors("never-there")
    again = index.with_vectors("other", 9)
    assert again.count_vectors("photos") == 0
    assert index.count_vectors("photos") == 2
    index.close()


def test_a_second_named_vector_of_another_length_is_refused(make_index: Maker) -> None:
    index = make_index()
    index.with_vectors("other", 8)
    with pytest.raises(MismatchError):
        index.with_vectors("other", 9).count("photos")
    index.close()
