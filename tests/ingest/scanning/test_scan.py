"""What a scan finds to do, and what it settles on the way."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import FileKey, FileStamp, is_gone
from ingest.imaging.decode import bytes_sha256
from ingest.run import record
from ingest.scanning.listing import count_waiting, list_scope
from ingest.scanning.scan import Gone, NewFile, RescanPolicy, iter_outcomes
from ingest.scanning.scopes import scopes_from_paths
from ingest.scanning.vanished import mark_vanished
from ingest.stats import Tally
from search.errors import UsageError
from search.records import Photo, PhotoFacts, photo_id_from_digest


@dataclass
class Scan:
    """One scan after another over a folder, with a ledger."""

    folder: Path
    ledger: Ledger
    tally: Tally = field(default_factory=Tally)
    recorded: int = 0

    def new(
        self, *paths: Path, policy: RescanPolicy | None = None, exclude: tuple[str, ...] = ()
    ) -> list[str]:
        """The files that need decoding, by path below the folder; what is gone is noted."""
        self.tally, self.recorded, found = Tally(), 0, list[NewFile]()
        for scope in scopes_from_paths(paths or (self.folder,), self.ledger, exclude):
            listing = list_scope(scope, self.ledger)
            self.tally.notices += listing.notices
            for outcome in iter_outcomes(listing, self.ledger, policy or RescanPolicy()):
                if isinstance(outcome, NewFile):
                    found.append(outcome)
                else:
                    record(outcome, self.ledger, self.tally, listing)
                    self.recorded += 1
            vanished = mark_vanished([listing], self.ledger)
            self.tally.add_vanished(vanished.hidden, vanished.excluded, vanished.notices)
        return [str(new.key.path.relative_to(self.folder)) for new in found]

    def finish(self, name: str) -> None:
        """Note a file as a finished photo, as the pipeline does."""
        path = self.folder / name
        root = self.ledger.root_for(path)
        assert root is not None
        sha256 = bytes_sha256(path)
        photo = Photo(
            photo_id=photo_id_from_digest(sha256),
            size_wh=(1, 1),
            facts=PhotoFacts(sort_at=datetime(2024, 1, 1, tzinfo=UTC)),
            segmented_with="f00d",
        )
        key = FileKey(root, str(path.relative_to(root.path)).encode())
        self.ledger.finish_photo(photo, key, FileStamp.of(path), sha256)


@pytest.fixture
def scan(tmp_path: Path) -> Iterator[Scan]:
    folder = tmp_path / "photos"
    for name in ("a.jpg", "s/b.jpg", "s/t/c.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    with closing(Ledger(tmp_path / "library")) as ledger:
        yield Scan(folder, ledger)


def finished(scan: Scan) -> Scan:
    for name in scan.new():
        scan.finish(name)
    return scan


def test_everything_is_new_at_first_and_nothing_later(scan: Scan) -> None:
    assert scan.new() == ["a.jpg", "s/b.jpg", "s/t/c.jpg"]
    assert scan.new() == ["a.jpg", "s/b.jpg", "s/t/c.jpg"]  # nothing was finished
    assert finished(scan).new() == []
    assert (scan.tally.unchanged, scan.recorded) == (3, 3)


def test_outcomes_come_one_by_one_as_they_are_asked_for(scan: Scan) -> None:
    [scope] = scopes_from_paths([scan.folder], scan.ledger)
    outcomes = iter_outcomes(list_scope(scope, scan.ledger), scan.ledger, RescanPolicy())
    (scan.folder / "s/b.jpg").unlink()
    assert [type(outcome) for outcome in outcomes] == [NewFile, Gone, NewFile]


def test_changed_content_is_new_and_the_same_content_elsewhere_is_not(scan: Scan) -> None:
    finished(scan)
    (scan.folder / "a.jpg").write_text("something else")
    (scan.folder / "s/b.jpg").rename(scan.folder / "b2.jpg")
    assert scan.new() == ["a.jpg"]
    assert (scan.tally.updated, scan.tally.unchanged, scan.tally.vanished) == (1, 1, 0)


def test_photos_cut_otherwise_are_new_when_asked_for(scan: Scan) -> None:
    finished(scan)
    assert scan.new(policy=RescanPolicy("f00d")) == []
    assert len(scan.new(policy=RescanPolicy("beef"))) == 3


def test_an_unfinished_photo_is_new(scan: Scan) -> None:
    finished(scan)
    photo_id = scan.ledger.photo_of_content(bytes_sha256(scan.folder / "a.jpg"))
    assert photo_id is not None
    scan.ledger.begin_photo(scan.ledger.photo(photo_id).photo)
    assert scan.new() == ["a.jpg"]


def test_paths_below_others_and_named_twice_add_nothing(scan: Scan) -> None:
    paths = [scan.folder / "s", scan.folder, scan.folder / "a.jpg", scan.folder]
    scopes = scopes_from_paths(paths, scan.ledger)
    assert [scope.path for scope in scopes] == [scan.folder]
    listings = [list_scope(scope, scan.ledger) for scope in scopes]
    assert sum(listing.count() for listing in listings) == 3
    assert count_waiting(listings, scan.ledger) == 3


def test_thousands_of_files_may_be_named(scan: Scan) -> None:
    paths = [scan.folder / f"{number}.jpg" for number in range(2000)]
    for path in paths:
        path.touch()
    started_s = time.process_time()
    assert [scope.path for scope in scopes_from_paths(paths, scan.ledger)] == paths
    assert time.process_time() - started_s < 5  # each compared with each took 20


def test_the_folder_of_a_photo_that_is_named_becomes_its_root(scan: Scan) -> None:
    assert scan.new(scan.folder / "s/b.jpg") == ["s/b.jpg"]
    assert [root.path for root in scan.ledger.roots()] == [scan.folder / "s"]


def test_roots_in_a_folder_are_looked_through_on_their_own(scan: Scan) -> None:
    scan.new(scan.folder / "s/t")
    scan.new(scan.folder / "s")
    scopes = scopes_from_paths([scan.folder], scan.ledger)
    assert [scope.path for scope in scopes] == [
        scan.folder,
        scan.folder / "s",
        scan.folder / "s/t",
    ]
    listings = [list_scope(scope, scan.ledger) for scope in scopes]
    assert sum(listing.count() for listing in listings) == 3
    assert count_waiting(listings, scan.ledger) == 3
    assert len(scan.new()) == 3
    assert [scope.path for scope in scopes_from_paths([scan.folder / "s"], scan.ledger)] == [
        scan.folder / "s",
        scan.folder / "s/t",
    ]


def test_what_is_neither_there_nor_known_is_refused_before_anything_is_noted(scan: Scan) -> None:
    with pytest.raises(UsageError, match="typo is not there"):
        scopes_from_paths([scan.folder, scan.folder / "typo"], scan.ledger)
    assert scan.ledger.roots() == []


def test_a_known_folder_that_is_gone_is_no_mistake(scan: Scan) -> None:
    finished(scan)
    for name in ("s/t/c.jpg", "s/b.jpg"):
        (scan.folder / name).unlink()
    (scan.folder / "s/t").rmdir()
    assert scan.new(scan.folder / "s/t") == []
    assert scan.tally.vanished == 1
    assert scan.new(scan.folder / "s/t") == []
    assert scan.tally.vanished == 0


def test_a_link_to_nowhere_is_no_photo_and_no_bad_file(scan: Scan) -> None:
    (scan.folder / "dangling.jpg").symlink_to(scan.folder / "nowhere.jpg")
    assert "dangling.jpg" not in scan.new()
    assert scan.tally.skipped == []


def test_a_dead_mount_is_absent_and_no_crash(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(scan)
    stat = Path.stat

    def dead(path: Path, **options: bool) -> object:
        if path.is_relative_to(scan.folder):
            raise OSError(107, "Transport endpoint is not connected", str(path))
        return stat(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", dead)
        patch.setattr("os.path.isdir", lambda path: not str(path).startswith(str(scan.folder)))
        patch.setattr("os.path.isfile", lambda path: False)
        assert scan.new() == []
    assert scan.tally.vanished == 0
    assert "not connected" in scan.tally.skipped[0][1]
    assert "not there" in scan.tally.notices[0]


def test_what_an_ignore_file_names_later_is_gone_until_it_no_longer_does(scan: Scan) -> None:
    finished(scan)
    ignore = scan.folder / ".segsearchignore"
    ignore.write_text("t/\n")
    assert scan.new() == []
    assert (scan.tally.unchanged, scan.tally.vanished, scan.tally.excluded) == (2, 0, 1)
    assert scan.new() == []
    assert (scan.tally.vanished, scan.tally.excluded) == (0, 0)
    ignore.unlink()
    assert scan.new() == []
    assert (scan.tally.unchanged, scan.tally.updated) == (2, 1)


def test_patterns_count_from_the_outermost_root_whatever_is_named(scan: Scan) -> None:
    finished(scan)
    (scan.folder / ".segsearchignore").write_text("/s/t/\n")
    assert scan.new(scan.folder / "s") == []
    assert scan.tally.excluded == 1
    assert scan.new(scan.folder / "s/t") == []
    assert "is left out by a pattern" in scan.tally.notices[0]


def test_an_inner_root_obeys_the_patterns_of_the_folders_around_it(scan: Scan) -> None:
    for name in scan.new(scan.folder / "s/t"):
        scan.finish(name)
    scan.new()
    (scan.folder / "s/.segsearchignore").write_text("t/\n")
    assert scan.new() == ["a.jpg", "s/b.jpg"]
    assert scan.tally.excluded == 1


def test_a_file_that_is_named_is_taken_although_a_pattern_leaves_it_out(scan: Scan) -> None:
    scan.ledger.add_root(scan.folder)
    assert scan.new(scan.folder / "a.jpg", exclude=("*.jpg",)) == ["a.jpg"]
    assert scan.new(exclude=("*.jpg",)) == []


def test_a_folder_whose_ignore_file_is_wrong_keeps_what_was_known_and_is_told_of(
    scan: Scan,
) -> None:
    finished(scan)
    (scan.folder / "s/.segsearchignore").write_text("!\n")
    assert scan.new() == []
    assert (scan.tally.unchanged, scan.tally.vanished) == (1, 0)
    [(path, reason)] = scan.tally.skipped
    assert path == scan.folder / "s"
    assert "line that is not a pattern" in reason


def test_a_pattern_that_is_none_is_wrong_usage(scan: Scan) -> None:
    with pytest.raises(UsageError, match="exclude"):
        scan.new(exclude=("!",))


def test_a_name_that_is_not_utf_8_is_known_again(scan: Scan) -> None:
    odd = Path(os.fsdecode(os.fsencode(scan.folder) + b"/caf\xe9.jpg"))
    odd.write_text("odd")
    root = scan.ledger.add_root(scan.folder)
    [name] = [name for name in scan.new() if name.startswith("caf")]
    sha256 = bytes_sha256(odd)
    photo = Photo(
        photo_id=photo_id_from_digest(sha256),
        size_wh=(1, 1),
        facts=PhotoFacts(sort_at=datetime(2024, 1, 1, tzinfo=UTC)),
        segmented_with="f00d",
    )
    scan.ledger.finish_photo(photo, FileKey(root, b"caf\xe9.jpg"), FileStamp.of(odd), sha256)
    assert name not in scan.new()
    odd.unlink()
    scan.new()
    assert scan.tally.vanished == 1


def test_a_name_in_other_case_is_a_move_and_costs_nothing(scan: Scan) -> None:
    finished(scan)
    (scan.folder / "a.jpg").rename(scan.folder / "A.JPG")
    assert scan.new() == []
    assert (scan.tally.updated, scan.tally.vanished) == (1, 0)
    assert len(list(scan.ledger.present_files())) == 3


def test_where_both_spellings_name_one_file_only_the_one_that_is_listed_counts(
    scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on the disks of macOS and Windows, where the old spelling still answers."""
    finished(scan)
    (scan.folder / "a.jpg").rename(scan.folder / "A.JPG")
    stat = os.stat

    def either(path: Path | str, **options: Any) -> os.stat_result:
        other = str(path).replace("a.jpg", "A.JPG") if isinstance(path, Path | str) else path
        return stat(other, **options)

    monkeypatch.setattr(os, "stat", either)
    assert not is_gone(scan.folder / "a.jpg")
    assert scan.new() == []
    assert (scan.tally.updated, scan.tally.vanished) == (1, 0)
    assert {key.below for key in scan.ledger.present_files()} == {
        b"A.JPG",
        b"s/b.jpg",
        b"s/t/c.jpg",
    }


