"""Consistency checks of manifest, ledger and index when a library is opened."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click

from api.library.config_files import belongs_to_user
from api.settings import Settings
from ingest.catalog.connection import LEDGER_NAME
from ingest.catalog.ledger import Ledger
from ingest.imaging.decode import shown_path
from search.errors import DamagedLedgerError, LibraryError, MissingIndexError
from search.index.base import SegmentIndex
from search.manifest import MANIFEST_NAME, Manifest

LEDGER_PARTS = ("", "-wal", "-shm")
REBUILD = (
    "Restore it from a backup, or run `segsearch rebuild PHOTOS`, which makes a new one from the "
    "index without segmenting a photo."
)


def check_found(folder: Path) -> None:
    """Check the owner of a library that was found in the working directory, not named.

    Raises:
        LibraryError: it is another user's, whose manifest could name any server.
    """
    if folder.exists() and not belongs_to_user(folder):
        raise LibraryError(
            f"the library {shown_path(folder)} belongs to another user. Name it with --library if "
            "it is meant."
        )


def check_no_manifest_is_lost(folder: Path) -> None:
    """Check that a folder without a manifest has no ledger with photos.

    Raises:
        LibraryError: it has; a new manifest might name other models and another server.
    """
    if not (folder / LEDGER_NAME).exists():
        return
    with closing(Ledger(folder)) as ledger:
        if ledger.has_photos():  # files alone: left by a first run whose models could not be loaded
            raise LibraryError(
                f"{shown_path(folder / MANIFEST_NAME)} is missing, though the ledger beside it "
                "knows photos. Restore it from a backup (it says which models made the library and "
                "where its vectors are), or name another folder with --library."
            )


def check_key(asked: Settings, address: str) -> None:
    """Never send an API key to a server that only the manifest names.

    Raises:
        LibraryError: a key was given without the server that it is for.
    """
    if asked.qdrant_api_key is not None and asked.qdrant is None:
        raise LibraryError(
            f"an API key of a Qdrant server is given, and not which server it is for. If it is "
            f"{address}, which this library names, say so: --qdrant {address}, or "
            "SEGSEARCH_QDRANT in the environment."
        )


def open_ledger_of(manifest: Manifest, folder: Path, save: Callable[[Manifest], None]) -> Ledger:
    """Open the ledger of an existing library.

    Args:
        manifest: of the library.
        folder: where both are.
        save: called with the manifest and the library id if the manifest has none yet.

    Raises:
        LibraryError: the ledger is missing, damaged or another library's.
    """
    path = folder / LEDGER_NAME
    if not path.exists():
        raise LibraryError(f"the ledger {shown_path(path)} is missing. {REBUILD}")
    ledger = Ledger(folder)
    try:
        library_id = ledger.library_id()
        if manifest.library_id is None:
            save(manifest.model_copy(update={"library_id": library_id}))
        elif manifest.library_id != library_id:
            if ledger.is_empty():
                raise LibraryError(f"the ledger {shown_path(path)} is empty. {REBUILD}")
            raise LibraryError(
                f"the ledger {shown_path(path)} belongs to another library. Move it away. {REBUILD}"
            )
    except BaseException:
        ledger.close()
        raise
    return ledger


def check_ledger_is_lost(folder: Path) -> None:
    """Check that the ledger is missing, empty or damaged, before it is rebuilt.

    Raises:
        LibraryError: it has photos.
    """
    if not (folder / LEDGER_NAME).exists():
        return
    try:
        with closing(Ledger(folder)) as ledger:
            is_lost = not ledger.has_photos()
    except DamagedLedgerError:
        return
    if not is_lost:
        raise LibraryError(
            f"the ledger {shown_path(folder / LEDGER_NAME)} knows photos: nothing has to be "
            "rebuilt. `segsearch ingest PHOTOS` finds the files of photos that have none, and "
            "segments only what the index does not hold. If it is another library's ledger, move "
            "it away first."
        )


def claim_ledger(manifest: Manifest, ledger: Ledger) -> str:
    """Set the library id of a new ledger; return it."""
    library_id = manifest.library_id or ledger.library_id()
    ledger.set_library_id(library_id)
    return library_id


def place_ledger(draft: Path, folder: Path) -> None:
    """Move a rebuilt ledger into place; an old one is renamed to `.damaged`."""
    for path in folder.glob(f"{LEDGER_NAME}*"):  # its write-ahead log, too
        if path.name.removeprefix(LEDGER_NAME) in LEDGER_PARTS:
            path.replace(path.with_name(f"{path.name}.damaged"))
    (draft / LEDGER_NAME).replace(folder / LEDGER_NAME)
    shutil.rmtree(draft)


def missing_index(error: MissingIndexError, finished: tuple[int, int]) -> MissingIndexError:
    """The error, with the counts of the ledger and what to do."""
    photos, segments = finished
    return MissingIndexError(
        f"{error}, though the library knows {photos} photos with {segments} segments. If they are "
        "elsewhere, restore them from a backup, or name the server with --qdrant; if they are "
        "lost, `segsearch ingest PHOTOS` segments the photos again."
    )


def compare_index(index: SegmentIndex, ledger: Ledger, folder: Path, *, restoring: bool) -> None:
    """Compare the counts of index and ledger.

    Args:
        index: of the library.
        ledger: of the library.
        folder: of the library.
        restoring: missing photos are about to be segmented again.

    Raises:
        LibraryError: the ledger is empty, and the index is not.
        MissingIndexError: the index is empty, and the ledger is not.
    """
    photos, segments = ledger.count_finished()
    held = index.count("photos"), index.count("segments")
    if ledger.is_empty() and any(held):
        raise LibraryError(
            f"the ledger {shown_path(folder / LEDGER_NAME)} is empty, though the index holds "
            f"{held[0]} photos with {held[1]} segments. {REBUILD}"
        )
    if restoring or (held[0] >= photos and held[1] >= segments):
        return
    if photos and not held[0]:
        raise missing_index(MissingIndexError("the index holds no photo"), (photos, segments))
    click.echo(
        f"the index holds {held[0]} photos with {held[1]} segments, though the library knows "
        f"{photos} with {segments}. `segsearch verify` says which are missing; `segsearch ingest` "
        "segments them again.",
        err=True,
    )
