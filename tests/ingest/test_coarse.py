"""Whole photos first: what can be found before anything is cut, and that nothing else changes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.fakes import ColorEncoder, Quiet
from support.ingest_rig import GRAY, Rig, Snapshot, picture, snapshot, stamped, write

from ingest import pipeline
from ingest.imaging.decode import decode_photo
from ingest.stats import Tally
from search.errors import StoreError
from search.finder import Finder
from search.query import Query, TextExample
from search.records import SearchFilter

PHOTOS = 6
FIRST: dict[str, Any] = {"whole_first_from": 3}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with closing(Rig(tmp_path)) as rig:
        for seed in range(PHOTOS):
            write(rig.photos / f"{seed % 2}" / f"{seed}.png", seed)
        yield rig


class Stopping(Quiet):
    """Presses Ctrl-C when the first photo is about to be cut."""

    def show(self, tally: Tally) -> None:
        if tally.whole and not tally.is_coarse_pass:
            raise KeyboardInterrupt


def only_whole(rig: Rig) -> None:
    """Stop a run once all whole photos are in, before any is cut."""
    summary = pipeline.ingest((rig.photos,), rig.ingest_context(**FIRST), Stopping())
    assert (summary.interrupted, summary.photos_ingested) == (True, 0)


def found_whole(rig: Rig, where: SearchFilter | None = None) -> list[str]:
    hits = rig.index.nearest_photos(GRAY, where or SearchFilter(), limit=100, unsegmented=True)
    with rig.ledger() as ledger:
        paths = [ledger.photo(hit.photo.photo_id).path for hit in hits]
    return sorted(path.name for path in paths if path)


def names(*seeds: int) -> list[str]:
    return [f"{seed}.png" for seed in seeds]


def undisturbed(rig: Rig) -> Snapshot:
    """What a library of the same photos knows that was never shown whole photos."""
    with closing(Rig(rig.folder / "calm")) as calm:
        calm.ingest(rig.photos, whole_first_from=0)
        return snapshot(calm)


def assert_same(one: Snapshot, other: Snapshot) -> None:
    assert one.rows == other.rows
    assert one.photos == other.photos
    assert one.segments == other.segments
    assert abs(one.vectors - other.vectors).max() < 1e-5


# before anything is cut


def test_all_photos_are_found_as_a_whole_before_the_first_is_cut(rig: Rig) -> None:
    only_whole(rig)
    assert rig.segmenter.photos_segmented == 0
    assert rig.index.count("segments") == 0
    assert found_whole(rig) == names(*range(PHOTOS))
    with rig.ledger() as ledger:
        coverage = ledger.coverage()
        assert coverage is not None
        assert (coverage.photos, coverage.photos_segmented, coverage.files_waiting) == (6, 0, 0)
        assert len(ledger.photos(SearchFilter(), limit=9)) == PHOTOS


def test_words_find_a_photo_that_is_not_cut_and_no_more_once_it_is(rig: Rig) -> None:
    for path in rig.photos.rglob("*.png"):
        path.unlink()
    for name, color in (("r", "red"), ("g", "green"), ("b", "blue")):
        Image.new("RGB", (48, 36), color).save(rig.photos / f"{name}.png")
    only_whole(rig)
    finder = Finder(rig.index, lambda: ColorEncoder())
    asked = Query([TextExample("green")], limit=1, with_uncut=True)
    page = finder.search(asked)
    assert (page.hits, len(page.uncut)) == ([], 1)
    with rig.ledger() as ledger:
        found = ledger.photo(page.uncut[0].photo.photo_id).path
    assert found == rig.photos / "g.png"
    rig.ingest(max_area_fraction=1.0)
    page = finder.search(asked)
    assert (len(page.hits), page.uncut) == (1, [])


def test_filters_hold_for_whole_photos_and_none_of_segments_lets_them_in(rig: Rig) -> None:
    only_whole(rig)
    finder = Finder(rig.index, lambda: ColorEncoder())

    def found(cursor: str | None = None, **where: Any) -> int:
        chosen = SearchFilter(**where)
        words = [TextExample("red")]
        return len(finder.search(Query(words, where=chosen, cursor=cursor, with_uncut=True)).uncut)

    assert found() == PHOTOS
    assert found(camera="Test One") == PHOTOS
    assert found(camera="Another") == 0
    assert found(min_area_fraction=0.1) == 0
    assert found(cursor="after-20") == 0


def test_files_that_nobody_looked_at_yet_are_told(rig: Rig) -> None:
    rig.segmenter.interrupt_at = 1
    rig.ingest(whole_first_from=0)
    with rig.ledger() as ledger:
        coverage = ledger.coverage()
        assert coverage is not None
        assert (coverage.photos, coverage.files_waiting) == (0, PHOTOS)
        assert not coverage.is_whole
    rig.segmenter.interrupt_at = None
    rig.ingest()
    with rig.ledger() as ledger:
        assert ledger.coverage() is None
        assert ledger.counts()["files_waiting"] == 0


# what it costs


def test_few_new_photos_are_decoded_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def decode(path: Path, **limits: Any) -> Any:
        decoded.append(path.name)
        return decode_photo(path, **limits)

    monkeypatch.setattr(rig, "decode", decode)
    summary = rig.ingest(whole_first_from=PHOTOS + 1)
    assert (summary.photos_whole, sorted(decoded)) == (0, names(*range(PHOTOS)))
    decoded.clear()
    for seed in (20, 21):
        write(rig.photos / f"{seed}.png", seed)
    summary = rig.ingest(**FIRST)
    assert (summary.photos_whole, sorted(decoded)) == (0, names(20, 21))
    write(rig.photos / "22.png", 22)
    decoded.clear()
    assert rig.ingest(**FIRST).photos_whole == 0  # one: the others are in
    assert decoded == names(22)


def test_photos_that_are_known_are_left_to_the_pass_that_cuts(rig: Rig) -> None:
    rig.ingest(**FIRST)
    (rig.photos / "0").rename(rig.photos / "zero")
    shutil.copy2(rig.photos / "1/1.png", rig.photos / "copy.png")
    Image.fromarray(picture(3)).save(rig.photos / "untagged.png")
    summary = rig.ingest(**FIRST)
    assert (summary.photos_whole, summary.photos_updated, summary.photos_unchanged) == (0, 5, 3)
    assert rig.segmenter.photos_segmented == 0


# the end is the same


def test_the_library_is_the_same_as_without_it(rig: Rig) -> None:
    shutil.copy2(rig.photos / "0/0.png", rig.photos / "1/copy.png")
    Image.fromarray(picture(1)).save(rig.photos / "0/untagged.png")
    (rig.photos / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    summary = rig.ingest(**FIRST)
    assert (summary.photos_whole, summary.photos_ingested) == (PHOTOS, PHOTOS)
    assert (summary.photos_updated, summary.photos_skipped) == (2, 1)
    assert_same(snapshot(rig), undisturbed(rig))


def test_a_run_that_ended_between_the_passes_is_gone_on_with(rig: Rig) -> None:
    only_whole(rig)
    summary = rig.ingest(**FIRST)
    assert (summary.photos_whole, summary.photos_ingested) == (0, PHOTOS)
    assert_same(snapshot(rig), undisturbed(rig))


def test_a_store_that_fails_in_the_first_pass_shows_no_photo_that_is_not_there(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(rig.index, "flush", fail)
        with pytest.raises(StoreError):
            rig.ingest(**FIRST)
    with rig.ledger() as ledger:
        coverage = ledger.coverage()
        assert coverage is not None
        assert (coverage.photos, coverage.files_waiting) == (0, PHOTOS)
    assert rig.ingest(**FIRST).photos_whole == PHOTOS
    assert_same(snapshot(rig), undisturbed(rig))


def test_a_whole_photo_whose_file_goes_before_it_is_cut_is_hidden(rig: Rig) -> None:
    only_whole(rig)
    (rig.photos / "0/2.png").unlink()
    stamped(rig.photos / "1/1.png")
    assert rig.ingest(**FIRST).photos_ingested == PHOTOS - 1
    assert found_whole(rig) == []
    with rig.ledger() as ledger:
        assert ledger.coverage() is None
