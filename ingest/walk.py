"""From a folder to the files in it that are taken for photos."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest import raw
from ingest.leaving_out import BadPatternError, LeftOut
from ingest.photos import shown_path
from ingest.pillow import reason_of
from search.manifest import MANIFEST_NAME

EXTENSIONS = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".gif"))
EXTENSIONS |= {".heic", ".heif", ".hif", ".avif", ".bmp", ".dib"} | raw.EXTENSIONS
EXTENSIONS |= {".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"}  # JPEG 2000

Unreadable = Callable[[Path, str], None]  # a path, and why it can't be read
_logger = logging.getLogger(__name__)


def _log_unreadable(path: Path, reason: str) -> None:
    _logger.warning("%s", reason)


def _say_nothing(path: Path) -> None:
    """Nobody asks what was left out."""


@dataclass(frozen=True)
class Told:
    """Who is told of what a walk passes over."""

    unreadable: Unreadable = _log_unreadable
    left_out: Callable[[Path], None] = _say_nothing  # a file or folder: by a pattern, or a RAW file


def iter_photo_files(
    folder_or_file: Path,
    told: Told | None = None,
    *,
    root: Path | None = None,
    exclude: Sequence[str] = (),
    deep: bool = True,
) -> Iterator[Path]:
    """Walk lazily and yield the files whose extension is a photo's, each level sorted by name.

    Left out: hidden files and folders, folders that are segsearch libraries, what patterns leave
    out, and RAW files beside a JPEG or HEIF of the same name and shot. Symbolic links to files are
    followed; links to folders too, after everything else, and only to folders that were not walked
    already, so that loops end and the real path wins. A file that is named itself is taken whatever
    its name. Where something can't be read, the walk goes on elsewhere.

    Args:
        folder_or_file: where to begin.
        told: who is told of what is passed over (unreadable folders are else logged).
        root: the folder whose ignore files count, and those below it; that where it begins.
        exclude: patterns that count from there.
        deep: look into the folders in it, too.

    Raises:
        UsageError: one of `exclude` is no pattern.
    """
    walk = _Walk(told or Told(), set())
    starts = [folder_or_file]  # grows by the links to folders that are met
    for start in starts:
        if os.path.isfile(start):  # noqa: PTH113  (Path.is_file raises below a locked folder)
            yield start
            continue
        levels = [iter(walk.begin(start, root or folder_or_file, exclude))]
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
            elif Path(entry.name).suffix.lower() in EXTENSIONS:
                yield Path(entry.path)


Found = tuple[os.DirEntry[str], LeftOut]  # and what is left out of the folder that it is in


@dataclass(frozen=True)
class _Walk:
    """What one walk knows: who is told, and the folders that it was in (device and inode)."""

    told: Told
    walked: set[tuple[int, int]]

    def begin(self, folder: Path, root: Path, exclude: Sequence[str]) -> list[Found]:
        """Return what is in the folder where a walk begins; nothing if patterns leave it out."""
        try:
            left_out = LeftOut.of(root, folder, exclude)
        except (OSError, BadPatternError) as error:
            return self._unreadable(folder, error)
        if folder != root and left_out(str(folder), is_folder=True):
            self.told.left_out(folder)
            return []
        return self.entries(folder, left_out)

    def entries(self, folder: Path, left_out: LeftOut) -> list[Found]:
        """Return what is to be looked at in a folder, by name; nothing of a library or twice."""
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in self.walked or (folder / MANIFEST_NAME).exists():
                return []
            self.walked.add(identity)
            left_out = left_out.inside(folder)
            with os.scandir(folder) as found:
                seen = sorted((e for e in found if not e.name.startswith(".")), key=_name)
        except (OSError, BadPatternError) as error:
            return self._unreadable(folder, error)
        if left_out.patterns:
            seen = [entry for entry in seen if self._is_wanted(entry, left_out)]
        return [(entry, left_out) for entry in self._without_raw_twins(seen)]

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
        if not left_out(entry.path, is_folder=_is_folder(entry, follow_links=True)):
            return True
        self.told.left_out(Path(entry.path))
        return False

    def _unreadable(self, folder: Path, error: OSError | BadPatternError) -> list[Found]:
        why = reason_of(error) if isinstance(error, OSError) else str(error)
        self.told.unreadable(folder, f"{shown_path(folder)} can't be read: {why}.")
        return []


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _is_folder(entry: os.DirEntry[str], *, follow_links: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:  # a link to itself: not a folder; decoding will say so if it is named a photo
        return False
