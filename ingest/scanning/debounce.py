"""Debouncing of file system events: changed paths are scanned once nothing writes to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import FileStamp, is_gone
from ingest.scanning.formats import EXTENSIONS
from ingest.scanning.ignore_file import IGNORE_NAME
from ingest.scanning.scopes import below_root
from ingest.scanning.system_folders import NO_MEDIA_NAME, is_in_system_folder

SETTLED_S = 2.0  # copying over a network writes more often than this
# Names of a library's own files, or prefixes of them (`ledger.sqlite-wal`).
OWN_NAMES = ("segsearch.json", "ledger.sqlite", "index", "pictures", "owner.", "ingest.lock")
MAX_WAIT_S = 15.0  # for a burst to end; then the paths that have settled are scanned


@dataclass(frozen=True)
class _LastChange:
    """A path's stamp at its last change, None if it did not exist, and the time of that."""

    stamp: FileStamp | None
    changed_at: float


@dataclass
class Debouncer:
    """Collects changed paths until they have not changed for `SETTLED_S`. Times are in seconds."""

    _waiting: dict[Path, _LastChange] = field(default_factory=dict)
    _since: float = 0.0

    def note(self, paths: Iterable[Path], now: float) -> None:
        """Add changed paths."""
        if not self._waiting:
            self._since = now
        self._waiting |= {path: _LastChange(_stamp(path), now) for path in paths}

    def settled(self, now: float) -> set[Path]:
        """Remove and return the settled paths, once all have settled or after `MAX_WAIT_S`."""
        for path, noted in self._waiting.items():
            if (stamp := _stamp(path)) != noted.stamp:
                self._waiting[path] = _LastChange(stamp, now)
        ready = {p for p, noted in self._waiting.items() if now - noted.changed_at >= SETTLED_S}
        if len(ready) < len(self._waiting) and now - self._since < MAX_WAIT_S:
            return set()
        for path in ready:
            del self._waiting[path]
        self._since = now
        return ready

    @property
    def busy(self) -> frozenset[Path]:
        """The paths that have not settled yet."""
        return frozenset(self._waiting)


def _stamp(path: Path) -> FileStamp | None:
    try:
        return FileStamp.of(path)
    except OSError:
        return None


@dataclass(frozen=True)
class ScanTargets:
    """What has to be scanned: files and folders, and folders without their subfolders."""

    deep: list[Path]
    shallow: list[Path]

    def __bool__(self) -> bool:
        return bool(self.deep or self.shallow)


def scan_targets(changed: Iterable[Path], ledger: Ledger) -> ScanTargets:
    """Determine what to scan after paths have changed."""
    deep, shallow = set[Path](), set[Path]()
    for path in changed:
        root = ledger.root_for(path)
        if path.name == NO_MEDIA_NAME and root is not None:  # it excludes its whole folder
            deep.add(path.parent if path.parent == root.path else path.parent.parent)
            continue
        if root is not None and is_in_system_folder(path, root.path):
            continue
        if path.is_dir() or _is_known(path, ledger):
            deep.add(path)
        if path.name == IGNORE_NAME:
            deep.add(path.parent)
        elif path.suffix.lower() in EXTENSIONS and not is_gone(path.parent):
            shallow.add(path.parent)  # it may exclude a RAW file of the same name, or no longer
    return ScanTargets(sorted(deep), sorted(shallow - deep))


def _is_known(path: Path, ledger: Ledger) -> bool:
    """Return whether a path is or contains a known file; False for existing photo files."""
    if path.suffix.lower() in EXTENSIONS and not is_gone(path):
        return False  # its folder is scanned
    root = ledger.root_for(path)
    return root is not None and ledger.knows_of(root, below_root(root, path))


def is_watched(path: Path, roots: Iterable[Path], library: Path) -> bool:
    """Return whether changes of a path matter: not of hidden files or the library's own."""
    if _is_own(path, library):
        return False
    root = next((root for root in roots if path.is_relative_to(root)), None)
    if root is None:
        return False
    *folders, name = ("", *path.relative_to(root).parts)
    hidden = [part for part in folders if part.startswith(".")]
    return not hidden and (not name.startswith(".") or name in (IGNORE_NAME, NO_MEDIA_NAME))


def _is_own(path: Path, library: Path) -> bool:
    """Return whether a path is one of the library's own files, not a photo among them."""
    if not path.is_relative_to(library) or path == library:
        return False
    first = path.relative_to(library).parts[0]
    return first.startswith(OWN_NAMES) and path.suffix.lower() not in EXTENSIONS
