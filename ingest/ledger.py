"""The ledger: which files are known, which photos they show, what was skipped and why.

One SQLite file in the library folder, also when vectors live on a server. Files are known as root
+ path below it, so that a disk mounted elsewhere changes one row. A photo is begun before the
index hears of it and finished when its row says what it was segmented with, which is written last:
what a killed run left half done is known by name. A photo whose files changed is `stale` until the
index has been told.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.browsing import (
    distance_m,
    facets_from_rows,
    photo_clauses,
    photo_columns,
    photo_row,
)
from ingest.files import (
    Facets,
    FileKey,
    FileRow,
    FileStamp,
    FileState,
    PhotoRow,
    Root,
    is_below,
)
from search.errors import LibraryError, UnknownIdError, UsageError
from search.records import NAMESPACE, Photo, PhotoFacts, SearchFilter

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
    state TEXT NOT NULL,            -- present, vanished, skipped
    reason TEXT,                    -- why it was skipped
    noted_at TEXT NOT NULL,
    PRIMARY KEY (root_id, path)
) WITHOUT ROWID;
CREATE INDEX files_by_sha256 ON files (sha256);
CREATE INDEX files_by_photo ON files (photo_id);
CREATE INDEX files_by_folder ON files (folder);
"""

PUT_PHOTO = """
INSERT INTO photos VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)
ON CONFLICT (photo_id) DO UPDATE SET width = excluded.width, height = excluded.height,
    sort_at = excluded.sort_at, sort_utc = excluded.sort_utc, camera = excluded.camera,
    lat = excluded.lat, lon = excluded.lon, segmented_with = excluded.segmented_with,
    segment_count = excluded.segment_count, hidden = excluded.hidden, stale = 1
"""

# A vanished file tells something only as long as its photo has no other.
FORGET_MOVED = """
DELETE FROM files WHERE state = 'vanished' AND (photo_id IS NULL OR EXISTS (
    SELECT 1 FROM files f WHERE f.photo_id = files.photo_id AND f.state = 'present'))
"""


