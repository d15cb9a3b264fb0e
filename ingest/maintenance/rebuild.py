"""Rebuild a lost ledger from the index; files are decoded and hashed, not segmented."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ingest.catalog.ledger import Ledger
from ingest.context import IngestContext
from ingest.imaging.decode import path_text
from ingest.pipeline import ingest, link_known_photo, outcome_of_error
from ingest.run import Run
from ingest.scanning.listing import Listing
from ingest.scanning.scopes import scopes_from_paths
from ingest.stats import Progress
from ingest.steps import stated_from_decoded
from search.errors import PhotoError
from search.index.base import SegmentIndex
from search.records import Record, photo_id_from_digest


class Rebuilt(Record):
    """Contents of a rebuilt ledger."""

    photos: int
    segments: int
    photos_with_file: int
    files_unknown: tuple[str, ...]  # readable files whose photo is not in the index
    seconds: float
    interrupted: bool


def rebuild(paths: Sequence[Path], context: IngestContext, progress: Progress) -> Rebuilt:
    """Fill an empty ledger with the photos of the index, and link the files below these paths.

    Args:
        paths: folders and files that were ingested.
        context: holds ledger and index; its models are not used.
        progress: called as files are processed.

    Raises:
        UsageError: a path does not exist.
        StoreError: the index can't be read.
    """
    with closing(context.open_ledger()) as ledger:
        scopes_from_paths(paths, ledger)  # rejects a wrong path before anything is written
        _put_photos(ledger, context.index())
    unknown: list[str] = []

    def link(listing: Listing, run: Run) -> None:
        _link_files(listing, run, unknown)

    summary = ingest(paths, context, progress, process=link)
    with closing(context.open_ledger()) as ledger:
        photos, segments = ledger.count_finished()
        shown = sum(1 for row in ledger.iter_photos() if row.path is not None)
    return Rebuilt(
        photos=photos,
        segments=segments,
        photos_with_file=shown,
        files_unknown=tuple(unknown),
        seconds=summary.seconds,
        interrupted=summary.interrupted,
    )


def _put_photos(ledger: Ledger, index: SegmentIndex) -> None:
    """Write every photo of the index to the ledger, hidden until a file shows it.

    A photo that lacks segments is written as unfinished, so that the next ingest segments it.
    """
    for photo in index.iter_photos():
        facts = photo.facts.model_copy(update={"hidden": True, "folders": ()})
        is_whole = len(index.segment_ids_of(photo.photo_id)) == photo.segment_count
        changes = {"facts": facts} if is_whole else {"facts": facts, "segmented_with": None}
        ledger.put_photo(photo.model_copy(update=changes))


def _link_files(listing: Listing, run: Run, unknown: list[str]) -> None:
    """Link each file to the photo that its pixels show, if the index has it."""
    with closing(run.iter_decoded(run.new_files(listing))) as photos:
        for file, decoded in photos:
            run.progress.show(run.tally)
            if isinstance(decoded, PhotoError):
                run.record(outcome_of_error(file, decoded, run.ledger), listing)
                continue
            photo_id = photo_id_from_digest(decoded.pixel_sha256)
            if not link_known_photo(file, photo_id, stated_from_decoded(decoded), run):
                unknown.append(path_text(file.key.path))
