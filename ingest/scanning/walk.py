"""From a folder to the files in it that are taken for photos."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.imaging import raw
from ingest.imaging.decode import shown_path
from ingest.imaging.formats import EXTENSIONS, UNREAD_EXTENSIONS
from ingest.imaging.pillow import reason_of
from ingest.scanning.ignore import LeftOut
from ingest.scanning.ignore_file import BadPatternError
from ingest.scanning.system_folders import NO_MEDIA_NAME, is_system_folder

Unreadable = Callable[[Path, str], None]  # a path, and why it can't be read
_logger = logging.getLogger(__name__)


def _log_unreadable(path: Path, reason: str) -> None:
    _logger.warning("%s", reason)


def _say_nothing(path: Path) -> None:
    """Nobody asks what was passed over."""


def _note_nothing(folder: Path, device: int) -> None:
    """Nobody asks where folders lie."""


@dataclass(frozen=True)
class Told:
    """Who is told of what a walk passes over."""

    unreadable: Unreadable = _log_unreadable
    # A file or folder: by a pattern, as a system's own, outside, or a RAW file beside its JPEG.
    left_out: Callable[[Path], None] = _say_nothing
    outside: Callable[[Path], None] = _say_nothing  # a link to a place in none of the roots
    not_read: Callable[[Path], None] = _say_nothing  # a picture or video of another format
    device: Callable[[Path, int], None] = _note_nothing  # a folder, and the device that it is on


@dataclass(frozen=True)
class Links:
    """Which symbolic links are followed: those to a place in one of these folders, or all."""

    roots: tuple[Path, ...] = ()
    everywhere: bool = False

    def follows(self, entry: os.DirEntry[str]) -> bool:
        """Say whether a file or folder is looked at, if it is a link."""
        if self.everywhere or not entry.is_symlink():
            return True
        target = Path(os.path.realpath(entry.path))
        return any(target.is_relative_to(root) for root in self.roots)


def iter_photo_files(
    folder_or_file: Path,
    told: Told | None = None,
    *,
    root: Path | None = None,
    exclude: Sequence[str] = (),
    deep: bool = True,
    links: Links | None = None,
) -> Iterator[Path]:
    """Walk lazily and yield the files whose extension is a photo's, each level sorted by name.

    Left out: hidden files and folders, folders that systems and programs keep for themselves or
    that hold a `.nomedia`, what patterns leave out, and RAW files beside a JPEG or HEIF of the same
    name and shot. Symbolic links to places below the roots are followed: to files at once, to
    folders after everything else, and only to folders that were not walked already, so that loops
    end and the real path wins. A file that is named itself is taken whatever its name, a folder
    whatever its kind. Where something can't be read, the walk goes on elsewhere.

    Args:
        folder_or_file: where to begin.
        told: who is told of what is passed over (unreadable folders are else logged).
        root: the folder whose ignore files count, and those below it; that where it begins.
        exclude: patterns that count from there.
        deep: look into the folders in it, too.
        links: which links are followed; else those to places below `root`.

    Raises:
        UsageError: one of `exclude` is no pattern.
    """
    around = root or folder_or_file
    walk = _Walk(told or Told(), links or Links((Path(os.path.realpath(around)),)), set())
    starts = [folder_or_file]  # grows by the links to folders that are met
    for start in starts:
        if os.path.isfile(start):  # noqa: PTH113  (Path.is_file raises below a locked folder)
            yield start
            continue
        first = walk.begin(start, around, exclude, is_named=start is folder_or_file)
        levels = [iter(first)]
        while levels:  # a stack: folders may nest 2,000 deep
            found = next(levels[-1], None)
            if found is None:
                levels.pop()
                continue
            entry, left_out = found
            if not deep and _is_folder(entry, follow_links=True):
                continue
            if _is_folder(entry, follow_links=False):
                levels.append(iter(walk.entries(Path(entry.path), left_out)))
            elif _is_folder(entry, follow_links=True):
                starts.append(Path(entry.path))
            elif walk.is_photo(entry):
                yield Path(entry.path)


Found = tuple[os.DirEntry[str], LeftOut]  # and what is left out of the folder that it is in


@dataclass(frozen=True)
class _Walk:
    """What one walk knows: who is told, and the folders that it was in (device and inode)."""

    told: Told
    links: Links
    walked: set[tuple[int, int]]

    def begin(
        self, folder: Path, root: Path, exclude: Sequence[str], *, is_named: bool
    ) -> list[Found]:
        """Return what is in the folder where a walk begins; nothing if patterns leave it out."""
        try:
            left_out = LeftOut.of(root, folder, exclude)
        except (OSError, BadPatternError) as error:
            return self._unreadable(folder, error)
        if folder != root and left_out.holds_back(folder, root):
            self.told.left_out(folder)
            return []
        return self.entries(folder, left_out, is_named=is_named)

    def entries(self, folder: Path, left_out: LeftOut, *, is_named: bool = False) -> list[Found]:
        """Return what is to be looked at in a folder, by name; nothing of one that it was in.

        Args:
            folder: whose entries are asked for.
            left_out: what the folders around it leave out.
            is_named: a `.nomedia` in it does not count.
        """
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in self.walked:
                return []
            self.walked.add(identity)
            self.told.device(folder, status.st_dev)
            left_out = left_out.inside(folder)
            with os.scandir(folder) as found:
                entries = sorted(found, key=_name)
        except (OSError, BadPatternError) as error:
            return self._unreadable(folder, error)
        if not is_named and any(entry.name == NO_MEDIA_NAME for entry in entries):
            self.told.left_out(folder)
            return []
        seen = [e for e in entries if not e.name.startswith(".") and self._is_wanted(e, left_out)]
        return [(entry, left_out) for entry in self._without_raw_twins(seen)]

    def is_photo(self, entry: os.DirEntry[str]) -> bool:
        """Say whether a file is taken for a photo; tell of one in a format that is not read."""
        extension = Path(entry.name).suffix.lower()
        if extension in UNREAD_EXTENSIONS:
            self.told.not_read(Path(entry.path))
        return extension in EXTENSIONS

    def _without_raw_twins(self, seen: list[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
        """Drop RAW files beside a JPEG or HEIF of the same name: the camera's own picture of it."""
        names = [Path(entry.name.lower()) for entry in seen]
        if not any(raw.is_raw(name) for name in names):
            return seen
        beside: dict[str, list[Path]] = {}
        for entry, name in zip(seen, names, strict=True):
            if name.suffix in raw.BESIDE_RAW:
                beside.setdefault(name.stem, []).append(Path(entry.path))
        wanted = []
        for entry, name in zip(seen, names, strict=True):
            twins = beside.get(name.stem, ()) if raw.is_raw(name) else ()
            if any(raw.shows_same_shot(twin, Path(entry.path)) for twin in twins):
                self.told.left_out(Path(entry.path))
            else:
                wanted.append(entry)
        return wanted

    def _is_wanted(self, entry: os.DirEntry[str], left_out: LeftOut) -> bool:
        """Say whether a file or folder is looked at; tell of one that is not."""
        is_folder = _is_folder(entry, follow_links=True)
        path = Path(entry.path)
        if is_folder and is_system_folder(entry.name):
            self.told.left_out(path)
            return False
        if left_out.patterns and left_out(entry.path, is_folder=is_folder):
            self.told.left_out(path)
            return False
        if not is_folder and path.suffix.lower() not in EXTENSIONS:
            return path.suffix.lower() in UNREAD_EXTENSIONS
        if not self.links.follows(entry):
            self.told.left_out(path)
            self.told.outside(path)
            return False
        return True

    def _unreadable(self, folder: Path, error: OSError | BadPatternError) -> list[Found]:
        name = shown_path(folder)
        if isinstance(error, OSError):
            self.told.unreadable(folder, f"{name} can't be read: {reason_of(error)}.")
        else:
            self.told.unreadable(folder, f"{name} is not taken in: {error}.")
        return []


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _is_folder(entry: os.DirEntry[str], *, follow_links: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:  # a link to itself: not a folder; decoding will say so if it is named a photo
        return False
