"""The ledger: known files, the photos they show, and skipped files with reasons.

It is an SQLite file in the library folder, even if the vectors are on a server. `begin_photo` adds
a photo before the index is changed, `finish_photo` sets `segmented_with` after that, so photos that
a killed run left incomplete can be found. A photo whose facts changed is unsynced (column `stale`)
until they are in the index.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ingest.catalog.file_facts import StatedFacts
from ingest.catalog.migrations import migrate
from ingest.catalog.queries import (
    FACT_COLUMNS,
    facets_from_rows,
    photo_clauses,
    photo_columns,
    photo_row,
)
from ingest.catalog.records import Coverage, Facets, FileKey, FileStamp, PhotoRow
from ingest.catalog.removal import GoneFiles
from search.errors import UnknownIdError
from search.records import Photo, PhotoFacts, SearchFilter

PAGE = 1000  # photos per query when iterating over all
MARK_UNFINISHED = "UPDATE photos SET segmented_with = NULL, stale = 1 WHERE photo_id = ?"
PHOTO_COLUMNS = (
    *("photo_id", "width", "height", *FACT_COLUMNS),
    *("segmented_with", "segment_count", "hidden", "stale"),
)
# The fact columns of a known photo are left alone: they are computed from its files.
PUT_PHOTO = f"""
INSERT INTO photos ({", ".join(PHOTO_COLUMNS)}) VALUES ({", ".join("?" * len(PHOTO_COLUMNS))})
ON CONFLICT (photo_id) DO UPDATE SET width = excluded.width, height = excluded.height,
    segmented_with = excluded.segmented_with, segment_count = excluded.segment_count,
    hidden = excluded.hidden, stale = 1
