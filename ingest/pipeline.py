"""The whole flow on one screen: a folder of photos becomes searchable segments.

    files -> decode (processes, ahead) -> segment (here) -> embed and write (a thread, behind)

A photo is finished when the ledger says so, and it says so last: after its segments, the photo
itself and a flush. Whatever happens before, the photo is done again, and since ids derive from
content nothing is doubled.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ingest.decode_worker import DecodeLimits, DecodeWorkers
from ingest.files import FileKey, is_gone
from ingest.ledger import Ledger
from ingest.photos import DecodedPhoto
from ingest.scan import Again, NewFile, Seen, iter_new_files, mark_vanished, skip_file
from ingest.scopes import (
    WHOLE,
    Glance,
    Scope,
    count_files,
    scopes_from_paths,
    shallow_scopes,
)
from ingest.tally import IngestSummary, Progress, Tally
from ingest.workshop import CutPhoto, Workshop, cut_photo, facts_from_decoded, write_photo
from search.errors import PhotoError, TooLargeError, UndecodableError
from search.index import SegmentIndex
from search.records import Photo, PhotoFacts, photo_id_from_digest

WRITE_BEHIND = 2  # photos waiting to be embedded; each holds its pixels
FLUSH_EVERY_S = 2.0  # what is not flushed and noted yet is done again after a crash
TOLD_AT_ONCE = 1000  # photos between two flushes; telling 1,000 takes about 10 s


@dataclass
class Run:
    """One call of `ingest`."""

    workshop: Workshop
    ledger: Ledger
    progress: Progress
    tally: Tally
    again: Again
    busy: frozenset[Path]


def ingest(
    paths: Sequence[Path],
    workshop: Workshop,
    progress: Progress,
    *,
    resegment: bool = False,
    retry_skipped: bool = False,
    glance: Glance = WHOLE,
) -> IngestSummary:
    """Bring the library up to date with the photos below these paths.

    Ctrl-C finishes what is in hand and returns a summary that says so.

    Args:
        paths: folders and files.
        workshop: what it is done with.
        progress: is told how far it is.
        resegment: cut photos anew that were cut with other settings.
        retry_skipped: look again at files that were skipped before.
        glance: how a watcher looks, when only a few files have changed.

    Raises:
        UsageError: a path that is neither there nor known.
        SegsearchError: a model or the store failed; all that was finished stays.
    """
    started, interrupted = time.monotonic(), False
    with closing(workshop.open_ledger()) as ledger:
        exclude = workshop.settings.exclude_patterns
        scopes = scopes_from_paths(paths, ledger, exclude)
        scopes += shallow_scopes(glance.shallow, ledger, exclude)
        again = Again(workshop.segmented_with() if resegment else None, retry_skipped)
        run = Run(workshop, ledger, progress, Tally(), again, glance.busy)
        try:
            run.tally.found = count_files(scopes)
            progress.start(run.tally.found)
            looked_through = [(scope, ingest_scope(scope, run)) for scope in scopes]
            mark_vanished(looked_through, ledger, run.tally, asks=glance.asks)
        except KeyboardInterrupt:
            interrupted = True
        tell_index(ledger, workshop.index)
        return run.tally.summary(time.monotonic() - started, interrupted=interrupted)


def ingest_scope(scope: Scope, run: Run) -> Seen:
    """Bring in what is new in one folder; return what was seen of it."""
    seen, in_hand = Seen(), set[str]()
    same_again: list[tuple[NewFile, str, PhotoFacts]] = []  # linked once the first is in
    new_files = iter_new_files(
        scope,
        run.ledger,
        run.tally,
        seen,
        run.again,
        busy=run.busy,
        on_settled=lambda: run.progress.show(run.tally),
    )
    with (
        WriteBehind(run) as write_behind,
        closing(decoded_ahead(new_files, run.workshop)) as photos,
    ):
        for file, decoded in photos:
            write_behind.raise_error()
            run.progress.show(run.tally)
            if isinstance(decoded, PhotoError):
                _skip(file, decoded, seen, run)
                continue
            photo_id = photo_id_from_digest(decoded.pixel_sha256)
            facts = facts_from_decoded(decoded)
            if photo_id in in_hand:
                same_again.append((file, photo_id, facts))
            elif not _linked(file, photo_id, facts, run):
                in_hand.add(photo_id)
                facts = _facts(file.key, photo_id, facts, run.ledger)
                write_behind.put(cut_photo(file, decoded, photo_id, facts, run.workshop))
    for file, photo_id, facts in same_again:
        _linked(file, photo_id, facts, run)
    return seen


def decoded_ahead(
    files: Iterable[NewFile], workshop: Workshop
) -> Generator[tuple[NewFile, DecodedPhoto | PhotoError]]:
    """Decode in processes, at most `decode_ahead` photos before they are asked for, in order."""
    settings, limits = workshop.settings, DecodeLimits.from_settings(workshop.settings)
    waiting: deque[tuple[NewFile, Future[DecodedPhoto | PhotoError]]] = deque()
    with (
        ThreadPoolExecutor(settings.decode_workers or 1, "decode") as pool,
        DecodeWorkers(limits, workshop.decode, apart=settings.decode_workers > 0) as workers,
    ):
        try:
            for file in files:
                waiting.append((file, pool.submit(workers.decode, file.key.path)))
                if len(waiting) > settings.decode_ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


class WriteBehind:
    """Embeds and writes photos in a thread of its own, a few behind the segmenter.

    Leaving the `with` block waits until all is written. An error in the thread is raised there, at
    the next `put` or when asked for; what was not finished by then is left for the next run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._waiting: queue.Queue[CutPhoto | None] = queue.Queue(WRITE_BEHIND)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="write-behind", daemon=True)

    def __enter__(self) -> WriteBehind:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.put(None)
        self._thread.join()
        self.raise_error()

    def put(self, cut: CutPhoto) -> None:
        """Hand a photo over; waits while `WRITE_BEHIND` are waiting already."""
        self.raise_error()
        self._waiting.put(cut)

    def raise_error(self) -> None:
        """Raise what went wrong in the thread, if anything did."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self) -> None:
        arriving = iter(self._waiting.get, None)
        try:
            with closing(self._run.workshop.open_ledger()) as ledger:  # SQLite: one a thread
                self._write_all(arriving, ledger)
        except BaseException as error:
            self._error = error
            for _ in arriving:
                """Drain, so that put() never waits for a thread that has given up."""

    def _write_all(self, arriving: Iterable[CutPhoto], ledger: Ledger) -> None:
        unfinished: list[tuple[NewFile, Photo]] = []  # without their pixels
        flushed_at = time.monotonic()
        for cut in arriving:
            ledger.begin_photo(cut.photo)
            write_photo(cut, self._run.workshop)
            unfinished.append((cut.file, cut.photo))
            if time.monotonic() - flushed_at >= FLUSH_EVERY_S:
                self._finish(unfinished, ledger)
                unfinished, flushed_at = [], time.monotonic()
        if unfinished:
            self._finish(unfinished, ledger)

    def _finish(self, written: Sequence[tuple[NewFile, Photo]], ledger: Ledger) -> None:
        """Flush, then note that these photos are finished."""
        self._run.workshop.index().flush()
        for file, photo in written:
            ledger.finish_photo(photo, file.key, file.stamp, file.sha256)
            if ledger.facts_now(photo.photo_id) == photo.facts:
                ledger.index_told(photo.photo_id, photo.facts)
            self._run.tally.ingested += 1
            self._run.tally.segments += photo.segment_count
        self._run.progress.show(self._run.tally)


def tell_index(ledger: Ledger, index: Callable[[], SegmentIndex]) -> None:
    """Tell the index what the ledger knows anew of folders, dates and hidden photos."""
    stale = ledger.stale_photos()
    for start in range(0, len(stale), TOLD_AT_ONCE):
        photo_ids = stale[start : start + TOLD_AT_ONCE]
        facts = {photo_id: ledger.facts_now(photo_id) for photo_id in photo_ids}
        for photo_id, now in facts.items():
            index().update_facts(photo_id, now)
        index().flush()
        for photo_id, now in facts.items():
            ledger.index_told(photo_id, now)


def _linked(file: NewFile, photo_id: str, facts: PhotoFacts, run: Run) -> bool:
    """Link a file with known pixels (re-tagged, or saved anew); False if they are not known."""
    if not run.ledger.is_finished(photo_id, run.again.segmented_otherwise_than):
        return False
    now = _facts(file.key, photo_id, facts, run.ledger)
    run.ledger.put_file(file.key, file.stamp, file.sha256, photo_id, now)
    run.tally.updated += 1
    return True


def _facts(key: FileKey, photo_id: str, facts: PhotoFacts, ledger: Ledger) -> PhotoFacts:
    """Return a photo's facts: those of its first file, as long as that one is there.

    Otherwise a copy without EXIF, as messengers make them, would take date and camera away.
    """
    others = [other for other in ledger.files_of(photo_id) if other != key]
    if any(other.root.is_absent or not is_gone(other.path) for other in others):
        return ledger.photo(photo_id).photo.facts
    return facts


def _skip(file: NewFile, error: PhotoError, seen: Seen, run: Run) -> None:
    if is_gone(file.key.path):  # since it was listed
        seen.files.discard(file.key.below)
        return
    lasting = isinstance(error, UndecodableError | TooLargeError)
    skip_file(file.key, error, run.ledger, run.tally, file.stamp if lasting else None)
