"""Which symbolic links a walk follows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Links:
    """Which symbolic links are followed: those to a place in one of these folders, or all."""

    roots: tuple[Path, ...] = ()
    everywhere: bool = False

    def follows(self, entry: os.DirEntry[str]) -> bool:
        """Say whether a file or folder is looked at, if it is a link."""
        if self.everywhere or not entry.is_symlink():
            return True
        target = Path(os.path.realpath(entry.path))
        return any(target.is_relative_to(root) for root in self.roots)
