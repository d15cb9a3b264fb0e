"""Folders of systems and programs are left out, unless somebody names them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.ingest_rig import Rig, write

from ingest.scanning.debounce import scan_targets
from ingest.scanning.system_folders import is_in_system_folder

KEPT_BY_SYSTEMS = [
    "@eaDir/IMG_1.jpg",
    "#recycle",
    "@Recycle",
    "@Recently-Snapshot/GMT+01",
    "$RECYCLE.BIN/S-1",
    "$Recycle.Bin",
    "#snapshot/daily",
    "#SNAPSHOT",
    "lost+found",
    "System Volume Information",
    "Photos Library.photoslibrary/originals/1",
    "Alt.PhotosLibrary/resources",
    "Katalog Previews.lrdata/A",
    "__MACOSX",
]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with closing(Rig(tmp_path)) as rig:
        write(rig.photos / "a.png", 0)
        yield rig


def test_pictures_in_them_are_not_looked_at(rig: Rig) -> None:
    for seed, folder in enumerate(KEPT_BY_SYSTEMS, start=1):
        write(rig.photos / "trip" / folder / "x.png", seed)
    write(rig.photos / "recycle/b.png", 90)
    write(rig.photos / "lrdata/c.png", 91)
    assert rig.ingest().photos_seen == 3
    assert rig.shown() == ["photos/a.png", "photos/lrdata/c.png", "photos/recycle/b.png"]


@pytest.mark.parametrize("folder", ["@eaDir", "old/Photos.photoslibrary/originals", "quiet/deep"])
def test_one_that_is_named_is_taken_and_followed_from_then_on(rig: Rig, folder: str) -> None:
    write(rig.photos / folder / "b.png", 1)
    (rig.photos / "quiet").mkdir(exist_ok=True)
    (rig.photos / "quiet/.nomedia").touch()
    rig.ingest()
    assert rig.shown() == ["photos/a.png"]
    assert rig.ingest(rig.photos / folder).photos_ingested == 1
    both = ["photos/a.png", f"photos/{folder}/b.png"]
    for _ in range(2):
        assert rig.ingest().photos_excluded == 0
        assert rig.shown() == sorted(both)
    write(rig.photos / folder / "c.png", 2)
    assert rig.ingest().photos_ingested == 1


def test_a_folder_with_nomedia_is_left_out_as_long_as_it_has_it(rig: Rig) -> None:
    write(rig.photos / "s/b.png", 1)
    write(rig.photos / "s/t/c.png", 2)
    rig.ingest()
    (rig.photos / "s/.nomedia").touch()
    summary = rig.ingest()
    assert (summary.photos_excluded, summary.photos_vanished) == (2, 0)
    assert rig.shown() == ["photos/a.png"]
    (rig.photos / "s/.nomedia").unlink()
    assert rig.ingest().photos_updated == 2
    assert (rig.segmenter.photos_segmented, len(rig.shown())) == (0, 3)


def test_a_root_with_nomedia_is_taken_since_it_was_named(rig: Rig) -> None:
    (rig.photos / ".nomedia").touch()
    assert rig.ingest().photos_ingested == 1


def test_a_root_below_such_a_folder_is_a_root_like_others(tmp_path: Path) -> None:
    root = tmp_path / "#recycle" / "photos"
    assert not is_in_system_folder(root, root)
    assert not is_in_system_folder(root / "trip", root)
    assert is_in_system_folder(root / "@eaDir/x", root)


def test_a_watch_looks_at_none_of_them(rig: Rig) -> None:
    write(rig.photos / "@eaDir/b.png", 1)
    (rig.photos / "s").mkdir()
    rig.ingest()
    with rig.ledger() as ledger:
        assert not scan_targets([rig.photos / "@eaDir", rig.photos / "@eaDir/b.png"], ledger)
        found = scan_targets([rig.photos / "s/.nomedia"], ledger)
        assert found.deep == [rig.photos]


def test_links_lead_to_places_in_roots_and_elsewhere_only_if_asked(rig: Rig) -> None:
    write(rig.folder / "elsewhere/b.png", 1)
    (rig.photos / "link").symlink_to(rig.folder / "elsewhere")
    summary = rig.ingest()
    assert summary.photos_seen == 1
    assert "1 links lead out of the folders" in summary.notices[0]
    assert "--follow-links" in summary.notices[0]
    assert rig.ingest(follow_links=True).photos_ingested == 1
    assert rig.ingest().photos_excluded == 1
    rig.ingest(rig.folder / "elsewhere")  # a root by now
    summary = rig.ingest()
    assert (summary.notices, summary.photos_updated) == ((), 1)


def test_pictures_in_other_formats_are_counted(rig: Rig) -> None:
    for name in ("a.psd", "b.PSD", "s/c.jxl", "notes.txt", "@eaDir/d.psd"):
        (rig.photos / name).parent.mkdir(exist_ok=True)
        (rig.photos / name).touch()
    for _ in range(2):
        rig.ingest()
        with rig.ledger() as ledger:
            assert ledger.unread() == [b"a.psd", b"b.PSD", b"s/c.jxl"]
            assert ledger.counts()["files_unread"] == 3
    (rig.photos / "a.psd").unlink()
    (rig.photos / "b.PSD").rename(rig.photos / "b.png.bak")
    assert rig.ingest().photos_vanished == 0
    with rig.ledger() as ledger:
        assert ledger.unread() == [b"s/c.jxl"]
