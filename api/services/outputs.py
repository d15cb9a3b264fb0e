"""Output files of commands: checked before the work starts, then written atomically.

Every output is written to a draft next to its target and renamed when complete, so that a full
disk leaves the old file. Photos are never replaced, other files only with `--force`.
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
    """Refuse output paths that can't or must not be written.

    Args:
        paths: the output files.
        suffixes: the allowed suffixes.
        library: the library folder, if it exists: it and its photos are protected.
        inputs: files that the command reads.
        force: existing files may be replaced.

    Raises:
        UsageError: a path can't be written, is named twice, is an input, is in the library or
            among its photos, or exists already.
        LibraryError: the ledger can't be read.
    """
    for path in paths:
        _check_place(path, suffixes)
    for number, path in enumerate(paths):
        if any(_is_same(path, other) for other in paths[:number]):
            raise UsageError(f"{path} is named for two outputs: give each its own name")
    _check_unprotected(paths, library, inputs)
    for path in paths:
        if os.path.lexists(path) and not force:
            raise UsageError(
                f"{path} exists already: name another file, or replace it with --force"
            )


def check_output_folder(folder: Path, *, library: Path, force: bool = False) -> None:
    """Refuse an output folder that can't or must not be written.

    Raises:
        UsageError: it can't be written, is in the library or among its photos, or is not empty.
        LibraryError: the ledger can't be read.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name an existing or a new one")
    _check_writable(folder)
    _check_unprotected([folder], library, ())
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise UsageError(
            f"the folder {folder} is not empty: name another one, or add to it with --force"
        )


def _check_place(path: Path, suffixes: Sequence[str]) -> None:
    if path.suffix.lower() not in suffixes:
        raise UsageError(
            f"{path}: name it *{' or *'.join(suffixes)}, the formats that can be written"
        )
    if path.is_dir():
        raise UsageError(f"{path} is a folder")
    if os.path.lexists(path) and path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a regular file")
    _check_writable(path)


def _check_writable(path: Path) -> None:
    """Refuse a path whose folder is missing or not writable."""
    target = _target(path)
    if not target.parent.is_dir():
        raise UsageError(f"{path} can't be written: no folder {path.parent}")
    for place in (target.parent, target):
        if place.exists() and not os.access(place, os.W_OK):
            raise UsageError(f"{path} can't be written: permission denied")


def _check_unprotected(paths: Sequence[Path], library: Path, inputs: Sequence[Path]) -> None:
    """Refuse inputs, and paths in the library folder or among its photos."""
    from ingest.catalog.connection import LEDGER_NAME
    from search.manifest import load_manifest

    for path in paths:
        if any(_is_same(path, each) for each in inputs):
            raise UsageError(f"{path} is an input: name another output file")
    folder = library.expanduser().absolute()
    manifest = load_manifest(folder)
    if manifest is None and not (folder / LEDGER_NAME).exists():
        return
    for path in paths:
        if _is_below(path, folder):
            raise UsageError(f"{path} is in the library's own folder: choose another place")
    _check_no_photos(paths, folder)


def _check_no_photos(paths: Sequence[Path], library: Path) -> None:
    """Refuse paths below a root of a library, and other names (links) of its photos."""
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
                    f"{path} is in {root}, a folder of the library's photos, where nothing is "
                    "ever written: choose another place"
                )
            if any(_is_same(path, photo) for photo in ledger.linked_files(path)):
                raise UsageError(
                    f"{path} is another name of a photo of the library, which is never replaced: "
                    "name another file"
                )


def _target(path: Path) -> Path:
    """The path with links resolved, existing or not."""
    return Path(os.path.realpath(path))


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths name the same file."""
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist yet
        return _target(one) == _target(other)


def _is_below(path: Path, folder: Path) -> bool:
    """Whether a path is a folder or inside it."""
    target = _target(path)
    return any(_is_same(around, folder) for around in (target, *target.parents))


def write_outputs(contents: Iterable[tuple[Path, bytes]]) -> None:
    """Write all of the files or none.

    Raises:
        OSError: one can't be written; with its name.
    """
    with ExitStack() as drafts:
        for path, content in contents:
            with drafts.enter_context(_draft_of(path)).open("xb") as file:
                _write_synced(file, [content])


def write_output(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a complete file from pieces or none.

    Raises:
        OSError: it can't be written; with its name.
    """
    with _draft_of(path) as draft, draft.open("xb") as file:
        _write_synced(file, pieces)


def _write_synced(file: BinaryIO, pieces: Iterable[bytes]) -> None:
    """Write and sync to disk: a full disk may only be reported then."""
    file.writelines(pieces)
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _draft_of(path: Path) -> Iterator[Path]:
    """Yield a draft path; it replaces `path` if the block succeeds."""
    target = _target(path)
    draft = _draft_in(target.parent)
    try:
        with _errors_naming(path, draft):
            yield draft
            draft.chmod(_mode_for(target))
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _mode_for(target: Path) -> int:
    """The mode of an existing file, otherwise that of the user's umask."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except OSError:
        return mode_of_output()


@contextmanager
def draft_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty draft folder; its files are moved into `folder` if the block succeeds.

    Other files in an existing folder stay.

    Raises:
        OSError: it can't be written; with its name.
    """
    target = _target(folder)
    exists = target.is_dir()
    draft = _draft_in(target if exists else target.parent)
    try:
        with _errors_naming(folder, draft):
            draft.mkdir()
            yield draft
            if exists:
                for path in sorted(draft.iterdir()):
                    path.replace(target / path.name)
            else:
                draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _draft_in(folder: Path) -> Path:
    return folder / f".segsearch-{uuid.uuid4().hex[:12]}.part"


@contextmanager
def _errors_naming(path: Path, draft: Path) -> Iterator[None]:
    """Name the requested file in OSErrors, instead of its draft."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(draft)):
            raise
        reason = f"it can't be written: {error.strerror or error}"
        raise OSError(error.errno, reason, str(path)) from error


def numbered(path: Path, count: int) -> list[Path]:
    """The paths of `count` files: out.png alone, otherwise out-000.png, out-001.png, ..."""
    if count == 1:
        return [path]
    return [path.with_stem(f"{path.stem}-{number:03d}") for number in range(count)]
