"""What there is to do: the files below the folders asked for that the ledger does not know yet."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import LOOK_AGAIN, FileKey, FileRow, FileStamp, is_gone
from ingest.imaging.decode import bytes_sha256, shown_path
from ingest.imaging.pillow import refusing
from ingest.scanning.ignore_file import IGNORE_NAME
from ingest.scanning.scan_result import Seen
from ingest.scanning.scopes import NOTED_AT_ONCE, Scope, below_root, iter_scope_files
from ingest.scanning.walk import Told
from ingest.stats import Tally
from search.errors import PhotoError


@dataclass(frozen=True)
class NewFile:
    """A file whose content the ledger does not know."""

    key: FileKey
    stamp: FileStamp
    sha256: str


@dataclass(frozen=True)
class Again:
    """What is looked at once more."""

    segmented_otherwise_than: str | None = None  # a fingerprint
    skipped: bool = False
    unchanged: bool = False  # files are read again that seem to be what they were


def iter_new_files(
    scope: Scope,
    ledger: Ledger,
    tally: Tally,
    seen: Seen,
    again: Again,
    *,
    busy: Container[Path] = (),
    on_settled: Callable[[], None],
) -> Iterator[NewFile]:
    """Yield the files that need decoding; settle all others on the way.

    A file with its known size and time is unchanged, without being read. Known content at another
    place (moved, copied) is linked to its photo.

    Args:
        scope: what to look through.
        ledger: what is known.
        tally: counts what is settled here.
        seen: grows as files are come across.
        again: what is looked at once more although it is known.
        busy: files that are left alone, as if they had not changed.
        on_settled: called after each file that needs no decoding.
    """
    passed_over = _PassedOver(scope, ledger, tally, seen)
    for path in iter_scope_files(scope, passed_over.told()):
        key = FileKey(scope.root, below_root(scope.root, path))
        if path in busy:
            seen.files.add(key.below)
            on_settled()
            continue
        try:
            new = _new_file(key, ledger, tally, again)
        except PhotoError as error:
            new = None
            if is_gone(path):  # since the folder was listed
                continue
            skip_file(key, error, ledger, tally)
        seen.files.add(key.below)
        if new is not None:
            yield new
        else:
            on_settled()
    passed_over.end()


@dataclass
class _PassedOver:
    """Notes what a walk passes over."""

    scope: Scope
    ledger: Ledger
    tally: Tally
    seen: Seen
    unread: list[FileKey] = field(default_factory=list)  # not noted yet
    outside: list[Path] = field(default_factory=list)  # links

    def told(self) -> Told:
        return Told(self.note_unreadable, self.note_left_out, self.outside.append, self.note_unread)

    def _key(self, path: Path) -> FileKey:
        return FileKey(self.scope.root, below_root(self.scope.root, path))

    def note_unreadable(self, path: Path, reason: str) -> None:
        key = self._key(path)
        self.seen.unreadable.add(key.below)
        skip_file(key, PhotoError(reason), self.ledger, self.tally)

    def note_left_out(self, path: Path) -> None:
        self.seen.left_out.add(self._key(path).below)
        if path == self.scope.path:
            self.tally.notices.append(
                f"{shown_path(path)} is left out by a pattern: see {IGNORE_NAME} in the folders "
                "around it, and the setting exclude"
            )

    def note_unread(self, path: Path) -> None:
        key = self._key(path)
        self.seen.not_read.add(key.below)
        self.unread.append(key)
        if len(self.unread) >= NOTED_AT_ONCE:
            self._write_unread()

    def _write_unread(self) -> None:
        if self.unread:
            self.ledger.note_unread(self.unread)
            self.unread.clear()

    def end(self) -> None:
        self._write_unread()
        if self.outside:
            self.tally.notices.append(
                f"{len(self.outside)} links lead out of the folders and were not followed "
                f"({shown_path(self.outside[0])} is one): --follow-links follows them, or ingest "
                "the places themselves"
            )


def _new_file(key: FileKey, ledger: Ledger, tally: Tally, again: Again) -> NewFile | None:
    """Return a file if it needs decoding; else count it and note what is new about it."""
    with refusing(shown_path(key.path)):
        stamp = FileStamp.of(key.path)
    known = ledger.file(key)
    is_still = known is not None and known.stamp.is_still(stamp) and not again.unchanged
    if known is not None and is_still:
        if _shows_finished_photo(known, ledger, again):
            _note_unchanged(key, known, stamp, ledger)
            tally.unchanged += 1
            return None
        if known.state == "skipped" and not again.skipped:
            tally.skip(key.path, known.reason or "skipped before", is_new=False)
            return None
    known_sha256 = known.sha256 if known is not None and is_still else None
    new = NewFile(key, stamp, known_sha256 or bytes_sha256(key.path))
    if again.unchanged:  # what it says is read, too: maybe more of that is understood by now
        return new
    only_touched = known is not None and known.sha256 == new.sha256
    if known is not None and only_touched and _shows_finished_photo(known, ledger, again):
        _note_unchanged(key, known, stamp, ledger)
        tally.unchanged += 1
        return None
    if link_known_content(new, ledger, again):
        tally.updated += 1
        return None
    return new


def _note_unchanged(key: FileKey, known: FileRow, stamp: FileStamp, ledger: Ledger) -> None:
    """Note that a file holds what it held: its stamp, and that it can be read."""
    if known.stamp != stamp:
        ledger.restamp_file(key, stamp)
    if known.reason is not None:
        ledger.note_reason(key, None)


def iter_waiting_files(
    scope: Scope, ledger: Ledger, *, busy: Container[Path] = ()
) -> Iterator[NewFile]:
    """Yield the files that were not looked at yet and hold what no file was known to hold.

    In the order of `iter_new_files`, to which all that is wrong with a file is left.
    """

    def quiet(path: Path, reason: str) -> None:
        """Leave it to the scan."""

    for path in iter_scope_files(scope, Told(quiet)):
        key = FileKey(scope.root, below_root(scope.root, path))
        known = ledger.file(key)
        if known is None or known.state != "waiting" or path in busy:
            continue
        with suppress(PhotoError):
            new = _hashed(key)
            if ledger.photo_of_content(new.sha256) is None:
                yield new


def _hashed(key: FileKey) -> NewFile:
    with refusing(shown_path(key.path)):
        stamp = FileStamp.of(key.path)
    return NewFile(key, stamp, bytes_sha256(key.path))


def link_known_content(new: NewFile, ledger: Ledger, again: Again) -> bool:
    """Link a file to the photo that its content is known to show; False if it is not known."""
    photo_id = ledger.photo_of_content(new.sha256)
    if photo_id is None or not ledger.is_finished(photo_id, again.segmented_otherwise_than):
        return False
    ledger.put_file(new.key, new.stamp, new.sha256, photo_id)
    return True


def skip_file(
    key: FileKey,
    error: PhotoError,
    ledger: Ledger,
    tally: Tally,
    stamp: FileStamp | None = None,
) -> None:
    """Count a file as skipped, and note why.

    It is news if another reason was noted before, or none. With a stamp it is not looked at again
    before it changes. Without one (it could not be read,
    which says nothing of what is in it) it is tried again the next time, and if it is known to
    show a photo it goes on doing so.
    """
    known, reason = ledger.file(key), str(error)
    tally.skip(key.path, reason, is_new=known is None or known.reason != reason)
    if stamp is not None or known is None or known.photo_id is None:
        ledger.skip_file(key, stamp or LOOK_AGAIN, reason)
    elif known.reason != reason:
        ledger.note_reason(key, reason)


def _shows_finished_photo(known: FileRow, ledger: Ledger, again: Again) -> bool:
    return (
        known.state == "present"
        and known.photo_id is not None
        and ledger.is_finished(known.photo_id, again.segmented_otherwise_than)
    )
