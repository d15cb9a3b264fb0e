"""The ledger's half about what goes: files that vanish or are left out, and what is forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.catalog.files import KnownFiles, below_as_sql
from ingest.catalog.records import FileKey, FileState, Root

# A vanished file tells something only as long as its photo has no other.
FORGET_MOVED = """
DELETE FROM files WHERE state = 'vanished' AND (photo_id IS NULL OR EXISTS (
    SELECT 1 FROM files f
    WHERE f.photo_id = files.photo_id AND f.state IN ('present', 'excluded')))
"""


class _TooManyError(Exception):
    """Undoes a transaction."""


class GoneFiles(KnownFiles):
    """The files of a ledger that are no longer there or no longer wanted."""

    def mark_vanished(
        self, root: Root, paths: Sequence[bytes], *, at_most: int | None = None
    ) -> int | None:
        """Note that files are gone; return how many photos no file shows any more.

        Those whose photo has another file, or that showed none, are forgotten. If more than
        `at_most` photos would be left without a file, nothing is noted and None returned.
        """
        try:
            with self._transaction():
                hidden = self._take_away(root, paths, "vanished")
                if at_most is not None and hidden > at_most:
                    raise _TooManyError
                self._execute(FORGET_MOVED)
        except _TooManyError:
            return None
        return hidden

    def mark_excluded(self, root: Root, paths: Sequence[bytes]) -> int:
        """Note that files are left out now; return how many photos are hidden by it.

        Those that showed no photo are forgotten.
        """
        with self._transaction():
            hidden = self._take_away(root, paths, "excluded")
            self._execute("DELETE FROM files WHERE state = 'excluded' AND photo_id IS NULL")
        return hidden

    def _take_away(self, root: Root, paths: Sequence[bytes], state: FileState) -> int:
        """Give files another state; return how many photos no present file shows any more."""
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
        self.mark_stale(shown)
        for photo_id in shown:
            self._refresh_facts(photo_id)
        return sum(not self._is_shown(photo_id) for photo_id in shown)

    def _is_shown(self, photo_id: str) -> bool:
        found = self._execute(
            "SELECT 1 FROM files WHERE photo_id = ? AND state = 'present' LIMIT 1", (photo_id,)
        )
        return found.fetchone() is not None

    def missing_photos(self) -> list[str]:
        """Return the photos none of whose files is there any more, also none that is left out."""
        rows = self._execute(
            "SELECT photo_id FROM photos p WHERE NOT EXISTS (SELECT 1 FROM files f WHERE "
            "f.photo_id = p.photo_id AND f.state IN ('present', 'excluded')) ORDER BY photo_id"
        )
        return [row["photo_id"] for row in rows]

    def vanished_files(self, photo_id: str) -> list[FileKey]:
        """Return the files that showed a photo when they were last there."""
        roots = {root.root_id: root for root in self.roots()}
        rows = self._execute(
            "SELECT root_id, path FROM files WHERE photo_id = ? AND state = 'vanished'",
            (photo_id,),
        )
        return [FileKey(roots[row["root_id"]], row["path"]) for row in rows]

    def photos_below(self, root: Root, folder: bytes) -> list[str]:
        """Return the photos that files below a folder of a root show or showed."""
        below, values = below_as_sql(root, folder)
        rows = self._execute(
            f"SELECT DISTINCT photo_id FROM files WHERE {below} AND photo_id IS NOT NULL", values
        )
        return sorted(row["photo_id"] for row in rows)

    def forget_below(self, root: Root, folder: bytes) -> list[str]:
        """Forget the files below a folder of a root; return the photos that no other file shows.

        With b"" the root itself is forgotten, too.
        """
        below, values = below_as_sql(root, folder)
        with self._transaction():
            shown = self.photos_below(root, folder)
            self._mark_roots_stale(root.path)
            self._execute(f"DELETE FROM files WHERE {below}", values)
            self._execute(f"DELETE FROM devices WHERE {below}", values)
            if not folder:
                self._execute("DELETE FROM roots WHERE root_id = ?", (root.root_id,))
            for photo_id in shown:
                self._refresh_facts(photo_id)
        return sorted(set(shown) & set(self.missing_photos()))
