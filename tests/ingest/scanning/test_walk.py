"""Which files of a folder are taken for photos, and in which order."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from ingest.imaging.decode import path_text, shown_path
from ingest.scanning.links import Links
from ingest.scanning.walk import EntryKind, iter_entries, iter_photo_files


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def walked(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in iter_photo_files(root)]


def of_kind(kind: EntryKind, root: Path, exclude: tuple[str, ...] = ()) -> list[Path]:
    return [entry.path for entry in iter_entries(root, exclude=exclude) if entry.kind == kind]


def test_photos_are_found_by_extension_sorted_at_each_level(tmp_path: Path) -> None:
    touch(tmp_path, "c.JPG", "b/z.heic", "b/a.Tiff", "a.webp", "b.txt", "d.jpg.part", "e.avif")
    assert walked(tmp_path) == ["a.webp", "b/a.Tiff", "b/z.heic", "c.JPG", "e.avif"]


def test_hidden_files_and_hidden_folders_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", ".b.jpg", ".trash/c.jpg")
    assert walked(tmp_path) == ["a.jpg"]


def test_a_library_folder_hides_none_of_the_photos_around_or_in_it(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "segsearch.json", "index/segment.dat", "pictures/ab/cd.val")
    touch(tmp_path, "other/segsearch.json", "other/b.jpg")
    assert walked(tmp_path) == ["a.jpg", "other/b.jpg"]


def test_a_hidden_folder_that_is_named_is_walked(tmp_path: Path) -> None:
    touch(tmp_path, ".photos/a.jpg")
    assert walked(tmp_path / ".photos") == ["a.jpg"]


def test_a_file_that_is_named_is_taken_whatever_its_extension(tmp_path: Path) -> None:
    touch(tmp_path, "photo.backup")
    assert list(iter_photo_files(tmp_path / "photo.backup")) == [tmp_path / "photo.backup"]


def test_links_are_followed_once_and_real_paths_win(tmp_path: Path) -> None:
    touch(tmp_path, "in/real/a.jpg", "elsewhere/b.jpg")
    root = tmp_path / "in"
    (root / "a-link").symlink_to(root / "real")
    (root / "loop").symlink_to(root)
    (root / "real/up").symlink_to(root)
    (root / "itself.jpg").symlink_to(root / "itself.jpg")
    (root / "other").symlink_to(tmp_path / "elsewhere")
    (root / "file.jpg").symlink_to(tmp_path / "elsewhere/b.jpg")
    found = iter_photo_files(root, links=Links(everywhere=True))
    assert [str(path.relative_to(root)) for path in found] == [
        "file.jpg",
        "itself.jpg",
        "real/a.jpg",
        "other/b.jpg",
    ]
    assert walked(root) == ["itself.jpg", "real/a.jpg"]
    assert of_kind("outside", root) == of_kind("ignored", root)
    assert of_kind("outside", root) == [root / "file.jpg", root / "other"]
    roots = Links((root, tmp_path / "elsewhere"))
    found = iter_photo_files(root, links=roots)
    assert (root / "other/b.jpg") in set(found)  # below a root, though another one


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere paths end at 1,024 bytes or less")
def test_folders_may_nest_deeper_than_the_interpreter_recurses(tmp_path: Path) -> None:
    depths = range(1, sys.getrecursionlimit() + 100)
    folders = [tmp_path / "/".join("d" * depth) for depth in depths]
    for folder in folders:
        folder.mkdir()
    photo = folders[-1] / "a.jpg"
    photo.touch()
    assert list(iter_photo_files(tmp_path)) == [photo]
    photo.unlink()
    for folder in reversed(folders):  # pytest's own cleaning recurses
        folder.rmdir()


def test_what_cannot_be_read_is_reported_and_the_walk_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.jpg", "locked/b.jpg", "z.jpg")
    scandir = os.scandir

    def denied(path: Path) -> Any:  # as root, chmod would not lock anything
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    entries = list(iter_entries(tmp_path))
    assert [entry.path.name for entry in entries if entry.kind == "photo"] == ["a.jpg", "z.jpg"]
    [unreadable] = [entry for entry in entries if entry.kind == "unreadable"]
    assert unreadable.path == tmp_path / "locked"
    assert unreadable.reason == f"{unreadable.path} can't be read: permission denied."


def test_a_folder_that_is_not_there_is_reported(tmp_path: Path) -> None:
    [entry] = iter_entries(tmp_path / "no")
    assert entry.kind == "unreadable"
    assert "no such file" in entry.reason


def test_control_characters_in_a_name_do_not_reach_the_terminal() -> None:
    assert shown_path(Path("a\x1b[2J\nb.jpg")) == r"a\x1b[2J\nb.jpg"
    assert shown_path(Path("été/日本.jpg")) == "été/日本.jpg"


UNUSUAL = ("Screenshot at 3.45.12\u202fPM.png", "v\u00a013.png", "\u3000.png", "a\u200db\u00ad.png")


@pytest.mark.parametrize(
    "name", [*UNUSUAL, "a\x1b[2J\nb.jpg", r"caf\xe9.jpg", "100%.jpg", "été.jpg"]
)
def test_programs_are_told_the_name_itself(tmp_path: Path, name: str) -> None:
    assert path_text(tmp_path / name) == f"{tmp_path}/{name}"
    assert json.loads(json.dumps(path_text(tmp_path / name))) == f"{tmp_path}/{name}"


@pytest.mark.skipif(sys.platform != "linux", reason="only here file names are any bytes")
def test_a_name_that_is_no_text_is_spelled_as_a_url_that_leads_back_to_it(tmp_path: Path) -> None:
    names = [b"caf\xe9.jpg", b"caf\xe8.jpg", b"caf%E9.jpg", rb"caf\xe9.jpg", b"\xff\\100%.jpg"]
    texts = []
    for name in names:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.touch()
        texts.append(path_text(path))
        assert texts[-1].encode()  # it is text
        is_url = texts[-1].startswith("file:///")
        read = unquote_to_bytes(urlsplit(texts[-1]).path) if is_url else os.fsencode(texts[-1])
        assert read == os.fsencode(path)
    assert texts[0].endswith("/caf%E9.jpg")
    assert len(set(texts)) == len(names)


def test_an_ignore_file_leaves_out_what_git_would_leave_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "raw/b.jpg", "2024/raw/c.jpg", "2024/d.png", "2024/e.jpg", "top.png")
    touch(tmp_path, "2024/f.png", "shared/raw/g.jpg")
    (tmp_path / ".segsearchignore").write_text("# comment\nraw/\n*.png\n!/top.png\n")
    (tmp_path / "2024/.segsearchignore").write_text("!d.png\n")  # the inner one goes first
    assert walked(tmp_path) == ["2024/d.png", "2024/e.jpg", "a.jpg", "top.png"]


def test_patterns_that_are_given_count_from_the_folder_and_files_may_take_back(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "a.jpg", "s/a.jpg", "s/b.jpg", "t/b.jpg")
    (tmp_path / "t/.segsearchignore").write_text("!b.jpg\n")
    exclude = ("/a.jpg", "b.*")
    found = iter_photo_files(tmp_path, exclude=exclude)
    assert [str(path.relative_to(tmp_path)) for path in found] == ["s/a.jpg", "t/b.jpg"]
    left_out = of_kind("ignored", tmp_path, exclude)
    assert left_out == [tmp_path / "a.jpg", tmp_path / "s/b.jpg"]


def test_a_link_to_a_folder_is_left_out_by_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "elsewhere/b.jpg")
    (tmp_path / "in/away").symlink_to(tmp_path / "elsewhere")
    everywhere = Links(everywhere=True)
    assert len(list(iter_photo_files(tmp_path / "in", links=everywhere))) == 2
    (tmp_path / "in/.segsearchignore").write_text("away/\n")
    found = iter_photo_files(tmp_path / "in", links=everywhere)
    assert list(found) == [tmp_path / "in/a.jpg"]


def test_patterns_match_names_that_are_not_utf_8(tmp_path: Path) -> None:
    for name in (b"caf\xe9.jpg", b"caf\xe8.jpg"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    (tmp_path / ".segsearchignore").write_bytes(b"caf\xe9.jpg\n")
    assert [os.fsencode(name) for name in walked(tmp_path)] == [b"caf\xe8.jpg"]
