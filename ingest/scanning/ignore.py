"""Gitignore patterns, from settings and ignore files, that exclude files from a walk.

Matching takes time linear in the length of a name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.scanning.ignore_file import IGNORE_NAME, BadPatternError, lines_from_folder
from search.errors import UsageError

ANY_FOLDERS = "**"  # matches any number of folders, also none


@dataclass(frozen=True)
class Pattern:
    """One line of an ignore file."""

    parts: tuple[re.Pattern[str] | None, ...]  # between slashes; None is `**`
    excludes: bool  # False: it begins with ! and includes what an earlier pattern excluded
    only_folders: bool

    def matches(self, names: Sequence[str], *, is_folder: bool) -> bool:
        """Match a path, given as its names relative to the pattern's folder."""
        if self.only_folders and not is_folder:
            return False
        at = part = 0
        resume_at, resume_part = 0, -1  # backtrack to the last `**`, which takes one name more
        while at < len(names):
            if part < len(self.parts) and (wanted := self.parts[part]) is None:
                resume_at, resume_part = at, part
                part += 1
            elif part < len(self.parts) and wanted is not None and wanted.match(names[at]):
                at, part = at + 1, part + 1
            elif resume_part >= 0:
                resume_at += 1
                at, part = resume_at, resume_part + 1
            else:
                return False
        return all(wanted is None for wanted in self.parts[part:])


def patterns_from_lines(lines: Iterable[str]) -> tuple[Pattern, ...]:
    """Parse lines; empty lines and comments are skipped.

    Raises:
        ValueError: a line is not a valid pattern; the message quotes it.
    """
    found = (_pattern_from_line(line) for line in lines)
    return tuple(pattern for pattern in found if pattern is not None)


def comparable(name: str) -> str:
    """Normalize a name to NFC, since macOS decomposes letters such as é and editors don't."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _pattern_from_line(line: str) -> Pattern | None:
    text = _without_trailing_spaces(comparable(line))
    if not text or text.startswith("#"):
        return None
    excludes = not text.startswith("!")
    body = text if excludes else text[1:]
    only_folders = body.endswith("/") and not body.endswith("\\/")
    names = [part for part in body.split("/") if part]
    if not body:
        raise ValueError(f"{line!r} is empty after the !")
    if not names:  # only slashes: matches nothing, as in git
        return None
    if "/" not in body.rstrip("/"):
        names.insert(0, ANY_FOLDERS)
    if names[-1] == ANY_FOLDERS:  # everything in a folder, not the folder itself
        names.append("*")
    parts = tuple(None if part == ANY_FOLDERS else _compiled(part, line) for part in names)
    return Pattern(parts, excludes, only_folders)


def _without_trailing_spaces(line: str) -> str:
    r"""Strip trailing spaces, except for an escaped one (`\ `)."""
    bare = line.rstrip(" \t")
    backslashes = len(bare) - len(bare.rstrip("\\"))
    return f"{bare} " if backslashes % 2 and len(bare) < len(line) else bare


def _compiled(part: str, line: str) -> re.Pattern[str]:
    """Compile a part to a regular expression without backtracking (atomic groups)."""
    chunks = _chunks(part, line)
    first, *rest = chunks
    expression = first
    for chunk in rest[:-1]:
        expression += f"(?>.*?{chunk})"
    if rest:
        expression += f".*{rest[-1]}"
    try:
        return re.compile(rf"{expression}\Z", re.DOTALL)
    except re.error as error:
        raise ValueError(f"{line!r}: {error}") from error


def _chunks(part: str, line: str) -> list[str]:
    """Split a part at its stars and translate each chunk to a regular expression."""
    chunks, at = [""], 0
    while at < len(part):
        letter = part[at]
        at += 1
        if letter == "*":
            if chunks[-1] or len(chunks) == 1:
                chunks.append("")
        elif letter == "?":
            chunks[-1] += "."
        elif letter == "\\":
            if at == len(part):
                raise ValueError(f"{line!r} ends with a backslash")
            chunks[-1] += re.escape(part[at])
            at += 1
        elif letter == "[" and (end := _end_of_set(part, at)) is not None:
            chunks[-1] += _set(part[at:end])
            at = end + 1
        else:
            chunks[-1] += re.escape(letter)
    return chunks


def _end_of_set(part: str, start: int) -> int | None:
    """Find the `]` that closes a set; a `]` in first position is a member of it."""
    first = start + (part[start : start + 1] in ("!", "^"))
    at = first + 1
    while at < len(part):
        if part[at] == "\\":
            at += 2
        elif part[at] == "]":
            return at
        else:
            at += 1
    return None


def _set(body: str) -> str:
    """Translate the content of `[...]` to a set of a regular expression."""
    is_negated = body[:1] in ("!", "^")
    letters = re.sub(r"([\[&~|^])", r"\\\1", body[is_negated:])
    letters = re.sub(r"^\]", r"\\]", letters).replace("--", r"\--")
    return f"[{'^' if is_negated else ''}{letters}]"


@dataclass(frozen=True)
class IgnoreRules:
    """The patterns that apply in a folder: its own and those of its parents, outermost first.

    As in git, the innermost pattern that matches decides, and files in an excluded folder can't be
    included again. Names match in either Unicode normal form.
    """

    patterns: tuple[tuple[str, tuple[Pattern, ...]], ...] = ()  # by the folder they are relative to

    @classmethod
    def for_folder(cls, root: Path, folder: Path, exclude: Sequence[str]) -> IgnoreRules:
        """Collect the patterns of a folder's parents up to the root, not its own.

        Raises:
            UsageError: one of `exclude` is not a valid pattern.
            OSError: an ignore file can't be read.
            BadPatternError: an ignore file is invalid.
        """
        rules = cls(((str(root), patterns_from_exclude(exclude)),) if exclude else ())
        for around in reversed(folder.parents):
            if around.is_relative_to(root):
                rules = rules.with_folder(around)
        return rules

    def with_folder(self, folder: Path) -> IgnoreRules:
        """Add the patterns of a folder's own ignore file.

        Raises:
            OSError: the ignore file can't be read.
            BadPatternError: the ignore file is invalid.
        """
        lines = lines_from_folder(folder)
        try:
            found = patterns_from_lines(lines)
        except ValueError as error:
            raise BadPatternError(
                f"{IGNORE_NAME} has a line that is not a pattern ({error})"
            ) from error
        return IgnoreRules((*self.patterns, (str(folder), found))) if found else self

    def ignores(self, path: str, *, is_folder: bool = False) -> bool:
        """Return whether a file or folder itself is excluded, not considering its parents."""
        for folder, patterns in reversed(self.patterns):
            names = comparable(path[len(folder.rstrip("/")) + 1 :]).split("/")
            for pattern in reversed(patterns):
                if pattern.matches(names, is_folder=is_folder):
                    return pattern.excludes
        return False

    def ignores_tree(self, folder: Path, root: Path) -> bool:
        """Return whether a folder, or a parent of it below the root, is excluded."""
        parents = [each for each in folder.parents if each != root and each.is_relative_to(root)]
        return any(self.ignores(str(each), is_folder=True) for each in (*reversed(parents), folder))


def patterns_from_exclude(exclude: Sequence[str]) -> tuple[Pattern, ...]:
    """Parse the setting `exclude`.

    Raises:
        UsageError: one of them is not a valid pattern.
    """
    try:
        return patterns_from_lines(exclude)
    except ValueError as error:
        raise UsageError(
            f"exclude: {error}. Patterns are those of .gitignore, such as 'raw/' or '*.png'"
        ) from error
