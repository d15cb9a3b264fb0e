"""What a scan has come across: too many paths, in a large library, to keep them in memory."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field

WRITTEN_AT_ONCE = 1000


class SeenFiles:
    """A set of paths below a root, in a nameless file that SQLite keeps: 2 MB of it in memory."""

    def __init__(self) -> None:
        # The garbage collector may close it in any thread.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._db.close)
        self._db.execute("CREATE TABLE seen (path BLOB PRIMARY KEY) WITHOUT ROWID")
        self._new: set[bytes] = set()  # not written yet

    def add(self, below: bytes) -> None:
        """Take in a path."""
        self._new.add(below)
        if len(self._new) >= WRITTEN_AT_ONCE:
            self._write()

    def discard(self, below: bytes) -> None:
        """Forget a path, if it is in."""
        self._write()
        self._db.execute("DELETE FROM seen WHERE path = ?", (below,))

    def __contains__(self, below: bytes) -> bool:
        self._write()
        found = self._db.execute("SELECT 1 FROM seen WHERE path = ?", (below,))
        return found.fetchone() is not None

    def __iter__(self) -> Iterator[bytes]:
        self._write()
        return (row[0] for row in self._db.execute("SELECT path FROM seen ORDER BY path"))

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    def _write(self) -> None:
        if self._new:
            self._db.execute("BEGIN")
            self._db.executemany(
                "INSERT OR IGNORE INTO seen VALUES (?)", ((path,) for path in self._new)
            )
            self._db.execute("COMMIT")
            self._new.clear()


@dataclass
class Seen:
    """What a scan has come across so far, as paths below the root."""

    files: SeenFiles = field(default_factory=SeenFiles)
    unreadable: list[bytes] = field(default_factory=list)
    left_out: list[bytes] = field(default_factory=list)  # by patterns: files and folders
