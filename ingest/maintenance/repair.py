"""What `verify` found is mended, as far as it can be."""

from __future__ import annotations

from typing import get_args

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import is_gone
from ingest.index_sync import sync_index
from ingest.maintenance.verify import Fault, Health, Kind
from search.index.base import SegmentIndex
from search.records import Record

# More orphans than this, or than this part of the photos, are a sign that not they are wrong but
# the ledger: it may be another library's, or have lost what it knew. A single one may always go.
FEW_ORPHANS = 10
FEW_ORPHANS_FRACTION = 0.05


class Repair(Record):
    """What was mended, and what can't be."""

    photos_again: int  # made unfinished: the next ingest does them
    photos_told: int
    orphans_deleted: int
    beyond_repair: tuple[Fault, ...]


def repair(
    health: Health, ledger: Ledger, index: SegmentIndex, *, delete_orphans: bool = False
) -> Repair:
    """Mend what can be mended: delete orphans, tell the index, make broken photos unfinished.

    Args:
        health: what was found.
        ledger: of the library.
        index: of the library.
        delete_orphans: delete orphans although there are many.
    """
    again, beyond = 0, []
    of_kind = {kind: [f for f in health.faults if f.kind == kind] for kind in get_args(Kind)}
    orphans = of_kind["orphan"]
    few = max(1.0, min(FEW_ORPHANS, FEW_ORPHANS_FRACTION * health.photos))
    if delete_orphans or len(orphans) <= few:
        for fault in orphans:
            index.delete_photo(str(fault.photo_id))
        index.flush()
        deleted = len(orphans)
    else:
        beyond += orphans
        deleted = 0
    ledger.mark_stale(fault.photo_id for fault in of_kind["outdated"])
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
