"""The result of one walk: paths in the order of the walk, in a temporary SQLite file.

A large library has too many paths to keep in memory. The file is unnamed and deleted on close;
SQLite caches 2 MB of it.
"""

from __future__ import annotations

import os
import sqlite3
import unicodedata
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import FileKey, is_gone
from ingest.imaging.decode import shown_path
from ingest.scanning.ignore_file import IGNORE_NAME
from ingest.scanning.mounts import DeviceMap, device_of
from ingest.scanning.scopes import Scope, below_root
from ingest.scanning.walk import EntryKind, iter_entries

BATCH = 1000  # paths between two commits
SCHEMA = """
CREATE TABLE entries (kind TEXT, path BLOB, spelling BLOB, reason TEXT, position INTEGER,
    PRIMARY KEY (kind, path)) WITHOUT ROWID;
CREATE UNIQUE INDEX by_position ON entries (kind, position);
CREATE INDEX by_spelling ON entries (kind, spelling);
"""


@dataclass
class Listing:
    """The entries of one walk, as paths below the scope's root, and notices about them."""

    scope: Scope
    notices: list[str] = field(default_factory=list)
    _pending: dict[tuple[EntryKind, bytes], str] = field(default_factory=dict)  # not written yet
    _written: int = 0

    def __post_init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._db.close)  # the garbage collector may run in any thread
        self._db.executescript(SCHEMA)

    def add(self, below: bytes, kind: EntryKind = "photo", reason: str = "") -> None:
        """Append a path, unless it is listed already."""
        self._pending.setdefault((kind, below), reason)
        if len(self._pending) >= BATCH:
            self._write()

    def discard(self, below: bytes) -> None:
        """Remove a photo file that has gone since the walk."""
        self._write()
        self._db.execute("DELETE FROM entries WHERE kind = 'photo' AND path = ?", (below,))

    def has(self, below: bytes, kind: EntryKind = "photo") -> bool:
        """Return whether a path is listed as this kind."""
        self._write()
        found = self._db.execute("SELECT 1 FROM entries WHERE kind = ? AND path = ?", (kind, below))
        return found.fetchone() is not None

    def has_any(self, kind: EntryKind) -> bool:
        """Return whether any path is listed as this kind."""
        self._write()
        found = self._db.execute("SELECT 1 FROM entries WHERE kind = ? LIMIT 1", (kind,))
        return found.fetchone() is not None

    def has_ancestor(self, below: bytes, kind: EntryKind) -> bool:
        """Return whether a path or a parent of it (b"": the root) is listed as this kind."""
        while not self.has(below, kind):
            if not below:
                return False
            below = os.path.dirname(below)  # noqa: PTH120  (bytes)
        return True

    def same_spelling(self, below: bytes) -> list[bytes]:
        """Return the photo files whose paths differ only in case or Unicode composition."""
        self._write()
        rows = self._db.execute(
            "SELECT path FROM entries WHERE kind = 'photo' AND spelling = ?", (_folded(below),)
        )
        return [row[0] for row in rows]

    def count(self) -> int:
        """Return the number of photo files."""
        self._write()
        return int(
            self._db.execute("SELECT count(*) FROM entries WHERE kind = 'photo'").fetchone()[0]
        )

    def iter_files(self) -> Iterator[FileKey]:
        """Iterate over the photo files in the order of the walk; `discard` is allowed meanwhile."""
        for below, _ in self.iter_kind("photo"):
            yield FileKey(self.scope.root, below)

    def iter_kind(self, kind: EntryKind) -> Iterator[tuple[bytes, str]]:
        """Iterate over paths of one kind, each with its reason, in the order of the walk."""
        self._write()
        last = -1
        while rows := self._db.execute(
            "SELECT path, reason, position FROM entries WHERE kind = ? AND position > ? "
            "ORDER BY position LIMIT ?",
            (kind, last, BATCH),
        ).fetchall():
            for below, reason, _ in rows:
                yield below, reason
            last = rows[-1][2]

    def _write(self) -> None:
        if not self._pending:
            return
        rows = [
            (kind, below, _folded(below), reason, self._written + number)
            for number, ((kind, below), reason) in enumerate(self._pending.items())
        ]
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?)", rows)
        self._db.execute("COMMIT")
        self._written += len(rows)
        self._pending.clear()


def list_scope(scope: Scope, ledger: Ledger, devices: DeviceMap | None = None) -> Listing:
    """Walk a scope once and add new files to the ledger: as waiting, or unread if unsupported.

    Args:
        scope: what to walk; if it does not exist, the listing is empty.
        ledger: of the library.
        devices: filled with the root's mount points.
    """
    listing, outside = Listing(scope), list[Path]()
    added = {"photo": _Batches(ledger.note_waiting), "other_format": _Batches(ledger.note_unread)}
    devices = devices or DeviceMap()
    _note_parent_devices(scope, devices)
    if is_gone(scope.path):
        return listing
    entries = iter_entries(
        scope.path,
        root=scope.outermost or scope.root.path,
        exclude=scope.exclude,
        deep=scope.deep,
        links=scope.links,
    )
    for entry in (entry for entry in entries if scope.holds(entry.path)):
        key = FileKey(scope.root, below_root(scope.root, entry.path))
        if entry.kind == "folder" and entry.device is not None:
            devices.note(key.below, entry.device)
        elif entry.kind == "outside":
            outside.append(entry.path)
        elif entry.kind != "folder":
            listing.add(key.below, entry.kind, entry.reason)
        if entry.kind in added:
            added[entry.kind].add(key)
    for batches in added.values():
        batches.flush()
    if listing.has(scope.below, "ignored"):
        listing.notices.append(_ignored_notice(scope.path))
    if outside:
        listing.notices.append(_outside_notice(outside))
    return listing


def count_waiting(listings: Sequence[Listing], ledger: Ledger) -> int:
    """Count the waiting files in the scopes of listings, which may overlap."""
    waiting = set[tuple[str, bytes]]()
    for listing in listings:
        scope = listing.scope
        below = ledger.iter_waiting(scope.root, scope.below)
        waiting.update((scope.root.root_id, path) for path in below if scope.covers(path))
    return len(waiting)


class _Batches:
    """Passes file keys on in batches."""

    def __init__(self, write: Callable[[Sequence[FileKey]], None]) -> None:
        self._write, self._keys = write, list[FileKey]()

    def add(self, key: FileKey) -> None:
        self._keys.append(key)
        if len(self._keys) >= BATCH:
            self.flush()

    def flush(self) -> None:
        if self._keys:
            self._write(self._keys)
            self._keys = []


def _note_parent_devices(scope: Scope, devices: DeviceMap) -> None:
    """Add the devices of the folders between the root and the scope, which are not walked."""
    for parent in reversed(scope.path.parents):
        if parent.is_relative_to(scope.root.path):
            device = device_of(parent)
            if device is not None:
                devices.note(below_root(scope.root, parent), device)


def _folded(below: bytes) -> bytes:
    return os.fsencode(unicodedata.normalize("NFC", os.fsdecode(below)).casefold())


def _ignored_notice(path: Path) -> str:
    return (
        f"{shown_path(path)} is left out by a pattern: see {IGNORE_NAME} in its parent "
        "folders, and the setting exclude"
    )


def _outside_notice(links: Sequence[Path]) -> str:
    return (
        f"{len(links)} links lead out of the folders and were not followed "
        f"({shown_path(links[0])} is one): use --follow-links, or ingest their targets"
    )
