"""Known files that a walk did not find: which photos are hidden, and which are kept."""

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

MAX_EMPTIED_NOTICES = 5  # emptied folders named in the summary


@dataclass(frozen=True)
class AbsentFolders:
    """By root id: folders whose disks were not mounted when the run began, and mount points."""

    folders: Mapping[str, list[bytes]]
    devices: Mapping[str, DeviceMap]

    @classmethod
    def find(
        cls, scopes: Iterable[Scope], ledger: Ledger, devices: Mapping[str, DeviceMap]
    ) -> AbsentFolders:
        """Find the absent folders; call it before new files are recorded as present."""
        found = cls({}, devices)
        roots = {scope.root.root_id: scope.root for scope in scopes}
        folders = {
            root_id: absent_folders(root, ledger, found.begins(root))
            for root_id, root in roots.items()
        }
        return cls(folders, devices)

    def begins(self, root: Root) -> Iterable[bytes]:
        """Return the mount points below a root."""
        devices = self.devices.get(root.root_id)
        return devices.begins if devices else ()

    def then_or_now(self, root: Root, ledger: Ledger) -> list[bytes]:
        """Return the folders of a root that were absent when the run began or are absent now."""
        now = absent_folders(root, ledger, self.begins(root))
        return sorted({*now, *self.folders.get(root.root_id, ())})


@dataclass
class _MissingFiles:
    """Known files of one root that were not listed: gone, or excluded now."""

    vanished: list[bytes] = field(default_factory=list)
    excluded: list[bytes] = field(default_factory=list)


@dataclass
class Vanished:
    """Effects of known files that were not listed."""

    hidden: int = 0  # photos without any present file
    excluded: int = 0  # photos whose files are excluded now
    notices: list[str] = field(default_factory=list)


def mark_vanished(
    listings: Sequence[Listing],
    ledger: Ledger,
    *,
    guard: DeletionGuard | None = None,
    absent: AbsentFolders | None = None,
) -> Vanished:
    """Mark known files that were not listed as vanished or excluded.

    Call it after all listed files were processed, since files may have moved. Nothing is hidden
    because of an unmounted disk: a root that is missing or suddenly empty, or a mount point without
    its disk. A file that exists and was not listed stays present (it may have been given explicitly
    and lack a photo's extension), unless it is listed under another spelling.

    Args:
        listings: of the scopes that were walked.
        ledger: updated.
        guard: prevents hiding many photos of a root at once.
        absent: folders that were absent before the walk.
    """
    vanished = Vanished()
    gone = defaultdict[Root, _MissingFiles](_MissingFiles)
    absent = absent or AbsentFolders({}, {})
    roots = {each.scope.root.root_id: each.scope.root for each in listings}
    away = {root_id: absent.then_or_now(root, ledger) for root_id, root in roots.items()}
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


def _collect(
    listing: Listing, ledger: Ledger, gone: _MissingFiles, absent: list[bytes]
) -> list[str]:
    """Sort the unlisted files of a scope into vanished and excluded; return notices."""
    scope = listing.scope
    if scope.root.is_absent or _holds_nothing(listing):
        if next(_unlisted(listing, ledger), None) is not None:
            return [_root_absent(scope.root)]
        return []
    kept = set[bytes]()
    for path, state in _unlisted(listing, ledger):
        folder = next((each for each in absent if is_below(path, each)), None)
        if folder is not None:
            kept.add(folder)
            continue
        key = FileKey(scope.root, path)
        if _is_missing(key, state, listing):
            gone.vanished.append(path)
        elif state != "excluded" and listing.has_ancestor(path, "ignored"):
            gone.excluded.append(path)
    return [_not_mounted(scope.root, folder) for folder in sorted(kept)]


def _unlisted(listing: Listing, ledger: Ledger) -> Iterator[tuple[bytes, FileState]]:
    """Iterate over the known files of a scope that the walk did not find."""
    scope = listing.scope
    for path, state in ledger.states_below(scope.root, scope.below):
        is_listed = listing.has(path) or listing.has(path, "other_format")
        if scope.covers(path) and not is_listed:
            yield path, state


def _is_missing(key: FileKey, state: FileState, listing: Listing) -> bool:
    """Return whether an unlisted file is certainly gone."""
    if listing.has_ancestor(key.below, "ignored"):
        return is_gone(key.path)
    if listing.has_ancestor(key.below, "unreadable"):
        return False
    if state == "skipped" and key.path.is_dir():  # a folder that was unreadable and no longer is
        return True
    return is_gone(key.path) or _has_another_spelling(key, listing)


def _has_another_spelling(key: FileKey, listing: Listing) -> bool:
    """Return whether the file is listed under another spelling, as after renaming a.JPG to a.jpg.

    File systems that ignore case or Unicode normalization find it under both names.
    """
    return any(
        key.path.samefile(FileKey(key.root, below).path)
        for below in listing.same_spelling(key.below)
    )


def _holds_nothing(listing: Listing) -> bool:
    """Return whether a root has no photo any more, like a mount point without its disk."""
    if listing.has_any("photo"):
        return False
    scope = listing.scope
    is_whole_root = scope.deep and not scope.below
    passed_over = listing.has_any("ignored") or listing.has_any("unreadable")
    return (is_whole_root and not passed_over) or _is_empty(FileKey(scope.root, b""))


def _is_empty(key: FileKey) -> bool:
    """Return whether a folder contains only hidden files, or can't be read."""
    try:
        with os.scandir(key.path) as entries:
            return all(entry.name.startswith(".") for entry in entries)
    except OSError:
        return True


# notices
def _too_many(root: Root, files: int) -> str:
    path = shown_path(root.path)
    return (
        f"{files} files of {path} are gone, too many at once: their photos are kept. To hide them: "
        f"segsearch ingest {path}"
    )


def _root_absent(root: Root) -> str:
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
    """Build notices about folders that had photos and are empty now."""
    held = defaultdict[bytes, int](int)
    nearest: dict[bytes, bytes] = {}  # from a folder to its innermost existing parent
    for path in paths:
        folder = os.path.dirname(path)  # noqa: PTH120  (bytes)
        if folder not in nearest:
            nearest[folder] = _nearest_there(root, folder)
        held[nearest[folder]] += 1
    emptied = [folder for folder in sorted(held) if folder and _is_empty(FileKey(root, folder))]
    notices = [
        f"{shown_path(FileKey(root, folder).path)} held photos and is empty now: they are hidden "
        f"until they are back ({held[folder]} files)"
        for folder in emptied[:MAX_EMPTIED_NOTICES]
    ]
    more = len(emptied) - MAX_EMPTIED_NOTICES
    return [*notices, f"and {more} more folders are empty now"] if more > 0 else notices


def _nearest_there(root: Root, folder: bytes) -> bytes:
    while folder and is_gone(FileKey(root, folder).path):
        folder = os.path.dirname(folder)  # noqa: PTH120  (bytes)
    return folder
