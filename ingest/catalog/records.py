"""Records of the ledger. Files are identified by a root and the path below it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from search.records import Photo, folder_chain

# waiting: not processed yet. excluded: present, but excluded by a pattern or by default.
# unread: a picture or video in an unsupported format.
FileState = Literal["waiting", "present", "vanished", "excluded", "skipped", "unread"]

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1  # SQLite's integers


@dataclass(frozen=True)
class Root:
    """A folder that photos are ingested from.

    Roots may be nested (a memory card mounted below a photo folder): a file belongs to the
    innermost root, and filters find it by the folders of all of them.
    """

    root_id: str
    path: Path
    within: tuple[str, ...] = ()  # this folder relative to each outer root, "ROOT_ID/sub"

    @property
    def is_absent(self) -> bool:
        """Whether the folder is missing, for example because its disk is not mounted."""
        return not os.path.isdir(self.path)  # noqa: PTH112  (Path.is_dir raises on a dead mount)


@dataclass(frozen=True)
class FileKey:
    """A file, as root and path below it."""

    root: Root
    below: bytes

    @property
    def path(self) -> Path:
        """The file's current absolute path."""
        return self.root.path / os.fsdecode(self.below)

    @property
    def folder(self) -> str:
        """The folder's name in filters, `ROOT_ID/sub/folder`."""
        parent = Path(os.fsdecode(self.below)).parent.as_posix()
        name = text_from_name(parent)
        return self.root.root_id if parent == "." else f"{self.root.root_id}/{name}"

    @property
    def folders(self) -> tuple[str, ...]:
        """All folders that contain the file, sorted."""
        return folders_around(self.root, self.folder)


@dataclass(frozen=True)
class FileStamp:
    """File size and times, to detect changes without reading the file."""

    bytes: int
    mtime_ns: int  # times outside 1677 to 2262 are clamped
    ctime_ns: int | None = None  # None: written by a version that did not store it

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """Stat a file."""
        status = path.stat()
        return cls(status.st_size, _int64(status.st_mtime_ns), _int64(status.st_ctime_ns))

    def is_unchanged(self, now: FileStamp) -> bool:
        """Return whether a file with this stamp before and `now` after has the same content."""
        is_touched = self.ctime_ns is not None and self.ctime_ns != now.ctime_ns
        return (self.bytes, self.mtime_ns) == (now.bytes, now.mtime_ns) and not is_touched


def _int64(nanoseconds: int) -> int:
    return max(INT64_MIN, min(INT64_MAX, nanoseconds))


UNKNOWN_STAMP = FileStamp(-1, -1)  # no file has this stamp, so it always counts as changed


@dataclass(frozen=True)
class SkippedFile:
    """A file that could not be used."""

    path: Path
    reason: str
    noted_at: datetime  # with a UTC offset


@dataclass(frozen=True)
class PhotoRow:
    """A photo with one of its files: enough to browse without the vector index."""

    photo: Photo
    path: Path | None  # a file that is present, if any
    root_id: str | None
    below: str | None


def text_from_name(name: str) -> str:
    """Replace bytes of a file name that are not UTF-8 (lone surrogates) by U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


def folders_around(root: Root, folder: str) -> tuple[str, ...]:
    """Return a folder and its parents, named by each root that contains it; sorted."""
    below = folder.removeprefix(root.root_id)  # "" or "/sub/folder"
    return tuple(
        sorted({f for name in (root.root_id, *root.within) for f in folder_chain(name + below)})
    )


def is_below(path: bytes, folder: bytes) -> bool:
    """Return whether a path is the folder or below it; b"" contains everything."""
    return not folder or path == folder or path.startswith(folder + b"/")


def is_gone(path: Path) -> bool:
    """Return whether a file certainly does not exist; False if it can't be accessed."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


@dataclass(frozen=True)
class Coverage:
    """How much of a library is searchable."""

    photos: int  # visible, searchable at least as a whole
    photos_segmented: int  # of those: searchable by their segments
    files_waiting: int  # found on the disk, not processed yet

    @property
    def is_whole(self) -> bool:
        """Whether all known files are searchable by segments."""
        return self.photos == self.photos_segmented and not self.files_waiting


@dataclass(frozen=True)
class Facets:
    """Numbers of photos by camera, month and folder."""

    cameras: dict[str, int]  # most photos first
    months: dict[str, int]  # YYYY-MM, newest first; of dated photos
    undated: int  # photos without a date
    folders: dict[str, int]  # by names as in filters, sorted
