"""What a scan has come across: too many paths, in a large library, to keep them in memory."""

from __future__ import annotations

import os
import sqlite3
import unicodedata
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

WRITTEN_AT_ONCE = 1000


class SeenFiles:
    """A set of paths below a root, in a nameless file that SQLite keeps: 2 MB of it in memory."""

    def __init__(self) -> None:
        self._new: set[bytes] = set()  # not written yet

    @cached_property
    def _db(self) -> sqlite3.Connection:
        # The garbage collector may close it in any thread.
        db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, db.close)
        db.execute("CREATE TABLE seen (path BLOB PRIMARY KEY, spelling BLOB) WITHOUT ROWID")
        db.execute("CREATE INDEX seen_by_spelling ON seen (spelling)")
        return db

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
        if below in self._new:
            return True
        if not self._is_written:
            return False
        found = self._db.execute("SELECT 1 FROM seen WHERE path = ?", (below,))
        return found.fetchone() is not None

    def hold_around(self, below: bytes) -> bool:
        """Say whether a path or a folder around it is in; so is b"", the root itself."""
        while below not in self:
            if not below:
                return False
            below = os.path.dirname(below)  # noqa: PTH120  (bytes)
        return True

    def spelled_like(self, below: bytes) -> list[bytes]:
        """Return the paths in it that differ only in case, or in é as one letter or as two."""
        self._write()
        rows = self._db.execute("SELECT path FROM seen WHERE spelling = ?", (_folded(below),))
        return [row[0] for row in rows]

    def __iter__(self) -> Iterator[bytes]:
        self._write()
        return (row[0] for row in self._db.execute("SELECT path FROM seen ORDER BY path"))

    def __bool__(self) -> bool:
        return bool(self._new) or (self._is_written and next(iter(self), None) is not None)

    @property
    def _is_written(self) -> bool:
        return "_db" in self.__dict__

    def _write(self) -> None:
        db = self._db
        if self._new:
            db.execute("BEGIN")
            db.executemany(
                "INSERT OR IGNORE INTO seen VALUES (?, ?)",
                ((path, _folded(path)) for path in self._new),
            )
            db.execute("COMMIT")
            self._new.clear()


def _folded(below: bytes) -> bytes:
    return os.fsencode(unicodedata.normalize("NFC", os.fsdecode(below)).casefold())


@dataclass
class Seen:
    """What a scan has come across so far, as paths below the root."""

    files: SeenFiles = field(default_factory=SeenFiles)
    unreadable: SeenFiles = field(default_factory=SeenFiles)
    left_out: SeenFiles = field(default_factory=SeenFiles)  # files and folders
    not_read: SeenFiles = field(default_factory=SeenFiles)  # of formats that are not read
