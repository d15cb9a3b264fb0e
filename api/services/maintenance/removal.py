"""Taking photos out of a library, by command or over HTTP; their files are never touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from api.library.library import Library
from api.schemas.photos import RemovedOut
from ingest.catalog.ledger import Ledger
from ingest.index_sync import sync_index
from ingest.maintenance.removal import forget_photos


def forget(
    library: Library,
    choose: Callable[[Ledger], Iterable[str]],
    then: Callable[[Ledger], None] = lambda _: None,
) -> RemovedOut:
    """Forget the photos that are chosen, with their segments and the small pictures of them.

    Args:
        library: that they are in.
        choose: returns the photos, and changes nothing: it may be asked again after a failure.
        then: is called once they are forgotten.

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
