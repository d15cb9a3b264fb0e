"""The ledger's half about the disk: which roots and files are known, and in which state they are.

Files are known as root + path below it, so that a disk mounted elsewhere changes one row.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ingest.browsing import FACT_COLUMNS, photo_columns
from ingest.files import (
    LOOK_AGAIN,
    FileKey,
    FileRow,
    FileStamp,
    FileState,
    Root,
    SkippedFile,
)
from ingest.ledger_file import LedgerFile
from search.errors import UsageError
from search.records import NAMESPACE, PhotoFacts

# A vanished file tells something only as long as its photo has no other.
FORGET_MOVED = """
DELETE FROM files WHERE state = 'vanished' AND (photo_id IS NULL OR EXISTS (
    SELECT 1 FROM files f WHERE f.photo_id = files.photo_id AND f.state = 'present'))
"""


class _TooManyError(Exception):
    """Undoes a transaction."""


class KnownFiles(LedgerFile):
    """The roots and files of a ledger. A photo whose files change turns stale."""

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

    def move_root(self, old: Path, new: Path) -> Root:
        """Say that a root is now found elsewhere (a disk mounted at another place).

        Raises:
            UsageError: `old` is no root, or `new` is one already.
        """
        known = {root.path for root in self.roots()}
        if new in known:
            raise UsageError(
                f"{new} is a root already. Its files were taken for new ones and cost nothing; "
                f"segsearch remove --root {old} forgets the old place"
            )
        if old not in known:
            raise UsageError(f"{old} is not a root; `segsearch status` lists them")
        with self._transaction():
            self._mark_roots_stale(old)
            self._execute(
                "UPDATE roots SET path = ? WHERE path = ?", (os.fsencode(new), os.fsencode(old))
            )
            self._mark_roots_stale(new)
        return next(root for root in self.roots() if root.path == new)

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
                columns = ", ".join(f"{column} = ?" for column in FACT_COLUMNS)
                self._execute(
                    f"UPDATE photos SET {columns} WHERE photo_id = ?",
                    (*photo_columns(facts), photo_id),
                )

    def note_waiting(self, keys: Iterable[FileKey]) -> None:
        """Note files of which nothing is known yet."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        stamp = LOOK_AGAIN
        with self._transaction():
            self._execute_each(
                "INSERT OR IGNORE INTO files "
                "VALUES (?, ?, '', ?, ?, NULL, NULL, 'waiting', NULL, ?)",
                ((key.root.root_id, key.below, stamp.bytes, stamp.mtime_ns, now) for key in keys),
            )

    def iter_waiting(self, root: Root) -> Iterator[bytes]:
        """Go over the files of a root that were not looked at yet."""
        rows = self._execute(
            "SELECT path FROM files INDEXED BY files_waiting "
            "WHERE root_id = ? AND state = 'waiting'",
            (root.root_id,),
        )
        return (row["path"] for row in rows)

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
        self.mark_stale({photo_id, before.photo_id if before else None})

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
        below, values = _below(root, folder)
        rows = self._execute(
            f"SELECT path FROM files WHERE {below} AND state != 'vanished'", values
        )
        return (row["path"] for row in rows)

    def knows_of(self, root: Root, path: bytes) -> bool:
        """Say whether anything is or was known of a file, or of files below a folder."""
        below, values = _below(root, path)
        found = self._execute(f"SELECT 1 FROM files WHERE {below} LIMIT 1", values)
        return found.fetchone() is not None

    def count_photos(self, root: Root) -> int:
        """Return how many photos the files of a root show."""
        row = self._execute(
            "SELECT count(DISTINCT photo_id) FROM files WHERE root_id = ? AND state = 'present'",
            (root.root_id,),
        ).fetchone()
        return int(row[0])

    def mark_vanished(
        self, root: Root, paths: Sequence[bytes], *, at_most: int | None = None
    ) -> int | None:
        """Note that files are gone; return how many photos no file shows any more.

        Those whose photo has another file, or that showed none, are forgotten. If more than
        `at_most` photos would be left without a file, nothing is noted and None returned.
        """
        keys = [(root.root_id, path) for path in paths]
        try:
            with self._transaction():
                missing = self._mark_vanished(keys)
                if at_most is not None and missing > at_most:
                    raise _TooManyError
        except _TooManyError:
            return None
        return missing

    def _mark_vanished(self, keys: Sequence[tuple[str, bytes]]) -> int:
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

    def missing_photos(self) -> list[str]:
        """Return the photos none of whose files is there any more."""
        rows = self._execute(
            "SELECT photo_id FROM photos p WHERE NOT EXISTS (SELECT 1 FROM files f "
            "WHERE f.photo_id = p.photo_id AND f.state = 'present') ORDER BY photo_id"
        )
        return [row["photo_id"] for row in rows]

    def skipped(self) -> list[SkippedFile]:
        """Return every file that could not be used, by path."""
        rows = self._execute(
            "SELECT r.path AS root, f.path, f.reason, f.noted_at FROM files f "
            "JOIN roots r USING (root_id) WHERE f.state = 'skipped' ORDER BY r.path, f.path"
        )
        return [
            SkippedFile(
                Path(os.fsdecode(row["root"])) / os.fsdecode(row["path"]),
                row["reason"],
                datetime.fromisoformat(row["noted_at"]),
            )
            for row in rows
        ]


def _below(root: Root, path: bytes) -> tuple[str, list[str | bytes]]:
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
