"""The ledger's file: one SQLite database in the library folder, and its errors in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ingest.catalog.migrations import FORMAT, STEPS, statements
from ingest.catalog.queries import distance_m
from search.errors import DamagedLedgerError, LibraryError

LEDGER_NAME = "ledger.sqlite"
UNREADABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
BUSY_S = 30.0  # another command's writes take milliseconds


class LedgerFile:
    """An open ledger file; what it says is read by the classes built on it."""

    def __init__(self, folder: Path) -> None:
        """Open the ledger, and create it where there is none.

        Raises:
            LibraryError: the file is not a ledger of this format, or can't be used.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / LEDGER_NAME
        with self._telling():
            self._db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        try:
            self._db.row_factory = sqlite3.Row
            self._db.create_function("distance_m", 4, distance_m, deterministic=True)
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
                self._execute(f"PRAGMA {pragma}")
            self._migrate()
        except BaseException:
            self._db.close()
            raise

    def _migrate(self) -> None:
        """Bring the ledger to this format; one of an earlier format is copied beside first."""
        made_as = self._format()
        if made_as > FORMAT:
            raise LibraryError(
                f"{self.path} has format {made_as}, this segsearch reads {FORMAT}. Use the "
                "segsearch that made it."
            )
        if made_as == FORMAT:
            return
        if made_as:
            self._copy_to(self.path.with_name(f"{LEDGER_NAME}.format-{made_as}"))
        with self._transaction():
            for script in STEPS[self._format() :]:  # none if another process was faster
                for statement in statements(script):
                    self._execute(statement)
            self._execute(f"PRAGMA user_version = {FORMAT}")

    def _format(self) -> int:
        return int(self._execute("PRAGMA user_version").fetchone()[0])

    def _copy_to(self, path: Path) -> None:
        """Copy the ledger as it stands, all of it or nothing; a copy that is there is kept."""
        if path.exists():
            return
        draft = path.with_name(f"{path.name}.new")
        draft.unlink(missing_ok=True)
        with self._telling(), closing(sqlite3.connect(draft)) as copy:
            self._db.backup(copy)
        draft.replace(path)

    @contextmanager
    def _telling(self) -> Iterator[None]:
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
        with self._telling():
            return self._db.execute(sql, values)

    def _execute_each(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._telling():
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
