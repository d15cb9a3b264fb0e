"""How the ledger names files: a root and the path below it, so that a remounted disk is one row."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from search.records import Photo, folder_chain

# waiting: not looked at yet. excluded: there, and left out by a pattern or by default.
# unread: a picture or video in a format that is not read.
FileState = Literal["waiting", "present", "vanished", "excluded", "skipped", "unread"]

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1  # SQLite's integers


@dataclass(frozen=True)
class Root:
    """A folder that photos are taken from.

    Roots may lie in each other (a card mounted among the pictures): a file belongs to the
    innermost one, and can be found by the folders of all of them.
    """

    root_id: str
    path: Path
    within: tuple[str, ...] = ()  # this folder as the roots around it name it, "ROOT_ID/sub"

    @property
    def is_absent(self) -> bool:
        """Say whether the folder can't be seen: an unmounted disk, say."""
        return not os.path.isdir(self.path)  # noqa: PTH112  (Path.is_dir raises on a dead mount)


@dataclass(frozen=True)
class FileKey:
    """A file as root and path below it."""

    root: Root
    below: bytes

    @property
    def path(self) -> Path:
        """Where the file is now."""
        return self.root.path / os.fsdecode(self.below)

    @property
    def folder(self) -> str:
        """The folder as filters name it, `ROOT_ID/sub/folder`."""
        parent = Path(os.fsdecode(self.below)).parent.as_posix()
        name = letters_of(parent)
        return self.root.root_id if parent == "." else f"{self.root.root_id}/{name}"

    @property
    def folders(self) -> tuple[str, ...]:
        """Every folder that holds the file, sorted."""
        return folders_around(self.root, self.folder)


@dataclass(frozen=True)
class FileStamp:
    """What tells cheaply whether a file has changed."""

    bytes: int
    mtime_ns: int  # times outside 1677 to 2262 are taken as the first or last of it
    ctime_ns: int | None = None  # None: noted by a version that did not look at it

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """Read the stamp of a file."""
        status = path.stat()
        return cls(status.st_size, _int64(status.st_mtime_ns), _int64(status.st_ctime_ns))

    def is_still(self, now: FileStamp) -> bool:
        """Say whether a file that had this stamp and has that one now holds what it held."""
        is_touched = self.ctime_ns is not None and self.ctime_ns != now.ctime_ns
        return (self.bytes, self.mtime_ns) == (now.bytes, now.mtime_ns) and not is_touched


def _int64(nanoseconds: int) -> int:
    return max(INT64_MIN, min(INT64_MAX, nanoseconds))


LOOK_AGAIN = FileStamp(-1, -1)  # no file has this stamp, so it always counts as changed


@dataclass(frozen=True)
class SkippedFile:
    """A file that could not be used."""

    path: Path
    reason: str
    noted_at: datetime  # with a UTC offset


@dataclass(frozen=True)
class PhotoRow:
    """What the ledger knows of a photo: enough to browse without the vector store."""

    photo: Photo
    path: Path | None  # a file that is present, if any
    root_id: str | None
    below: str | None


def letters_of(name: str) -> str:
    """Return a file's name as text: bytes that are no UTF-8 (lone surrogates) as U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


def folders_around(root: Root, folder: str) -> tuple[str, ...]:
    """Return a folder of a root and every folder around it, as each root names it; sorted."""
    below = folder.removeprefix(root.root_id)  # "" or "/sub/folder"
    return tuple(
        sorted({f for name in (root.root_id, *root.within) for f in folder_chain(name + below)})
    )


def is_below(path: bytes, folder: bytes) -> bool:
    """Say whether a path is the folder itself or lies below it; b"" holds everything."""
    return not folder or path == folder or path.startswith(folder + b"/")


def is_gone(path: Path) -> bool:
    """Say whether a file is certainly not there; one that can't be looked at may be."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


@dataclass(frozen=True)
class Coverage:
    """How much of what is known can be searched, and how well."""

    photos: int  # not hidden: found as a whole
    photos_segmented: int  # found by their segments
    files_waiting: int  # seen on the disk, not looked at yet

    @property
    def is_whole(self) -> bool:
        """Say whether all that is known is found by its segments."""
        return self.photos == self.photos_segmented and not self.files_waiting


@dataclass(frozen=True)
class Facets:
    """How many photos there are of each kind."""

    cameras: dict[str, int]  # most photos first
    months: dict[str, int]  # YYYY-MM, newest first; of the photos that are dated
    undated: int  # photos of which nothing says when they were taken
    folders: dict[str, int]  # as filters name them, by name
