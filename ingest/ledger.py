"""The ledger: which files are known, which photos they show, what was skipped and why.

One SQLite file in the library folder, also when vectors live on a server. Files are known as root
+ path below it, so that a disk mounted elsewhere changes one row. A photo is finished when its row
says what it was segmented with; that is written last. A photo whose files changed is `stale` until
the index has been told, so that a killed run leaves nothing half said.
"""

from __future__ import annotations

import math
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from search.errors import LibraryError, UnknownIdError, UsageError
from search.records import NAMESPACE, Photo, PhotoFacts, Place, SearchFilter, folder_chain

LEDGER_NAME = "ledger.sqlite"
FORMAT = 1
EARTH_RADIUS_M = 6_371_000.0
FileState = Literal["present", "vanished", "skipped"]

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
    segmented_with TEXT NOT NULL,
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


@dataclass(frozen=True)
class Root:
    """A folder that photos are taken from."""

    root_id: str
    path: Path


@dataclass(frozen=True)
class FileKey:
    """A file as root and path below it."""

    root: Root
    below: bytes

    @property
    def path(self) -> Path:
        """Where the file is now."""
        return self.root.path / os.fsdecode(self.below)

    @property
    def folder(self) -> str:
        """The folder as filters name it, `ROOT_ID/sub/folder`."""
        parent = Path(os.fsdecode(self.below)).parent.as_posix()
        name = parent.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return self.root.root_id if parent == "." else f"{self.root.root_id}/{name}"


