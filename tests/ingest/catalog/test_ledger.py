"""The ledger: roots, files and photos in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from ingest.catalog.connection import LEDGER_NAME
from ingest.catalog.ledger import Ledger, folder_key, sort_key
from ingest.catalog.migrations import STEPS
from ingest.catalog.records import FileKey, FileStamp, Root, folders_around, is_below, is_gone
from search.errors import LibraryError, UnknownIdError, UsageError
from search.records import GeoCircle, Photo, PhotoFacts, Place, SearchFilter, photo_id_from_digest

STAMP = FileStamp(10, 20)
MUNICH, FREISING = Place(lat=48.14, lon=11.58), Place(lat=48.40, lon=11.75)  # 31 km apart


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "library")) as ledger:
        yield ledger


@pytest.fixture
def root(ledger: Ledger, tmp_path: Path) -> Root:
    (tmp_path / "photos").mkdir()
    return ledger.add_root(tmp_path / "photos")


def make_photo(name: str, day: int = 1, **facts: object) -> Photo:
    sort_at = datetime(2024, 5, day, 12, tzinfo=UTC)
    return Photo(
        photo_id=photo_id_from_digest(name),
        size_wh=(64, 48),
        facts=PhotoFacts.model_validate({"sort_at": sort_at, **facts}),
        segmented_with="f00d",
        segment_count=3,
    )


def finish(ledger: Ledger, root: Root, name: str, photo: Photo | None = None) -> Photo:
    """Note a finished photo and its file; the index has been told."""
    photo = photo or make_photo(name)
    ledger.begin_photo(photo)
    ledger.finish_photo(photo, FileKey(root, name.encode()), STAMP, f"sha of {name}")
    tell(ledger)
    return photo


def tell(ledger: Ledger) -> None:
    for photo_id in ledger.unsynced_photos():
        ledger.mark_synced(photo_id, ledger.facts_now(photo_id))


def browsed(ledger: Ledger, **where: object) -> list[str | None]:
    rows = ledger.photos(SearchFilter.model_validate(where), limit=100)
    return [row.below for row in rows]


# the file itself


def test_a_ledger_is_found_as_it_was_left(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path)) as ledger:
        root = ledger.add_root(tmp_path / "photos")
        photo = finish(ledger, root, "a.jpg", make_photo("a", camera="X", location=MUNICH))
    with closing(Ledger(tmp_path)) as ledger:
        row = ledger.photo(photo.photo_id)
        assert row.photo == photo
        assert (row.path, row.root_id, row.below) == (root.path / "a.jpg", root.root_id, "a.jpg")


def test_a_file_that_is_no_ledger_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / LEDGER_NAME).write_bytes(b"this is not a database, but long enough to be read" * 99)
    with pytest.raises(LibraryError, match="Restore it from a backup"):
        Ledger(tmp_path)


def test_a_ledger_of_another_format_is_refused(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / LEDGER_NAME)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(LibraryError, match="format 99"):
        Ledger(tmp_path)


def test_damage_met_later_is_told_in_a_sentence(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path)) as ledger:
        ledger._db.execute("DROP TABLE photos")
        with pytest.raises(LibraryError, match="can't be used: no such table"):
            ledger.counts()


def test_a_ledger_that_kept_less_of_files_opens_and_follows_them(tmp_path: Path) -> None:
    """As format 2 left it: without ctime, without what files say, without devices."""
    with closing(sqlite3.connect(tmp_path / LEDGER_NAME)) as db:
        for script in STEPS[:2]:
            db.executescript(script)
        db.execute("PRAGMA user_version = 2")
        db.execute("INSERT INTO roots VALUES ('r', '/photos')")
        db.execute(
            "INSERT INTO photos VALUES ('p', 1, 1, '2024-01-01T00:00:00+00:00', 1704067200.0, "
            "'Old', NULL, NULL, 'f00d', 0, 0, 0)"
        )
        db.execute(
            "INSERT INTO files VALUES ('r', CAST('a.jpg' AS BLOB), 'r', 10, 20, 'sha', 'p', "
            "'present', NULL, '2024-01-01T00:00:00+00:00')"
        )
        db.commit()
    with closing(Ledger(tmp_path)) as ledger:
        [root] = ledger.roots()
        known = ledger.file(FileKey(root, b"a.jpg"))
        assert known is not None
        assert known.stamp.is_unchanged(FileStamp(10, 20, 30))
        assert (known.stated, ledger.devices(root)) == (None, {})
        ledger.put_file(FileKey(root, b"b.jpg"), STAMP, "sha", "p")
        camera = ledger._execute("SELECT camera FROM photos").fetchone()["camera"]
        assert camera == "Old"  # what is known is taken to be what the file says


def test_many_threads_may_create_it_at_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def create() -> None:
        try:
            with closing(Ledger(tmp_path)) as ledger:
                ledger.add_root(tmp_path)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_transaction_that_fails_leaves_nothing(ledger: Ledger, root: Root) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        ledger.put_file(FileKey(root, b"a"), STAMP, "sha", photo_id="no such photo")
    assert ledger.file(FileKey(root, b"a")) is None
    finish(ledger, root, "b")


# roots


def test_adding_a_root_twice_keeps_one(ledger: Ledger, root: Root) -> None:
    assert ledger.add_root(root.path) == root
    assert ledger.roots() == [root]


def test_the_innermost_root_holds_a_folder(ledger: Ledger, root: Root) -> None:
    inner = ledger.add_root(root.path / "sub")
    assert ledger.root_for(root.path / "sub/below") == inner
    assert ledger.root_for(root.path / "subway") == root
    assert ledger.root_for(root.path.parent) is None
    assert inner.within == (f"{root.root_id}/sub",)


def test_a_root_where_one_was_before_it_moved_is_another_root(ledger: Ledger, root: Root) -> None:
    ledger.move_root(root.path, root.path / "new")
    second = ledger.add_root(root.path)
    assert second.root_id != root.root_id
    assert {r.path for r in ledger.roots()} == {root.path, root.path / "new"}


def test_a_moved_root_takes_its_files_along(ledger: Ledger, root: Root, tmp_path: Path) -> None:
    photo = finish(ledger, root, "sub/a.jpg")
    ledger.move_root(root.path, tmp_path / "elsewhere")
    assert ledger.photo(photo.photo_id).path == tmp_path / "elsewhere/sub/a.jpg"
    with pytest.raises(UsageError, match="is not a root"):
        ledger.move_root(root.path, tmp_path / "again")
    with pytest.raises(UsageError, match="is a root already"):
        ledger.move_root(tmp_path / "elsewhere", tmp_path / "elsewhere")


def test_a_new_outer_root_makes_the_photos_of_inner_ones_stale(ledger: Ledger, root: Root) -> None:
    inner = ledger.add_root(root.path / "sub")
    other = ledger.add_root(root.path.parent / "other")
    photo = finish(ledger, inner, "a.jpg")
    finish(ledger, other, "b.jpg")
    outer = ledger.add_root(root.path.parent)
    assert ledger.unsynced_photos() == sorted([photo.photo_id, make_photo("b.jpg").photo_id])
    names = {f"{outer.root_id}/photos/sub", f"{root.root_id}/sub", inner.root_id}
    assert names <= set(ledger.facts_now(photo.photo_id).folders)


def test_forgetting_a_root_names_the_photos_that_are_only_there(ledger: Ledger, root: Root) -> None:
    other = ledger.add_root(root.path.parent / "other")
    photo = finish(ledger, root, "a.jpg")
    both = finish(ledger, root, "b.jpg")
    ledger.put_file(FileKey(other, b"copy.jpg"), STAMP, "sha of b.jpg", both.photo_id)
    assert ledger.forget_below(root, b"") == [photo.photo_id]
    assert ledger.roots() == [other]
    assert ledger.facts_now(both.photo_id).folders == (other.root_id,)


def test_the_file_of_an_absent_root_is_shown_only_where_there_is_no_other(
    ledger: Ledger, root: Root, tmp_path: Path
) -> None:
    (tmp_path / "second").mkdir()
    second = ledger.add_root(tmp_path / "second")
    photo = finish(ledger, root, "a.jpg")
    ledger.put_file(FileKey(second, b"b.jpg"), STAMP, "sha", photo.photo_id)
    for there, away in ((root, second), (second, root)):
        away.path.rename(tmp_path / "away")
        assert ledger.photo(photo.photo_id).root_id == there.root_id
        assert ledger.paths([photo.photo_id])[photo.photo_id].root_id == there.root_id
        (tmp_path / "away").rename(away.path)


# files


def test_names_that_are_not_utf8_come_back_as_they_are(ledger: Ledger, root: Root) -> None:
    below = b"caf\xe9/\xff.jpg"
    key = FileKey(root, below)
    photo = make_photo("odd")
    ledger.finish_photo(photo, key, STAMP, "sha")
    assert ledger.photo(photo.photo_id).path == root.path / os.fsdecode(below)
    assert [k.below for k in ledger.files_of(photo.photo_id)] == [below]
    folder = f"{root.root_id}/caf�"
    assert ledger.facts_now(photo.photo_id).folders == (root.root_id, folder)
    assert ledger.facts_now(photo.photo_id).model_dump_json()


def test_skipped_files_are_listed_with_their_reasons_by_path(ledger: Ledger, root: Root) -> None:
    for name in (b"z.jpg", b"a/b.jpg"):
        ledger.skip_file(FileKey(root, name), STAMP, f"{name!r} is empty")
    assert [(file.path, file.reason) for file in ledger.skipped()] == [
        (root.path / "a/b.jpg", "b'a/b.jpg' is empty"),
        (root.path / "z.jpg", "b'z.jpg' is empty"),
    ]


def test_files_below_a_folder_are_told_from_those_whose_names_begin_like_it(
    ledger: Ledger, root: Root
) -> None:
    names = ["a-b", "a.jpg", "a/b.jpg", "a/c/d.jpg", "a0.jpg", "\udcff/e.jpg"]
    for name in names:
        ledger.skip_file(FileKey(root, os.fsencode(name)), STAMP, "no picture")

    def below(folder: str) -> list[str]:
        return [os.fsdecode(path) for path in ledger.known_below(root, os.fsencode(folder))]

    assert below("") == sorted(names, key=os.fsencode)
    assert below("a") == ["a/b.jpg", "a/c/d.jpg"]
    assert below("a/b.jpg") == ["a/b.jpg"]
    assert below("\udcff") == ["\udcff/e.jpg"]
    known = [
        p for p in (b"", b"a", b"a.jpg", b"a/c", b"a/b", b"a0", b"b") if ledger.knows_of(root, p)
    ]
    assert known == [b"", b"a", b"a.jpg", b"a/c"]


def test_vanished_files_hide_a_photo_once_none_is_left(ledger: Ledger, root: Root) -> None:
    photo = finish(ledger, root, "a.jpg")
    ledger.put_file(FileKey(root, b"copy.jpg"), STAMP, "sha of a.jpg", photo.photo_id)
    assert ledger.mark_vanished(root, [b"a.jpg"]) == 0
    assert ledger.file(FileKey(root, b"a.jpg")) is None  # moved, as it were
    assert not ledger.facts_now(photo.photo_id).hidden
    assert ledger.mark_vanished(root, [b"copy.jpg"]) == 1
    assert ledger.facts_now(photo.photo_id).hidden
    assert browsed(ledger) == [None]  # until the index has been told, both show it
    tell(ledger)
    assert browsed(ledger) == []
    assert ledger.missing_photos() == [photo.photo_id]
    assert list(ledger.known_below(root, b"")) == []
    assert ledger.knows_of(root, b"copy.jpg")


def test_known_content_leads_to_its_photo_also_when_its_file_is_gone(
    ledger: Ledger, root: Root
) -> None:
    photo = finish(ledger, root, "a.jpg")
    ledger.mark_vanished(root, [b"a.jpg"])
    assert ledger.photo_of_content("sha of a.jpg") == photo.photo_id
    assert ledger.photo_of_content("other") is None


# photos


def test_a_photo_is_finished_last_and_hidden_before(ledger: Ledger, root: Root) -> None:
    photo = make_photo("a")
    ledger.begin_photo(photo)
    assert not ledger.is_finished(photo.photo_id)
    assert ledger.unsynced_photos() == [photo.photo_id]
    assert browsed(ledger) == []
    assert ledger.facts_now(photo.photo_id).hidden
    ledger.finish_photo(photo, FileKey(root, b"a.jpg"), STAMP, "sha")
    assert ledger.is_finished(photo.photo_id)
    assert ledger.is_finished(photo.photo_id, "f00d")
    assert not ledger.is_finished(photo.photo_id, "beef")
    assert browsed(ledger) == ["a.jpg"]


def test_a_photo_begun_again_stays_as_it_is_but_is_not_finished(ledger: Ledger, root: Root) -> None:
    photo = finish(ledger, root, "a.jpg")
    ledger.begin_photo(photo.model_copy(update={"segment_count": 9}))
    row = ledger.photo(photo.photo_id)
    assert (row.photo.segment_count, row.photo.segmented_with) == (3, None)
    assert browsed(ledger) == ["a.jpg"]


def test_an_unfinished_photo_cannot_be_called_finished(ledger: Ledger, root: Root) -> None:
    photo = make_photo("a").model_copy(update={"segmented_with": None})
    with pytest.raises(ValueError, match="not finished"):
        ledger.finish_photo(photo, FileKey(root, b"a"), STAMP, "sha")


def test_an_unknown_photo_is_told_apart(ledger: Ledger) -> None:
    with pytest.raises(UnknownIdError, match="there is no photo"):
        ledger.photo(make_photo("nobody").photo_id)
    assert ledger.paths([make_photo("nobody").photo_id]) == {}
    assert ledger.paths([]) == {}


def test_facts_survive_to_the_microsecond_and_offset(ledger: Ledger, root: Root) -> None:
    zone = timezone(timedelta(hours=-9, minutes=-30))
    sort_at = datetime(1999, 12, 31, 23, 59, 59, 123456, tzinfo=zone)
    photo = make_photo("a", sort_at=sort_at, location=MUNICH, camera="X")
    finish(ledger, root, "a", photo)
    facts = ledger.facts_now(photo.photo_id)
    assert facts == photo.facts.model_copy(update={"folders": (root.root_id,)})
    assert facts.sort_at.utcoffset() == sort_at.utcoffset()


def test_pages_go_through_all_photos_once_newest_first(ledger: Ledger, root: Root) -> None:
    for n in range(7):
        finish(ledger, root, f"{n}.jpg", make_photo(str(n), day=1 + n // 3))
    pages, after = [], None
    while page := ledger.photos(SearchFilter(), limit=2, after=after):
        pages.append([row.photo.facts.sort_at.day for row in page])
        after = sort_key(page[-1])
    assert [day for page in pages for day in page] == [3, 2, 2, 2, 1, 1, 1]


def test_filters_are_about_photos(ledger: Ledger, root: Root) -> None:
    a = make_photo("a", day=1, camera="X", location=MUNICH)
    b = make_photo("b", day=2, camera="Y", location=FREISING)
    c = make_photo("c", day=3)
    for name, photo in (("a", a), ("s/b", b), ("s/t/c", c)):
        finish(ledger, root, name, photo)
    assert browsed(ledger, camera="Y") == ["s/b"]
    assert browsed(ledger, photo_ids=(a.photo_id, c.photo_id)) == ["s/t/c", "a"]
    assert browsed(ledger, folder=f"{root.root_id}/s") == ["s/t/c", "s/b"]
    assert browsed(ledger, folder="nowhere") == []
    second = datetime(2024, 5, 2, 12, tzinfo=UTC)
    assert browsed(ledger, taken_from=second) == ["s/t/c", "s/b"]
    assert browsed(ledger, taken_before=second) == ["a"]
    assert browsed(ledger, near=GeoCircle(center=MUNICH, radius_m=30_000)) == ["a"]
    assert browsed(ledger, near=GeoCircle(center=MUNICH, radius_m=33_000)) == ["s/b", "a"]


TOKYO, LOS_ANGELES = (timezone(timedelta(hours=hours)) for hours in (9, -7))
AROUND_SEPTEMBER = {
    "late in August": datetime(2023, 8, 31, 23, 30, tzinfo=LOS_ANGELES),
    "first hour": datetime(2023, 9, 1, 0, 30, tzinfo=TOKYO),
    "first second": datetime(2023, 9, 1, tzinfo=UTC),
    "last hour": datetime(2023, 9, 30, 23, 59, 59, 999_999, tzinfo=LOS_ANGELES),
    "October": datetime(2023, 10, 1, tzinfo=TOKYO),
}
OF_SEPTEMBER = {"first hour", "first second", "last hour"}


def test_months_are_those_of_the_photos_own_clocks(ledger: Ledger, root: Root) -> None:
    for name, sort_at in AROUND_SEPTEMBER.items():
        finish(ledger, root, name, make_photo(name, sort_at=sort_at, date_source="exif"))
    undated = make_photo("undated", sort_at=datetime(2023, 9, 5, tzinfo=UTC), date_source="file")
    finish(ledger, root, "undated", undated)
    september = {"taken_from": datetime(2023, 9, 1), "taken_before": datetime(2023, 10, 1)}
    assert set(browsed(ledger, **september)) == OF_SEPTEMBER
    facets = ledger.facets(SearchFilter())
    assert facets.months == {"2023-10": 1, "2023-09": len(OF_SEPTEMBER), "2023-08": 1}
    assert facets.undated == 1
    of_september = ledger.facets(SearchFilter.model_validate(september))
    assert (of_september.months, of_september.undated) == ({"2023-09": 3}, 0)
    assert browsed(ledger, undated=True) == ["undated"]
    assert set(browsed(ledger, undated=False)) == set(AROUND_SEPTEMBER)
    assert ledger.facets(SearchFilter(undated=True)).months == {}
    moment = AROUND_SEPTEMBER["first hour"]
    assert set(browsed(ledger, taken_before=moment)) == set()
    assert "late in August" in browsed(ledger, taken_from=moment)


def test_a_ledger_from_before_dates_had_sources_has_its_photos_dated(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / LEDGER_NAME)) as old:
        for script in STEPS[:2]:
            old.executescript(script)
        old.execute(
            "INSERT INTO photos VALUES (?, 4, 3, '1999-12-31T23:59:59.123456-09:30', 946718999.1, "
            "NULL, NULL, NULL, 'f00d', 0, 0, 0)",
            (make_photo("a").photo_id,),
        )
        old.execute("PRAGMA user_version = 2")
        old.commit()
    with closing(Ledger(tmp_path)) as ledger:
        photo_id = make_photo("a").photo_id
        facts = ledger.photo(photo_id).photo.facts
        assert (facts.date_source, facts.taken_at) == ("unknown", facts.sort_at)
        assert ledger.unsynced_photos() == [photo_id]  # the index is to be told
        assert ledger.facets(SearchFilter()).months == {"1999-12": 1}
        for taken_from, found in (
            (datetime(1999, 12, 31, 23, 59, 59), 1),
            (datetime(2000, 1, 1), 0),
        ):
            assert len(ledger.photos(SearchFilter(taken_from=taken_from), limit=9)) == found


def test_folders_of_nested_roots_are_found_by_all_their_names(ledger: Ledger, root: Root) -> None:
    inner = ledger.add_root(root.path / "s")
    finish(ledger, root, "a")
    finish(ledger, inner, "b")
    finish(ledger, inner, "t/c")
    outer = ledger.add_root(root.path.parent)
    outer_id, root_id, inner_id = outer.root_id, root.root_id, inner.root_id
    for name in (outer_id, f"{outer_id}/photos", root_id):
        assert sorted(map(str, browsed(ledger, folder=name))) == ["a", "b", "t/c"]
    for name in (f"{outer_id}/photos/s", f"{root_id}/s", inner_id):
        assert sorted(map(str, browsed(ledger, folder=name))) == ["b", "t/c"]
        assert browsed(ledger, folder=f"{name}/t") == ["t/c"]
    assert browsed(ledger, folder=f"{root_id}/sx") == []


def test_forgetting_a_photo_forgets_its_files(ledger: Ledger, root: Root) -> None:
    photo = finish(ledger, root, "a.jpg")
    ledger.forget_photo(photo.photo_id)
    assert ledger.file(FileKey(root, b"a.jpg")) is None
    assert set(ledger.counts().values()) == {0}


def test_counts_tell_shown_from_hidden(ledger: Ledger, root: Root) -> None:
    finish(ledger, root, "a.jpg")
    finish(ledger, root, "b.jpg")
    ledger.skip_file(FileKey(root, b"c.jpg"), STAMP, "empty")
    ledger.mark_vanished(root, [b"b.jpg"])
    tell(ledger)
    assert ledger.counts() == {
        "photos": 1,
        "photos_segmented": 1,
        "photos_hidden": 1,
        "photos_excluded": 0,
        "segments": 3,
        "files": 1,
        "files_waiting": 0,
        "files_vanished": 1,
        "files_excluded": 0,
        "files_unread": 0,
        "files_skipped": 1,
    }


# names


def test_a_folder_is_named_by_its_root(ledger: Ledger, root: Root) -> None:
    (root.path / "s/t").mkdir(parents=True)
    assert folder_key(ledger, root.path) == root.root_id
    assert folder_key(ledger, root.path / "s/../s/t") == f"{root.root_id}/s/t"
    assert folder_key(ledger, root.path.parent) is None


def test_all_folders_around_a_file_are_named() -> None:
    root = Root("in", Path("/a/b"), within=("out/b",))
    assert folders_around(root, "in/c") == ("in", "in/c", "out", "out/b", "out/b/c")
    assert folders_around(Root("r", Path("/")), "r") == ("r",)


def test_below_means_whole_names() -> None:
    assert is_below(b"a/b", b"a")
    assert is_below(b"a", b"a")
    assert is_below(b"a", b"")
    assert not is_below(b"ab", b"a")


def test_only_what_is_certainly_not_there_is_gone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert is_gone(tmp_path / "no")
    assert is_gone(tmp_path / "file/below")
    assert not is_gone(tmp_path / "file")
    assert not is_gone(tmp_path / "loop")  # the system can't tell


def test_a_ledger_that_knows_files_and_no_photo_yet_is_not_one_that_was_lost(
    tmp_path: Path,
) -> None:
    with closing(Ledger(tmp_path)) as ledger:
        assert ledger.is_empty()
        root = ledger.add_root(tmp_path)
        assert ledger.is_empty()
        ledger.note_waiting([FileKey(root, b"a.jpg")])
        assert not ledger.is_empty()
