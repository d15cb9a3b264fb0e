"""The ledger's half about the disk: which roots and files are known, and in which state they are.

Files are known as root + path below it, so that a disk mounted elsewhere changes one row.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ingest.catalog.file_facts import (
    StatedFacts,
    best_facts,
    json_from_stated,
    stated_from_json,
    statements,
    with_file_time,
)
from ingest.catalog.queries import FACT_COLUMNS, facts_from_row, photo_columns
from ingest.catalog.records import LOOK_AGAIN, FileKey, FileStamp, FileState, Root, SkippedFile
from ingest.catalog.roots import KnownRoots


@dataclass(frozen=True)
class FileRow:
    """What the ledger knows of a file."""

    stamp: FileStamp
    sha256: str | None
    photo_id: str | None
    state: FileState
    reason: str | None
    stated: StatedFacts | None = None  # None: noted by a version that did not keep it


PUT_FILE = """
INSERT OR REPLACE INTO files (root_id, path, folder, bytes, mtime_ns, ctime_ns, sha256, photo_id,
    state, reason, facts, noted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
NOTE_FILE = """
INSERT OR IGNORE INTO files (root_id, path, folder, bytes, mtime_ns, state, noted_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""


class KnownFiles(KnownRoots):
    """The files of a ledger. A photo whose files change turns stale."""

    def file(self, key: FileKey) -> FileRow | None:
        """Return what is known of a file, or None."""
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
        """Return the photo that a file with this content shows, if it is known."""
        row = self._execute(
            "SELECT photo_id FROM files WHERE sha256 = ? AND photo_id IS NOT NULL LIMIT 1",
            (sha256,),
        ).fetchone()
        return row["photo_id"] if row else None

    def files_of(self, photo_id: str, *, excluded: bool = False) -> list[FileKey]:
        """Return the files that show a photo, as far as is known; with those left out, if asked."""
        roots = {root.root_id: root for root in self.roots()}
        rows = self._execute(
            "SELECT root_id, path FROM files WHERE photo_id = ? AND state IN ('present', ?) "
            "ORDER BY state DESC, root_id, path",
            (photo_id, "excluded" if excluded else "present"),
        )
        return [FileKey(roots[row["root_id"]], row["path"]) for row in rows]

    def linked_files(self, path: Path) -> list[Path]:
        """Return the known files that a file with several names may be: those of its size."""
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
        """Note that a file is there and shows a photo, and what the file says of it.

        Without `stated` it says what another file with the same content does. That photo, and the
        one that the file showed before, turn stale.
        """
        with self._transaction():
            self._put_file(key, stamp, sha256, photo_id, "present", stated=stated)

    def note_waiting(self, keys: Iterable[FileKey]) -> None:
        """Note files of which nothing is known yet."""
        self._note(keys, "waiting")

    def note_unread(self, keys: Iterable[FileKey]) -> None:
        """Note pictures and videos of formats that are not read."""
        self._note(keys, "unread")

    def _note(self, keys: Iterable[FileKey], state: FileState) -> None:
        now, stamp = _now(), LOOK_AGAIN
        with self._transaction():
            self._execute_each(
                NOTE_FILE,
                (
                    (key.root.root_id, key.below, "", stamp.bytes, stamp.mtime_ns, state, now)
                    for key in keys
                ),
            )

    def iter_waiting(self, root: Root, folder: bytes) -> Iterator[bytes]:
        """Go over the files below a folder of a root that were not looked at yet."""
        below, values = below_as_sql(root, folder)
        rows = self._execute(
            f"SELECT path FROM files INDEXED BY files_waiting WHERE {below} AND state = 'waiting'",
            values,
        )
        return (row["path"] for row in rows)

    def unread(self) -> list[bytes]:
        """Return the names of all pictures and videos in formats that are not read."""
        rows = self._execute(
            "SELECT path FROM files INDEXED BY files_unread WHERE state = 'unread'"
        )
        return [row["path"] for row in rows]

    def skip_file(self, key: FileKey, stamp: FileStamp, reason: str) -> None:
        """Note that a file can't be used, and why."""
        with self._transaction():
            self._put_file(key, stamp, None, None, "skipped", reason)

    def note_reason(self, key: FileKey, reason: str | None) -> None:
        """Note why a file that shows a photo could not be read this time; None: it could."""
        self._execute(
            "UPDATE files SET reason = ? WHERE root_id = ? AND path = ?",
            (reason, key.root.root_id, key.below),
        )

    def restamp_file(self, key: FileKey, stamp: FileStamp) -> None:
        """Note that a file was touched and still holds the same; its time may be all it says."""
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
            self.mark_stale({photo_id, photo_before})
        if photo_id is not None:
            said_before = before.stated if before and photo_before == photo_id else None
            corrected = said_before is not None and said_before != stated
            self._refresh_facts(photo_id, corrected=corrected)
        if photo_before not in (None, photo_id):
            self._refresh_facts(photo_before)

    def _stated_of_content(self, sha256: str | None, stamp: FileStamp) -> StatedFacts | None:
        """Return what a file with this content and this time says, if it is known."""
        row = self._execute(
            "SELECT facts FROM files WHERE sha256 = ? AND facts IS NOT NULL LIMIT 1", (sha256,)
        ).fetchone()
        stated = stated_from_json(row["facts"]) if row else None
        return stated and with_file_time(stated, stamp.mtime_ns)

    def _refresh_facts(self, photo_id: str, *, corrected: bool = False) -> None:
        """Let a photo's facts follow what its present files say."""
        row = self._execute("SELECT * FROM photos WHERE photo_id = ?", (photo_id,)).fetchone()
        if row is None:
            return
        said = self._execute(
            "SELECT facts, mtime_ns FROM files WHERE photo_id = ? AND state = 'present' "
            "ORDER BY root_id, path",
            (photo_id,),
        )
        now = facts_from_row(row)
        facts = best_facts(statements([*map(tuple, said)], now), now, corrected=corrected)
        if facts != now:
            columns = ", ".join(f"{column} = ?" for column in FACT_COLUMNS)
            self._execute(
                f"UPDATE photos SET {columns}, stale = 1 WHERE photo_id = ?",
                (*photo_columns(facts), photo_id),
            )

    def mark_stale(self, photo_ids: Iterable[str | None]) -> None:
        """Note that the index has to be told of these photos."""
        self._execute_each(
            "UPDATE photos SET stale = 1 WHERE photo_id = ?", [(i,) for i in photo_ids if i]
        )

    def present_files(self) -> Iterator[FileKey]:
        """Go over the files that were there when they were last looked at."""
        for root in self.roots():
            rows = self._execute(
                "SELECT path FROM files WHERE root_id = ? AND state = 'present'", (root.root_id,)
            )
            for row in rows:
                yield FileKey(root, row["path"])

    def known_below(self, root: Root, folder: bytes) -> Iterator[bytes]:
        """Go over the files thought to be there below a folder of a root (b"": all of it)."""
        below, values = below_as_sql(root, folder)
        rows = self._execute(
            f"SELECT path FROM files WHERE {below} AND state != 'vanished'", values
        )
        return (row["path"] for row in rows)

    def states_below(self, root: Root, folder: bytes) -> Iterator[tuple[bytes, FileState]]:
        """Go over the same files, each with its state, by path."""
        below, values = below_as_sql(root, folder)
        rows = self._execute(
            f"SELECT path, state FROM files WHERE {below} AND state != 'vanished' ORDER BY path",
            values,
        )
        return ((row["path"], row["state"]) for row in rows)

    def present_below(self, root: Root, folder: bytes) -> Iterator[tuple[bytes, int]]:
        """Go over the files below a folder that show photos, each with its size in bytes."""
        below, values = below_as_sql(root, folder)
        rows = self._execute(
            f"SELECT path, bytes FROM files WHERE {below} AND state = 'present'", values
        )
        return ((row["path"], row["bytes"]) for row in rows)

    def knows_of(self, root: Root, path: bytes) -> bool:
        """Say whether anything is or was known of a file, or of files below a folder."""
        below, values = below_as_sql(root, path)
        found = self._execute(f"SELECT 1 FROM files WHERE {below} LIMIT 1", values)
        return found.fetchone() is not None

    def count_photos(self, root: Root) -> int:
        """Return how many photos the files of a root show."""
        row = self._execute(
            "SELECT count(DISTINCT photo_id) FROM files WHERE root_id = ? AND state = 'present'",
            (root.root_id,),
        ).fetchone()
        return int(row[0])

    def skipped(self) -> list[SkippedFile]:
        """Return every file that could not be used, by path."""
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


def below_as_sql(root: Root, path: bytes) -> tuple[str, list[str | bytes]]:
    """Spell as SQL: the file at a path, or those below it (b"": all of the root).

    As a range of the primary key, since a watcher asks this of every path that changed.
    """
    if not path:
        return "root_id = ?", [root.root_id]
    after = path + b"0"  # the letter after /
    return (
        "root_id = ? AND path >= ? AND path < ? AND (path = ? OR path >= ?)",
        [root.root_id, path, after, path, path + b"/"],
    )
