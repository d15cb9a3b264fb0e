"""The whole flow on one screen: a folder of photos becomes searchable segments.

    files -> decode (threads, ahead) -> segment (here) -> embed and write (a thread, behind)

A photo is finished when the ledger says so, and it says so last: after its segments, the photo
itself and a flush. Whatever happens before, the photo is done again, and since ids derive from
content nothing is doubled.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ingest.ledger import Ledger
from ingest.photos import DecodedPhoto, decode_photo, iter_photo_files, shown_path
from ingest.scan import (
    NewFile,
    Scope,
    Seen,
    iter_new_files,
    link_known_content,
    mark_vanished,
    scopes_from_paths,
)
from ingest.tally import IngestSummary, Progress, Tally
from ingest.workshop import CutPhoto, Workshop, cut_photo, facts_from_decoded, write_photo
from search.errors import PhotoError
from search.index import SegmentIndex
from search.records import photo_id_from_digest
from search.settings import Settings

WRITE_BEHIND = 2  # photos waiting to be embedded; each holds its pixels
FLUSH_EVERY_S = 2.0  # what is not flushed and noted yet is done again after a crash


@dataclass
class Run:
    """One call of `ingest`."""

    workshop: Workshop
    ledger: Ledger
    progress: Progress
    tally: Tally
    again: str | None  # segment anew what was not segmented with this
    retry_skipped: bool


def ingest(
    paths: Sequence[Path],
    workshop: Workshop,
    progress: Progress,
    *,
    resegment: bool = False,
    retry_skipped: bool = False,
) -> IngestSummary:
    """Bring the library up to date with the photos below these paths.

    Ctrl-C finishes what is in hand and returns a summary that says so.

    Raises:
        UsageError: a path that is neither there nor known.
        SegsearchError: a model or the store failed; all that was finished stays.
    """
    started, interrupted, ledger = time.monotonic(), False, workshop.open_ledger()
    again = workshop.segmented_with() if resegment else None
    run = Run(workshop, ledger, progress, Tally(), again, retry_skipped)
    try:
        scopes = scopes_from_paths(paths, ledger)
        run.tally.found = _count(scopes)
        progress.start(run.tally.found)
        for scope in scopes:
            ingest_scope(scope, run)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        tell_index(ledger, workshop.index)
        ledger.close()
    return run.tally.summary(time.monotonic() - started, interrupted=interrupted)


def ingest_scope(scope: Scope, run: Run) -> None:
    """Bring one folder up to date."""
    if scope.is_absent:
        run.tally.notices.append(
            f"{shown_path(scope.root.path)} is not there (an unmounted disk?): nothing was "
            "forgotten. `segsearch remove --missing` forgets photos for good."
        )
        return
    seen, in_hand = Seen(), set[str]()
    same_again: list[
        tuple[NewFile, DecodedPhoto]
    ] = []  # a picture twice in one run: linked once the first is in
    new_files = iter_new_files(
        scope, run.ledger, run.tally, seen, again=run.again, retry_skipped=run.retry_skipped
    )
    with WriteBehind(run) as write_behind:
        for file, decoded in decoded_ahead(new_files, run.workshop.settings):
            run.progress.show(run.tally)
            if isinstance(decoded, PhotoError):
                _skip(file, decoded, run)
                continue
            photo_id = photo_id_from_digest(decoded.pixel_sha256)
            if photo_id in in_hand:
                same_again.append((file, replace(decoded, rgb=decoded.rgb[:0])))
            elif not _retagged(file, decoded, photo_id, run):
                in_hand.add(photo_id)
                write_behind.put(cut_photo(file, decoded, photo_id, run.workshop))
    for file, decoded in same_again:
        _retagged(file, decoded, photo_id_from_digest(decoded.pixel_sha256), run)
    run.tally.vanished += mark_vanished(scope, run.ledger, seen)


def decoded_ahead(
    files: Iterable[NewFile], settings: Settings
) -> Iterator[tuple[NewFile, DecodedPhoto | PhotoError]]:
    """Decode in threads, at most `decode_ahead` photos before they are asked for, in order."""

    def decode(file: NewFile) -> DecodedPhoto | PhotoError:
        try:
            return decode_photo(
                file.key.path, max_pixels=settings.max_pixels, max_bytes=settings.max_bytes
            )
        except PhotoError as error:
            return error

    waiting: deque[tuple[NewFile, Future[DecodedPhoto | PhotoError]]] = deque()
    with ThreadPoolExecutor(settings.decode_workers, "decode") as pool:
        try:
            for file in files:
                waiting.append((file, pool.submit(decode, file)))
                if len(waiting) > settings.decode_ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


class WriteBehind:
    """Embeds and writes photos in a thread of its own, a few behind the segmenter.

    Leaving the `with` block waits until all is written. An error in the thread is raised there or
    at the next `put`; what was not finished by then is left for the next run.
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
        self._raise_error()

    def put(self, cut: CutPhoto) -> None:
        """Hand a photo over; waits while `WRITE_BEHIND` are waiting already."""
        self._raise_error()
        self._waiting.put(cut)

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self) -> None:
        ledger = self._run.workshop.open_ledger()  # SQLite wants one connection a thread
        try:
            self._write_all(ledger)
        except BaseException as error:
            self._error = error
            while self._waiting.get() is not None:
                """Drain, so that put() never waits for a thread that has given up."""
        finally:
            ledger.close()

    def _write_all(self, ledger: Ledger) -> None:
        unfinished: list[CutPhoto] = []
        flushed_at = time.monotonic()
        while (cut := self._waiting.get()) is not None:
            write_photo(cut, self._run.workshop)
            unfinished.append(cut)
            if time.monotonic() - flushed_at >= FLUSH_EVERY_S:
                self._finish(unfinished, ledger)
                unfinished, flushed_at = [], time.monotonic()
        if unfinished:
            self._finish(unfinished, ledger)

    def _finish(self, written: Sequence[CutPhoto], ledger: Ledger) -> None:
        """Flush, then note that these photos are finished."""
        self._run.workshop.index().flush()
        for cut in written:
            ledger.finish_photo(cut.photo, cut.file.key, cut.file.stamp, cut.file.sha256)
            if ledger.facts_now(cut.photo.photo_id) == cut.photo.facts:
                ledger.index_told(cut.photo.photo_id, cut.photo.facts)
            self._run.tally.ingested += 1
            self._run.tally.segments += len(cut.segments)
        self._run.progress.show(self._run.tally)


