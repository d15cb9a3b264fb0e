"""Ignore files as editors and systems write them: what is meant to stay private stays so."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

import pytest

from ingest.scanning.ignore import comparable, patterns_from_lines
from ingest.scanning.ignore_file import MAX_BYTES
from ingest.scanning.walk import iter_entries


def left_out_by(*lines: str, path: str, is_folder: bool = False) -> bool:
    said = False
    for pattern in patterns_from_lines(lines):
        if pattern.matches(comparable(path).split("/"), is_folder=is_folder):
            said = pattern.excludes
    return said


@pytest.mark.parametrize(
    ("line", "path", "matches"),
    [
        ("*.png", "a/b/c.png", True),
        ("/top.png", "top.png", True),
        ("/top.png", "a/top.png", False),
        ("a/*.png", "a/b.png", True),
        ("a/*.png", "a/b/c.png", False),
        ("a/**/c.png", "a/c.png", True),
        ("a/**/c.png", "a/b/b/c.png", True),
        ("**/c.png", "c.png", True),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("IMG_?.jpg", "IMG_1.jpg", True),
        ("IMG_[0-9].jpg", "IMG_x.jpg", False),
        ("IMG_[!0-9].jpg", "IMG_x.jpg", True),
        ("[]-a]b", "]b", True),
        (r"\#odd", "#odd", True),
        (r"what\*", "what*", True),
        (r"what\*", "whatever", False),
        ("a[b", "a[b", True),
        ("spaces  ", "spaces", True),
        (r"space\ ", "space ", True),
        ("#comment", "#comment", False),
        ("*a*b", "xaxbxb", True),
        ("a**b", "axxb", True),
    ],
)
def test_patterns_mean_what_they_mean_to_git(line: str, path: str, matches: bool) -> None:
    assert left_out_by(line, path=path) is matches


def test_the_last_pattern_that_matches_decides_and_folders_are_told_from_files() -> None:
    assert not left_out_by("*.png", "!keep.png", path="keep.png")
    assert left_out_by("!keep.png", "*.png", path="keep.png")
    assert left_out_by("raw/", path="raw", is_folder=True)
    assert not left_out_by("raw/", path="raw")


@pytest.mark.parametrize("line", ["!", "a\\", "[z-a]"])
def test_a_line_that_is_no_pattern_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        patterns_from_lines([line])


def test_many_stars_take_no_longer_than_few() -> None:
    """Each takes milliseconds; an expression that goes back takes longer than anyone waits."""
    assert not left_out_by("*a" * 100 + "b", path="a" * 255)
    assert left_out_by("*a" * 100, path="a" * 255)
    assert not left_out_by("**/a/" * 50 + "b", path="/".join("a" * 1000))


def taken(root: Path, told: list[str] | None = None) -> list[str]:
    entries = list(iter_entries(root))
    if told is not None:
        told += [entry.reason for entry in entries if entry.kind == "unreadable"]
    return [str(entry.path.relative_to(root)) for entry in entries if entry.kind == "photo"]


def private(root: Path, folder: str = "private") -> Path:
    (root / folder).mkdir(parents=True)
    (root / folder / "a.jpg").touch()
    (root / "b.jpg").touch()
    return root / ".segsearchignore"


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfprivate/\r\n",
        b"private/\r\n*.xyz\r\n",
        b"# old Mac\rprivate/\r",
        "private/\n".encode("utf-16"),
        b"\xfe\xff" + "private/\r\n".encode("utf-16-be"),
        "private/\n".encode("utf-32"),
    ],
    ids=["utf-8 with a mark", "crlf", "cr", "utf-16", "utf-16-be", "utf-32"],
)
def test_an_ignore_file_is_read_in_whatever_encoding_it_says(
    tmp_path: Path, content: bytes
) -> None:
    private(tmp_path).write_bytes(content)
    assert taken(tmp_path) == ["b.jpg"]


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("named", ["NFC", "NFD"])
def test_names_match_in_either_normal_form(tmp_path: Path, written: str, named: str) -> None:
    name = "privé für mich"
    ignore = private(tmp_path, unicodedata.normalize(named, name))  # type: ignore[arg-type]
    ignore.write_text(unicodedata.normalize(written, name) + "/\n")  # type: ignore[arg-type]
    assert taken(tmp_path) == ["b.jpg"]


def test_a_file_in_the_encoding_of_windows_leaves_out_what_it_names(tmp_path: Path) -> None:
    private(tmp_path, "privé").write_bytes("privé/\r\n".encode("cp1252"))
    assert taken(tmp_path) == ["b.jpg"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("private/\n".encode("utf-16-le"), "save it as UTF-8"),  # without a mark
        (b"\xff\xfep", "save it as UTF-8"),
        (b"private/\n" + b"# " * MAX_BYTES, "has more than 64 kB"),
        (b"[z-a]\n", "no pattern"),
    ],
)
def test_a_file_that_cannot_be_understood_keeps_its_folder_out(
    tmp_path: Path, content: bytes, said: str
) -> None:
    private(tmp_path / "in").write_bytes(content)
    (tmp_path / "c.jpg").touch()
    told: list[str] = []
    assert taken(tmp_path, told) == ["c.jpg"]
    [reason] = told
    assert "in is left out: .segsearchignore" in reason
    assert said in reason


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes and devices with names")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link to nowhere", "link to itself"])
def test_what_is_no_file_keeps_its_folder_out_and_ends_no_run(tmp_path: Path, kind: str) -> None:
    ignore = private(tmp_path / "in")
    (tmp_path / "c.jpg").touch()
    match kind:
        case "pipe":
            os.mkfifo(ignore)
        case "device":
            ignore.symlink_to("/dev/zero")
        case "folder":
            ignore.mkdir()
        case "link to nowhere":
            ignore.symlink_to(tmp_path / "nowhere")
        case _:
            ignore.symlink_to(ignore)
    told: list[str] = []
    assert taken(tmp_path, told) == ["c.jpg"]
    assert len(told) == 1


def test_a_file_that_may_not_be_read_keeps_its_folder_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private(tmp_path / "in").write_text("private/\n")
    opened = Path.open

    def denied(path: Path, *args: object, **kwargs: object) -> object:
        if path.name == ".segsearchignore":  # as root, chmod would not lock anything
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", denied)
    told: list[str] = []
    assert taken(tmp_path, told) == []
    assert "can't be read (permission denied)" in told[0]


def test_a_link_to_an_ignore_file_counts(tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("private/\n")
    private(tmp_path).symlink_to(tmp_path / "shared")
    assert taken(tmp_path) == ["b.jpg"]
