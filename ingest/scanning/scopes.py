"""What to look through: the folders asked for, and the roots that they belong to."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import FileKey, Root, is_below, is_gone
from ingest.imaging.decode import shown_path
from ingest.scanning.mounts import SeenDevices, device_of
from ingest.scanning.system_folders import is_kept_from_libraries
from ingest.scanning.walk import Links, Told, iter_photo_files
from search.errors import UsageError

LARGE_PART = 5  # a fifth of a root's photos is more than a person deletes in a while,
FEW = 10  # unless there are few
TOGETHER_S = 600.0  # a folder that is moved to another disk is gone file by file

NOTED_AT_ONCE = 1000  # files between two commits


@dataclass(frozen=True)
class Scope:
    """A folder (or one file) to look through, and the root that it belongs to."""

    root: Root
    path: Path
    inner: tuple[Path, ...] = ()  # roots in it, which are scopes of their own
    outermost: Path | None = None  # the root around all others: where patterns count from
    exclude: tuple[str, ...] = ()  # patterns of what is left out
    deep: bool = True  # else the folders in it are not looked into
    links: Links = field(default_factory=Links)

    @property
    def below(self) -> bytes:
        """The path below the root; b"" for the root itself."""
        return below_root(self.root, self.path)

    def covers(self, below: bytes) -> bool:
        """Say whether a path below the root is one that is looked at."""
        return is_below(below, self.below) and (self.deep or os.path.dirname(below) == self.below)  # noqa: PTH120

    def holds(self, path: Path) -> bool:
        """Say whether a path met on the way belongs to this scope's own root."""
        return not any(path.is_relative_to(root) for root in self.inner)


