"""What a person wants left out: patterns in gitignore's words, from settings and from folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.scanning.ignore_file import IGNORE_NAME, BadPatternError, lines_from_folder
from ingest.scanning.ignore_patterns import Pattern, comparable, patterns_from_lines
from search.errors import UsageError


@dataclass(frozen=True)
class LeftOut:
    """What is left out of a folder: the patterns of the folders around it, outermost first.

    As with git, the innermost patterns that say anything of a path decide, and what lies in a
    folder that is left out can't be taken in again. Names match in either Unicode normal form.
    """

    patterns: tuple[tuple[str, tuple[Pattern, ...]], ...] = ()  # the folder they count from

    @classmethod
    def of(cls, root: Path, folder: Path, exclude: Sequence[str]) -> LeftOut:
        """Return what is left out of a folder at or below a root.

        Its own file is not read yet: that is `inside`.

        Raises:
            UsageError: one of `exclude` is no pattern.
            OSError: an ignore file can't be read.
            BadPatternError: an ignore file can't be used.
        """
        left_out = cls(((str(root), patterns_from_exclude(exclude)),) if exclude else ())
        for around in reversed(folder.parents):
            if around.is_relative_to(root):
                left_out = left_out.inside(around)
        return left_out

    def inside(self, folder: Path) -> LeftOut:
        """Return what is left out within a folder, its own file considered.

        Raises:
            OSError: its ignore file can't be read.
            BadPatternError: its ignore file can't be used.
        """
        lines = lines_from_folder(folder)
        try:
            found = patterns_from_lines(lines)
        except ValueError as error:
            raise BadPatternError(
                f"{IGNORE_NAME} has a line that is no pattern ({error})"
            ) from error
        return LeftOut((*self.patterns, (str(folder), found))) if found else self

    def __call__(self, path: str, *, is_folder: bool = False) -> bool:
        """Say whether a file or folder is left out, the folders around it not considered."""
        for folder, patterns in reversed(self.patterns):
            names = comparable(path[len(folder.rstrip("/")) + 1 :]).split("/")
            for pattern in reversed(patterns):
                if pattern.matches(names, is_folder=is_folder):
                    return pattern.leaves_out
        return False

    def holds_back(self, folder: Path, root: Path) -> bool:
        """Say whether a folder below a root, or one around it there, is left out."""
        around = [each for each in folder.parents if each != root and each.is_relative_to(root)]
        return any(self(str(each), is_folder=True) for each in (*reversed(around), folder))


def patterns_from_exclude(exclude: Sequence[str]) -> tuple[Pattern, ...]:
    """Return the patterns of the setting `exclude`.

    Raises:
        UsageError: one of them is no pattern.
    """
    try:
        return patterns_from_lines(exclude)
    except ValueError as error:
        raise UsageError(
            f"exclude: {error}. Patterns are those of .gitignore, as in 'raw/' or '*.png'"
        ) from error
