"""The ledger's format: the first schema, and the numbered steps from each format to the next.

A new ledger is made by the first schema and all steps, so both ways end in the same tables. A step
is a script of SQL statements, written for the format before it; once released it never changes.
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

# What is still to do is counted with every search; ledgers of format 1 may have these already.
TO_DO_INDEXES = """
CREATE INDEX IF NOT EXISTS photos_uncut ON photos (photo_id)
    WHERE segmented_with IS NULL AND NOT hidden;
CREATE INDEX IF NOT EXISTS photos_hidden ON photos (photo_id) WHERE hidden;
CREATE INDEX IF NOT EXISTS files_waiting ON files (root_id, path) WHERE state = 'waiting';
"""

# The library that this ledger belongs to; the manifest and a server's collections name it too.
LIBRARY_ID = """
CREATE TABLE library (library_id TEXT NOT NULL);
INSERT INTO library VALUES (lower(hex(randomblob(16))));
"""

# ctime_ns: null where it was not looked at. facts: what the file says of the photo, as JSON; null
# where it was not kept. Files may also be excluded (left out and there) or unread (of a format that
# is not read). devices: the root itself ('') and each folder in it where another device begins.
WHAT_FILES_SAY = """
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

# What days and months are compared with, and who says when a photo was taken. The index is told of
# both, so every photo turns stale.
LOCAL_DATES = """
ALTER TABLE photos ADD COLUMN local_at TEXT NOT NULL DEFAULT '';
ALTER TABLE photos ADD COLUMN date_source TEXT NOT NULL DEFAULT 'unknown';
UPDATE photos SET local_at = substr(sort_at, 1, length(sort_at) - 6), stale = 1;
"""

# The script at position i leads from format i to format i + 1.
STEPS = (FIRST_SCHEMA, TO_DO_INDEXES + LIBRARY_ID, WHAT_FILES_SAY, LOCAL_DATES)
FORMAT = len(STEPS)


def statements(script: str) -> list[str]:
    """Return the statements of a script; each must end its line with a semicolon."""
    return [each for each in script.split(";\n") if each.strip()]


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring a ledger to the current format; one of an earlier format is copied beside it first.

    Args:
        db: the open ledger, in autocommit mode.
        path: of its file.

    Raises:
        LibraryError: a later version made it.
    """
    made_as = _format(db)
    if made_as > FORMAT:
        raise LibraryError(
            f"{path} has format {made_as}, this segsearch reads {FORMAT}. Use the segsearch that "
            "made it."
        )
    if made_as == FORMAT:
        return
    if made_as:
        _copy(db, path.with_name(f"{path.name}.format-{made_as}"))
    db.execute("BEGIN IMMEDIATE")
    try:
        for script in STEPS[_format(db) :]:  # none if another process was faster
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


def _copy(db: sqlite3.Connection, path: Path) -> None:
    """Copy the ledger, all of it or nothing; a copy that is there is kept."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with closing(sqlite3.connect(draft)) as copy:
        db.backup(copy)
    draft.replace(path)
