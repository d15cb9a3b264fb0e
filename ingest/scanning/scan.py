"""From listed files to outcomes: unchanged, linked to a known photo, skipped, or new.

Nothing is written here. `ingest.run.record` notes each outcome in the ledger and counts it.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ingest.catalog.file_facts import StatedFacts
from ingest.catalog.files import FileRow
from ingest.catalog.ledger import Ledger
from ingest.catalog.records import FileKey, FileStamp, is_gone
from ingest.imaging.decode import bytes_sha256, shown_path
from ingest.imaging.pillow import refusing
from ingest.scanning.listing import Listing
from search.errors import PhotoError


@dataclass(frozen=True)
class NewFile:
    """A file whose content the ledger does not know: it has to be decoded."""

    key: FileKey
    stamp: FileStamp
    sha256: str


@dataclass(frozen=True)
class Unchanged:
    """A file that holds what the ledger knows of it."""

    key: FileKey
    stamp: FileStamp | None = None  # where it was touched: its new stamp
    was_unreadable: bool = False


@dataclass(frozen=True)
class Linked:
    """A file that shows a photo which is known from another file or time: moved, copied, edited."""

    file: NewFile
    photo_id: str
    stated: StatedFacts | None = None  # what the file says; None: as others with its content
    is_same: bool = False  # it was read again and says what it said


@dataclass(frozen=True)
class Skipped:
    """A file or folder that can't be used.

    With a stamp it is not tried again before it changes. Without one it could not be read, which
    says nothing about its content: it is tried again by the next run, and a photo that it showed
    is kept. `is_known`: it was skipped before and has not changed.
    """

    key: FileKey
    reason: str
    stamp: FileStamp | None = None
    is_known: bool = False


@dataclass(frozen=True)
class Gone:
    """A file that has gone since it was listed."""

    key: FileKey


@dataclass(frozen=True)
class Busy:
    """A file that is being written: left alone, as if it had not changed."""

    key: FileKey


Outcome = Unchanged | Linked | Skipped | Gone | Busy


@dataclass(frozen=True)
class RescanPolicy:
    """Which known files are processed again.

    Attributes:
        segmented_otherwise_than: photos whose segments have another fingerprint.
        skipped: files that were skipped before.
        unchanged: all files: they are read and decoded again, nothing is segmented.
    """

    segmented_otherwise_than: str | None = None
    skipped: bool = False
    unchanged: bool = False


def iter_outcomes(
    listing: Listing, ledger: Ledger, policy: RescanPolicy, *, busy: Container[Path] = ()
) -> Iterator[NewFile | Outcome]:
    """Yield one outcome for each listed file, in the order of the walk; unreadable paths first.

    A file with its known size and times is unchanged, without being read. Content that is known
    from another place (moved, copied) is linked to its photo.

    Args:
        listing: what a walk found.
        ledger: what is known; it is read file by file, so that earlier outcomes count.
        policy: which known files are processed again.
        busy: files that are being written.
    """
    for below, reason in listing.iter_kind("unreadable"):
        yield Skipped(FileKey(listing.scope.root, below), reason)
    for key in listing.iter_files():
        if key.path in busy:
            yield Busy(key)
            continue
        try:
            yield _outcome(key, ledger, policy)
        except PhotoError as error:
            yield Gone(key) if is_gone(key.path) else Skipped(key, str(error))


def _outcome(key: FileKey, ledger: Ledger, policy: RescanPolicy) -> NewFile | Outcome:
    with refusing(shown_path(key.path)):
        stamp = FileStamp.of(key.path)
    known = ledger.file(key)
    is_still = known is not None and known.stamp.is_still(stamp) and not policy.unchanged
    if known is not None and is_still:
        if _shows_finished_photo(known, ledger, policy):
            return _unchanged(key, known, stamp)
        if known.state == "skipped" and not policy.skipped:
            return Skipped(key, known.reason or "skipped before", is_known=True)
    known_sha256 = known.sha256 if known is not None and is_still else None
    new = NewFile(key, stamp, known_sha256 or bytes_sha256(key.path))
    if policy.unchanged:  # metadata is read again too: maybe more of it is understood by now
        return new
    is_touched = known is not None and known.sha256 == new.sha256
    if known is not None and is_touched and _shows_finished_photo(known, ledger, policy):
        return _unchanged(key, known, stamp)
    photo_id = ledger.photo_of_content(new.sha256)
    if photo_id is None or not ledger.is_finished(photo_id, policy.segmented_otherwise_than):
        return new
    return Linked(new, photo_id)


def _unchanged(key: FileKey, known: FileRow, stamp: FileStamp) -> Unchanged:
    return Unchanged(key, stamp if known.stamp != stamp else None, known.reason is not None)


def _shows_finished_photo(known: FileRow, ledger: Ledger, policy: RescanPolicy) -> bool:
    return (
        known.state == "present"
        and known.photo_id is not None
        and ledger.is_finished(known.photo_id, policy.segmented_otherwise_than)
    )


def iter_waiting_files(
    listing: Listing, ledger: Ledger, *, busy: Container[Path] = ()
) -> Iterator[NewFile]:
    """Yield the listed files that were never looked at and whose content no other file has.

    In the order of `iter_outcomes`, which reports the files that can't be read.
    """
    for key in listing.iter_files():
        known = ledger.file(key)
        if known is None or known.state != "waiting" or key.path in busy:
            continue
        with suppress(PhotoError):
            with refusing(shown_path(key.path)):
                stamp = FileStamp.of(key.path)
            new = NewFile(key, stamp, bytes_sha256(key.path))
            if ledger.photo_of_content(new.sha256) is None:
                yield new
