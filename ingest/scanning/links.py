"""Which symbolic links a walk follows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Links:
    """Which symbolic links are followed: those to targets in one of the roots, or all."""

    roots: tuple[Path, ...] = ()
    everywhere: bool = False

    def follows(self, entry: os.DirEntry[str]) -> bool:
        """Return whether an entry is not a link, or a link to follow."""
        if self.everywhere or not entry.is_symlink():
            return True
        target = Path(os.path.realpath(entry.path))
        return any(target.is_relative_to(root) for root in self.roots)
