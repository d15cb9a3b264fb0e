"""What a person wants left out: patterns in gitignore's words, from settings and from folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from search.errors import UsageError

IGNORE_NAME = ".segsearchignore"


class BadPatternError(ValueError):
    """An ignore file has a line that is no pattern; says which file."""


@dataclass(frozen=True)
class LeftOut:
    """What is left out of a folder: the patterns of the folders around it, outermost first.

    As with git, the innermost patterns that say anything of a path decide, and what lies in a
    folder that is left out can't be taken in again.
    """

    patterns: tuple[tuple[str, GitIgnoreSpec], ...] = ()  # the folder they count from, and they

    @classmethod
    def of(cls, root: Path, folder: Path, exclude: Sequence[str]) -> LeftOut:
        """Return what is left out of a folder at or below a root.

        Its own file is not read yet: that is `inside`.

        Raises:
            UsageError: one of `exclude` is no pattern.
            OSError: an ignore file can't be read.
            BadPatternError: an ignore file has a line that is no pattern.
        """
        left_out = cls(((str(root), spec_from_exclude(exclude)),) if exclude else ())
        for around in reversed(folder.parents):
            if around.is_relative_to(root):
                left_out = left_out.inside(around)
        return left_out

    def inside(self, folder: Path) -> LeftOut:
        """Return what is left out within a folder, its own file considered.

        Raises:
            OSError: its ignore file can't be read.
            BadPatternError: its ignore file has a line that is no pattern.
        """
        try:
            lines = os.fsdecode((folder / IGNORE_NAME).read_bytes()).splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return self
        try:
            spec = GitIgnoreSpec.from_lines(lines)
        except ValueError as error:
            raise BadPatternError(
                f"{IGNORE_NAME} has a line that is no pattern ({error})"
            ) from error
        return LeftOut((*self.patterns, (str(folder), spec)))

    def __call__(self, path: str, *, is_folder: bool = False) -> bool:
        """Say whether a file or folder is left out."""
        for folder, spec in reversed(self.patterns):
            below = path[len(folder.rstrip("/")) + 1 :]
            said = spec.check_file(f"{below}/" if is_folder else below).include
            if said is not None:
                return said
        return False


def spec_from_exclude(exclude: Sequence[str]) -> GitIgnoreSpec:
    """Return the patterns of the setting `exclude`.

    Raises:
        UsageError: one of them is no pattern.
    """
    try:
        return GitIgnoreSpec.from_lines(exclude)
    except ValueError as error:
        raise UsageError(
            f"exclude: {error}. Patterns are those of .gitignore, as in 'raw/' or '*.png'"
        ) from error
