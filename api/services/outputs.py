"""Files that a person asked a command to write: looked at before the work begins, then written.

Every output is written beside its place and renamed when it is complete, so that a full disk leaves
what was there before. A photo is never replaced, nor anything else without `--force`.
"""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from api.library.permissions import mode_of_output
from search.errors import UsageError


def check_outputs(
    paths: Sequence[Path],
    suffixes: Sequence[str] = (".png",),
    *,
    library: Path,
    inputs: Sequence[Path] = (),
    force: bool = False,
) -> None:
    """Refuse paths that can't or must not be written, before minutes of work are spent on them.

    Args:
        paths: of the files to be written.
        suffixes: one of these has to end each path.
        library: a library folder, if there is one: it and its photos are left alone.
        inputs: what is read.
        force: files that are there may be replaced.

    Raises:
        UsageError: a path can't be written, is named twice, is an input, lies in the library or
            among its photos, or is there already.
        LibraryError: the library can't say where its photos are.
    """
    for path in paths:
        _check_place(path, suffixes)
    for number, path in enumerate(paths):
        if any(_is_same(path, other) for other in paths[:number]):
            raise UsageError(f"{path} is named for two outputs: give each a name of its own")
    _check_unprotected(paths, library, inputs)
    for path in paths:
        if os.path.lexists(path) and not force:
            raise UsageError(f"{path} exists already: name another file, or replace it by --force")


def check_output_folder(folder: Path, *, library: Path, force: bool = False) -> None:
    """Refuse a folder that must not be filled with files.

    Raises:
        UsageError: it can't be written, lies in the library or among its photos, or holds
            something already.
        LibraryError: the library can't say where its photos are.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name one, there or not yet")
    _check_writable(folder)
    _check_unprotected([folder], library, ())
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise UsageError(
            f"the folder {folder} is not empty: name another one, or add to it by --force"
        )


def _check_place(path: Path, suffixes: Sequence[str]) -> None:
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{path}: name it *{' or *'.join(suffixes)}, which is what is written")
    if path.is_dir():
        raise UsageError(f"{path} is a folder")
    if os.path.lexists(path) and path.exists() and not path.is_file():
        raise UsageError(f"{path} is no regular file")
    _check_writable(path)


def _check_writable(path: Path) -> None:
    """Refuse a path whose folder is missing, or where permission is."""
    target = _target(path)
    if not target.parent.is_dir():
        raise UsageError(f"{path} can't be written: no folder {path.parent}")
    for place in (target.parent, target):
        if place.exists() and not os.access(place, os.W_OK):
            raise UsageError(f"{path} can't be written: permission denied")


def _check_unprotected(paths: Sequence[Path], library: Path, inputs: Sequence[Path]) -> None:
    """Refuse what is read, what lies in the library folder, and what lies among its photos."""
    from ingest.catalog.connection import LEDGER_NAME
    from search.manifest import load_manifest

    for path in paths:
        if any(_is_same(path, each) for each in inputs):
            raise UsageError(f"{path} is what is read: name another file to be written")
    folder = library.expanduser().absolute()
    manifest = load_manifest(folder)
    if manifest is None and not (folder / LEDGER_NAME).exists():
        return
    for path in paths:
        if _is_below(path, folder):
            raise UsageError(f"{path} lies in the library's own folder: name a place elsewhere")
    _check_no_photos(paths, folder)


def _check_no_photos(paths: Sequence[Path], library: Path) -> None:
    """Refuse what lies below a root of a library, or is a file of it by another name."""
    from api.library.checks import open_ledger_of
    from ingest.catalog.ledger import Ledger
    from search.manifest import load_manifest

    manifest = load_manifest(library)
    opened = open_ledger_of(manifest, library, lambda _: None) if manifest else Ledger(library)
    with closing(opened) as ledger:
        roots = [root.path for root in ledger.roots()]
        for path in paths:
            root = next((root for root in roots if _is_below(path, root)), None)
            if root is not None:
                raise UsageError(
                    f"{path} lies in {root}, a folder of the library's photos, where nothing is "
                    "ever written: name a place elsewhere"
                )
            if any(_is_same(path, photo) for photo in ledger.linked_files(path)):
                raise UsageError(
                    f"{path} is a photo of the library by another name, which is never replaced: "
                    "name another file"
                )


def _target(path: Path) -> Path:
    """Return where a path leads, through links, there or not yet."""
    return Path(os.path.realpath(path))


def _is_same(one: Path, other: Path) -> bool:
    """Say whether two paths name one file: spelled otherwise, or by links."""
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there yet
        return _target(one) == _target(other)


def _is_below(path: Path, folder: Path) -> bool:
    """Say whether a path is a folder or lies below it, however both are spelled."""
    target = _target(path)
    return any(_is_same(around, folder) for around in (target, *target.parents))


def write_outputs(contents: Iterable[tuple[Path, bytes]]) -> None:
    """Write files, all of them or none.

    Raises:
        OSError: one can't be written, by its name.
    """
    with ExitStack() as drafts:
        for path, content in contents:
            with drafts.enter_context(_placing(path)).open("xb") as file:
                _write_through(file, [content])


def write_output(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file from pieces, all of it or nothing.

    Raises:
        OSError: it can't be written, by its name.
    """
    with _placing(path) as draft, draft.open("xb") as file:
        _write_through(file, pieces)


def _write_through(file: BinaryIO, pieces: Iterable[bytes]) -> None:
    """Write pieces to the disk itself: a full one may say so late."""
    file.writelines(pieces)
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _placing(path: Path) -> Iterator[Path]:
    """Hand out the path of a draft, which takes its place when the block ends without an error."""
    target = _target(path)
    draft = _draft_in(target.parent)
    try:
        with _blaming(path, draft):
            yield draft
            draft.chmod(_mode_for(target))
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _mode_for(target: Path) -> int:
    """Return the mode of a file that is there, else the one that the user's umask gives."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except OSError:
        return mode_of_output()


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Hand out an empty folder, whose files are put in place when the block ends without an error.

    A folder that is there keeps what it holds besides.

    Raises:
        OSError: it can't be written, by its name.
    """
    target = _target(folder)
    is_there = target.is_dir()
    draft = _draft_in(target if is_there else target.parent)
    try:
        with _blaming(folder, draft):
            draft.mkdir()
            yield draft
            if is_there:
                for path in sorted(draft.iterdir()):
                    path.replace(target / path.name)
            else:
                draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _draft_in(folder: Path) -> Path:
    return folder / f".segsearch-{uuid.uuid4().hex[:12]}.part"


@contextmanager
def _blaming(path: Path, draft: Path) -> Iterator[None]:
    """Name the file that was asked for, where the system names its draft or nothing."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(draft)):
            raise
        reason = f"it can't be written: {error.strerror or error}"
        raise OSError(error.errno, reason, str(path)) from error


def numbered(path: Path, count: int) -> list[Path]:
    """Return a path for each of `count` files: out.png alone, else out-000.png, out-001.png, ..."""
    if count == 1:
        return [path]
    return [path.with_stem(f"{path.stem}-{number:03d}") for number in range(count)]
