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
BUSY_S = 30.0  # another command's writes take milliseconds


class LedgerConnection:
    """An open connection to the ledger's SQLite file."""

    def __init__(self, folder: Path) -> None:
        """Open the ledger, and create it where there is none.

        Raises:
            LibraryError: the file is not a ledger of this format, or can't be used.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / LEDGER_NAME
        with self._translated_errors():
            self._db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
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
        """Turn what SQLite says of the disk or the file into an error that helps."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if type(error) not in (sqlite3.OperationalError, sqlite3.DatabaseError):
                raise  # a mistake in this program
            if error.sqlite_errorcode & 0xFF in UNREADABLE:  # without its extended part
                raise DamagedLedgerError(
                    f"the ledger {self.path} is damaged: {error}. Restore it from a backup, or let "
                    "`segsearch rebuild PHOTOS` make it anew from what the index holds."
                ) from error
            raise LibraryError(
                f"the ledger {self.path} can't be used: {error}. If the disk is full, make room, "
                "and see that the folder may be written to."
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
                f"{self.path} does not say which library it belongs to: it is damaged. Restore it "
                "from a backup, or make it anew with `segsearch rebuild PHOTOS`."
            )
        return str(row[0])

    def set_library_id(self, library_id: str) -> None:
        """Say which library this ledger belongs to."""
        self._execute("UPDATE library SET library_id = ?", (library_id,))

    def damages(self) -> list[str]:
        """Return what SQLite finds wrong with the file; nothing is the rule."""
        found = [str(row[0]) for row in self._execute("PRAGMA quick_check")]
        strays = self._execute("PRAGMA foreign_key_check").fetchall()
        found += [f"a row of {stray[0]} names a row of {stray[2]} that is gone" for stray in strays]
        return [damage for damage in found if damage != "ok"]

    def close(self) -> None:
        """Close the ledger."""
        self._db.close()


def distance_m(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """Return the distance of two places along the Earth, in metres (haversine formula)."""
    a, b, c, d = (math.radians(angle) for angle in (lat_a, lon_a, lat_b, lon_b))
    h = math.sin((a - c) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((b - d) / 2) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(h)))
