"""From a folder to the files in it that are taken for photos."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ingest.imaging import raw
from ingest.imaging.decode import shown_path
from ingest.imaging.pillow import reason_of
from ingest.scanning.formats import EXTENSIONS, UNREAD_EXTENSIONS
from ingest.scanning.ignore import LeftOut
from ingest.scanning.ignore_file import BadPatternError
from ingest.scanning.links import Links
from ingest.scanning.system_folders import NO_MEDIA_NAME, is_system_folder

_logger = logging.getLogger(__name__)

# left_out: by a pattern, as a system's own, outside, or a RAW file beside its JPEG.
# outside: a link to a place in none of the roots. other_format: a picture or video not read here.
EntryKind = Literal["photo", "folder", "unreadable", "left_out", "outside", "other_format"]


@dataclass(frozen=True)
class WalkEntry:
    """A file or folder that a walk came across."""

    path: Path
    kind: EntryKind
    reason: str = ""  # why it is unreadable
    device: int | None = None  # of a folder


def iter_photo_files(
    folder_or_file: Path, *, exclude: Sequence[str] = (), links: Links | None = None
) -> Iterator[Path]:
    """Yield only the photo files of a walk; see `iter_entries`."""
    for entry in iter_entries(folder_or_file, exclude=exclude, links=links):
        if entry.kind == "photo":
            yield entry.path
        elif entry.kind == "unreadable":
            _logger.warning("%s", entry.reason)


def iter_entries(
    folder_or_file: Path,
    *,
    root: Path | None = None,
    exclude: Sequence[str] = (),
    deep: bool = True,
    links: Links | None = None,
) -> Iterator[WalkEntry]:
    """Walk lazily; yield the files whose extension is a photo's, and what was passed over.

    Each level is sorted by name. Left out: hidden files and folders (without an entry), folders
    that systems and programs keep for themselves or that hold a `.nomedia`, what patterns leave
    out, and RAW files beside a JPEG or HEIF of the same name and shot. Symbolic links to places
    below the roots are followed: to files at once, to folders after everything else, and only to
    folders that were not walked already, so that loops end and the real path wins. A file that is
    named itself is taken whatever its name, a folder whatever its kind. Where something can't be
    read, the walk goes on elsewhere.

    Args:
        folder_or_file: where to begin.
        root: the folder whose ignore files count, and those below it; else `folder_or_file`.
        exclude: patterns, relative to the root.
        deep: look into the folders in it, too.
        links: which links are followed; else those to places below `root`.

    Raises:
        UsageError: one of `exclude` is no pattern.
    """
    around = root or folder_or_file
    walk = _Walk(links or Links((Path(os.path.realpath(around)),)))
    starts = [folder_or_file]  # grows by the links to folders that are met
    for start in starts:
        if os.path.isfile(start):  # noqa: PTH113  (Path.is_file raises below a locked folder)
            yield WalkEntry(start, "photo")
            continue
        first = walk.begin(start, around, exclude, is_named=start is folder_or_file)
        yield from walk.take_passed()
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
                yield WalkEntry(Path(entry.path), "photo")
            yield from walk.take_passed()


Found = tuple[os.DirEntry[str], LeftOut]  # and what is left out of the folder that it is in


@dataclass
class _Walk:
    """One walk: the folders that it was in (device and inode), and what it passed over."""

    links: Links
    walked: set[tuple[int, int]] = field(default_factory=set)
    passed: list[WalkEntry] = field(default_factory=list)

    def take_passed(self) -> list[WalkEntry]:
        """Return the folders and passed-over entries since the last call."""
        passed, self.passed = self.passed, []
        return passed

    def note(self, path: Path, kind: EntryKind, reason: str = "") -> None:
        """Note an entry that the walk passes over."""
        self.passed.append(WalkEntry(path, kind, reason))

    def begin(
        self, folder: Path, root: Path, exclude: Sequence[str], *, is_named: bool
    ) -> list[Found]:
        """Return what is in the folder where a walk begins; nothing if patterns leave it out."""
        try:
            left_out = LeftOut.of(root, folder, exclude)
        except (OSError, BadPatternError) as error:
            return self._unreadable(folder, error)
        if folder != root and left_out.holds_back(folder, root):
            self.note(folder, "left_out")
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
            self.passed.append(WalkEntry(folder, "folder", device=status.st_dev))
            left_out = left_out.inside(folder)
            with os.scandir(folder) as found:
                entries = sorted(found, key=_name)
        except (OSError, BadPatternError) as error:
            return self._unreadable(folder, error)
        if not is_named and any(entry.name == NO_MEDIA_NAME for entry in entries):
            self.note(folder, "left_out")
            return []
        seen = [e for e in entries if not e.name.startswith(".") and self._is_wanted(e, left_out)]
        return [(entry, left_out) for entry in self._without_raw_twins(seen)]

    def is_photo(self, entry: os.DirEntry[str]) -> bool:
        """Say whether a file is taken for a photo; tell of one in a format that is not read."""
        extension = Path(entry.name).suffix.lower()
        if extension in UNREAD_EXTENSIONS:
            self.note(Path(entry.path), "other_format")
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
                self.note(Path(entry.path), "left_out")
            else:
                wanted.append(entry)
        return wanted

    def _is_wanted(self, entry: os.DirEntry[str], left_out: LeftOut) -> bool:
        """Say whether a file or folder is looked at; tell of one that is not."""
        is_folder = _is_folder(entry, follow_links=True)
        path = Path(entry.path)
        if is_folder and is_system_folder(entry.name):
            self.note(path, "left_out")
            return False
        if left_out.patterns and left_out(entry.path, is_folder=is_folder):
            self.note(path, "left_out")
            return False
        if not is_folder and path.suffix.lower() not in EXTENSIONS:
            return path.suffix.lower() in UNREAD_EXTENSIONS
        if not self.links.follows(entry):
            self.note(path, "left_out")
            self.note(path, "outside")
            return False
        return True

    def _unreadable(self, folder: Path, error: OSError | BadPatternError) -> list[Found]:
        name = shown_path(folder)
        if isinstance(error, OSError):
            self.note(folder, "unreadable", f"{name} can't be read: {reason_of(error)}.")
        else:
            self.note(folder, "unreadable", f"{name} is not taken in: {error}.")
        return []


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _is_folder(entry: os.DirEntry[str], *, follow_links: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:  # a link to itself: not a folder; decoding will say so if it is named a photo
        return False