class Ledger:
    """The ledger of one library. Each thread that uses it opens its own."""

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

    def close(self) -> None:
        """Close the ledger."""
        self._db.close()

    # roots

    def roots(self) -> list[Root]:
        """Return every root, by path."""
        rows = self._execute("SELECT * FROM roots ORDER BY path")
        paths = {row["root_id"]: Path(os.fsdecode(row["path"])) for row in rows}
        return [Root(root_id, path, _within(path, paths)) for root_id, path in paths.items()]

    def root_for(self, folder: Path) -> Root | None:
        """Return the innermost root that holds an absolute path, or None."""
        holding = [root for root in self.roots() if folder.is_relative_to(root.path)]
        return max(holding, key=lambda root: len(root.path.parts), default=None)

    def add_root(self, folder: Path) -> Root:
        """Make an absolute folder a root; one that is a root already is returned as it is."""
        known = {root.path: root for root in self.roots()}
        if folder in known:
            return known[folder]
        root_id = _new_root_id(folder, {root.root_id for root in known.values()})
        with self._transaction():
            self._execute(
                "INSERT OR IGNORE INTO roots VALUES (?, ?)", (root_id, os.fsencode(folder))
            )
            self._mark_roots_stale(folder)
        return next(root for root in self.roots() if root.path == folder)

    def move_root(self, old: Path, new: Path) -> None:
        """Say that a root is now found elsewhere (a disk mounted at another place).

        Raises:
            UsageError: `old` is no root, or `new` is one already.
        """
        known = {root.path for root in self.roots()}
        if new in known:
            raise UsageError(f"{new} is a root already")
        if old not in known:
            raise UsageError(f"{old} is not a root; `segsearch status` lists them")
        with self._transaction():
            self._mark_roots_stale(old)
            self._execute(
                "UPDATE roots SET path = ? WHERE path = ?", (os.fsencode(new), os.fsencode(old))
            )
            self._mark_roots_stale(new)

    def forget_root(self, root: Root) -> list[str]:
        """Forget a root and its files, and return the photos that no other file shows."""
        with self._transaction():
            rows = self._execute(
                "SELECT DISTINCT photo_id FROM files WHERE root_id = ? AND photo_id IS NOT NULL",
                (root.root_id,),
            )
            shown = {row["photo_id"] for row in rows}
            self._mark_roots_stale(root.path)
            self._execute("DELETE FROM files WHERE root_id = ?", (root.root_id,))
            self._execute("DELETE FROM roots WHERE root_id = ?", (root.root_id,))
        return sorted(shown & set(self.missing_photos()))

    def _mark_roots_stale(self, folder: Path) -> None:
        """Mark the photos of all roots at or below a folder: their folders get other names."""
        inside = [root.root_id for root in self.roots() if root.path.is_relative_to(folder)]
        self._execute_each(
            "UPDATE photos SET stale = 1 WHERE photo_id IN "
            "(SELECT photo_id FROM files WHERE root_id = ?)",
            [(root_id,) for root_id in inside],
        )

    # files

    def file(self, key: FileKey) -> FileRow | None:
        """Return what is known of a file, or None."""
        row = self._execute(
            "SELECT * FROM files WHERE root_id = ? AND path = ?", (key.root.root_id, key.below)
        ).fetchone()
        if row is None:
            return None
        stamp = FileStamp(row["bytes"], row["mtime_ns"])
        return FileRow(stamp, row["sha256"], row["photo_id"], row["state"], row["reason"])

    def photo_of_content(self, sha256: str) -> str | None:
        """Return the photo that a file with this content shows, if it is known."""
        row = self._execute(
            "SELECT photo_id FROM files WHERE sha256 = ? AND photo_id IS NOT NULL LIMIT 1",
            (sha256,),
        ).fetchone()
        return row["photo_id"] if row else None

    def files_of(self, photo_id: str) -> list[FileKey]:
        """Return the files that show a photo, as far as is known."""
        roots = {root.root_id: root for root in self.roots()}
        rows = self._execute(
            "SELECT root_id, path FROM files WHERE photo_id = ? AND state = 'present' "
            "ORDER BY root_id, path",
            (photo_id,),
        )
        return [FileKey(roots[row["root_id"]], row["path"]) for row in rows]

    def put_file(
        self,
        key: FileKey,
        stamp: FileStamp,
        sha256: str,
        photo_id: str,
        facts: PhotoFacts | None = None,
    ) -> None:
        """Note that a file is there and shows a photo, and what the file says of it, if given.

        That photo, and the one that the file showed before, turn stale.
        """
        with self._transaction():
            self._put_file(key, stamp, sha256, photo_id, "present", None)
            if facts is not None:
                self._execute(
                    "UPDATE photos SET sort_at = ?, sort_utc = ?, camera = ?, lat = ?, lon = ? "
                    "WHERE photo_id = ?",
                    (*photo_columns(facts), photo_id),
                )

    def skip_file(self, key: FileKey, stamp: FileStamp, reason: str) -> None:
        """Note that a file can't be used, and why."""
        with self._transaction():
            self._put_file(key, stamp, None, None, "skipped", reason)

    def restamp_file(self, key: FileKey, stamp: FileStamp) -> None:
        """Note that a file was touched and still holds the same."""
        self._execute(
            "UPDATE files SET bytes = ?, mtime_ns = ? WHERE root_id = ? AND path = ?",
            (stamp.bytes, stamp.mtime_ns, key.root.root_id, key.below),
        )

    def _put_file(
        self,
        key: FileKey,
        stamp: FileStamp,
        sha256: str | None,
        photo_id: str | None,
        state: FileState,
        reason: str | None,
    ) -> None:
        before = self.file(key)
        self._execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key.root.root_id,
                key.below,
                key.folder,
                stamp.bytes,
                stamp.mtime_ns,
                sha256,
                photo_id,
                state,
                reason,
                datetime.now(UTC).isoformat(timespec="seconds"),
            ),
        )
        self._mark_stale({photo_id, before.photo_id if before else None})

    def _mark_stale(self, photo_ids: Iterable[str | None]) -> None:
        self._execute_each(
            "UPDATE photos SET stale = 1 WHERE photo_id = ?", [(i,) for i in photo_ids if i]
        )

    def known_below(self, root: Root, folder: bytes) -> list[bytes]:
        """Return the files thought to be there below a folder of a root (b"": all of it)."""
        rows = self._execute(
            "SELECT path FROM files WHERE root_id = ? AND state != 'vanished'", (root.root_id,)
        )
        return [row["path"] for row in rows if is_below(row["path"], folder)]

    def knows_of(self, root: Root, path: bytes) -> bool:
        """Say whether anything is or was known of a file, or of files below a folder."""
        rows = self._execute("SELECT path FROM files WHERE root_id = ?", (root.root_id,))
        return any(is_below(row["path"], path) for row in rows)

    def mark_vanished(self, root: Root, paths: Sequence[bytes]) -> int:
        """Note that files are gone; return how many photos no file shows any more.

        Those whose photo has another file, or that showed none, are forgotten.
        """
        keys = [(root.root_id, path) for path in paths]
        with self._transaction():
            missing_before = len(self.missing_photos())
            self._execute_each(
                "UPDATE photos SET stale = 1 WHERE photo_id = "
                "(SELECT photo_id FROM files WHERE root_id = ? AND path = ?)",
                keys,
            )
            self._execute_each(
                "UPDATE files SET state = 'vanished' WHERE root_id = ? AND path = ?", keys
            )
            self._execute(FORGET_MOVED)
            return len(self.missing_photos()) - missing_before

    def skipped(self) -> list[tuple[Path, str]]:
        """Return every file that could not be used, and why, by path."""
        rows = self._execute(
            "SELECT r.path AS root, f.path, f.reason FROM files f JOIN roots r USING (root_id) "
            "WHERE f.state = 'skipped' ORDER BY r.path, f.path"
        )
        return [
            (Path(os.fsdecode(row["root"])) / os.fsdecode(row["path"]), row["reason"])
            for row in rows
        ]

    # photos

    def is_finished(self, photo_id: str, segmented_with: str | None = None) -> bool:
        """Say whether a photo's segments are all in the index (made with this fingerprint)."""
        row = self._execute(
            "SELECT segmented_with FROM photos WHERE photo_id = ?", (photo_id,)
        ).fetchone()
        if row is None or row["segmented_with"] is None:
            return False
        return segmented_with in (None, row["segmented_with"])

    def begin_photo(self, photo: Photo) -> None:
        """Note that the index is about to change; until it is finished the photo is to be done.

        A new photo is hidden until then, a known one stays as it is.
        """
        hidden = photo.facts.model_copy(update={"hidden": True})
        new = photo.model_copy(update={"segmented_with": None, "facts": hidden})
        with self._transaction():
            known = self._execute(
                "UPDATE photos SET segmented_with = NULL, stale = 1 WHERE photo_id = ?",
                (photo.photo_id,),
            )
            if not known.rowcount:
                self._put_photo(new)

    def finish_photo(self, photo: Photo, key: FileKey, stamp: FileStamp, sha256: str) -> None:
        """Note that a photo is in the index with all its segments, and the file that shows it.

        Raises:
            ValueError: the photo does not say what it was segmented with.
        """
        if photo.segmented_with is None:
            raise ValueError(f"photo {photo.photo_id} is not finished")
        with self._transaction():
            self._put_photo(photo)
            self._put_file(key, stamp, sha256, photo.photo_id, "present", None)

    def _put_photo(self, photo: Photo) -> None:
        self._execute(
            PUT_PHOTO,
            (
                photo.photo_id,
                *photo.size_wh,
                *photo_columns(photo.facts),
                photo.segmented_with,
                photo.segment_count,
                photo.facts.hidden,
            ),
        )

    def stale_photos(self) -> list[str]:
        """Return the photos whose facts the index may not know yet."""
        rows = self._execute("SELECT photo_id FROM photos WHERE stale ORDER BY photo_id")
        return [row["photo_id"] for row in rows]

    def facts_now(self, photo_id: str) -> PhotoFacts:
        """Return a photo's facts as its files stand now: folders, and hidden if none is there.

        Raises:
            UnknownIdError: there is no such photo.
        """
        photo = self.photo(photo_id).photo
        found = {folder for key in self.files_of(photo_id) for folder in key.folders}
        folders = tuple(sorted(found))
        return photo.facts.model_copy(update={"folders": folders, "hidden": not folders})

    def index_told(self, photo_id: str, facts: PhotoFacts) -> None:
        """Note that the index knows a photo's facts."""
        self._execute(
            "UPDATE photos SET stale = 0, hidden = ? WHERE photo_id = ?", (facts.hidden, photo_id)
        )

    def photo(self, photo_id: str) -> PhotoRow:
        """Return a photo.

        Raises:
            UnknownIdError: there is no such photo.
        """
        rows = self._photo_rows("WHERE p.photo_id = ?", (photo_id,))
        if not rows:
            raise UnknownIdError(f"there is no photo {photo_id} in this library")
        return rows[0]

    def photos(
        self,
        where: SearchFilter,
        *,
        limit: int,
        after: tuple[float, str] | None = None,
    ) -> list[PhotoRow]:
        """Return photos that are not hidden, newest first, by pages.

        Args:
            where: its parts about photos; those about segments are not looked at.
            limit: how many at most.
            after: `sort_key` of the last photo of the page before.
        """
        folders = self._names_of_folder(where.folder) if where.folder is not None else []
        clauses, values = photo_clauses(where, folders)
        if after is not None:
            clauses.append("(p.sort_utc < ? OR (p.sort_utc = ? AND p.photo_id > ?))")
            values += [after[0], after[0], after[1]]
        return self._photo_rows(
            f"WHERE {' AND '.join(clauses)} ORDER BY p.sort_utc DESC, p.photo_id LIMIT ?",
            [*values, limit],
        )

    def facets(self, where: SearchFilter) -> Facets:
        """Count the photos that are not hidden by camera, by month and by folder."""
        folders = self._names_of_folder(where.folder) if where.folder is not None else []
        clauses, values = photo_clauses(where, folders)
        among = f"WHERE {' AND '.join(clauses)}"
        return facets_from_rows(
            self._db.execute(f"SELECT p.camera, p.sort_at FROM photos p {among}", values),
            self._db.execute(
                "SELECT DISTINCT p.photo_id, f.folder FROM photos p JOIN files f "
                f"ON f.photo_id = p.photo_id AND f.state = 'present' {among}",
                values,
            ),
        )

    def _names_of_folder(self, folder: str) -> list[str]:
        """Return what `files.folder` says, or begins with, for all that lies below a folder."""
        roots = self.roots()
        names = {folder}
        for root in roots:
            for outside in root.within:  # "OUTER/sub", where this root is
                if f"{outside}/".startswith(f"{folder}/"):
                    names.add(root.root_id)
                elif f"{folder}/".startswith(f"{outside}/"):
                    names.add(root.root_id + folder.removeprefix(outside))
        return sorted(names)

    def paths(self, photo_ids: Sequence[str]) -> dict[str, PhotoRow]:
        """Return the rows of those of the photos that are known, by id."""
        marks = ",".join("?" * len(photo_ids))
        rows = self._photo_rows(f"WHERE p.photo_id IN ({marks})", photo_ids)
        return {row.photo.photo_id: row for row in rows}

    def _photo_rows(self, rest: str, values: Sequence[Any]) -> list[PhotoRow]:
        """Return photos, each with one of its files: one whose root is there, if there is any."""
        absent = [root.root_id for root in self.roots() if root.is_absent]
        rows = self._execute(
            "SELECT p.*, f.path AS below, r.path AS root, f.root_id FROM photos p "
            "LEFT JOIN files f ON (f.root_id, f.path) = (SELECT root_id, path FROM files "
            "  WHERE photo_id = p.photo_id AND state = 'present' "
            f"  ORDER BY root_id IN ({','.join('?' * len(absent))}), root_id, path LIMIT 1) "
            f"LEFT JOIN roots r ON r.root_id = f.root_id {rest}",
            [*absent, *values],
        )
        return [photo_row(row) for row in rows]

    def missing_photos(self) -> list[str]:
        """Return the photos none of whose files is there any more."""
        rows = self._execute(
            "SELECT photo_id FROM photos p WHERE NOT EXISTS (SELECT 1 FROM files f "
            "WHERE f.photo_id = p.photo_id AND f.state = 'present') ORDER BY photo_id"
        )
        return [row["photo_id"] for row in rows]

    def forget_photo(self, photo_id: str) -> None:
        """Forget a photo and the files that showed it."""
        with self._transaction():
            self._execute("DELETE FROM files WHERE photo_id = ?", (photo_id,))
            self._execute("DELETE FROM photos WHERE photo_id = ?", (photo_id,))

    def counts(self) -> dict[str, int]:
        """Return how many photos, hidden photos, segments, files and skipped files there are."""
        row = self._execute(
            "SELECT (SELECT count(*) FROM photos WHERE NOT hidden) AS photos, "
            "(SELECT count(*) FROM photos WHERE hidden) AS photos_hidden, "
            "(SELECT coalesce(sum(segment_count), 0) FROM photos WHERE NOT hidden) AS segments, "
            "(SELECT count(*) FROM files WHERE state = 'present') AS files, "
            "(SELECT count(*) FROM files WHERE state = 'vanished') AS files_vanished, "
            "(SELECT count(*) FROM files WHERE state = 'skipped') AS files_skipped"
        ).fetchone()
        return {key: int(row[key]) for key in row.keys()}  # noqa: SIM118  (a Row is no dict)


def sort_key(row: PhotoRow) -> tuple[float, str]:
    """Return where a photo stands in the order of browsing."""
    return row.photo.facts.sort_at.timestamp(), row.photo.photo_id


def folder_key(ledger: Ledger, folder: Path) -> str | None:
    """Return an existing folder as filters name it; None if it is below no root."""
    path = Path(os.path.realpath(folder))
    root = ledger.root_for(path)
    if root is None:
        return None
    return FileKey(root, os.fsencode((path / "file").relative_to(root.path))).folder


def _new_root_id(folder: Path, taken: set[str]) -> str:
    """Return an id that follows from the folder, unless a root that moved away has it still."""
    name = f"root:{os.fsencode(folder).hex()}"
    while (root_id := str(uuid.uuid5(NAMESPACE, name))[:8]) in taken:
        name += "+"
    return root_id


def _within(path: Path, paths: dict[str, Path]) -> tuple[str, ...]:
    """Return a root's folder as the roots around it name it."""
    return tuple(
        FileKey(Root(root_id, around), os.fsencode((path / "file").relative_to(around))).folder
        for root_id, around in paths.items()
        if path != around and path.is_relative_to(around)
    )
