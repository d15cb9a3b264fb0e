"""The ledger's file: one SQLite database in the library folder, and its errors in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ingest.browsing import distance_m
from search.errors import LibraryError

LEDGER_NAME = "ledger.sqlite"
FORMAT = 1
BUSY_S = 30.0  # another command's writes take milliseconds

SCHEMA = """
CREATE TABLE roots (
    root_id TEXT PRIMARY KEY,
    path BLOB NOT NULL UNIQUE
);
CREATE TABLE photos (
    photo_id TEXT PRIMARY KEY,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    sort_at TEXT NOT NULL,          -- RFC 3339, with the photo's own offset
    sort_utc REAL NOT NULL,         -- the same as seconds since 1970, to order by
    camera TEXT,
    lat REAL,
    lon REAL,
    segmented_with TEXT,            -- null: begun, not finished
    segment_count INTEGER NOT NULL,
    hidden INTEGER NOT NULL DEFAULT 0,
    stale INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX photos_by_time ON photos (sort_utc DESC, photo_id);
CREATE INDEX photos_stale ON photos (photo_id) WHERE stale;
CREATE TABLE files (
    root_id TEXT NOT NULL REFERENCES roots (root_id),
    path BLOB NOT NULL,             -- below the root, as the file system spells it
    folder TEXT NOT NULL,           -- ROOT_ID/sub/folder
    bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256 TEXT,
    photo_id TEXT REFERENCES photos (photo_id),
    state TEXT NOT NULL,            -- waiting, present, vanished, skipped
    reason TEXT,                    -- why it was skipped
    noted_at TEXT NOT NULL,
    PRIMARY KEY (root_id, path)
) WITHOUT ROWID;
CREATE INDEX files_by_sha256 ON files (sha256);
CREATE INDEX files_by_photo ON files (photo_id);
CREATE INDEX files_by_folder ON files (folder);
"""
# What is still to do is counted with every search. Ledgers of before get these when opened.
TO_DO_INDEXES = (
    "CREATE INDEX IF NOT EXISTS photos_uncut ON photos (photo_id) "
    "WHERE segmented_with IS NULL AND NOT hidden",
    "CREATE INDEX IF NOT EXISTS photos_hidden ON photos (photo_id) WHERE hidden",
    "CREATE INDEX IF NOT EXISTS files_waiting ON files (root_id, path) WHERE state = 'waiting'",
)


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
            self._create()
        except BaseException:
            self._db.close()
            raise

    def _create(self) -> None:
        version = self._execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._create_tables()
        elif version != FORMAT:
            raise LibraryError(
                f"{self.path} has format {version}, this segsearch reads {FORMAT}. Use the "
                "segsearch that made it."
            )
        for statement in TO_DO_INDEXES:
            self._execute(statement)

    def _create_tables(self) -> None:
        with self._transaction():
            if self._execute("PRAGMA user_version").fetchone()[0] == 0:  # else another was faster
                for statement in SCHEMA.split(";\n"):
                    self._execute(statement)
                self._execute(f"PRAGMA user_version = {FORMAT}")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn what SQLite says of the disk or the file into an error that helps."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if type(error) not in (sqlite3.OperationalError, sqlite3.DatabaseError):
                raise  # a mistake in this program
            raise LibraryError(
                f"{self.path} can't be used as a ledger: {error}. If the disk is full, make room; "
                "if the file is damaged, restore it from a backup, or start a new library with "
                "--library."
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

    def damages(self) -> list[str]:
        """Return what SQLite finds wrong with the file; nothing is the rule."""
        found = [str(row[0]) for row in self._execute("PRAGMA quick_check")]
        strays = self._execute("PRAGMA foreign_key_check").fetchall()
        found += [f"a row of {stray[0]} names a row of {stray[2]} that is gone" for stray in strays]
        return [damage for damage in found if damage != "ok"]

    def close(self) -> None:
        """Close the ledger."""
        self._db.close()
