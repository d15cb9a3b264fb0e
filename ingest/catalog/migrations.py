"""The ledger's schema migrations: one SQL script per format version.

A new ledger is created by running all scripts, so new and migrated ledgers have the same tables. A
released script never changes.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from search.errors import LibraryError

FIRST_SCHEMA = """
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

# Every search counts the work left to do. Ledgers of format 1 may have these indexes already.
TO_DO_INDEXES = """
CREATE INDEX IF NOT EXISTS photos_uncut ON photos (photo_id)
    WHERE segmented_with IS NULL AND NOT hidden;
CREATE INDEX IF NOT EXISTS photos_hidden ON photos (photo_id) WHERE hidden;
CREATE INDEX IF NOT EXISTS files_waiting ON files (root_id, path) WHERE state = 'waiting';
"""

# The library that this ledger belongs to, as in the manifest and in a server's collections.
LIBRARY_ID = """
CREATE TABLE library (library_id TEXT NOT NULL);
INSERT INTO library VALUES (lower(hex(randomblob(16))));
"""

# ctime_ns and facts (JSON) are null in rows of older versions. New file states: excluded (present,
# but excluded by a pattern) and unread (unsupported format). devices: the root itself ('') and each
# mount point below it.
FILE_FACTS = """
ALTER TABLE files ADD COLUMN ctime_ns INTEGER;
ALTER TABLE files ADD COLUMN facts TEXT;
CREATE INDEX files_unread ON files (root_id, path) WHERE state = 'unread';
CREATE TABLE devices (
    root_id TEXT NOT NULL REFERENCES roots (root_id),
    path BLOB NOT NULL,
    device TEXT NOT NULL,           -- st_dev; on some systems beyond SQLite's integers
    PRIMARY KEY (root_id, path)
) WITHOUT ROWID;
"""

# Local time, which days and months are compared with, and the source of the date. The index stores
# both, so every photo becomes stale.
LOCAL_DATES = """
ALTER TABLE photos ADD COLUMN local_at TEXT NOT NULL DEFAULT '';
ALTER TABLE photos ADD COLUMN date_source TEXT NOT NULL DEFAULT 'unknown';
UPDATE photos SET local_at = substr(sort_at, 1, length(sort_at) - 6), stale = 1;
"""

# The script at position i migrates format i to format i + 1.
STEPS = (FIRST_SCHEMA, TO_DO_INDEXES + LIBRARY_ID, FILE_FACTS, LOCAL_DATES)
FORMAT = len(STEPS)


def statements(script: str) -> list[str]:
    """Split a script into statements; each must end with a semicolon at the end of a line."""
    return [each for each in script.split(";\n") if each.strip()]


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Migrate a ledger to the current format; an existing one is backed up beside it first.

    Args:
        db: the open ledger, in autocommit mode.
        path: of its file.

    Raises:
        LibraryError: a later version created it.
    """
    format_before = _format(db)
    if format_before > FORMAT:
        raise LibraryError(
            f"{path} has format {format_before}, this segsearch reads {FORMAT}. Use the segsearch "
            "that made it."
        )
    if format_before == FORMAT:
        return
    if format_before:
        _backup(db, path.with_name(f"{path.name}.format-{format_before}"))
    db.execute("BEGIN IMMEDIATE")
    try:
        for script in STEPS[_format(db) :]:  # read again: another process may have migrated it
            for statement in statements(script):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {FORMAT}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _format(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _backup(db: sqlite3.Connection, path: Path) -> None:
    """Copy the ledger atomically; an existing copy is kept."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with closing(sqlite3.connect(draft)) as copy:
        db.backup(copy)
    draft.replace(path)
