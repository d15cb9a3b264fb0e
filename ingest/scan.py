"""What there is to do: the files below the folders asked for that the ledger does not know yet."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ingest.ledger import FileKey, FileRow, FileStamp, Ledger, Root
from ingest.photos import bytes_sha256, iter_photo_files, shown_path
from ingest.tally import Tally
from search.errors import PhotoError, UsageError


@dataclass(frozen=True)
class Scope:
    """A folder (or one file) to look through, and the root that it belongs to."""

    root: Root
    path: Path

    @property
    def below(self) -> bytes:
        """The path below the root; b"" for the root itself."""
        below = os.fsencode(self.path.relative_to(self.root.path))
        return b"" if below == b"." else below

    @property
    def is_absent(self) -> bool:
        """Say whether the whole root can't be seen: an unmounted disk, say."""
        return not self.root.path.is_dir()


@dataclass(frozen=True)
class NewFile:
    """A file whose content the ledger does not know."""

    key: FileKey
    stamp: FileStamp
    sha256: str


@dataclass
class Seen:
    """What a scan has come across so far, as paths below the root."""

    files: set[bytes] = field(default_factory=set)
    unreadable: list[bytes] = field(default_factory=list)


def scopes_from_paths(paths: Sequence[Path], ledger: Ledger) -> list[Scope]:
    """Return what to look through; folders not known yet become roots.

    Raises:
        UsageError: a path that is neither there nor known.
    """
    return [_scope(Path(os.path.realpath(path)), ledger) for path in paths]


def _scope(path: Path, ledger: Ledger) -> Scope:
    root = ledger.root_for(path)
    if root is None:
        if not path.exists():
            raise UsageError(f"{shown_path(path)} is not there: name a folder of photos or a photo")
        root = ledger.add_root(path if path.is_dir() else path.parent)
    return Scope(root, path)


def iter_new_files(
    scope: Scope,
    ledger: Ledger,
    tally: Tally,
    seen: Seen,
    *,
    again: str | None,
    retry_skipped: bool,
) -> Iterator[NewFile]:
    """Yield the files that need decoding; settle all others on the way.

    A file with its known size and time is unchanged, without being read. Known content at another
    place (moved, copied, touched) is linked to its photo.

    Args:
        scope: what to look through.
        ledger: what is known.
        tally: counts what is settled here.
        seen: grows as files are come across.
        again: with a fingerprint, photos that were segmented otherwise count as new.
        retry_skipped: look again at files that were skipped before and have not changed.
    """

    def unreadable(path: Path, reason: str) -> None:
        seen.unreadable.append(_below(scope.root, path))
        tally.skipped.append((path, reason))

    if not scope.path.exists():
        return
    for path in iter_photo_files(scope.path, on_unreadable=unreadable):
        key = FileKey(scope.root, _below(scope.root, path))
        try:
            stamp = FileStamp.of(path)
            seen.files.add(key.below)
            known = ledger.file(key)
            if known is not None and _is_unchanged(known, stamp, ledger, again):
                tally.unchanged += 1
            elif known is not None and _stays_skipped(known, stamp) and not retry_skipped:
                tally.skipped.append((path, known.reason or "skipped before"))
            else:
                new = NewFile(key, stamp, bytes_sha256(path))
                if link_known_content(new, ledger, again):
                    tally.updated += 1
                else:
                    yield new
        except FileNotFoundError:
            continue  # gone since the folder was listed
        except (PhotoError, OSError) as error:
            tally.skipped.append((path, str(error)))


def link_known_content(new: NewFile, ledger: Ledger, again: str | None = None) -> bool:
    """Link a file to the photo that its content is known to show; False if it is not known."""
    photo_id = ledger.photo_of_content(new.sha256)
    if photo_id is None or not ledger.is_finished(photo_id, again):
        return False
    ledger.put_file(new.key, new.stamp, new.sha256, photo_id)
    return True


def mark_vanished(scope: Scope, ledger: Ledger, seen: Seen) -> int:
    """Note which files of a scope are gone, and return how many.

    A root that is absent hides nothing, nor does one that is suddenly empty: that is what the
    mount point of an unmounted disk looks like.
    """
    if scope.is_absent or (not seen.files and not any(scope.root.path.iterdir())):
        return 0
    return ledger.mark_vanished(scope.root, scope.below, seen.files, seen.unreadable)


def _is_unchanged(known: FileRow, stamp: FileStamp, ledger: Ledger, again: str | None) -> bool:
    """Say whether a file still shows the finished photo that it is known to show."""
    return (
        known.state == "present"
        and known.stamp == stamp
        and known.photo_id is not None
        and ledger.is_finished(known.photo_id, again)
    )


def _stays_skipped(known: FileRow, stamp: FileStamp) -> bool:
    return known.state == "skipped" and known.stamp == stamp


def _below(root: Root, path: Path) -> bytes:
    return os.fsencode(path.relative_to(root.path))