@pytest.mark.parametrize("how", ["gone", "left out", "other spelling"])
def test_much_that_is_gone_or_left_out_costs_steps_in_proportion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Counted, not timed: statements that SQLite runs, and files that are looked at."""
    steps = [steps_for(tmp_path / str(files), files, how, monkeypatch) for files in (50, 200)]
    assert steps[1] < 4.5 * steps[0]


def steps_for(folder: Path, files: int, how: str, patch: pytest.MonkeyPatch) -> int:
    """The steps of a scan after all files of a folder but one were lost."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    (photos / "stays.jpg").write_text("stays")
    for number in range(files):
        (photos / f"{number}.jpg").write_text(str(number))
    with closing(Ledger(folder / "library")) as ledger:
        scan = Scan(photos, ledger)
        for name in scan.new():
            scan.finish(name)
        exclude: tuple[str, ...] = ()
        for number in range(files):
            path = photos / f"{number}.jpg"
            if how == "gone":
                path.unlink()
            elif how == "other spelling":
                path.rename(photos / f"{number}.JPG")
        if how == "left out":
            exclude = tuple(f"{number}.jpg" for number in range(files))
            patch.setattr(
                "ingest.scanning.walk.IgnoreRules.ignores",
                lambda _, path, **__: "stays" not in path,
            )
        counted = 0
        stat = os.stat

        def step(*_: object) -> None:
            nonlocal counted
            counted += 1

        def counting(*args: Any, **options: Any) -> os.stat_result:
            step()
            return stat(*args, **options)

        ledger._db.set_progress_handler(step, 100)  # each hundred instructions of SQLite
        with patch.context() as within:
            within.setattr(os, "stat", counting)
            scan.new(exclude=exclude)
        ledger._db.set_progress_handler(None, 0)
        taken_away = scan.tally.vanished + scan.tally.excluded + scan.tally.updated
        assert taken_away == files
    return counted


def test_a_file_of_unknown_content_that_went_away_is_no_photo_lost(scan: Scan) -> None:
    (scan.folder / "bad.jpg").write_text("bad")
    scan.new()
    assert scan.ledger.counts()["files_waiting"] == 0
    (scan.folder / "bad.jpg").unlink()
    scan.new()
    assert scan.tally.vanished == 0
