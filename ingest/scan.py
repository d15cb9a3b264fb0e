"""What there is to do: the files below the folders asked for that the ledger does not know yet."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ingest.files import LOOK_AGAIN, FileKey, FileRow, FileStamp, Root, is_below, is_gone
from ingest.leaving_out import IGNORE_NAME
from ingest.ledger import Ledger
from ingest.photos import bytes_sha256, shown_path
from ingest.pillow import refusing
from ingest.scopes import Caution, Scope, below_root, iter_scope_files
from ingest.seen import Seen
from ingest.tally import Tally
from ingest.walk import Told
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

    def unreadable(path: Path, reason: str) -> None:
        seen.unreadable.append(below_root(scope.root, path))
        tally.skipped.append((path, reason))

    def left_out(path: Path) -> None:
        seen.left_out.append(below_root(scope.root, path))
        if path == scope.path:
            tally.notices.append(
                f"{shown_path(path)} is left out by a pattern: see {IGNORE_NAME} in the folders "
                "around it, and the setting exclude"
            )

    for path in iter_scope_files(scope, Told(unreadable, left_out)):
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


def _new_file(key: FileKey, ledger: Ledger, tally: Tally, again: Again) -> NewFile | None:
    """Return a file if it needs decoding; else count it and note what is new about it."""
    with refusing(shown_path(key.path)):
        stamp = FileStamp.of(key.path)
    known = ledger.file(key)
    if known is not None and known.stamp == stamp:
        if _shows_finished_photo(known, ledger, again):
            tally.unchanged += 1
            return None
        if known.state == "skipped" and not again.skipped:
            tally.skipped.append((key.path, known.reason or "skipped before"))
            return None
    new = NewFile(key, stamp, _sha256(key, stamp, known))
    only_touched = known is not None and known.sha256 == new.sha256
    if known is not None and only_touched and _shows_finished_photo(known, ledger, again):
        ledger.restamp_file(key, stamp)
        tally.unchanged += 1
        return None
    if link_known_content(new, ledger, again):
        tally.updated += 1
        return None
    return new


def _sha256(key: FileKey, stamp: FileStamp, known: FileRow | None) -> str:
    """Return a file's hash; one that has its known size and time is not read for it."""
    if known is not None and known.stamp == stamp and known.sha256 is not None:
        return known.sha256
    return bytes_sha256(key.path)


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

    With a stamp it is not looked at again before it changes. Without one (it could not be read,
    which says nothing of what is in it) it is tried again the next time, and if it is known to
    show a photo it goes on doing so.
    """
    tally.skipped.append((key.path, str(error)))
    known = ledger.file(key)
    if stamp is not None or known is None or known.photo_id is None:
        ledger.skip_file(key, stamp or LOOK_AGAIN, str(error))


def mark_vanished(
    looked_through: Sequence[tuple[Scope, Seen]],
    ledger: Ledger,
    tally: Tally,
    *,
    asks: Caution | None = None,
) -> None:
    """Note which files are gone, after all was looked through: a file may have moved.

    A root that is absent hides nothing, nor does one that is suddenly empty: that is what the
    mount point of an unmounted disk looks like. What patterns leave out is gone as well, until they
    no longer do. A file that is still there was passed over for another reason (it was named itself
    once, and has no photo's extension, say), unless it is one that was seen by another spelling.

    Args:
        looked_through: where, and what was seen there.
        ledger: notes what is gone.
        tally: counts the photos that no file shows any more.
        asks: change nothing where a large part of a root is gone in a while, and say so.
    """
    gone: dict[Root, list[bytes]] = {}
    for scope, seen in looked_through:
        gone.setdefault(scope.root, []).extend(_gone(scope, ledger, seen, tally))
    for root, paths in gone.items():
        if not paths:
            continue
        at_most = asks.may_hide(root, ledger.count_photos(root)) if asks else None
        hidden = ledger.mark_vanished(root, paths, at_most=at_most)
        if hidden is None:
            tally.notices.append(_too_many(root, len(paths)))
            continue
        tally.vanished += hidden
        if asks:
            asks.note(root, hidden)


def _gone(scope: Scope, ledger: Ledger, seen: Seen, tally: Tally) -> list[bytes]:
    known = ledger.known_below(scope.root, scope.below)
    unseen = [path for path in known if scope.covers(path) and path not in seen.files]
    if not unseen:
        return []
    if scope.root.is_absent or (not seen.files and _is_empty(scope.root)):
        tally.notices.append(_nothing_forgotten(scope.root))
        return []
    return [path for path in unseen if _is_no_more(FileKey(scope.root, path), seen)]


def _too_many(root: Root, files: int) -> str:
    path = shown_path(root.path)
    return (
        f"{files} files of {path} are gone, too many at once: their photos are kept. If that is "
        f"meant: segsearch ingest {path}"
    )


def _is_no_more(key: FileKey, seen: Seen) -> bool:
    if any(is_below(key.below, folder) for folder in seen.left_out):
        return True
    if any(is_below(key.below, folder) for folder in seen.unreadable):
        return False
    return is_gone(key.path) or _has_another_spelling(key, seen)


def _has_another_spelling(key: FileKey, seen: Seen) -> bool:
    """Say whether a file that was seen is this one: a.JPG, renamed to a.jpg, answers to both.

    So it is on disks to which upper and lower case, or é as one letter and as two, are the same.
    """
    spelling = _folded(key.below)
    return any(
        _folded(below) == spelling and key.path.samefile(FileKey(key.root, below).path)
        for below in seen.files
    )


def _folded(below: bytes) -> str:
    return unicodedata.normalize("NFC", os.fsdecode(below)).casefold()


def _nothing_forgotten(root: Root) -> str:
    state = "not there" if root.is_absent else "empty"
    path = shown_path(root.path)
    return (
        f"{path} is {state} (an unmounted disk?): its photos are kept. If they are elsewhere now: "
        f"segsearch move-root {path} NEW; if they are gone for good: segsearch remove --root {path}"
    )


def _is_empty(root: Root) -> bool:
    """Say whether nothing but hidden files is in a root, as far as it can be read."""
    try:
        with os.scandir(root.path) as entries:
            return all(entry.name.startswith(".") for entry in entries)
    except OSError:
        return True


def _shows_finished_photo(known: FileRow, ledger: Ledger, again: Again) -> bool:
    return (
        known.state == "present"
        and known.photo_id is not None
        and ledger.is_finished(known.photo_id, again.segmented_otherwise_than)
    )