"""


class Ledger(GoneFiles):
    """The ledger of one library. Not thread-safe: each thread opens its own."""

    def __init__(self, folder: Path) -> None:
        """Open the ledger of a library folder; create it if it does not exist.

        Raises:
            LibraryError: the file is not a ledger of this format, or can't be opened.
        """
        super().__init__(folder)
        try:
            with self._translated_errors():
                migrate(self._db, self.path)
        except BaseException:
            self.close()
            raise

    def is_finished(self, photo_id: str, segmented_with: str | None = None) -> bool:
        """Return whether a photo is fully indexed, optionally with this fingerprint."""
        row = self._execute(
            "SELECT segmented_with FROM photos WHERE photo_id = ?", (photo_id,)
        ).fetchone()
        if row is None or row["segmented_with"] is None:
            return False
        return segmented_with in (None, row["segmented_with"])

    def count_finished(self) -> tuple[int, int]:
        """Count the finished photos, hidden ones included, and their segments."""
        photos, segments = self._execute(
            "SELECT count(*), coalesce(sum(segment_count), 0) FROM photos "
            "WHERE segmented_with IS NOT NULL"
        ).fetchone()
        return int(photos), int(segments)

    def has_photos(self) -> bool:
        """Return whether any photo is known, finished or not."""
        return self._execute("SELECT 1 FROM photos LIMIT 1").fetchone() is not None

    def is_empty(self) -> bool:
        """Return whether neither photos nor files are known, as after the ledger was lost.

        A killed first run on a cluster leaves files without photos.
        """
        known = "SELECT EXISTS (SELECT 1 FROM photos) OR EXISTS (SELECT 1 FROM files)"
        return not self._execute(known).fetchone()[0]

    def count_known(self, photo_ids: Sequence[str]) -> int:
        """Count how many of these photos are known."""
        return sum(
            self._execute("SELECT 1 FROM photos WHERE photo_id = ?", (each,)).fetchone() is not None
            for each in photo_ids
        )

    def mark_unfinished(self, photo_ids: Sequence[str]) -> None:
        """Mark photos to be segmented again."""
        with self._transaction():
            self._execute_each(MARK_UNFINISHED, [(photo_id,) for photo_id in photo_ids])

    def begin_photo(self, photo: Photo) -> None:
        """Mark a photo as unfinished before the index is changed.

        A new photo is hidden until it is finished; a known one keeps its visibility.
        """
        hidden = photo.facts.model_copy(update={"hidden": True})
        new = photo.model_copy(update={"segmented_with": None, "facts": hidden})
        with self._transaction():
            known = self._execute(MARK_UNFINISHED, (photo.photo_id,))
            if not known.rowcount:
                self._put_photo(new)

    def finish_photo(
        self,
        photo: Photo,
        key: FileKey,
        stamp: FileStamp,
        sha256: str,
        stated: StatedFacts | None = None,
    ) -> None:
        """Mark a photo as fully indexed and store the file that shows it.

        Raises:
            ValueError: the photo has no `segmented_with`.
        """
        if photo.segmented_with is None:
            raise ValueError(f"photo {photo.photo_id} is not finished")
        with self._transaction():
            self._put_photo(photo)
            self._put_file(key, stamp, sha256, photo.photo_id, "present", stated=stated)

    def show_whole_photo(
        self,
        photo: Photo,
        key: FileKey,
        stamp: FileStamp,
        sha256: str,
        stated: StatedFacts | None = None,
    ) -> None:
        """Show a photo that is indexed as a whole and not segmented yet."""
        with self._transaction():
            self._put_photo(photo.model_copy(update={"segmented_with": None, "segment_count": 0}))
            self._put_file(key, stamp, sha256, photo.photo_id, "present", stated=stated)

    def put_photo(self, photo: Photo) -> None:
        """Store a photo, finished or not, without a file."""
        with self._transaction():
            self._put_photo(photo)

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
                True,  # stale
            ),
        )

    def unsynced_photos(self, at_most: int = -1) -> list[str]:
        """Return the ids of photos whose facts the index may lack; -1: without a limit."""
        rows = self._execute(
            "SELECT photo_id FROM photos WHERE stale ORDER BY photo_id LIMIT ?", (at_most,)
        )
        return [row["photo_id"] for row in rows]

    def count_unsynced(self) -> int:
        """Count all unsynced photos."""
        return int(self._execute("SELECT count(*) FROM photos WHERE stale").fetchone()[0])

    def facts_now(self, photo_id: str) -> PhotoFacts:
        """Return a photo's facts with the folders of its present files; hidden if it has none.

        Raises:
            UnknownIdError: there is no such photo.
        """
        photo = self.photo(photo_id).photo
        found = {folder for key in self.files_of(photo_id) for folder in key.folders}
        folders = tuple(sorted(found))
        return photo.facts.model_copy(update={"folders": folders, "hidden": not folders})

    def mark_synced(self, photo_id: str, facts: PhotoFacts) -> None:
        """Mark a photo's facts as stored in the index."""
        self._execute(
            "UPDATE photos SET stale = 0, hidden = ? WHERE photo_id = ?", (facts.hidden, photo_id)
        )

    def photo(self, photo_id: str) -> PhotoRow:
        """Look up a photo.

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
        """Return a page of visible photos, newest first.

        Args:
            where: filter; conditions on segments are ignored.
            limit: page size.
            after: `sort_key` of the last photo of the previous page.
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

    def iter_photos(self) -> Iterator[PhotoRow]:
        """Iterate over all photos by id, including hidden and unfinished ones."""
        after = ""
        while rows := self._photo_rows(
            "WHERE p.photo_id > ? ORDER BY p.photo_id LIMIT ?", (after, PAGE)
        ):
            yield from rows
            after = rows[-1].photo.photo_id

    def facets(self, where: SearchFilter) -> Facets:
        """Count visible photos by camera, month and folder."""
        folders = self._names_of_folder(where.folder) if where.folder is not None else []
        clauses, values = photo_clauses(where, folders)
        among = f"WHERE {' AND '.join(clauses)}"
        return facets_from_rows(
            self._execute(
                f"SELECT p.camera, p.local_at, p.date_source FROM photos p {among}", values
            ),
            self._execute(
                "SELECT DISTINCT p.photo_id, f.folder FROM photos p JOIN files f "
                f"ON f.photo_id = p.photo_id AND f.state = 'present' {among}",
                values,
            ),
        )

    def _names_of_folder(self, folder: str) -> list[str]:
        """Return the values, or prefixes, of `files.folder` for the files below a folder."""
        roots = self.roots()
        names = {folder}
        for root in roots:
            for outer in root.within:  # this root's folder as "OUTER_ROOT_ID/sub"
                if f"{outer}/".startswith(f"{folder}/"):
                    names.add(root.root_id)
                elif f"{folder}/".startswith(f"{outer}/"):
                    names.add(root.root_id + folder.removeprefix(outer))
        return sorted(names)

    def paths(self, photo_ids: Sequence[str]) -> dict[str, PhotoRow]:
        """Look up photos by id; unknown ids are left out."""
        marks = ",".join("?" * len(photo_ids))
        rows = self._photo_rows(f"WHERE p.photo_id IN ({marks})", photo_ids)
        return {row.photo.photo_id: row for row in rows}

    def _photo_rows(self, rest: str, values: Sequence[Any]) -> list[PhotoRow]:
        """Select photos, each with one present file, preferably below a mounted root."""
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

    def forget_photo(self, photo_id: str) -> None:
        """Delete a photo and its files."""
        with self._transaction():
            self._execute("DELETE FROM files WHERE photo_id = ?", (photo_id,))
            self._execute("DELETE FROM photos WHERE photo_id = ?", (photo_id,))

    def counts(self) -> dict[str, int]:
        """Count photos, segments and files by state."""
        row = self._execute(
            "SELECT (SELECT count(*) FROM photos WHERE NOT hidden) AS photos, "
            "(SELECT count(*) FROM photos WHERE NOT hidden AND segmented_with IS NOT NULL) "
            "AS photos_segmented, "
            "(SELECT count(*) FROM photos WHERE hidden) AS photos_hidden, "
            "(SELECT count(*) FROM photos p WHERE hidden AND EXISTS (SELECT 1 FROM files f WHERE "
            "f.photo_id = p.photo_id AND f.state = 'excluded')) AS photos_excluded, "
            "(SELECT coalesce(sum(segment_count), 0) FROM photos WHERE NOT hidden) AS segments, "
            "(SELECT count(*) FROM files WHERE state = 'present') AS files, "
            "(SELECT count(*) FROM files WHERE state = 'waiting') AS files_waiting, "
            "(SELECT count(*) FROM files WHERE state = 'vanished') AS files_vanished, "
            "(SELECT count(*) FROM files WHERE state = 'excluded') AS files_excluded, "
            "(SELECT count(*) FROM files WHERE state = 'unread') AS files_unread, "
            "(SELECT count(*) FROM files WHERE state = 'skipped') AS files_skipped"
        ).fetchone()
        return {key: int(row[key]) for key in row.keys()}  # noqa: SIM118  (a Row is no dict)

    def coverage(self) -> Coverage | None:
        """Return how much of the library is searchable; None if all of it is segmented."""
        unsegmented, waiting = self._execute(
            "SELECT "
            "(SELECT count(*) FROM photos WHERE segmented_with IS NULL AND NOT hidden), "
            "(SELECT count(*) FROM files WHERE state = 'waiting')"
        ).fetchone()
        if not (unsegmented or waiting):
            return None
        (photos,) = self._execute(  # without WHERE, SQLite counts a page at a time
            "SELECT (SELECT count(*) FROM photos) - (SELECT count(*) FROM photos WHERE hidden)"
        ).fetchone()
        return Coverage(photos, photos - unsegmented, waiting)


def sort_key(row: PhotoRow) -> tuple[float, str]:
    """Return a photo's key in browsing order: UTC seconds and photo id."""
    return row.photo.facts.sort_at.timestamp(), row.photo.photo_id


def folder_key(ledger: Ledger, folder: Path) -> str | None:
    """Return a folder's name in filters, `ROOT_ID/sub/folder`; None if it is below no root."""
    path = Path(os.path.realpath(folder))
    root = ledger.root_for(path)
    if root is None:
        return None
    return FileKey(root, os.fsencode((path / "file").relative_to(root.path))).folder
