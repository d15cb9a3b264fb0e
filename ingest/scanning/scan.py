"""From listed files to outcomes: unchanged, linked to a known photo, skipped, or new.

Nothing is written here: `ingest.run.record` writes outcomes to the ledger and counts them.
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
from ingest.imaging.pillow import photo_errors
from ingest.scanning.listing import Listing
from search.errors import PhotoError


@dataclass(frozen=True)
class NewFile:
    """A file that has to be decoded."""

    key: FileKey
    stamp: FileStamp
    sha256: str


@dataclass(frozen=True)
class Unchanged:
    """A file with the content that the ledger knows."""

    key: FileKey
    stamp: FileStamp | None = None  # its new stamp, if that differs from the ledger's
    was_unreadable: bool = False


@dataclass(frozen=True)
class Linked:
    """A file that shows a known photo: moved, copied, or with edited metadata."""

    file: NewFile
    photo_id: str
    stated: StatedFacts | None = None  # None: those of another file with the same content
    is_same: bool = False  # it was decoded again and nothing has changed


@dataclass(frozen=True)
class Skipped:
    """A file or folder that can't be used."""

    key: FileKey
    reason: str
    # With a stamp it is not retried until it changes. Without one it could not be read: it is
    # retried by the next run, and its photo stays.
    stamp: FileStamp | None = None
    is_known: bool = False  # it was skipped before and has not changed


@dataclass(frozen=True)
class Gone:
    """A file that has gone since it was listed."""

    key: FileKey


@dataclass(frozen=True)
class Busy:
    """A file that is still being written; it is ignored by this run."""

    key: FileKey


Outcome = Unchanged | Linked | Skipped | Gone | Busy


@dataclass(frozen=True)
class RescanPolicy:
    """Which known files are processed again.

    Attributes:
        wanted_fingerprint: photos whose segments have another one; None: none of them.
        skipped: files that were skipped before.
        unchanged: all files; they are decoded again for their metadata.
    """

    wanted_fingerprint: str | None = None
    skipped: bool = False
    unchanged: bool = False


def iter_outcomes(
    listing: Listing, ledger: Ledger, policy: RescanPolicy, *, busy: Container[Path] = ()
) -> Iterator[NewFile | Outcome]:
    """Yield one outcome per listed file, in the order of the walk; unreadable paths first.

    A file with known size and times is unchanged and not read. A file with known content (moved,
    copied) is linked to its photo.

    Args:
        listing: the result of a walk.
        ledger: read file by file, so that earlier outcomes of the run count.
        policy: which known files are processed again.
        busy: files that are still being written.
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
    with photo_errors(shown_path(key.path)):
        stamp = FileStamp.of(key.path)
    known = ledger.file(key)
    is_unchanged = known is not None and known.stamp.is_unchanged(stamp) and not policy.unchanged
    if known is not None and is_unchanged:
        if _shows_finished_photo(known, ledger, policy):
            return _unchanged(key, known, stamp)
        if known.state == "skipped" and not policy.skipped:
            return Skipped(key, known.reason or "skipped before", is_known=True)
    known_sha256 = known.sha256 if known is not None and is_unchanged else None
    new = NewFile(key, stamp, known_sha256 or bytes_sha256(key.path))
    if policy.unchanged:  # decode it again: this version may read more of its metadata
        return new
    is_touched = known is not None and known.sha256 == new.sha256
    if known is not None and is_touched and _shows_finished_photo(known, ledger, policy):
        return _unchanged(key, known, stamp)
    photo_id = ledger.photo_of_content(new.sha256)
    if photo_id is None or not ledger.is_finished(photo_id, policy.wanted_fingerprint):
        return new
    return Linked(new, photo_id)


def _unchanged(key: FileKey, known: FileRow, stamp: FileStamp) -> Unchanged:
    return Unchanged(key, stamp if known.stamp != stamp else None, known.reason is not None)


def _shows_finished_photo(known: FileRow, ledger: Ledger, policy: RescanPolicy) -> bool:
    return (
        known.state == "present"
        and known.photo_id is not None
        and ledger.is_finished(known.photo_id, policy.wanted_fingerprint)
    )


def iter_waiting_files(
    listing: Listing, ledger: Ledger, *, busy: Container[Path] = ()
) -> Iterator[NewFile]:
    """Yield the waiting files with unknown content, in the order of the walk.

    Files that can't be read are skipped here; `iter_outcomes` reports them.
    """
    for key in listing.iter_files():
        known = ledger.file(key)
        if known is None or known.state != "waiting" or key.path in busy:
            continue
        with suppress(PhotoError):
            with photo_errors(shown_path(key.path)):
                stamp = FileStamp.of(key.path)
            new = NewFile(key, stamp, bytes_sha256(key.path))
            if ledger.photo_of_content(new.sha256) is None:
                yield new
