"""The ledger: which files are known, which photos they show, what was skipped and why.

One SQLite file in the library folder, also when vectors live on a server. A photo is begun before
the index hears of it and finished when its row says what it was segmented with, which is written
last: what a killed run left half done is known by name. A photo whose files changed is `stale`
until the index has been told.
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

PAGE = 1000  # photos read at once when all are gone over
MARK_UNFINISHED = "UPDATE photos SET segmented_with = NULL, stale = 1 WHERE photo_id = ?"
PHOTO_COLUMNS = (
    *("photo_id", "width", "height", *FACT_COLUMNS),
    *("segmented_with", "segment_count", "hidden", "stale"),
)
# The facts of a known photo follow what its files say.
PUT_PHOTO = f"""
INSERT INTO photos ({", ".join(PHOTO_COLUMNS)}) VALUES ({", ".join("?" * len(PHOTO_COLUMNS))})
ON CONFLICT (photo_id) DO UPDATE SET width = excluded.width, height = excluded.height,
    segmented_with = excluded.segmented_with, segment_count = excluded.segment_count,
    hidden = excluded.hidden, stale = 1
"""


class Ledger(GoneFiles):
    """The ledger of one library: its files, and here its photos. Each thread opens its own."""

    def __init__(self, folder: Path) -> None:
        """Open the ledger of a library folder; it is created where there is none.

        Raises:
            LibraryError: the file is not a ledger of this format, or can't be used.
        """
        super().__init__(folder)
        try:
            with self._translated_errors():
                migrate(self._db, self.path)
        except BaseException:
            self.close()
            raise

    def is_finished(self, photo_id: str, segmented_with: str | None = None) -> bool:
        """Say whether a photo's segments are all in the index (made with this fingerprint)."""
        row = self._execute(
            "SELECT segmented_with FROM photos WHERE photo_id = ?", (photo_id,)
        ).fetchone()
        if row is None or row["segmented_with"] is None:
            return False
        return segmented_with in (None, row["segmented_with"])

    def count_finished(self) -> tuple[int, int]:
        """Return how many photos are finished, hidden ones too, and how many segments they have."""
        photos, segments = self._execute(
            "SELECT count(*), coalesce(sum(segment_count), 0) FROM photos "
            "WHERE segmented_with IS NOT NULL"
        ).fetchone()
        return int(photos), int(segments)

    def has_photos(self) -> bool:
        """Say whether any photo is known, finished or not."""
        return self._execute("SELECT 1 FROM photos LIMIT 1").fetchone() is not None

    def is_empty(self) -> bool:
        """Say whether neither a photo nor a file is known, as where the ledger was lost.

        A first run on a cluster that was killed knows files, and no photo yet.
        """
        known = "SELECT EXISTS (SELECT 1 FROM photos) OR EXISTS (SELECT 1 FROM files)"
        return not self._execute(known).fetchone()[0]

    def count_known(self, photo_ids: Sequence[str]) -> int:
        """Return how many of these photos are known."""
        return sum(
            self._execute("SELECT 1 FROM photos WHERE photo_id = ?", (each,)).fetchone() is not None
            for each in photo_ids
        )

    def mark_unfinished(self, photo_ids: Sequence[str]) -> None:
        """Note that photos have to be segmented again."""
        with self._transaction():
            self._execute_each(MARK_UNFINISHED, [(photo_id,) for photo_id in photo_ids])

    def begin_photo(self, photo: Photo) -> None:
        """Note that the index is about to change; until it is finished the photo is to be done.

        A new photo is hidden until then, a known one stays as it is.
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
        """Note that a photo is in the index with all its segments, and the file that shows it.

        Raises:
            ValueError: the photo does not say what it was segmented with.
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
        """Note that a photo can be found as a whole, its segments being still to do."""
        with self._transaction():
            self._put_photo(photo.model_copy(update={"segmented_with": None, "segment_count": 0}))
            self._put_file(key, stamp, sha256, photo.photo_id, "present", stated=stated)

    def put_photo(self, photo: Photo) -> None:
        """Note a photo as it is, finished or not, without a file that shows it."""
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
                True,  # the index is to be told
            ),
        )

    def unsynced_photos(self, at_most: int = -1) -> list[str]:
        """Return the photos whose facts the index may not know yet; -1: all of them."""
        rows = self._execute(
            "SELECT photo_id FROM photos WHERE stale ORDER BY photo_id LIMIT ?", (at_most,)
        )
        return [row["photo_id"] for row in rows]

    def count_unsynced(self) -> int:
        """Return how many photos `unsynced_photos` has in all."""
        return int(self._execute("SELECT count(*) FROM photos WHERE stale").fetchone()[0])

    def facts_now(self, photo_id: str) -> PhotoFacts:
        """Return a photo's facts as its files stand now: folders, and hidden if none is there.

        Raises:
            UnknownIdError: there is no such photo.
        """
        photo = self.photo(photo_id).photo
        found = {folder for key in self.files_of(photo_id) for folder in key.folders}
        folders = tuple(sorted(found))
        return photo.facts.model_copy(update={"folders": folders, "hidden": not folders})

    def mark_synced(self, photo_id: str, facts: PhotoFacts) -> None:
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

    def iter_photos(self) -> Iterator[PhotoRow]:
        """Go over all photos by id, hidden and unfinished ones too."""
        after = ""
        while rows := self._photo_rows(
            "WHERE p.photo_id > ? ORDER BY p.photo_id LIMIT ?", (after, PAGE)
        ):
            yield from rows
            after = rows[-1].photo.photo_id

    def facets(self, where: SearchFilter) -> Facets:
        """Count the photos that are not hidden by camera, by month and by folder."""
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

    def forget_photo(self, photo_id: str) -> None:
        """Forget a photo and the files that showed it."""
        with self._transaction():
            self._execute("DELETE FROM files WHERE photo_id = ?", (photo_id,))
            self._execute("DELETE FROM photos WHERE photo_id = ?", (photo_id,))

    def counts(self) -> dict[str, int]:
        """Return how many photos, segments and files there are, and in which state."""
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
        """Return how much can be searched; None if all that is known is found by its segments."""
        uncut, waiting = self._execute(
            "SELECT "
            "(SELECT count(*) FROM photos WHERE segmented_with IS NULL AND NOT hidden), "
            "(SELECT count(*) FROM files WHERE state = 'waiting')"
        ).fetchone()
        if not (uncut or waiting):
            return None
        (photos,) = self._execute(  # without WHERE, SQLite counts a page at a time
            "SELECT (SELECT count(*) FROM photos) - (SELECT count(*) FROM photos WHERE hidden)"
        ).fetchone()
        return Coverage(photos, photos - uncut, waiting)


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
