"""The ledger's roots: the folders that photos are ingested from, and their devices."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from ingest.catalog.connection import LedgerConnection
from ingest.catalog.records import FileKey, Root
from search.errors import UsageError
from search.records import NAMESPACE


class KnownRoots(LedgerConnection):
    """The roots of a ledger. Renaming folders marks their photos as unsynced."""

    def roots(self) -> list[Root]:
        """Return all roots, sorted by path."""
        rows = self._execute("SELECT * FROM roots ORDER BY path")
        paths = {row["root_id"]: Path(os.fsdecode(row["path"])) for row in rows}
        return [Root(root_id, path, _within(path, paths)) for root_id, path in paths.items()]

    def root_for(self, folder: Path) -> Root | None:
        """Return the innermost root that contains an absolute path, or None."""
        holding = [root for root in self.roots() if folder.is_relative_to(root.path)]
        return max(holding, key=lambda root: len(root.path.parts), default=None)

    def add_root(self, folder: Path) -> Root:
        """Add an absolute folder as a root, unless it is one already."""
        known = {root.path: root for root in self.roots()}
        if folder in known:
            return known[folder]
        root_id = _new_root_id(folder, {root.root_id for root in known.values()})
        with self._transaction():
            self._execute(
                "INSERT OR IGNORE INTO roots (root_id, path) VALUES (?, ?)",
                (root_id, os.fsencode(folder)),
            )
            self._mark_roots_unsynced(folder)
        return next(root for root in self.roots() if root.path == folder)

    def move_root(self, old: Path, new: Path) -> Root:
        """Change the path of a root, for example of a disk that is mounted elsewhere now.

        Raises:
            UsageError: `old` is not a root, or `new` is one already.
        """
        known = {root.path for root in self.roots()}
        if new in known:
            raise UsageError(
                f"{new} is a root already, and its files are linked to the known photos. To remove "
                f"the old path: segsearch remove --root {old}"
            )
        if old not in known:
            raise UsageError(f"{old} is not a root; `segsearch status` lists them")
        with self._transaction():
            self._mark_roots_unsynced(old)
            self._execute(
                "UPDATE roots SET path = ? WHERE path = ?", (os.fsencode(new), os.fsencode(old))
            )
            self._mark_roots_unsynced(new)
        return next(root for root in self.roots() if root.path == new)

    def _mark_roots_unsynced(self, folder: Path) -> None:
        """Mark the photos of all roots at or below a folder, whose folders get other names."""
        inside = [root.root_id for root in self.roots() if root.path.is_relative_to(folder)]
        self._execute_each(
            "UPDATE photos SET stale = 1 WHERE photo_id IN "
            "(SELECT photo_id FROM files WHERE root_id = ?)",
            [(root_id,) for root_id in inside],
        )

    def devices(self, root: Root) -> dict[bytes, int]:
        """Return the stored device of a root (b"") and of the mount points below it."""
        rows = self._execute("SELECT path, device FROM devices WHERE root_id = ?", (root.root_id,))
        return {row["path"]: int(row["device"]) for row in rows}

    def note_devices(
        self, root: Root, now: Mapping[bytes, int], *, no_longer: Iterable[bytes] = ()
    ) -> None:
        """Store the devices of mount points below a root and delete those in `no_longer`."""
        with self._transaction():
            self._execute_each(
                "DELETE FROM devices WHERE root_id = ? AND path = ?",
                [(root.root_id, path) for path in no_longer],
            )
            self._execute_each(
                "INSERT OR REPLACE INTO devices (root_id, path, device) VALUES (?, ?, ?)",
                [(root.root_id, path, str(device)) for path, device in now.items()],
            )


def _new_root_id(folder: Path, taken: set[str]) -> str:
    """Derive an id from the folder; another one if a root that moved away still has it."""
    name = f"root:{os.fsencode(folder).hex()}"
    while (root_id := str(uuid.uuid5(NAMESPACE, name))[:8]) in taken:
        name += "+"
    return root_id


def _within(path: Path, paths: dict[str, Path]) -> tuple[str, ...]:
    """Return a root's folder relative to each outer root, `ROOT_ID/sub`."""
    return tuple(
        FileKey(Root(root_id, around), os.fsencode((path / "file").relative_to(around))).folder
        for root_id, around in paths.items()
        if path != around and path.is_relative_to(around)
    )
