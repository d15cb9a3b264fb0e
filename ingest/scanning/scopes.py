"""From the paths given by the user to the folders to scan, each within one root."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ingest.catalog.ledger import Ledger
from ingest.catalog.records import Root, is_below, is_gone
from ingest.imaging.decode import shown_path
from ingest.scanning.links import Links
from ingest.scanning.system_folders import is_in_system_folder
from search.errors import UsageError


@dataclass(frozen=True)
class Scope:
    """A folder (or one file) to scan, and the root that it belongs to."""

    root: Root
    path: Path
    inner: tuple[Path, ...] = ()  # nested roots, which are scopes of their own
    outermost: Path | None = None  # the outermost root, which patterns are relative to
    exclude: tuple[str, ...] = ()  # gitignore patterns
    deep: bool = True  # whether subfolders are scanned
    links: Links = field(default_factory=Links)

    @property
    def below(self) -> bytes:
        """The path below the root; b"" for the root itself."""
        return below_root(self.root, self.path)

    def covers(self, below: bytes) -> bool:
        """Return whether a path below the root is scanned."""
        return is_below(below, self.below) and (self.deep or os.path.dirname(below) == self.below)  # noqa: PTH120

    def holds(self, path: Path) -> bool:
        """Return whether a path belongs to this scope's own root, not to a nested one."""
        return not any(path.is_relative_to(root) for root in self.inner)


def scopes_from_paths(
    paths: Sequence[Path],
    ledger: Ledger,
    exclude: Sequence[str] = (),
    *,
    follow_links: bool = False,
) -> list[Scope]:
    """Return the scopes to scan; folders below no root become roots.

    A given folder within one that is excluded by default (a recycle bin, for example) becomes a
    root too. Paths below another given path are dropped. Roots below a path are scopes of their
    own, so that each file has one key and an unmounted root hides nothing.

    Raises:
        UsageError: a path neither exists nor is known.
    """
    real = [Path(os.path.realpath(path)) for path in paths]
    for path in real:
        _check_there_or_known(path, ledger)
    outermost = _outermost(real)
    for path in outermost:
        root = ledger.root_for(path)
        if root is None or is_in_system_folder(path, root.path):
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
    """Return scopes of folders without their subfolders; folders below no root are dropped."""
    roots = [folder for folder in folders if ledger.root_for(folder) is not None]
    scopes = [_scopes(folder, ledger)[0] for folder in roots]
    links = _links(ledger, follow_links)
    return [
        replace(scope, inner=(), exclude=tuple(exclude), deep=False, links=links)
        for scope in scopes
    ]


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Drop duplicates and paths below another path."""
    named = dict.fromkeys(paths)  # a shell may expand one * to ten thousand paths
    return [path for path in named if named.keys().isdisjoint(path.parents)]


def _check_there_or_known(path: Path, ledger: Ledger) -> None:
    if not is_gone(path):
        return
    root = ledger.root_for(path)
    if root is None or not ledger.knows_of(root, below_root(root, path)):
        raise UsageError(f"{shown_path(path)} is not there: name a folder of photos or a photo")


def _scopes(path: Path, ledger: Ledger) -> list[Scope]:
    roots, outer = ledger.roots(), ledger.root_for(path)
    if outer is None:
        raise ValueError(f"{path} is below no root")
    inner = [r for r in roots if r.path != outer.path and r.path.is_relative_to(path)]
    containing = [r.path for r in roots if path.is_relative_to(r.path)]
    outermost = min(containing, key=lambda folder: len(folder.parts))
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
    """Return a path relative to its root, as file system bytes; b"" for the root itself."""
    below = os.fsencode(path.relative_to(root.path))
    return b"" if below == b"." else below