@dataclass(frozen=True)
class FileStamp:
    """What tells cheaply whether a file has changed."""

    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """Read the stamp of a file."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class FileRow:
    """What the ledger knows of a file."""

    stamp: FileStamp
    photo_id: str | None
    state: FileState
    reason: str | None


@dataclass(frozen=True)
class PhotoRow:
    """What the ledger knows of a photo: enough to browse without the vector store."""

    photo: Photo
    path: Path | None  # a file that is present, if any
    root_id: str | None
    below: str | None


class Ledger:
    """The ledger of one library. Each thread that uses it opens its own."""

    def __init__(self, folder: Path) -> None:
        """Open the ledger, and create it where there is none.

        Raises:
            LibraryError: the file is not a ledger of this format.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / LEDGER_NAME
        try:
            self._db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.create_function("distance_m", 4, distance_m, deterministic=True)
            self._create()
        except sqlite3.DatabaseError as error:
            raise LibraryError(
                f"{self.path} can't be used as a ledger: {error}. Restore it from a backup, or "
                "start a new library with --library."
            ) from error

    def _create(self) -> None:
        with self._transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in SCHEMA.split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {FORMAT}")
            elif version != FORMAT:
                raise LibraryError(
                    f"{self.path} has format {version}, this segsearch reads {FORMAT}. Use the "
                    "segsearch that made it."
                )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the ledger."""
        self._db.close()

    # roots

    def roots(self) -> list[Root]:
        """Return every root, by path."""
        rows = self._db.execute("SELECT * FROM roots ORDER BY path")
        return [Root(row["root_id"], Path(os.fsdecode(row["path"]))) for row in rows]

    def root_for(self, folder: Path) -> Root | None:
        """Return the innermost root that holds an absolute path, or None."""
        holding = [root for root in self.roots() if folder.is_relative_to(root.path)]
        return max(holding, key=lambda root: len(root.path.parts), default=None)

    def add_root(self, folder: Path) -> Root:
        """Make an absolute folder a root; one that is a root already is returned as it is."""
        root_id = str(uuid.uuid5(NAMESPACE, f"root:{os.fsencode(folder).hex()}"))[:8]
        self._db.execute(
            "INSERT OR IGNORE INTO roots VALUES (?, ?)", (root_id, os.fsencode(folder))
        )
        found = self.root_for(folder)
        assert found is not None
        return found

    def move_root(self, old: Path, new: Path) -> None:
        """Say that a root is now found elsewhere (a disk mounted at another place).

        Raises:
            UsageError: `old` is no root, or `new` is one already.
        """
        if new in {root.path for root in self.roots()}:
            raise UsageError(f"{new} is a root already")
        changed = self._db.execute(
            "UPDATE roots SET path = ? WHERE path = ?", (os.fsencode(new), os.fsencode(old))
        )
        if not changed.rowcount:
            raise UsageError(f"{old} is not a root; `segsearch status` lists them")

    # files

    def file(self, key: FileKey) -> FileRow | None:
        """Return what is known of a file, or None."""
        row = self._db.execute(
            "SELECT * FROM files WHERE root_id = ? AND path = ?", (key.root.root_id, key.below)
        ).fetchone()
        if row is None:
            return None
        stamp = FileStamp(row["bytes"], row["mtime_ns"])
        return FileRow(stamp, row["photo_id"], row["state"], row["reason"])

    def photo_of_content(self, sha256: str) -> str | None:
        """Return the photo that a file with this content shows, if it is known and finished."""
        row = self._db.execute(
            "SELECT photo_id FROM files WHERE sha256 = ? AND photo_id IS NOT NULL LIMIT 1",
            (sha256,),
        ).fetchone()
        return row["photo_id"] if row else None

    def put_file(self, key: FileKey, stamp: FileStamp, sha256: str, photo_id: str) -> None:
        """Note that a file is there and shows a photo; that photo and its last one turn stale."""
        with self._transaction():
            self._put_file(key, stamp, sha256, photo_id, "present", None)

    def skip_file(self, key: FileKey, stamp: FileStamp, reason: str) -> None:
        """Note that a file can't be used, and why."""
        with self._transaction():
            self._put_file(key, stamp, None, None, "skipped", reason)

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
        touched = {photo_id, before.photo_id if before else None} - {None}
        self._db.execute(
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
        self._mark_stale(touched)

    def _mark_stale(self, photo_ids: Iterable[str | None]) -> None:
        self._db.executemany(
            "UPDATE photos SET stale = 1 WHERE photo_id = ?", [(i,) for i in photo_ids]
        )

    def mark_vanished(
        self, root: Root, below: bytes, seen: set[bytes], kept: Sequence[bytes]
    ) -> int:
        """Note that files below a folder of a root are gone, and return how many.

        Args:
            root: a root that is present.
            below: the folder (or single file) that was looked through, b"" for the whole root.
            seen: paths below the root that were found.
            kept: folders that could not be read, so that nothing is known of what is in them.
        """
        rows = self._db.execute(
            "SELECT path, photo_id FROM files WHERE root_id = ? AND state != 'vanished'",
            (root.root_id,),
        )
        gone = [
            (row["path"], row["photo_id"])
            for row in rows
            if row["path"] not in seen
            and is_below(row["path"], below)
            and not any(is_below(row["path"], folder) for folder in kept)
        ]
        with self._transaction():
            self._db.executemany(
                "UPDATE files SET state = 'vanished' WHERE root_id = ? AND path = ?",
                [(root.root_id, path) for path, _ in gone],
            )
            self._mark_stale({photo_id for _, photo_id in gone})
        return len(gone)

    def file_count(self, root: Root) -> int:
        """Return how many files of a root are thought to be there."""
        row = self._db.execute(
            "SELECT count(*) FROM files WHERE root_id = ? AND state != 'vanished'", (root.root_id,)
        )
        return int(row.fetchone()[0])

    def skipped(self) -> list[tuple[Path, str]]:
        """Return every file that could not be used, and why, by path."""
        rows = self._db.execute(
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
        row = self._db.execute(
            "SELECT segmented_with FROM photos WHERE photo_id = ?", (photo_id,)
        ).fetchone()
        return row is not None and segmented_with in (None, row["segmented_with"])

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
        facts, place = photo.facts, photo.facts.location
        self._db.execute(
            "INSERT INTO photos VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1) "
            "ON CONFLICT (photo_id) DO UPDATE SET width = excluded.width, "
            "height = excluded.height, sort_at = excluded.sort_at, sort_utc = excluded.sort_utc, "
            "camera = excluded.camera, lat = excluded.lat, lon = excluded.lon, "
            "segmented_with = excluded.segmented_with, segment_count = excluded.segment_count, "
            "stale = 1",
            (
                photo.photo_id,
                *photo.size_wh,
                facts.sort_at.isoformat(),
                facts.sort_at.timestamp(),
                facts.camera,
                place.lat if place else None,
                place.lon if place else None,
                photo.segmented_with,
                photo.segment_count,
                facts.hidden,
            ),
        )

    def retag_photo(self, photo_id: str, facts: PhotoFacts) -> None:
        """Replace date, camera and place of a photo."""
        place = facts.location
        self._db.execute(
            "UPDATE photos SET sort_at = ?, sort_utc = ?, camera = ?, lat = ?, lon = ?, stale = 1 "
            "WHERE photo_id = ?",
            (
                facts.sort_at.isoformat(),
                facts.sort_at.timestamp(),
                facts.camera,
                place.lat if place else None,
                place.lon if place else None,
                photo_id,
            ),
        )

    def stale_photos(self) -> list[str]:
        """Return the photos whose facts the index may not know yet."""
        rows = self._db.execute("SELECT photo_id FROM photos WHERE stale ORDER BY photo_id")
        return [row["photo_id"] for row in rows]

    def facts_now(self, photo_id: str) -> PhotoFacts:
        """Return a photo's facts as its files stand now: folders, and hidden if none is there.

        Raises:
            UnknownIdError: there is no such photo.
        """
        photo = self.photo(photo_id).photo
        rows = self._db.execute(
            "SELECT DISTINCT folder FROM files WHERE photo_id = ? AND state = 'present'",
            (photo_id,),
        )
        chains = [folder_chain(row["folder"]) for row in rows]
        folders = tuple(sorted({folder for chain in chains for folder in chain}))
        return photo.facts.model_copy(update={"folders": folders, "hidden": not folders})

    def index_told(self, photo_id: str, facts: PhotoFacts) -> None:
        """Note that the index knows a photo's facts."""
        self._db.execute(
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
        clauses, values = _photo_clauses(where)
        if after is not None:
            clauses.append("(p.sort_utc < ? OR (p.sort_utc = ? AND p.photo_id > ?))")
            values += [after[0], after[0], after[1]]
        return self._photo_rows(
            f"WHERE {' AND '.join(clauses)} ORDER BY p.sort_utc DESC, p.photo_id LIMIT ?",
            [*values, limit],
        )

    def paths(self, photo_ids: Sequence[str]) -> dict[str, PhotoRow]:
        """Return the rows of those of the photos that are known, by id."""
        marks = ",".join("?" * len(photo_ids))
        rows = self._photo_rows(f"WHERE p.photo_id IN ({marks})", photo_ids)
        return {row.photo.photo_id: row for row in rows}

    def _photo_rows(self, rest: str, values: Sequence[Any]) -> list[PhotoRow]:
        rows = self._db.execute(
            "SELECT p.*, f.path AS below, r.path AS root, f.root_id FROM photos p "
            "LEFT JOIN files f ON (f.root_id, f.path) = (SELECT root_id, path FROM files "
            "  WHERE photo_id = p.photo_id AND state = 'present' ORDER BY root_id, path LIMIT 1) "
            f"LEFT JOIN roots r ON r.root_id = f.root_id {rest}",
            values,
        )
        return [_photo_row(row) for row in rows]

    def missing_photos(self) -> list[str]:
        """Return the photos none of whose files is there any more."""
        rows = self._db.execute(
            "SELECT photo_id FROM photos p WHERE NOT EXISTS (SELECT 1 FROM files f "
            "WHERE f.photo_id = p.photo_id AND f.state = 'present') ORDER BY photo_id"
        )
        return [row["photo_id"] for row in rows]

    def forget_photo(self, photo_id: str) -> None:
        """Forget a photo and the files that showed it."""
        with self._transaction():
            self._db.execute("DELETE FROM files WHERE photo_id = ?", (photo_id,))
            self._db.execute("DELETE FROM photos WHERE photo_id = ?", (photo_id,))

    def counts(self) -> dict[str, int]:
        """Return how many photos, hidden photos, segments, files and skipped files there are."""
        row = self._db.execute(
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


def is_below(path: bytes, folder: bytes) -> bool:
    """Say whether a path is the folder itself or lies below it; b"" holds everything."""
    return not folder or path == folder or path.startswith(folder + b"/")


def distance_m(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """Return the distance of two places along the Earth, in metres (haversine formula)."""
    a, b, c, d = (math.radians(angle) for angle in (lat_a, lon_a, lat_b, lon_b))
    h = math.sin((a - c) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((b - d) / 2) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(h)))


def _photo_clauses(where: SearchFilter) -> tuple[list[str], list[Any]]:
    """Spell the photo parts of a filter as SQL."""
    clauses: list[str] = ["NOT p.hidden"]
    values: list[Any] = []
    if where.photo_ids is not None:
        clauses.append(f"p.photo_id IN ({','.join('?' * len(where.photo_ids))})")
        values += where.photo_ids
    if where.camera is not None:
        clauses.append("p.camera = ?")
        values.append(where.camera)
    if where.taken_from is not None:
        clauses.append("p.sort_utc >= ?")
        values.append(where.taken_from.timestamp())
    if where.taken_before is not None:
        clauses.append("p.sort_utc < ?")
        values.append(where.taken_before.timestamp())
    if where.folder is not None:
        clauses.append(
            "EXISTS (SELECT 1 FROM files g WHERE g.photo_id = p.photo_id AND g.state = 'present' "
            "AND (g.folder = ? OR substr(g.folder, 1, ?) = ?))"
        )
        values += [where.folder, len(where.folder) + 1, f"{where.folder}/"]
    if where.near is not None:
        clauses.append("p.lat IS NOT NULL AND distance_m(p.lat, p.lon, ?, ?) <= ?")
        center = where.near.center
        values += [center.lat, center.lon, where.near.radius_m]
    return clauses, values


def _photo_row(row: sqlite3.Row) -> PhotoRow:
    place = Place(lat=row["lat"], lon=row["lon"]) if row["lat"] is not None else None
    facts = PhotoFacts(
        sort_at=datetime.fromisoformat(row["sort_at"]),
        camera=row["camera"],
        location=place,
        hidden=bool(row["hidden"]),
    )
    photo = Photo(
        photo_id=row["photo_id"],
        size_wh=(row["width"], row["height"]),
        facts=facts,
        segmented_with=row["segmented_with"],
        segment_count=row["segment_count"],
    )
    if row["below"] is None:
        return PhotoRow(photo, None, None, None)
    below = os.fsdecode(row["below"])
    return PhotoRow(photo, Path(os.fsdecode(row["root"])) / below, row["root_id"], below)