def tell_index(ledger: Ledger, index: Callable[[], SegmentIndex]) -> None:
    """Tell the index what the ledger knows anew of folders, dates and hidden photos."""
    stale = ledger.stale_photos()
    if not stale:
        return
    facts = {photo_id: ledger.facts_now(photo_id) for photo_id in stale}
    for photo_id, now in facts.items():
        index().update_facts(photo_id, now)
    index().flush()
    for photo_id, now in facts.items():
        ledger.index_told(photo_id, now)


def _retagged(file: NewFile, decoded: DecodedPhoto, photo_id: str, run: Run) -> bool:
    """Link a file with known pixels (re-tagged, or saved anew); False if they are not known."""
    if not run.ledger.is_finished(photo_id, run.again):
        return False
    if not link_known_content(file, run.ledger):
        run.ledger.put_file(file.key, file.stamp, file.sha256, photo_id)
        run.ledger.retag_photo(photo_id, facts_from_decoded(decoded, ()))
    run.tally.updated += 1
    return True


def _skip(file: NewFile, error: PhotoError, run: Run) -> None:
    run.ledger.skip_file(file.key, file.stamp, str(error))
    run.tally.skipped.append((file.key.path, str(error)))


def _count(scopes: Sequence[Scope]) -> int:
    def quiet(path: Path, reason: str) -> None:
        """The scan itself reports what can't be read."""

    present = [scope for scope in scopes if scope.path.exists()]
    return sum(1 for s in present for _ in iter_photo_files(s.path, on_unreadable=quiet))
