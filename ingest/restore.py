"""Photos that the ledger calls finished and the index no longer holds whole."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from ingest.catalog.ledger import Ledger
from ingest.context import Run
from search.index.base import SegmentIndex

PAGE = 100  # photos looked up at once


def note_lost_photos(run: Run) -> None:
    """Note that photos which the index has lost have to be segmented again.

    They are looked for only where the index holds less than the ledger knows.
    """
    photos, segments = run.ledger.count_finished()
    if not photos:
        return
    index = run.workshop.index()
    if index.count("photos") >= photos and index.count("segments") >= segments:
        return
    lost = list(_lost_photos(run.ledger, index))
    run.ledger.mark_unfinished(lost)
    if lost:
        run.tally.notices.append(
            f"the index lacks {len(lost)} of {photos} photos, or segments of them: they are "
            "segmented again"
        )


def _lost_photos(ledger: Ledger, index: SegmentIndex) -> Iterator[str]:
    rows = (row.photo for row in ledger.iter_photos() if row.photo.segmented_with is not None)
    while page := list(islice(rows, PAGE)):
        held = {photo.photo_id for photo in index.photos([photo.photo_id for photo in page])}
        for photo in page:
            found = index.segment_ids_of(photo.photo_id) if photo.photo_id in held else set()
            if photo.photo_id not in held or len(found) < photo.segment_count:
                yield photo.photo_id
