"""Repair of the faults that `verify` finds."""

from __future__ import annotations

from typing import get_args

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import is_gone
from ingest.index_sync import sync_index
from ingest.maintenance.verify import Fault, Health, Kind
from search.index.base import SegmentIndex
from search.records import Record

# More orphans than this, or than this fraction of the photos, indicate that the ledger is wrong (of
# another library, or incomplete) and not the index. A single one is always deleted.
MAX_ORPHANS = 10
MAX_ORPHANS_FRACTION = 0.05


class Repair(Record):
    """Result of a repair."""

    photos_again: int  # marked as unfinished; the next ingest segments them again
    photos_told: int  # facts updated in the index
    orphans_deleted: int
    beyond_repair: tuple[Fault, ...]


def repair(
    health: Health, ledger: Ledger, index: SegmentIndex, *, delete_orphans: bool = False
) -> Repair:
    """Delete orphans, update outdated facts in the index, mark broken photos as unfinished.

    Args:
        health: result of `verify`.
        ledger: of the library.
        index: of the library.
        delete_orphans: delete orphans even if there are many.
    """
    again, beyond = 0, []
    of_kind = {kind: [f for f in health.faults if f.kind == kind] for kind in get_args(Kind)}
    orphans = of_kind["orphan"]
    at_most = max(1.0, min(MAX_ORPHANS, MAX_ORPHANS_FRACTION * health.photos))
    if delete_orphans or len(orphans) <= at_most:
        for fault in orphans:
            index.delete_photo(str(fault.photo_id))
        index.flush()
        deleted = len(orphans)
    else:
        beyond += orphans
        deleted = 0
    ledger.mark_unsynced(fault.photo_id for fault in of_kind["outdated"])
    for fault in of_kind["broken"]:
        photo = ledger.photo(str(fault.photo_id)).photo
        if all(is_gone(key.path) for key in ledger.files_of(photo.photo_id)):
            beyond.append(fault)
        else:
            ledger.begin_photo(photo)
            again += 1
    sync_index(ledger, lambda: index)
    return Repair(
        photos_again=again,
        photos_told=len(of_kind["outdated"]),
        orphans_deleted=deleted,
        beyond_repair=(*beyond, *of_kind["ledger"], *of_kind["index"]),
    )
