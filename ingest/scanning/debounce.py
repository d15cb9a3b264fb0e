"""Which changes on the disk are looked at, and when: after a file is whole, and many at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import FileStamp, is_gone
from ingest.scanning.formats import EXTENSIONS
from ingest.scanning.ignore_file import IGNORE_NAME
from ingest.scanning.scopes import below_root
from ingest.scanning.system_folders import NO_MEDIA_NAME, is_kept_from_libraries

SETTLED_S = 2.0  # a copy over a network writes more often than this
# What a library folder holds, or how it begins (`ledger.sqlite-wal`).
OWN_NAMES = ("segsearch.json", "ledger.sqlite", "index", "pictures", "owner.", "ingest.lock")
AT_MOST_S = 15.0  # of waiting for a burst to end; what has settled by then is looked at


@dataclass(frozen=True)
class _Noted:
    """A path as it was when it last changed; without a stamp it was not there."""

    stamp: FileStamp | None
    changed_at: float


@dataclass
class Debouncer:
    """Changed paths that wait until nothing writes to them any more. Times are in seconds."""

    _waiting: dict[Path, _Noted] = field(default_factory=dict)
    _since: float = 0.0

    def note(self, paths: Iterable[Path], now: float) -> None:
        """Note that these paths changed."""
        if not self._waiting:
            self._since = now
        self._waiting |= {path: _Noted(_stamp(path), now) for path in paths}

    def settled(self, now: float) -> set[Path]:
        """Take out the paths to look at now: all, once all have settled or some waited long."""
        for path, noted in self._waiting.items():
            if (stamp := _stamp(path)) != noted.stamp:
                self._waiting[path] = _Noted(stamp, now)
        ready = {p for p, noted in self._waiting.items() if now - noted.changed_at >= SETTLED_S}
        if len(ready) < len(self._waiting) and now - self._since < AT_MOST_S:
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
class Where:
    """What has to be looked through: folders and files, and folders without those in them."""

    deep: list[Path]
    shallow: list[Path]

    def __bool__(self) -> bool:
        return bool(self.deep or self.shallow)


def where_to_look(changed: Iterable[Path], ledger: Ledger) -> Where:
    """Return where changed paths make a difference to a library."""
    deep, shallow = set[Path](), set[Path]()
    for path in changed:
        root = ledger.root_for(path)
        if path.name == NO_MEDIA_NAME and root is not None:  # its folder comes or goes as a whole
            deep.add(path.parent if path.parent == root.path else path.parent.parent)
            continue
        if root is not None and is_kept_from_libraries(path, root.path):
            continue  # nobody named it
        if path.is_dir() or _is_known(path, ledger):
            deep.add(path)
        if path.name == IGNORE_NAME:
            deep.add(path.parent)
        elif path.suffix.lower() in EXTENSIONS and not is_gone(path.parent):
            shallow.add(path.parent)  # a RAW file beside it may count now, or no longer
    return Where(sorted(deep), sorted(shallow - deep))


def _is_known(path: Path, ledger: Ledger) -> bool:
    """Say whether a path that is gone, or is no photo by its name, is or holds a known file."""
    if path.suffix.lower() in EXTENSIONS and not is_gone(path):
        return False  # its folder is looked at
    root = ledger.root_for(path)
    return root is not None and ledger.knows_of(root, below_root(root, path))


def is_watched(path: Path, roots: Iterable[Path], library: Path) -> bool:
    """Say whether a change may matter: nothing hidden, and nothing of the library's own files."""
    if _is_own(path, library):
        return False
    root = next((root for root in roots if path.is_relative_to(root)), None)
    if root is None:
        return False
    *folders, name = ("", *path.relative_to(root).parts)
    hidden = [part for part in folders if part.startswith(".")]
    return not hidden and (not name.startswith(".") or name in (IGNORE_NAME, NO_MEDIA_NAME))


def _is_own(path: Path, library: Path) -> bool:
    """Say whether a path is the library's own: photos may lie beside, and even among its files."""
    if not path.is_relative_to(library) or path == library:
        return False
    first = path.relative_to(library).parts[0]
    return first.startswith(OWN_NAMES) and path.suffix.lower() not in EXTENSIONS
