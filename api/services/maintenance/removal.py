"""Remove photos from a library; their files are never touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from api.library.library import Library
from api.schemas.photos import RemovedOut
from ingest.catalog.ledger import Ledger
from ingest.index_sync import sync_index
from ingest.maintenance.removal import (
    Missing,
    forget_photos,
    known_folder,
    missing_photos,
    only_below,
)


def forget(
    library: Library,
    choose: Callable[[Ledger], Iterable[str]],
    then: Callable[[Ledger], None] = lambda _: None,
) -> RemovedOut:
    """Forget photos with their segments and thumbnails.

    Args:
        library: the library of the photos.
        choose: returns the photo ids; it has no side effects, since a failed removal is retried.
        then: is called after the photos were forgotten.

    Raises:
        OwnedError: another command is adding or removing photos.
        UnknownIdError: one of them is not in the library; then none is forgotten.
    """
    with library.only_writer():
        ledger = library.ledger()
        photo_ids = tuple(dict.fromkeys(choose(ledger)))
        forget_photos(photo_ids, ledger, library.index)
        then(ledger)
        library.pictures.forget(photo_ids)
        sync_index(ledger, library.index)
    return RemovedOut(photos_removed=photo_ids)


@dataclass(frozen=True)
class RemovalPlan:
    """Photos to remove, for a user to confirm.

    Attributes:
        photo_ids: photos that were named one by one.
        folders: ingested folders, or folders in one, to forget with their photos.
        missing: photos without files, if these are to be forgotten.
        unnamed: the photos that `folders` and `missing` stand for.
    """

    photo_ids: tuple[str, ...]
    folders: tuple[Path, ...]
    missing: Missing | None
    unnamed: frozenset[str]


def plan_removal(
    library: Library, photo_ids: Iterable[str], folders: Iterable[Path], *, missing: bool
) -> RemovalPlan:
    """Look up what a removal would forget.

    Raises:
        UnknownIdError: a photo is not in the library.
        UsageError: a folder is unknown.
    """
    ledger, folders = library.ledger(), tuple(folders)
    named = tuple(ledger.photo(photo_id).photo.photo_id for photo_id in photo_ids)
    unnamed = {photo_id for folder in folders for photo_id in only_below(folder, ledger)}
    gone = missing_photos(ledger) if missing else None
    unnamed.update(gone.photo_ids if gone else ())
    return RemovalPlan(named, folders, gone, frozenset(unnamed))


def remove_planned(library: Library, plan: RemovalPlan) -> RemovedOut:
    """Forget the photos and folders of a plan; missing photos only if they are in the plan.

    Raises:
        OwnedError: another command is adding or removing photos.
    """
    known = [known_folder(folder, library.ledger()) for folder in plan.folders]

    def choose(ledger: Ledger) -> list[str]:
        ids = [*plan.photo_ids, *(p for each in plan.folders for p in only_below(each, ledger))]
        if plan.missing is not None:
            ids += [each for each in missing_photos(ledger).photo_ids if each in plan.unnamed]
        return ids

    def forget_folders(ledger: Ledger) -> None:
        for root, below in known:
            ledger.forget_below(root, below)

    return forget(library, choose, forget_folders)
