"""The ledger's files: which are known, in which state, and what they state about photos.

Files are stored as root and relative path, so that a disk mounted elsewhere changes one row.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ingest.catalog.file_facts import (
    StatedFacts,
    json_from_stated,
    merged_facts,
    stated_from_json,
    statements_from_rows,
    with_file_time,
)
from ingest.catalog.queries import FACT_COLUMNS, facts_from_row, photo_columns
from ingest.catalog.records import UNKNOWN_STAMP, FileKey, FileStamp, FileState, Root, SkippedFile
from ingest.catalog.roots import KnownRoots


@dataclass(frozen=True)
class FileRow:
    """A row of the table `files`."""

    stamp: FileStamp
    sha256: str | None
    photo_id: str | None
    state: FileState
    reason: str | None
    stated: StatedFacts | None = None  # None: written by a version that did not store it


PUT_FILE = """
INSERT OR REPLACE INTO files (root_id, path, folder, bytes, mtime_ns, ctime_ns, sha256, photo_id,
    state, reason, facts, noted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
NOTE_FILE = """
INSERT OR IGNORE INTO files (root_id, path, folder, bytes, mtime_ns, state, noted_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""


class KnownFiles(KnownRoots):
    """The files of a ledger. Changing a photo's files marks the photo as unsynced."""

    def file(self, key: FileKey) -> FileRow | None:
        """Look up a file; None if it is unknown."""
        row = self._execute(
            "SELECT * FROM files WHERE root_id = ? AND path = ?", (key.root.root_id, key.below)
        ).fetchone()
        if row is None:
            return None
        return FileRow(
            FileStamp(row["bytes"], row["mtime_ns"], row["ctime_ns"]),
            row["sha256"],
            row["photo_id"],
            row["state"],
            row["reason"],
            stated_from_json(row["facts"]),
        )

    def photo_of_content(self, sha256: str) -> str | None:
        """Return the id of the photo that a file with this content shows, or None."""
        row = self._execute(
            "SELECT photo_id FROM files WHERE sha256 = ? AND photo_id IS NOT NULL LIMIT 1",
            (sha256,),
        ).fetchone()
        return row["photo_id"] if row else None

    def files_of(self, photo_id: str, *, excluded: bool = False) -> list[FileKey]:
        """Return the present files of a photo; optionally also its excluded ones, last."""
        roots = {root.root_id: root for root in self.roots()}
        rows = self._execute(
            "SELECT root_id, path FROM files WHERE photo_id = ? AND state IN ('present', ?) "
            "ORDER BY state DESC, root_id, path",
            (photo_id, "excluded" if excluded else "present"),
        )
        return [FileKey(roots[row["root_id"]], row["path"]) for row in rows]

    def linked_files(self, path: Path) -> list[Path]:
        """Return known files that may be hard links of this file: those of its size."""
        if not path.is_file() or path.stat().st_nlink == 1:
            return []
        roots = {root.root_id: root for root in self.roots()}
        rows = self._execute(
            "SELECT root_id, path FROM files WHERE bytes = ?", (path.stat().st_size,)
        )
        return [FileKey(roots[row["root_id"]], row["path"]).path for row in rows]

    def put_file(
        self,
        key: FileKey,
        stamp: FileStamp,
        sha256: str,
        photo_id: str,
        stated: StatedFacts | None = None,
    ) -> None:
        """Store a present file and the photo that it shows.

        Without `stated`, the facts of another file with the same content apply. This photo, and the
        one that the file showed before, become unsynced.
        """
        with self._transaction():
            self._put_file(key, stamp, sha256, photo_id, "present", stated=stated)

    def note_waiting(self, keys: Iterable[FileKey]) -> None:
        """Add new files as waiting; known files stay as they are."""
        self._note(keys, "waiting")

    def note_unread(self, keys: Iterable[FileKey]) -> None:
        """Add pictures and videos of unsupported formats; known files stay as they are."""
        self._note(keys, "unread")

    def _note(self, keys: Iterable[FileKey], state: FileState) -> None:
        now, stamp = _now(), UNKNOWN_STAMP
        with self._transaction():
            self._execute_each(
                NOTE_FILE,
                (
                    (key.root.root_id, key.below, "", stamp.bytes, stamp.mtime_ns, state, now)
                    for key in keys
                ),
            )

    def iter_waiting(self, root: Root, folder: bytes) -> Iterator[bytes]:
        """Iterate over the waiting files below a folder of a root."""
        below, values = sql_below(root, folder)
        rows = self._execute(
            f"SELECT path FROM files INDEXED BY files_waiting WHERE {below} AND state = 'waiting'",
            values,
        )
        return (row["path"] for row in rows)

    def unread(self) -> list[bytes]:
        """Return the relative paths of all pictures and videos in unsupported formats."""
        rows = self._execute(
            "SELECT path FROM files INDEXED BY files_unread WHERE state = 'unread'"
        )
        return [row["path"] for row in rows]

    def skip_file(self, key: FileKey, stamp: FileStamp, reason: str) -> None:
        """Store a file as skipped, with the reason."""
        with self._transaction():
            self._put_file(key, stamp, None, None, "skipped", reason)

    def note_reason(self, key: FileKey, reason: str | None) -> None:
        """Store why the file of a photo could not be read; None clears it."""
        self._execute(
            "UPDATE files SET reason = ? WHERE root_id = ? AND path = ?",
            (reason, key.root.root_id, key.below),
        )

    def restamp_file(self, key: FileKey, stamp: FileStamp) -> None:
        """Update the stamp of a file with unchanged content, and the date of an undated photo."""
        before = self.file(key)
        if before is None:
            return
        stated = before.stated and with_file_time(before.stated, stamp.mtime_ns)
        with self._transaction():
            self._execute(
                "UPDATE files SET bytes = ?, mtime_ns = ?, ctime_ns = ?, facts = ? "
                "WHERE root_id = ? AND path = ?",
                (
                    stamp.bytes,
                    stamp.mtime_ns,
                    stamp.ctime_ns,
                    stated and json_from_stated(stated),
                    key.root.root_id,
                    key.below,
                ),
            )
            if before.photo_id is not None and stated != before.stated:
                self._refresh_facts(before.photo_id, corrected=True)

    def _put_file(
        self,
        key: FileKey,
        stamp: FileStamp,
        sha256: str | None,
        photo_id: str | None,
        state: FileState,
        reason: str | None = None,
        stated: StatedFacts | None = None,
    ) -> None:
        before = self.file(key)
        stated = stated or self._stated_of_content(sha256, stamp)
        self._execute(
            PUT_FILE,
            (
                key.root.root_id,
                key.below,
                key.folder,
                stamp.bytes,
                stamp.mtime_ns,
                stamp.ctime_ns,
                sha256,
                photo_id,
                state,
                reason,
                stated and json_from_stated(stated),
                _now(),
            ),
        )
        photo_before = before.photo_id if before else None
        was_shown = before is not None and before.state == state == "present"
        if not was_shown or photo_before != photo_id:
            self.mark_unsynced({photo_id, photo_before})
        if photo_id is not None:
            stated_before = before.stated if before and photo_before == photo_id else None
            corrected = stated_before is not None and stated_before != stated
            self._refresh_facts(photo_id, corrected=corrected)
        if photo_before not in (None, photo_id):
            self._refresh_facts(photo_before)

    def _stated_of_content(self, sha256: str | None, stamp: FileStamp) -> StatedFacts | None:
        """Return the facts of a known file with this content, at this file's time."""
        row = self._execute(
            "SELECT facts FROM files WHERE sha256 = ? AND facts IS NOT NULL LIMIT 1", (sha256,)
        ).fetchone()
        stated = stated_from_json(row["facts"]) if row else None
        return stated and with_file_time(stated, stamp.mtime_ns)

    def _refresh_facts(self, photo_id: str, *, corrected: bool = False) -> None:
        """Recompute a photo's facts from its present files."""
        row = self._execute("SELECT * FROM photos WHERE photo_id = ?", (photo_id,)).fetchone()
        if row is None:
            return
        rows = self._execute(
            "SELECT facts, mtime_ns FROM files WHERE photo_id = ? AND state = 'present' "
            "ORDER BY root_id, path",
            (photo_id,),
        )
        now = facts_from_row(row)
        statements = statements_from_rows([*map(tuple, rows)], now)
        facts = merged_facts(statements, now, corrected=corrected)
        if facts != now:
            columns = ", ".join(f"{column} = ?" for column in FACT_COLUMNS)
            self._execute(
                f"UPDATE photos SET {columns}, stale = 1 WHERE photo_id = ?",
                (*photo_columns(facts), photo_id),
            )

    def mark_unsynced(self, photo_ids: Iterable[str | None]) -> None:
        """Mark photos whose facts have to be updated in the index."""
        self._execute_each(
            "UPDATE photos SET stale = 1 WHERE photo_id = ?", [(i,) for i in photo_ids if i]
        )

    def present_files(self) -> Iterator[FileKey]:
        """Iterate over the files that the last run found."""
        for root in self.roots():
            rows = self._execute(
                "SELECT path FROM files WHERE root_id = ? AND state = 'present'", (root.root_id,)
            )
            for row in rows:
                yield FileKey(root, row["path"])

    def known_below(self, root: Root, folder: bytes) -> Iterator[bytes]:
        """Iterate over the files below a folder of a root (b"": the root), except vanished ones."""
        below, values = sql_below(root, folder)
        rows = self._execute(
            f"SELECT path FROM files WHERE {below} AND state != 'vanished'", values
        )
        return (row["path"] for row in rows)

    def states_below(self, root: Root, folder: bytes) -> Iterator[tuple[bytes, FileState]]:
        """Like `known_below`, with states, sorted by path."""
        below, values = sql_below(root, folder)
        rows = self._execute(
            f"SELECT path, state FROM files WHERE {below} AND state != 'vanished' ORDER BY path",
            values,
        )
        return ((row["path"], row["state"]) for row in rows)

    def present_below(self, root: Root, folder: bytes) -> Iterator[tuple[bytes, int]]:
        """Iterate over the present files below a folder, with their sizes in bytes."""
        below, values = sql_below(root, folder)
        rows = self._execute(
            f"SELECT path, bytes FROM files WHERE {below} AND state = 'present'", values
        )
        return ((row["path"], row["bytes"]) for row in rows)

    def knows_of(self, root: Root, path: bytes) -> bool:
        """Return whether a file, or any file below a folder, has a row in any state."""
        below, values = sql_below(root, path)
        found = self._execute(f"SELECT 1 FROM files WHERE {below} LIMIT 1", values)
        return found.fetchone() is not None

    def count_photos(self, root: Root) -> int:
        """Count the photos shown by the present files of a root."""
        row = self._execute(
            "SELECT count(DISTINCT photo_id) FROM files WHERE root_id = ? AND state = 'present'",
            (root.root_id,),
        ).fetchone()
        return int(row[0])

    def skipped(self) -> list[SkippedFile]:
        """Return all files with a reason why they can't be used, sorted by path."""
        rows = self._execute(
            "SELECT r.path AS root, f.path, f.reason, f.noted_at FROM files f "
            "JOIN roots r USING (root_id) WHERE f.reason IS NOT NULL ORDER BY r.path, f.path"
        )
        return [
            SkippedFile(
                Path(os.fsdecode(row["root"])) / os.fsdecode(row["path"]),
                row["reason"],
                datetime.fromisoformat(row["noted_at"]),
            )
            for row in rows
        ]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def sql_below(root: Root, path: bytes) -> tuple[str, list[str | bytes]]:
    """Build a WHERE clause: the file at a path, or files below it (b"": all of the root).

    It is a range of the primary key, since `watch` queries it for every changed path.
    """
    if not path:
        return "root_id = ?", [root.root_id]
    after = path + b"0"  # the character after /
    return (
        "root_id = ? AND path >= ? AND path < ? AND (path = ? OR path >= ?)",
        [root.root_id, path, after, path, path + b"/"],
    )
