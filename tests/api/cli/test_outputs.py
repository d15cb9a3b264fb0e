"""Files that commands write: never over a photo, over others only by force, whole or not at all."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.commands import Commands
from support.fakes import add_photos, make_library
from support.servers.api_samples import SAMPLE

from api.services.outputs import (
    check_output_folder,
    check_outputs,
    draft_folder,
    write_output,
    write_outputs,
)
from search.errors import UsageError


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The folder of a library with one photo, photos/flat.png."""
    with make_library(tmp_path / "library") as library:
        add_photos(library, tmp_path / "photos", {"flat.png": SAMPLE["flat.png"]})
    return tmp_path / "library"


@contextmanager
def full_disk(free_bytes: int) -> Iterator[None]:
    """Let no file grow beyond some bytes, as a disk that has no more room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusal(path: Path, library: Path, *inputs: Path) -> str:
    """What is said of an output that not even --force allows."""
    with pytest.raises(UsageError) as refused:
        check_outputs([path], library=library, inputs=inputs, force=True)
    return str(refused.value)


def test_an_input_is_never_the_output_under_any_name(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"photo")
    (tmp_path / "link.png").symlink_to(photo)
    (tmp_path / "hard.png").hardlink_to(photo)
    (tmp_path / "sub").mkdir()
    for output in ("photo.png", "link.png", "hard.png", "sub/../photo.png"):
        assert "is an input" in refusal(tmp_path / output, tmp_path / "no-library", photo)


def test_nothing_is_written_among_the_photos_of_a_library(library: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (tmp_path / "alias").symlink_to(photos)
    (tmp_path / "link.png").symlink_to(photos / "flat.png")
    (tmp_path / "new.png").symlink_to(photos / "new.png")
    for output in (
        photos / "flat.png",
        photos / "new.png",
        tmp_path / "alias" / "flat.png",
        tmp_path / "link.png",
        tmp_path / "new.png",  # leads to a file that is not there yet
    ):
        assert "a folder of the library's photos" in refusal(output, library)
    (tmp_path / "hard.png").hardlink_to(photos / "flat.png")
    assert "another name of a photo" in refusal(tmp_path / "hard.png", library)
    with pytest.raises(UsageError, match="library's photos"):
        check_output_folder(photos / "crops", library=library, force=True)


def test_nothing_is_written_into_the_library_folder(library: Path) -> None:
    with pytest.raises(UsageError, match="library's own folder"):
        check_outputs([library / "manifest.json"], (".json",), library=library, force=True)
    with pytest.raises(UsageError, match="library's own folder"):
        check_output_folder(library, library=library, force=True)


def test_an_existing_file_is_only_replaced_with_force(tmp_path: Path) -> None:
    there, dangling = tmp_path / "there.png", tmp_path / "dangling.png"
    there.touch()
    dangling.symlink_to(tmp_path / "elsewhere.png")
    for path in (there, dangling):
        with pytest.raises(UsageError, match=rf"{path} exists already.*--force"):
            check_outputs([path], library=tmp_path / "none")
        check_outputs([path], library=tmp_path / "none", force=True)


def test_two_outputs_never_share_a_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    same = [tmp_path / "out.png", tmp_path / "sub" / ".." / "out.png"]
    with pytest.raises(UsageError, match="named for two outputs"):
        check_outputs(same, library=tmp_path / "none", force=True)


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a regular file" in refusal(tmp_path / "pipe.png", tmp_path / "none")
    (tmp_path / "folder.png").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.png", tmp_path / "none")


def test_a_full_disk_keeps_the_old_file_and_names_it(tmp_path: Path) -> None:
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    small.write_bytes(b"before")
    with full_disk(1000), pytest.raises(OSError, match="can't be written: File too large") as error:
        write_outputs([(small, b"after"), (large, bytes(5000))])
    assert error.value.filename == str(large)
    assert small.read_bytes() == b"before"
    with full_disk(1000), pytest.raises(OSError, match="can't be written") as error:
        write_output(small, [bytes(500)] * 5)
    assert error.value.filename == str(small)
    assert names(tmp_path) == ["small.png"]
    write_outputs([(small, b"after"), (large, bytes(5000))])
    assert (small.read_bytes(), large.stat().st_size) == (b"after", 5000)


def test_an_interrupted_output_leaves_nothing(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_output(tmp_path / "out.json", pieces())
    assert not names(tmp_path)


def test_the_target_of_a_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "file.png")
    write_output(tmp_path / "link.png", [b"new"])
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "file.png").read_bytes() == b"new"


def fill(folder: Path, contents: dict[str, bytes]) -> None:
    with draft_folder(folder) as draft:
        for name, content in contents.items():
            (draft / name).write_bytes(content)


def test_an_output_folder_appears_when_complete(tmp_path: Path) -> None:
    with draft_folder(tmp_path / "crops") as draft:
        (draft / "a.png").write_bytes(b"a")
        assert not (tmp_path / "crops").exists()
    assert names(tmp_path / "crops") == ["a.png"]
    with full_disk(1000), pytest.raises(OSError, match="can't be written") as error:
        fill(tmp_path / "more", {"a.png": b"a", "b.png": bytes(5000)})
    assert error.value.filename == str(tmp_path / "more")
    assert names(tmp_path) == ["crops"]


def test_a_nonempty_folder_is_only_added_to_with_force(tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    folder.mkdir()
    check_output_folder(folder, library=tmp_path / "none")  # it is empty
    (folder / "mine.txt").write_text("mine")
    (folder / "a.png").write_bytes(b"old")
    with pytest.raises(UsageError, match=r"is not empty.*--force"):
        check_output_folder(folder, library=tmp_path / "none")
    check_output_folder(folder, library=tmp_path / "none", force=True)
    with draft_folder(folder) as draft:
        (draft / "a.png").write_bytes(b"new")
        assert (folder / "a.png").read_bytes() == b"old"
    assert names(folder) == ["a.png", "mine.txt"]
    assert (folder / "a.png").read_bytes() == b"new"


# the commands


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from PIL import Image

    path = tmp_path / "in.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(path)
    return path


def test_every_command_that_writes_a_file_needs_force_to_replace(
    run: Commands, library: Path, picture: Path, tmp_path: Path
) -> None:
    for name in ("out.png", "out.json"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "mine.txt").touch()
    where = ("--library", library)
    segment = ("segment", picture, "--point", "9,9")
    for command in (
        (*segment, "--overlay", "out.png"),
        (*segment, "--cutout", "out.png"),
        ("search", "red", "--sheet", "out.png"),
        ("export", "out.json"),
        ("export", "crops", "--format", "crops"),
    ):
        assert "--force" in run.refused(*command, *where)
    assert (tmp_path / "out.png").read_text() == "mine"
    assert names(tmp_path / "crops") == ["mine.txt"]


def test_every_command_refuses_inputs_and_library_photos_as_outputs(
    run: Commands, library: Path, picture: Path, tmp_path: Path
) -> None:
    before = picture.read_bytes()
    where = ("--force", "--library", library)
    segment = ("segment", picture, "--point", "9,9")
    for flag in ("--overlay", "--cutout"):
        assert "is an input" in run.refused(*segment, flag, picture, *where)
        photo = tmp_path / "photos" / "flat.png"
        assert "library's photos" in run.refused(*segment, flag, photo, *where)
    mask = ("segment", "other.png", "--mask", picture, "--overlay", picture)
    assert "is an input" in run.refused(*mask, *where)
    for flag in ("--image", "--not-image"):
        searched = ("search", "red", flag, picture, "--sheet", picture)
        assert "is an input" in run.refused(*searched, *where)
        weighed = ("search", "red", flag, f"{picture}*0.5", "--sheet", picture)
        assert "is an input" in run.refused(*weighed, *where)
    assert "own folder" in run.refused("export", library / "manifest.json", *where)
    assert "two outputs" in run.refused(
        *segment, "--overlay", "same.png", "--cutout", "same.png", *where
    )
    assert picture.read_bytes() == before


def test_force_without_an_output_is_refused(run: Commands, picture: Path) -> None:
    assert "--overlay and --cutout" in run.refused("segment", picture, "--force")
    assert "--sheet" in run.refused("search", "red", "--force")


def test_a_demo_refuses_a_folder_with_other_files(run: Commands, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    assert "holds no demo" in run.refused("demo", "mine")
    assert names(tmp_path / "mine") == ["file"]
