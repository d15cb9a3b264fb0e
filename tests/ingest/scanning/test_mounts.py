"""Disks that come and go within a folder: their photos are kept while they are away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.ingest_rig import Rig, write

from ingest.maintenance.removal import known_folder, missing_photos, only_below
from ingest.scanning.mounts import DeviceMap
from search.errors import UsageError


class Status:
    """What stat says, but for the device."""

    def __init__(self, status: os.stat_result, device: int) -> None:
        self._status, self.st_dev = status, device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._status, name)


class Disks:
    """Pretends that other devices begin at some folders."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.at: dict[Path, int] = {}
        self._stat = os.stat
        patch.setattr(os, "stat", self.stat)

    def stat(self, path: Any, **options: Any) -> Any:
        status = self._stat(path, **options)
        if isinstance(path, int):
            return status
        here = Path(os.fsdecode(path))
        around = [folder for folder in self.at if here.is_relative_to(folder)]
        if not around:
            return status
        return Status(status, self.at[max(around, key=lambda folder: len(folder.parts))])


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> Disks:
    return Disks(monkeypatch)


@pytest.fixture
def rig(tmp_path: Path, disks: Disks) -> Iterator[Rig]:
    """A photo in the folder, two on a disk that is mounted in it."""
    with closing(Rig(tmp_path)) as rig:
        for seed, name in enumerate(("a.png", "nas/b.png", "nas/s/c.png")):
            write(rig.photos / name, seed)
        disks.at = {rig.photos: 1, rig.photos / "nas": 2}
        rig.ingest()
        yield rig


ALL = ["photos/a.png", "photos/nas/b.png", "photos/nas/s/c.png"]


def unmount(rig: Rig, disks: Disks, folder: str = "nas", reminder: str | None = None) -> None:
    (rig.photos / folder).rename(rig.folder / "away")
    (rig.photos / folder).mkdir()
    del disks.at[rig.photos / folder]
    if reminder:
        (rig.photos / folder / reminder).write_text("not mounted")


@pytest.mark.parametrize("reminder", [None, "NOT-MOUNTED.txt", "not-mounted.png"])
def test_a_mount_point_without_its_disk_hides_nothing_and_is_named(
    rig: Rig, disks: Disks, reminder: str | None
) -> None:
    unmount(rig, disks, reminder=reminder)
    for _ in range(2):
        summary = rig.ingest()
        assert summary.photos_vanished == 0
        assert any(f"remove --root {rig.photos / 'nas'}" in n for n in summary.notices)
        assert rig.shown() == ALL
    assert rig.ingest(rig.photos / "nas").photos_vanished == 0
    with rig.ledger() as ledger:
        assert missing_photos(ledger).photo_ids == ()


def test_a_disk_with_a_new_device_number_is_recognized(rig: Rig, disks: Disks) -> None:
    unmount(rig, disks)
    rig.ingest()
    for name in ("NOT-MOUNTED.txt",):
        (rig.photos / "nas" / name).unlink(missing_ok=True)
    (rig.photos / "nas").rmdir()
    (rig.folder / "away").rename(rig.photos / "nas")
    disks.at = {rig.photos: 7, rig.photos / "nas": 1}  # as after a restart
    summary = rig.ingest()
    assert (summary.photos_unchanged, summary.photos_vanished, summary.notices) == (3, 0, ())
    (rig.photos / "nas/b.png").unlink()
    assert rig.ingest().photos_vanished == 1
    with rig.ledger() as ledger:
        assert ledger.devices(ledger.roots()[0]) == {b"": 7, b"nas": 1}


def test_another_disk_at_the_same_place_hides_nothing(rig: Rig, disks: Disks) -> None:
    unmount(rig, disks)
    disks.at[rig.photos / "nas"] = 3
    write(rig.photos / "nas/new.png", 9)
    summary = rig.ingest()
    assert (summary.photos_ingested, summary.photos_vanished) == (1, 0)
    assert rig.shown() == sorted([*ALL, "photos/nas/new.png"])


def test_mounting_a_disk_over_a_folder_hides_no_photo(rig: Rig, disks: Disks) -> None:
    write(rig.photos / "trip/d.png", 5)
    rig.ingest()
    (rig.photos / "trip").rename(rig.folder / "covered")
    (rig.photos / "trip").mkdir()
    disks.at[rig.photos / "trip"] = 4
    summary = rig.ingest()
    assert summary.photos_vanished == 0
    assert len(rig.shown()) == 4


def test_deleted_photos_of_a_mounted_disk_are_hidden(rig: Rig) -> None:
    (rig.photos / "nas/b.png").unlink()
    assert rig.ingest().photos_vanished == 1
    assert rig.shown() == [ALL[0], ALL[2]]


