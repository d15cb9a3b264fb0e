"""What there is to do: the files below the folders asked for that the ledger does not know yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ingest.files import LOOK_AGAIN, FileKey, FileRow, FileStamp, Root, is_below, is_gone
from ingest.ledger import Ledger
from ingest.photos import Unreadable, bytes_sha256, iter_photo_files, shown_path
from ingest.pillow import refusing
from ingest.tally import Tally
from search.errors import PhotoError, UsageError


@dataclass(frozen=True)
class Scope:
    """A folder (or one file) to look through, and the root that it belongs to."""

    root: Root
    path: Path
    inner: tuple[Path, ...] = ()  # roots in it, which are scopes of their own

    @property
    def below(self) -> bytes:
        """The path below the root; b"" for the root itself."""
        return below_root(self.root, self.path)

    def holds(self, path: Path) -> bool:
        """Say whether a path met on the way belongs to this scope's own root."""
        return not any(path.is_relative_to(root) for root in self.inner)


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


@dataclass
class Seen:
    """What a scan has come across so far, as paths below the root."""

    files: set[bytes] = field(default_factory=set)
    unreadable: list[bytes] = field(default_factory=list)


def scopes_from_paths(paths: Sequence[Path], ledger: Ledger) -> list[Scope]:
    """Return what to look through; folders not known yet become roots.

    A path below another one adds nothing. Roots below a path are looked through as scopes of
    their own, so that each file has one name and an unmounted one hides nothing.

    Raises:
        UsageError: a path that is neither there nor known.
    """
    real = [Path(os.path.realpath(path)) for path in paths]
    for path in real:
        _check_there_or_known(path, ledger)
    outermost = _outermost(real)
    for path in outermost:
        if ledger.root_for(path) is None:
            ledger.add_root(path if os.path.isdir(path) else path.parent)  # noqa: PTH112
    return [scope for path in outermost for scope in _scopes(path, ledger)]


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Return the paths that lie below no other one, each once."""
    unique = list(dict.fromkeys(paths))
    return [p for p in unique if not any(p != q and p.is_relative_to(q) for q in unique)]


def _check_there_or_known(path: Path, ledger: Ledger) -> None:
    if not is_gone(path):
        return
    root = ledger.root_for(path)
    if root is None or not ledger.knows_of(root, below_root(root, path)):
        raise UsageError(f"{shown_path(path)} is not there: name a folder of photos or a photo")


def _scopes(path: Path, ledger: Ledger) -> list[Scope]:
    outer = ledger.root_for(path)
    assert outer is not None  # it was made one
    inner = [r for r in ledger.roots() if r.path != outer.path and r.path.is_relative_to(path)]
    starts = [(outer, path), *((root, root.path) for root in inner)]
    return [
        Scope(
            root,
            start,
            tuple(r.path for r in inner if r != root and r.path.is_relative_to(start)),
        )
        for root, start in starts
    ]


def iter_scope_files(scope: Scope, on_unreadable: Unreadable) -> Iterator[Path]:
    """Yield the photo files of a scope; one that is not there has none."""

    def unreadable(path: Path, reason: str) -> None:
        if scope.holds(path):
            on_unreadable(path, reason)

    if not is_gone(scope.path):
        yield from filter(scope.holds, iter_photo_files(scope.path, on_unreadable=unreadable))


def count_files(scopes: Sequence[Scope]) -> int:
    """Return how many photo files there are to look at."""

    def quiet(path: Path, reason: str) -> None:
        """The scan itself reports what can't be read."""

    return sum(1 for scope in scopes for _ in iter_scope_files(scope, quiet))


def iter_new_files(
    scope: Scope,
    ledger: Ledger,
    tally: Tally,
    seen: Seen,
    again: Again,
    *,
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
        on_settled: called after each file that needs no decoding.
    """

    def unreadable(path: Path, reason: str) -> None:
        seen.unreadable.append(below_root(scope.root, path))
        tally.skipped.append((path, reason))

    for path in iter_scope_files(scope, unreadable):
        key = FileKey(scope.root, below_root(scope.root, path))
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
    new = NewFile(key, stamp, bytes_sha256(key.path))
    only_touched = known is not None and known.sha256 == new.sha256
    if known is not None and only_touched and _shows_finished_photo(known, ledger, again):
        ledger.restamp_file(key, stamp)
        tally.unchanged += 1
        return None
    if link_known_content(new, ledger, again):
        tally.updated += 1
        return None
    return new


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


def mark_vanished(scope: Scope, ledger: Ledger, seen: Seen, tally: Tally) -> None:
    """Note which files of a scope are gone.

    A root that is absent hides nothing, nor does one that is suddenly empty: that is what the
    mount point of an unmounted disk looks like. A file that is still there was passed over for
    another reason (it was named itself once, and has no photo's extension, say).
    """
    unseen = [p for p in ledger.known_below(scope.root, scope.below) if p not in seen.files]
    if not unseen:
        return
    if scope.root.is_absent or (not seen.files and _is_empty(scope.root)):
        tally.notices.append(_nothing_forgotten(scope.root))
        return
    gone = [
        below
        for below in unseen
        if not any(is_below(below, folder) for folder in seen.unreadable)
        and is_gone(FileKey(scope.root, below).path)
    ]
    if gone:
        tally.vanished += ledger.mark_vanished(scope.root, gone)


def _nothing_forgotten(root: Root) -> str:
    state = "not there" if root.is_absent else "empty"
    path = shown_path(root.path)
    return (
        f"{path} is {state} (an unmounted disk?): its photos are kept. If they are gone for good: "
        f"segsearch remove --root {path}"
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


def below_root(root: Root, path: Path) -> bytes:
    """Return a path below its root, as the file system spells it; b"" for the root itself."""
    below = os.fsencode(path.relative_to(root.path))
    return b"" if below == b"." else below
