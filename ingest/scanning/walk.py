"""Walking a folder: photo files, and entries that are excluded or unreadable."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ingest.imaging import raw
from ingest.imaging.decode import shown_path
from ingest.imaging.pillow import os_error_reason
from ingest.scanning.formats import EXTENSIONS, UNREAD_EXTENSIONS
from ingest.scanning.ignore import IgnoreRules
from ingest.scanning.ignore_file import BadPatternError
from ingest.scanning.links import Links
from ingest.scanning.system_folders import NO_MEDIA_NAME, is_system_folder

_logger = logging.getLogger(__name__)

# ignored: by a pattern, as a system folder, outside the roots, or a RAW file beside its JPEG.
# outside: a link to a target in none of the roots. other_format: an unsupported picture or video.
EntryKind = Literal["photo", "folder", "unreadable", "ignored", "outside", "other_format"]


@dataclass(frozen=True)
class WalkEntry:
    """A file or folder found by a walk."""

    path: Path
    kind: EntryKind
    reason: str = ""  # why it is unreadable
    device: int | None = None  # of a folder


def iter_photo_files(
    folder_or_file: Path, *, exclude: Sequence[str] = (), links: Links | None = None
) -> Iterator[Path]:
    """Yield only the photo files of a walk and log unreadable folders; see `iter_entries`."""
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
    """Walk lazily; yield files with the extension of a photo, folders, and what was ignored.

    Each level is sorted by name. Ignored are hidden files and folders (without an entry), system
    folders, folders with a `.nomedia`, files that match a pattern, and RAW files beside a JPEG or
    HEIF of the same name and shot. Symbolic links into the roots are followed: to files at once, to
    folders after everything else, and each folder only once, so that loops end and the real path
    wins. `folder_or_file` itself is taken whatever its name. Unreadable folders are skipped.

    Args:
        folder_or_file: where to begin.
        root: ignore files apply from this folder down; None: from `folder_or_file`.
        exclude: patterns relative to the root.
        deep: whether to enter subfolders.
        links: which links are followed; None: those into `root`.

    Raises:
        UsageError: one of `exclude` is not a valid pattern.
    """
    top = root or folder_or_file
    walk = _Walk(links or Links((Path(os.path.realpath(top)),)))
    starts = [folder_or_file]  # linked folders are appended
    for start in starts:
        if os.path.isfile(start):  # noqa: PTH113  (Path.is_file raises below a locked folder)
            yield WalkEntry(start, "photo")
            continue
        first = walk.begin(start, top, exclude, is_given=start is folder_or_file)
        yield from walk.take_passed()
        levels = [iter(first)]
        while levels:  # an explicit stack: folders may be nested 2,000 deep
            found = next(levels[-1], None)
            if found is None:
                levels.pop()
                continue
            entry, rules = found
            if not deep and _is_folder(entry, follow_links=True):
                continue
            if _is_folder(entry, follow_links=False):
                levels.append(iter(walk.entries(Path(entry.path), rules)))
            elif _is_folder(entry, follow_links=True):
                starts.append(Path(entry.path))
            elif walk.is_photo(entry):
                yield WalkEntry(Path(entry.path), "photo")
            yield from walk.take_passed()


Found = tuple[os.DirEntry[str], IgnoreRules]  # an entry and the rules of its folder


@dataclass
class _Walk:
    """State of a walk: visited folders (device and inode) and entries not yielded yet."""

    links: Links
    walked: set[tuple[int, int]] = field(default_factory=set)
    passed: list[WalkEntry] = field(default_factory=list)

    def take_passed(self) -> list[WalkEntry]:
        """Return the folders and ignored entries since the last call."""
        passed, self.passed = self.passed, []
        return passed

    def note(self, path: Path, kind: EntryKind, reason: str = "") -> None:
        """Add an entry that the walk does not enter."""
        self.passed.append(WalkEntry(path, kind, reason))

    def begin(
        self, folder: Path, root: Path, exclude: Sequence[str], *, is_given: bool
    ) -> list[Found]:
        """List the folder where a walk begins; empty if patterns exclude it."""
        try:
            rules = IgnoreRules.for_folder(root, folder, exclude)
        except (OSError, BadPatternError) as error:
            return self._unreadable(folder, error)
        if folder != root and rules.ignores_tree(folder, root):
            self.note(folder, "ignored")
            return []
        return self.entries(folder, rules, is_given=is_given)

    def entries(self, folder: Path, rules: IgnoreRules, *, is_given: bool = False) -> list[Found]:
        """List the entries of a folder that are not ignored, by name; empty if visited before.

        Args:
            folder: to list.
            rules: of its parents.
            is_given: whether the user gave this folder; a `.nomedia` in it does not count then.
        """
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in self.walked:
                return []
            self.walked.add(identity)
            self.passed.append(WalkEntry(folder, "folder", device=status.st_dev))
            rules = rules.with_folder(folder)
            with os.scandir(folder) as found:
                entries = sorted(found, key=_name)
        except (OSError, BadPatternError) as error:
            return self._unreadable(folder, error)
        if not is_given and any(entry.name == NO_MEDIA_NAME for entry in entries):
            self.note(folder, "ignored")
            return []
        wanted = [e for e in entries if not e.name.startswith(".") and self._is_wanted(e, rules)]
        return [(entry, rules) for entry in self._without_raw_twins(wanted)]

    def is_photo(self, entry: os.DirEntry[str]) -> bool:
        """Return whether a file has a photo's extension; note unsupported formats."""
        extension = Path(entry.name).suffix.lower()
        if extension in UNREAD_EXTENSIONS:
            self.note(Path(entry.path), "other_format")
        return extension in EXTENSIONS

    def _without_raw_twins(self, entries: list[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
        """Drop RAW files beside the camera's JPEG or HEIF of the same name and shot."""
        names = [Path(entry.name.lower()) for entry in entries]
        if not any(raw.is_raw(name) for name in names):
            return entries
        beside: dict[str, list[Path]] = {}
        for entry, name in zip(entries, names, strict=True):
            if name.suffix in raw.BESIDE_RAW:
                beside.setdefault(name.stem, []).append(Path(entry.path))
        wanted = []
        for entry, name in zip(entries, names, strict=True):
            twins = beside.get(name.stem, ()) if raw.is_raw(name) else ()
            if any(raw.shows_same_shot(twin, Path(entry.path)) for twin in twins):
                self.note(Path(entry.path), "ignored")
            else:
                wanted.append(entry)
        return wanted

    def _is_wanted(self, entry: os.DirEntry[str], rules: IgnoreRules) -> bool:
        """Return whether a file or folder is not ignored; note ignored ones."""
        is_folder = _is_folder(entry, follow_links=True)
        path = Path(entry.path)
        if is_folder and is_system_folder(entry.name):
            self.note(path, "ignored")
            return False
        if rules.patterns and rules.ignores(entry.path, is_folder=is_folder):
            self.note(path, "ignored")
            return False
        if not is_folder and path.suffix.lower() not in EXTENSIONS:
            return path.suffix.lower() in UNREAD_EXTENSIONS
        if not self.links.follows(entry):
            self.note(path, "ignored")
            self.note(path, "outside")
            return False
        return True

    def _unreadable(self, folder: Path, error: OSError | BadPatternError) -> list[Found]:
        name = shown_path(folder)
        if isinstance(error, OSError):
            self.note(folder, "unreadable", f"{name} can't be read: {os_error_reason(error)}.")
        else:
            self.note(folder, "unreadable", f"{name} is left out: {error}.")
        return []


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _is_folder(entry: os.DirEntry[str], *, follow_links: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:  # a link to itself; if it is named like a photo, decoding reports it
        return False
