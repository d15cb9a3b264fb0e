"""The whole flow on one screen: a folder of photos becomes searchable segments.

    files -> decode (processes, ahead) -> embed whole photos, where there are many new ones
    files -> decode (processes, ahead) -> cut (a lane a device) -> embed and write (behind)

A photo is finished when the ledger says so, and it says so last: after its segments, the photo
itself and a flush. Whatever happens before, the photo is done again, and since ids derive from
content nothing is doubled. What waits between two steps is bounded, so that a fast step waits for
a slow one and memory does not grow with the library.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from ingest.catalog.file_facts import StatedFacts
from ingest.catalog.index_sync import tell_index
from ingest.catalog.ledger import Ledger
from ingest.catalog.records import FileKey, is_gone
from ingest.coarse import show_whole_photos
from ingest.context import Run, decoded_ahead, new_files_of
from ingest.restore import note_lost_photos
from ingest.scanning.mounts import SeenDevices
from ingest.scanning.scan import Again, NewFile, skip_file
from ingest.scanning.scan_result import Seen
from ingest.scanning.scopes import (
    WHOLE,
    Glance,
    Scope,
    count_files,
    scopes_from_paths,
    shallow_scopes,
)
from ingest.scanning.vanished import Absent, mark_vanished
from ingest.stages import Stage
from ingest.stats import IngestSummary, Progress, Tally
from ingest.steps import UncutPhoto, Workshop, stated_from_decoded
from ingest.workers import cutting
from search.errors import PhotoError, TooLargeError, TooSlowError, UndecodableError
from search.records import photo_id_from_digest

Through = Callable[[Scope, Run], Seen]


def ingest(
    paths: Sequence[Path],
    workshop: Workshop,
    progress: Progress,
    *,
    resegment: bool = False,
    retry_skipped: bool = False,
    reread: bool = False,
    glance: Glance = WHOLE,
    through: Through | None = None,
) -> IngestSummary:
    """Bring the library up to date with the photos below these paths.

    Ctrl-C finishes what is in hand and returns a summary that says so.

    Args:
        paths: folders and files.
        workshop: what it is done with.
        progress: is told how far it is.
        resegment: cut photos anew that were cut with other settings.
        retry_skipped: look again at files that were skipped before.
        reread: read and decode files again that have the size and times they had; cut nothing.
        glance: how a watcher looks, when only a few files have changed.
        through: brings in what is new in one folder; None: this process does.

    Raises:
        UsageError: a path that is neither there nor known.
        SegsearchError: a model or the store failed; all that was finished stays.
    """
    started, interrupted = time.monotonic(), False
    with closing(workshop.open_ledger()) as ledger:
        exclude = workshop.settings.exclude_patterns
        links = workshop.settings.follow_links
        scopes = scopes_from_paths(paths, ledger, exclude, follow_links=links)
        scopes += shallow_scopes(glance.shallow, ledger, exclude, follow_links=links)
        again = Again(workshop.segmented_with() if resegment else None, retry_skipped, reread)
        run = Run(workshop, ledger, progress, Tally(), again, glance.busy)
        try:
            note_lost_photos(run)
            devices = dict[str, SeenDevices]()
            run.tally.found, new = count_files(scopes, ledger, devices)
            absent = Absent.of(scopes, ledger, devices)
            progress.start(run.tally.found)
            if through is None and 0 < workshop.settings.whole_first_from <= new:
                run.tally.new = new
                show_whole_photos(scopes, run)
            looked_through = [(scope, (through or ingest_scope)(scope, run)) for scope in scopes]
            mark_vanished(looked_through, ledger, run.tally, asks=glance.asks, absent=absent)
        except KeyboardInterrupt:
            interrupted = True
        try:
            tell_index(ledger, workshop.index, run.show_told)
        except KeyboardInterrupt:
            interrupted = True
        return run.tally.summary(
            time.monotonic() - started,
            interrupted=interrupted,
            stages=run.stages.times(_workers(workshop)),
        )


def _workers(workshop: Workshop) -> dict[Stage, int]:
    """Return how many do a stage at the same time."""
    lanes = 1 + len(workshop.beside)
    decoding = max(1, workshop.settings.decode_workers)
    return {"decode": decoding, "cut": lanes, "embed": lanes, "write": lanes}


def ingest_scope(scope: Scope, run: Run) -> Seen:
    """Bring in what is new in one folder; return what was seen of it."""
    seen = Seen()
    same_again: deque[tuple[NewFile, str, StatedFacts]] = deque()  # linked once the first is in
    new_files = new_files_of(scope, seen, run)
    with cutting(run) as cut, closing(decoded_ahead(new_files, run)) as photos:
        for file, decoded in photos:
            run.progress.show(run.tally)
            if isinstance(decoded, PhotoError):
                skip_new_file(file, decoded, seen, run)
                continue
            photo_id = photo_id_from_digest(decoded.pixel_sha256)
            stated = stated_from_decoded(decoded)
            while same_again and same_again[0][1] not in run.in_hand:
                link_known_photo(*same_again.popleft(), run)
            if photo_id in run.in_hand:
                same_again.append((file, photo_id, stated))
            elif not link_known_photo(file, photo_id, stated, run):
                run.in_hand.add(photo_id)
                cut(UncutPhoto(file, decoded, photo_id, stated))
    for again in same_again:
        link_known_photo(*again, run)
    return seen


def link_known_photo(file: NewFile, photo_id: str, stated: StatedFacts, run: Run) -> bool:
    """Link a file with known pixels (re-tagged, or saved anew); False if they are not known."""
    if not run.ledger.is_finished(photo_id, run.again.segmented_otherwise_than):
        return False
    known = run.ledger.file(file.key) if run.again.unchanged else None
    run.ledger.put_file(file.key, file.stamp, file.sha256, photo_id, stated)
    if known is not None and (known.photo_id, known.stated) == (photo_id, stated):
        run.tally.unchanged += 1  # it was read again, and says the same
    else:
        run.tally.updated += 1
    return True


def skip_new_file(file: NewFile, error: PhotoError, seen: Seen, run: Run) -> None:
    """Note why a file can't be used, unless it is gone since it was listed.

    What took too long is tried again by the next run, and given up when it takes too long again.
    """
    if is_gone(file.key.path):
        seen.files.discard(file.key.below)
        return
    lasting = isinstance(error, UndecodableError | TooLargeError) or (
        isinstance(error, TooSlowError) and was_skipped_for(str(error), file.key, run.ledger)
    )
    skip_file(file.key, error, run.ledger, run.tally, file.stamp if lasting else None)


def was_skipped_for(reason: str, key: FileKey, ledger: Ledger) -> bool:
    """Say whether a file was skipped before for the same reason."""
    known = ledger.file(key)
    return known is not None and known.state == "skipped" and known.reason == reason
