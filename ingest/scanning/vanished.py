"""Known files that a walk did not find: which photos are hidden by that, and which are kept."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import FileKey, FileState, Root, is_below, is_gone
from ingest.imaging.decode import shown_path
from ingest.scanning.deletion_guard import DeletionGuard
from ingest.scanning.listing import Listing
from ingest.scanning.mounts import DeviceMap, absent_folders, note_devices
from ingest.scanning.scopes import Scope

NAMED_FOLDERS = 5  # emptied ones, in the summary


@dataclass(frozen=True)
class Absent:
    """The folders whose disks were not there when a run began, and where devices began; by root."""

    folders: Mapping[str, list[bytes]]
    devices: Mapping[str, DeviceMap]

    @classmethod
    def of(
        cls, scopes: Iterable[Scope], ledger: Ledger, devices: Mapping[str, DeviceMap]
    ) -> Absent:
        """Look which disks are not there: before new photos are noted, which are."""
        found = cls({}, devices)
        roots = {scope.root.root_id: scope.root for scope in scopes}
        folders = {
            root_id: absent_folders(root, ledger, found.begins(root))
            for root_id, root in roots.items()
        }
        return cls(folders, devices)

    def begins(self, root: Root) -> Iterable[bytes]:
        """Return the folders of a root at which another device begins."""
        seen = self.devices.get(root.root_id)
        return seen.begins if seen else ()

    def until_now(self, root: Root, ledger: Ledger) -> list[bytes]:
        """Return the folders of a root that were absent at the beginning or are by now."""
        now = absent_folders(root, ledger, self.begins(root))
        return sorted({*now, *self.folders.get(root.root_id, ())})


@dataclass
class _Gone:
    """Files of one root that are no longer there, and those that are and are left out now."""

    vanished: list[bytes] = field(default_factory=list)
    excluded: list[bytes] = field(default_factory=list)


@dataclass
class Vanished:
    """What became of files that are known and were not listed."""

    hidden: int = 0  # photos that no file shows any more
    excluded: int = 0  # photos whose files are left out now
    notices: list[str] = field(default_factory=list)


def mark_vanished(
    listings: Sequence[Listing],
    ledger: Ledger,
    *,
    guard: DeletionGuard | None = None,
    absent: Absent | None = None,
) -> Vanished:
    """Mark files that are gone, after all listed files were processed: a file may have moved.

    What lies on a disk that is not there now hides nothing: a root that is absent or suddenly
    empty, a mount point in it without its disk. What is left out is hidden and kept. A file that is
    still there was passed over for another reason (it was named itself once, and has no photo's
    extension, say), unless it is one that was listed by another spelling.

    Args:
        listings: of the scopes that were walked.
        ledger: notes what is gone.
        guard: changes nothing where a large part of a root is gone in a while.
        absent: what was not there before the walk.
    """
    vanished = Vanished()
    gone = defaultdict[Root, _Gone](_Gone)
    absent = absent or Absent({}, {})
    roots = {each.scope.root.root_id: each.scope.root for each in listings}
    away = {root_id: absent.until_now(root, ledger) for root_id, root in roots.items()}
    for listing in listings:
        root = listing.scope.root
        vanished.notices += _collect(listing, ledger, gone[root], away[root.root_id])
    for root, files in gone.items():
        if files.excluded:
            vanished.excluded += ledger.mark_excluded(root, files.excluded)
        if files.vanished:
            _mark(root, files.vanished, ledger, vanished, guard)
        note_devices(root, ledger, away[root.root_id], absent.begins(root))
    return vanished


def _mark(
    root: Root,
    paths: list[bytes],
    ledger: Ledger,
    vanished: Vanished,
    guard: DeletionGuard | None,
) -> None:
    at_most = guard.may_hide(root, ledger.count_photos(root)) if guard else None
    hidden = ledger.mark_vanished(root, paths, at_most=at_most)
    if hidden is None:
        vanished.notices.append(_too_many(root, len(paths)))
        return
    vanished.hidden += hidden
    if hidden:
        vanished.notices.extend(_emptied(root, paths))
    if guard:
        guard.note(root, hidden)


def _collect(listing: Listing, ledger: Ledger, gone: _Gone, absent: list[bytes]) -> list[str]:
    """Sort the known files of a scope that were not listed; return notices."""
    scope = listing.scope
    if scope.root.is_absent or _holds_nothing(listing):
        if next(_unlisted(listing, ledger), None) is not None:
            return [_nothing_forgotten(scope.root)]
        return []
    kept = set[bytes]()
    for path, state in _unlisted(listing, ledger):
        folder = next((each for each in absent if is_below(path, each)), None)
        if folder is not None:
            kept.add(folder)
            continue
        key = FileKey(scope.root, path)
        if _is_no_more(key, state, listing):
            gone.vanished.append(path)
        elif state != "excluded" and listing.has_around(path, "left_out"):
            gone.excluded.append(path)
    return [_not_mounted(scope.root, folder) for folder in sorted(kept)]


def _unlisted(listing: Listing, ledger: Ledger) -> Iterator[tuple[bytes, FileState]]:
    """Iterate over the known files of a scope that the walk did not come across."""
    scope = listing.scope
    for path, state in ledger.states_below(scope.root, scope.below):
        is_listed = listing.has(path) or listing.has(path, "other_format")
        if scope.covers(path) and not is_listed:
            yield path, state


def _is_no_more(key: FileKey, state: FileState, listing: Listing) -> bool:
    """Say whether a file that was not seen is certainly gone."""
    if listing.has_around(key.below, "left_out"):
        return is_gone(key.path)
    if listing.has_around(key.below, "unreadable"):
        return False
    if state == "skipped" and key.path.is_dir():  # a folder that could not be read, and can now
        return True
    return is_gone(key.path) or _has_another_spelling(key, listing)


def _has_another_spelling(key: FileKey, listing: Listing) -> bool:
    """Say whether a file that was seen is this one: a.JPG, renamed to a.jpg, answers to both.

    So it is on disks to which upper and lower case, or é as one letter and as two, are the same.
    """
    return any(
        key.path.samefile(FileKey(key.root, below).path)
        for below in listing.spelled_like(key.below)
    )


def _holds_nothing(listing: Listing) -> bool:
    """Say whether a root has no photo any more: an empty mount point, or one with a reminder."""
    if listing.has_any("photo"):
        return False
    scope = listing.scope
    is_whole_root = scope.deep and not scope.below
    passed_over = listing.has_any("left_out") or listing.has_any("unreadable")
    return (is_whole_root and not passed_over) or _is_empty(FileKey(scope.root, b""))


def _is_empty(key: FileKey) -> bool:
    """Say whether nothing but hidden files is in a folder, as far as it can be read."""
    try:
        with os.scandir(key.path) as entries:
            return all(entry.name.startswith(".") for entry in entries)
    except OSError:
        return True


# what is said


def _too_many(root: Root, files: int) -> str:
    path = shown_path(root.path)
    return (
        f"{files} files of {path} are gone, too many at once: their photos are kept. If that is "
        f"meant: segsearch ingest {path}"
    )


def _nothing_forgotten(root: Root) -> str:
    state = "not there" if root.is_absent else "empty of photos"
    path = shown_path(root.path)
    return (
        f"{path} is {state} (an unmounted disk?): its photos are kept. If they are elsewhere now: "
        f"segsearch move-root {path} NEW; if they are gone for good: segsearch remove --root {path}"
    )


def _not_mounted(root: Root, folder: bytes) -> str:
    path = shown_path(FileKey(root, folder).path)
    return (
        f"{path} lies on another disk than before, or on none (is it not mounted?), and has none "
        "of the photos known there: they are kept. If they are gone for good: segsearch remove "
        f"--root {path}"
    )


def _emptied(root: Root, paths: Sequence[bytes]) -> list[str]:
    """Name the folders that held photos and are empty now."""
    held = defaultdict[bytes, int](int)
    nearest: dict[bytes, bytes] = {}  # the innermost folder that is there, for each that held any
    for path in paths:
        folder = os.path.dirname(path)  # noqa: PTH120  (bytes)
        if folder not in nearest:
            nearest[folder] = _nearest_there(root, folder)
        held[nearest[folder]] += 1
    emptied = [folder for folder in sorted(held) if folder and _is_empty(FileKey(root, folder))]
    said = [
        f"{shown_path(FileKey(root, folder).path)} held photos and is empty now: they are hidden "
        f"until they are back ({held[folder]} files)"
        for folder in emptied[:NAMED_FOLDERS]
    ]
    more = len(emptied) - NAMED_FOLDERS
    return [*said, f"and {more} more folders are empty now"] if more > 0 else said


def _nearest_there(root: Root, folder: bytes) -> bytes:
    while folder and is_gone(FileKey(root, folder).path):
        folder = os.path.dirname(folder)  # noqa: PTH120  (bytes)
    return folder
