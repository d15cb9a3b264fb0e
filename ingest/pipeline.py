"""The ingest pipeline: a folder of photos becomes searchable segments.

    walk -> outcomes -> decode (process pool) -> embed whole photos    first pass, if many are new
    walk -> outcomes -> decode (process pool) -> segment (a thread per device) -> embed, write

The tree is walked once. Each file has one outcome, which `ingest.run` records. A photo counts as
finished once the ledger says so, which is written last: after its segments, the photo itself and a
flush. After a crash unfinished photos are processed again; since ids derive from content, nothing
is duplicated. Queues between steps are bounded, so memory use does not grow with the library.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ingest.catalog.file_facts import StatedFacts
from ingest.catalog.ledger import Ledger
from ingest.catalog.records import FileKey, is_gone
from ingest.coarse import index_whole_photos
from ingest.context import IngestContext
from ingest.index_sync import mark_lost_photos, sync_index
from ingest.run import Run
from ingest.scanning.deletion_guard import DeletionGuard
from ingest.scanning.listing import Listing, count_waiting, list_scope
from ingest.scanning.mounts import DeviceMap
from ingest.scanning.scan import Gone, Linked, NewFile, RescanPolicy, Skipped
from ingest.scanning.scopes import Scope, scopes_from_paths, shallow_scopes
from ingest.scanning.vanished import AbsentFolders, mark_vanished
from ingest.stats import IngestSummary, Progress, Stage
from ingest.steps import DecodedFile, stated_from_decoded
from ingest.workers import segmenting
from search.errors import PhotoError, TooLargeError, TooSlowError, UndecodableError
from search.records import photo_id_from_digest

ProcessListing = Callable[[Listing, Run], None]


@dataclass(frozen=True)
class WatchScope:
    """What `watch` passes to a run after files have changed.

    Attributes:
        shallow: folders of known roots, scanned without their subfolders.
        busy: files that are still being written; they are ignored.
        guard: prevents hiding photos where a large part of a root is gone.
    """

    shallow: tuple[Path, ...] = ()
    busy: frozenset[Path] = frozenset()
    guard: DeletionGuard | None = None


def ingest(
    paths: Sequence[Path],
    context: IngestContext,
    progress: Progress,
    *,
    resegment: bool = False,
    retry_skipped: bool = False,
    reread: bool = False,
    watch: WatchScope | None = None,
    process: ProcessListing | None = None,
) -> IngestSummary:
    """Bring the library up to date with the photos below these paths.

    Ctrl-C finishes the photos in progress and returns a summary that says so.

    Args:
        paths: folders and files.
        context: settings, ledger, index and models.
        progress: called as files are processed.
        resegment: segment photos again whose segments have another fingerprint.
        retry_skipped: retry files that an earlier run skipped.
        reread: decode unchanged files again to read their metadata; nothing is segmented.
        watch: restrictions of a run started by `watch`.
        process: ingests the new files of one listing; None: `process_listing`.

    Raises:
        UsageError: a path neither exists nor is known to the ledger.
        SegsearchError: a model or the store failed; finished photos are kept.
    """
    started, interrupted = time.monotonic(), False
    watch = watch or WatchScope()
    with closing(context.open_ledger()) as ledger:
        scopes = _scopes(paths, watch, ledger, context)
        policy = RescanPolicy(
            context.segmented_with() if resegment else None, retry_skipped, reread
        )
        run = Run(context, ledger, progress, policy, watch.busy)
        try:
            _mark_lost_photos(run)
            devices = {scope.root.root_id: DeviceMap() for scope in scopes}
            listings = [list_scope(scope, ledger, devices[scope.root.root_id]) for scope in scopes]
            absent = AbsentFolders.find(scopes, ledger, devices)
            run.tally.seen = sum(listing.count() for listing in listings)
            progress.start(run.tally.seen)
            new = count_waiting(listings, ledger)
            if process is None and 0 < context.settings.whole_first_from <= new:
                run.tally.new = new
                index_whole_photos(listings, run)
            for listing in listings:
                (process or process_listing)(listing, run)
                run.tally.notices += listing.notices
            vanished = mark_vanished(listings, ledger, guard=watch.guard, absent=absent)
            run.tally.add_vanished(vanished.hidden, vanished.excluded, vanished.notices)
        except KeyboardInterrupt:
            interrupted = True
        try:
            sync_index(ledger, context.index, run.show_synced)
        except KeyboardInterrupt:
            interrupted = True
        return run.tally.summary(
            time.monotonic() - started,
            interrupted=interrupted,
            stages=run.stages.times(_workers(context)),
        )


def _scopes(
    paths: Sequence[Path], watch: WatchScope, ledger: Ledger, context: IngestContext
) -> list[Scope]:
    exclude, links = context.settings.exclude_patterns, context.settings.follow_links
    scopes = scopes_from_paths(paths, ledger, exclude, follow_links=links)
    return scopes + shallow_scopes(watch.shallow, ledger, exclude, follow_links=links)


def _mark_lost_photos(run: Run) -> None:
    lost, photos = mark_lost_photos(run.ledger, run.context.index)
    if lost:
        run.tally.notices.append(
            f"the index lacks {lost} of {photos} photos, or segments of them: they are segmented "
            "again"
        )


def _workers(context: IngestContext) -> dict[Stage, int]:
    """Count the threads or processes of each stage."""
    devices = 1 + len(context.other_devices)
    decoding = max(1, context.settings.decode_workers)
    return {"decode": decoding, "cut": devices, "embed": devices, "write": devices}


def process_listing(listing: Listing, run: Run) -> None:
    """Ingest the new files of one listing."""
    duplicates: deque[tuple[NewFile, str, StatedFacts]] = deque()  # of photos in progress
    with (
        segmenting(run) as segment,
        closing(run.iter_decoded(run.new_files(listing))) as photos,
    ):
        for file, decoded in photos:
            run.progress.show(run.tally)
            if isinstance(decoded, PhotoError):
                run.record(outcome_of_error(file, decoded, run.ledger), listing)
                continue
            photo_id = photo_id_from_digest(decoded.pixel_sha256)
            stated = stated_from_decoded(decoded)
            while duplicates and duplicates[0][1] not in run.in_progress:
                link_known_photo(*duplicates.popleft(), run)
            if photo_id in run.in_progress:
                duplicates.append((file, photo_id, stated))
            elif not link_known_photo(file, photo_id, stated, run):
                run.in_progress.add(photo_id)
                segment(DecodedFile(file, decoded, photo_id, stated))
    for duplicate in duplicates:
        link_known_photo(*duplicate, run)


def link_known_photo(file: NewFile, photo_id: str, stated: StatedFacts, run: Run) -> bool:
    """Link a file to the photo with the same pixels; False if that photo is not in the library."""
    if not run.ledger.is_finished(photo_id, run.policy.wanted_fingerprint):
        return False
    known = run.ledger.file(file.key) if run.policy.unchanged else None
    is_same = known is not None and (known.photo_id, known.stated) == (photo_id, stated)
    run.record(Linked(file, photo_id, stated, is_same))
    return True


def outcome_of_error(file: NewFile, error: PhotoError, ledger: Ledger) -> Skipped | Gone:
    """Turn a decoding error into an outcome.

    After a timeout the next run tries the file once more; a second timeout is permanent.
    """
    if is_gone(file.key.path):  # since it was listed
        return Gone(file.key)
    reason = str(error)
    is_permanent = isinstance(error, UndecodableError | TooLargeError) or (
        isinstance(error, TooSlowError) and _was_skipped_for(reason, file.key, ledger)
    )
    return Skipped(file.key, reason, file.stamp if is_permanent else None)


def _was_skipped_for(reason: str, key: FileKey, ledger: Ledger) -> bool:
    known = ledger.file(key)
    return known is not None and known.state == "skipped" and known.reason == reason