def test_a_disk_without_any_known_photo_counts_as_another_disk(rig: Rig) -> None:
    for name in ("nas/b.png", "nas/s/c.png"):
        (rig.photos / name).unlink()
    write(rig.photos / "nas/new.png", 9)  # numbers are given again, to cards and sticks
    summary = rig.ingest()
    assert (summary.photos_ingested, summary.photos_vanished) == (1, 0)
    assert any(f"remove --root {rig.photos / 'nas'}" in notice for notice in summary.notices)
    with rig.ledger() as ledger:
        assert missing_photos(ledger).photo_ids == ()


def test_photos_copied_to_the_former_mount_point_are_found(rig: Rig, disks: Disks) -> None:
    del disks.at[rig.photos / "nas"]
    assert rig.ingest().photos_vanished == 0
    (rig.photos / "nas/b.png").unlink()
    assert rig.ingest().photos_vanished == 1
    with rig.ledger() as ledger:
        assert ledger.devices(ledger.roots()[0]) == {b"": 1}


def test_a_mount_point_may_contain_a_placeholder_file(rig: Rig, disks: Disks) -> None:
    rig.photos.rename(rig.folder / "away")
    rig.photos.mkdir()
    disks.at = {}
    write(rig.photos / "nothing-is-mounted.png", 9)
    summary = rig.ingest()
    assert summary.photos_vanished == 0
    assert "is it not mounted?" in summary.notices[0]
    assert len(rig.shown()) == 4


def test_a_root_without_any_photo_left_hides_nothing(tmp_path: Path) -> None:
    with closing(Rig(tmp_path)) as rig:
        write(rig.photos / "s/a.png", 1)
        rig.ingest()
        (rig.photos / "s/a.png").unlink()
        (rig.photos / "README").touch()
        summary = rig.ingest()
        assert summary.photos_vanished == 0
        assert "empty of photos" in summary.notices[0]


def test_photos_of_an_emptied_folder_are_hidden_and_the_folder_is_reported(tmp_path: Path) -> None:
    with closing(Rig(tmp_path)) as rig:
        for seed, name in enumerate(("a.png", "trip/b.png", "trip/day/c.png", "other/d.png")):
            write(rig.photos / name, seed)
        rig.ingest()
        (rig.photos / "trip/b.png").unlink()
        (rig.photos / "trip/day/c.png").unlink()
        (rig.photos / "trip/day").rmdir()
        summary = rig.ingest()
        assert summary.photos_vanished == 2
        [notice] = summary.notices
        assert f"{rig.photos / 'trip'} held photos and is empty now" in notice
        assert rig.shown() == ["photos/a.png", "photos/other/d.png"]


def test_photos_with_an_unmounted_disk_or_a_restored_file_are_not_missing(
    rig: Rig, disks: Disks
) -> None:
    (rig.photos / "nas/b.png").rename(rig.folder / "b.png")
    write(rig.photos / "gone.png", 8)
    rig.ingest()
    (rig.photos / "gone.png").unlink()
    assert rig.ingest().photos_vanished == 1
    with rig.ledger() as ledger:
        assert len(missing_photos(ledger).photo_ids) == 2
        (rig.folder / "b.png").rename(rig.photos / "nas/b.png")  # not ingested yet
        missing = missing_photos(ledger)
        assert (len(missing.photo_ids), len(missing.kept)) == (1, 1)
        (rig.photos / "nas/b.png").unlink()
        unmount(rig, disks)
        missing = missing_photos(ledger)
        assert (len(missing.photo_ids), len(missing.kept)) == (1, 1)


def test_a_folder_in_a_root_can_be_forgotten(rig: Rig, disks: Disks) -> None:
    unmount(rig, disks)
    rig.ingest()
    with rig.ledger() as ledger:
        assert len(only_below(rig.photos / "nas", ledger)) == 2
        assert len(ledger.forget_below(*known_folder(rig.photos / "nas", ledger))) == 2
        with pytest.raises(UsageError, match="no photos were ingested from"):
            known_folder(rig.photos / "nas", ledger)
        assert [root.path for root in ledger.roots()] == [rig.photos]
        assert ledger.devices(ledger.roots()[0]) == {b"": 1}
    assert rig.ingest().notices == ()


def test_a_device_map_has_mount_points_only() -> None:
    seen = DeviceMap()
    for below, device in ((b"", 1), (b"a", 1), (b"a/b", 2), (b"a/b/c", 2), (b"d", 1), (b"e/f", 1)):
        seen.note(below, device)
    assert seen.begins == {b"": 1, b"a/b": 2}