@dataclass
class Caution:
    """How many photos a watch may hide, all its looks of a while together."""

    now: Callable[[], float] = time.monotonic
    _hidden: list[tuple[float, str, int]] = field(default_factory=list)  # when, of which root

    def may_hide(self, root: Root, photos: int) -> int:
        """Return how many of the photos that a root shows may be hidden now."""
        since = self.now() - TOGETHER_S
        self._hidden = [each for each in self._hidden if each[0] > since]
        before = sum(count for _, root_id, count in self._hidden if root_id == root.root_id)
        return max(0, max(FEW, (photos + before) // LARGE_PART) - before)

    def note(self, root: Root, hidden: int) -> None:
        """Note that photos of a root were hidden."""
        self._hidden.append((self.now(), root.root_id, hidden))


@dataclass(frozen=True)
class Glance:
    """How a watcher looks, when only a few files have changed."""

    shallow: tuple[Path, ...] = ()  # folders of known roots, without the folders in them
    busy: frozenset[Path] = frozenset()  # files that are being written, to be left alone
    asks: Caution | None = None  # hide nothing where a large part of a root is gone, and say so


WHOLE = Glance()


def scopes_from_paths(
    paths: Sequence[Path],
    ledger: Ledger,
    exclude: Sequence[str] = (),
    *,
    follow_links: bool = False,
) -> list[Scope]:
    """Return what to look through; folders not known yet become roots.

    So does a folder in one that is left out by default (a bin, say): it was named, and is looked
    through from now on. A path below another one adds nothing. Roots below a path are looked
    through as scopes of their own, so that each file has one name and an unmounted one hides
    nothing.

    Raises:
        UsageError: a path that is neither there nor known.
    """
    real = [Path(os.path.realpath(path)) for path in paths]
    for path in real:
        _check_there_or_known(path, ledger)
    outermost = _outermost(real)
    for path in outermost:
        root = ledger.root_for(path)
        if root is None or is_kept_from_libraries(path, root.path):
            ledger.add_root(path if os.path.isdir(path) else path.parent)  # noqa: PTH112
    scopes = [scope for path in outermost for scope in _scopes(path, ledger)]
    links = _links(ledger, follow_links)
    return [replace(scope, exclude=tuple(exclude), links=links) for scope in scopes]


def _links(ledger: Ledger, everywhere: bool) -> Links:
    return Links(tuple(root.path for root in ledger.roots()), everywhere)


def shallow_scopes(
    folders: Iterable[Path],
    ledger: Ledger,
    exclude: Sequence[str] = (),
    *,
    follow_links: bool = False,
) -> list[Scope]:
    """Return folders to look through without those in them; what lies below no root is left out."""
    roots = [folder for folder in folders if ledger.root_for(folder) is not None]
    scopes = [_scopes(folder, ledger)[0] for folder in roots]
    links = _links(ledger, follow_links)
    return [
        replace(scope, inner=(), exclude=tuple(exclude), deep=False, links=links)
        for scope in scopes
    ]


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Return the paths that lie below no other one, each once."""
    named = dict.fromkeys(paths)  # a shell may have made ten thousand of one *
    return [path for path in named if named.keys().isdisjoint(path.parents)]


def _check_there_or_known(path: Path, ledger: Ledger) -> None:
    if not is_gone(path):
        return
    root = ledger.root_for(path)
    if root is None or not ledger.knows_of(root, below_root(root, path)):
        raise UsageError(f"{shown_path(path)} is not there: name a folder of photos or a photo")


def _scopes(path: Path, ledger: Ledger) -> list[Scope]:
    roots, outer = ledger.roots(), ledger.root_for(path)
    assert outer is not None  # it was made one
    inner = [r for r in roots if r.path != outer.path and r.path.is_relative_to(path)]
    around = [r.path for r in roots if path.is_relative_to(r.path)]
    outermost = min(around, key=lambda folder: len(folder.parts))
    starts = [(outer, path), *((root, root.path) for root in inner)]
    return [
        Scope(
            root,
            start,
            tuple(r.path for r in inner if r != root and r.path.is_relative_to(start)),
            outermost,
        )
        for root, start in starts
    ]


def iter_scope_files(scope: Scope, told: Told) -> Iterator[Path]:
    """Yield the photo files of a scope; one that is not there has none."""
    if not is_gone(scope.path):
        files = iter_photo_files(
            scope.path,
            _told_of_own(told, scope),
            root=scope.outermost or scope.root.path,
            exclude=scope.exclude,
            deep=scope.deep,
            links=scope.links,
        )
        yield from filter(scope.holds, files)


def _told_of_own(told: Told, scope: Scope) -> Told:
    """Return who is told of the paths that belong to a scope, and of no others."""

    def own(tell: Callable[[Path], None]) -> Callable[[Path], None]:
        return lambda path: tell(path) if scope.holds(path) else None

    def unreadable(path: Path, reason: str) -> None:
        if scope.holds(path):
            told.unreadable(path, reason)

    def device(folder: Path, number: int) -> None:
        if scope.holds(folder):
            told.device(folder, number)

    return Told(unreadable, own(told.left_out), own(told.outside), own(told.not_read), device)


def count_files(
    scopes: Sequence[Scope], ledger: Ledger, devices: dict[str, SeenDevices] | None = None
) -> tuple[int, int]:
    """Return how many photo files there are to look at, and how many of them never were.

    The latter are noted as waiting. `devices` grows, by root id, by where devices begin.
    """

    def quiet(path: Path, reason: str) -> None:
        """The scan itself reports what can't be read."""

    files = 0
    for scope in scopes:
        told = Told(quiet, device=_noting_devices(scope, devices if devices is not None else {}))
        paths = iter_scope_files(scope, told)
        while some := list(islice(paths, NOTED_AT_ONCE)):
            files += len(some)
            ledger.note_waiting(FileKey(scope.root, below_root(scope.root, p)) for p in some)
    waiting = set[tuple[str, bytes]]()  # scopes of one root may overlap
    for scope in scopes:
        below = ledger.iter_waiting(scope.root, scope.below)
        waiting.update((scope.root.root_id, path) for path in below if scope.covers(path))
    return files, len(waiting)


def _noting_devices(scope: Scope, devices: dict[str, SeenDevices]) -> Callable[[Path, int], None]:
    """Return what notes the devices of the folders that are walked, and of those around them."""
    seen = devices.setdefault(scope.root.root_id, SeenDevices())

    def note(folder: Path, device: int | None) -> None:
        if device is not None:
            seen.note(below_root(scope.root, folder), device)

    for around in reversed(scope.path.parents):
        if around.is_relative_to(scope.root.path):
            note(around, device_of(around))
    return note


def below_root(root: Root, path: Path) -> bytes:
    """Return a path below its root, as the file system spells it; b"" for the root itself."""
    below = os.fsencode(path.relative_to(root.path))
    return b"" if below == b"." else below
