"""The ledger's vanished and excluded files, and deletion of files and roots."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.catalog.files import KnownFiles, sql_below
from ingest.catalog.records import FileKey, FileState, Root

# A vanished file is needed only while its photo has no other file.
FORGET_MOVED = """
DELETE FROM files WHERE state = 'vanished' AND (photo_id IS NULL OR EXISTS (
    SELECT 1 FROM files f
    WHERE f.photo_id = files.photo_id AND f.state IN ('present', 'excluded')))
"""


class _TooManyError(Exception):
    """Rolls back a transaction that would hide too many photos."""


class GoneFiles(KnownFiles):
    """Marking and deleting files that are gone or excluded."""

    def mark_vanished(
        self, root: Root, paths: Sequence[bytes], *, at_most: int | None = None
    ) -> int | None:
        """Mark files as vanished; return how many photos have no present file any more.

        Files whose photo has another file, and files without a photo, are deleted. If more than
        `at_most` photos would be left without a file, nothing is changed and None returned.
        """
        try:
            with self._transaction():
                hidden = self._set_state(root, paths, "vanished")
                if at_most is not None and hidden > at_most:
                    raise _TooManyError
                self._execute(FORGET_MOVED)
        except _TooManyError:
            return None
        return hidden

    def mark_excluded(self, root: Root, paths: Sequence[bytes]) -> int:
        """Mark files as excluded; return how many photos are hidden by that.

        Files without a photo are deleted.
        """
        with self._transaction():
            hidden = self._set_state(root, paths, "excluded")
            self._execute("DELETE FROM files WHERE state = 'excluded' AND photo_id IS NULL")
        return hidden

    def _set_state(self, root: Root, paths: Sequence[bytes], state: FileState) -> int:
        """Set the state of files; return how many photos have no present file any more."""
        shown = set[str]()
        for path in paths:
            row = self._execute(
                "SELECT photo_id, state FROM files WHERE root_id = ? AND path = ?",
                (root.root_id, path),
            ).fetchone()
            if row is not None and row["state"] == "present":
                shown.add(row["photo_id"])
        self._execute_each(
            "UPDATE files SET state = ?, reason = NULL WHERE root_id = ? AND path = ?",
            [(state, root.root_id, path) for path in paths],
        )
        self.mark_unsynced(shown)
        for photo_id in shown:
            self._refresh_facts(photo_id)
        return sum(not self._is_shown(photo_id) for photo_id in shown)

    def _is_shown(self, photo_id: str) -> bool:
        found = self._execute(
            "SELECT 1 FROM files WHERE photo_id = ? AND state = 'present' LIMIT 1", (photo_id,)
        )
        return found.fetchone() is not None

    def missing_photos(self) -> list[str]:
        """Return the ids of photos without any present or excluded file."""
        rows = self._execute(
            "SELECT photo_id FROM photos p WHERE NOT EXISTS (SELECT 1 FROM files f WHERE "
            "f.photo_id = p.photo_id AND f.state IN ('present', 'excluded')) ORDER BY photo_id"
        )
        return [row["photo_id"] for row in rows]

    def vanished_files(self, photo_id: str) -> list[FileKey]:
        """Return the vanished files of a photo."""
        roots = {root.root_id: root for root in self.roots()}
        rows = self._execute(
            "SELECT root_id, path FROM files WHERE photo_id = ? AND state = 'vanished'",
            (photo_id,),
        )
        return [FileKey(roots[row["root_id"]], row["path"]) for row in rows]

    def photos_below(self, root: Root, folder: bytes) -> list[str]:
        """Return the ids of photos of the files below a folder of a root, in any state."""
        below, values = sql_below(root, folder)
        rows = self._execute(
            f"SELECT DISTINCT photo_id FROM files WHERE {below} AND photo_id IS NOT NULL", values
        )
        return sorted(row["photo_id"] for row in rows)

    def forget_below(self, root: Root, folder: bytes) -> list[str]:
        """Delete the files below a folder; return the ids of photos that no other file shows.

        With b"" the root itself is deleted too.
        """
        below, values = sql_below(root, folder)
        with self._transaction():
            shown = self.photos_below(root, folder)
            self._mark_roots_unsynced(root.path)
            self._execute(f"DELETE FROM files WHERE {below}", values)
            self._execute(f"DELETE FROM devices WHERE {below}", values)
            if not folder:
                self._execute("DELETE FROM roots WHERE root_id = ?", (root.root_id,))
            for photo_id in shown:
                self._refresh_facts(photo_id)
        return sorted(set(shown) & set(self.missing_photos()))
