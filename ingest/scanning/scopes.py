"""What to look through: the folders asked for, and the roots that they belong to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import Root, is_below, is_gone
from ingest.imaging.decode import shown_path
from ingest.scanning.links import Links
from ingest.scanning.system_folders import is_kept_from_libraries
from search.errors import UsageError


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


def below_root(root: Root, path: Path) -> bytes:
    """Return a path below its root, as the file system spells it; b"" for the root itself."""
    below = os.fsencode(path.relative_to(root.path))
    return b"" if below == b"." else below
