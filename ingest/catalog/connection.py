"""The connection to the ledger: one SQLite file in the library folder."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search.errors import DamagedLedgerError, LibraryError

LEDGER_NAME = "ledger.sqlite"
UNREADABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
EARTH_RADIUS_M = 6_371_000.0
BUSY_TIMEOUT_S = 30.0  # another command's writes take milliseconds


class LedgerConnection:
    """An open connection to the ledger's SQLite file."""

    def __init__(self, folder: Path) -> None:
        """Open the ledger of a library folder; create it if it does not exist.

        Raises:
            LibraryError: the file is not a ledger of this format, or can't be opened.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / LEDGER_NAME
        with self._translated_errors():
            self._db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            self._db.row_factory = sqlite3.Row
            self._db.create_function("distance_m", 4, distance_m, deterministic=True)
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
                self._execute(f"PRAGMA {pragma}")
        except BaseException:
            self._db.close()
            raise

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Translate SQLite's errors about the disk or the file into library errors."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if type(error) not in (sqlite3.OperationalError, sqlite3.DatabaseError):
                raise  # a bug, such as a violated constraint
            if error.sqlite_errorcode & 0xFF in UNREADABLE:  # the primary result code
                raise DamagedLedgerError(
                    f"the ledger {self.path} is damaged: {error}. Restore it from a backup, or "
                    "rebuild it from the index with `segsearch rebuild PHOTOS`."
                ) from error
            raise LibraryError(
                f"the ledger {self.path} can't be used: {error}. Make sure that the disk is not "
                "full and that the folder is writable."
            ) from error

    def _execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        with self._translated_errors():
            return self._db.execute(sql, values)

    def _execute_each(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._translated_errors():
            self._db.executemany(sql, rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._execute("ROLLBACK")
            raise

    def library_id(self) -> str:
        """Return the id of the library that this ledger belongs to, 32 hexadecimal digits."""
        row = self._execute("SELECT library_id FROM library").fetchone()
        if row is None:
            raise LibraryError(
                f"the ledger {self.path} has no library id: it is damaged. Restore it from a "
                "backup, or rebuild it with `segsearch rebuild PHOTOS`."
            )
        return str(row[0])

    def set_library_id(self, library_id: str) -> None:
        """Set the id of the library that this ledger belongs to."""
        self._execute("UPDATE library SET library_id = ?", (library_id,))

    def integrity_errors(self) -> list[str]:
        """Run SQLite's integrity and foreign key checks; an intact file gives an empty list."""
        found = [str(row[0]) for row in self._execute("PRAGMA quick_check")]
        dangling = self._execute("PRAGMA foreign_key_check").fetchall()
        found += [f"a row of {row[0]} refers to a missing row of {row[2]}" for row in dangling]
        return [error for error in found if error != "ok"]

    def close(self) -> None:
        """Close the ledger."""
        self._db.close()


def distance_m(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """Return the great-circle distance of two points in degrees, in meters (haversine formula)."""
    a, b, c, d = (math.radians(angle) for angle in (lat_a, lon_a, lat_b, lon_b))
    h = math.sin((a - c) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((b - d) / 2) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(h)))
