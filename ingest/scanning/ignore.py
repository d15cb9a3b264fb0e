"""What is left out of a walk: gitignore patterns, from settings and from ignore files.

Patterns are matched in time linear in the length of a name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.scanning.ignore_file import IGNORE_NAME, BadPatternError, lines_from_folder
from search.errors import UsageError

ANY_FOLDERS = "**"  # no folder or several of them


@dataclass(frozen=True)
class Pattern:
    """One line: what it matches, and whether that is left out or taken in again."""

    parts: tuple[re.Pattern[str] | None, ...]  # between slashes; None is `**`
    leaves_out: bool
    only_folders: bool

    def matches(self, names: Sequence[str], *, is_folder: bool) -> bool:
        """Say whether it matches a path, given as the names from the pattern's folder down."""
        if self.only_folders and not is_folder:
            return False
        at = part = 0
        resume_at, resume_part = 0, -1  # after the last `**`, which takes one name more each time
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
    """Return the patterns of some lines; empty lines and comments are none.

    Raises:
        ValueError: a line is no pattern; says which.
    """
    found = (_pattern_from_line(line) for line in lines)
    return tuple(pattern for pattern in found if pattern is not None)


def comparable(name: str) -> str:
    """Return a name in the one form that patterns and names are compared in: composed letters.

    macOS spells é as two letters in file names, nearly all editors write one.
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _pattern_from_line(line: str) -> Pattern | None:
    text = _without_trailing_spaces(comparable(line))
    if not text or text.startswith("#"):
        return None
    leaves_out = not text.startswith("!")
    body = text if leaves_out else text[1:]
    only_folders = body.endswith("/") and not body.endswith("\\/")
    names = [part for part in body.split("/") if part]
    if not body:
        raise ValueError(f"{line!r} names nothing")
    if not names:  # only slashes: as git reads it, nothing has that name
        return None
    if "/" not in body.rstrip("/"):
        names.insert(0, ANY_FOLDERS)
    if names[-1] == ANY_FOLDERS:  # everything in a folder, not the folder itself
        names.append("*")
    parts = tuple(None if part == ANY_FOLDERS else _compiled(part, line) for part in names)
    return Pattern(parts, leaves_out, only_folders)


def _without_trailing_spaces(line: str) -> str:
    r"""Drop spaces at the end, but for one that is written as `\ `."""
    bare = line.rstrip(" \t")
    backslashes = len(bare) - len(bare.rstrip("\\"))
    return f"{bare} " if backslashes % 2 and len(bare) < len(line) else bare


def _compiled(part: str, line: str) -> re.Pattern[str]:
    """Turn a part into an expression: each star takes as little as what follows it allows."""
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
    """Return what stands between the stars of a part, as expressions."""
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
    """Return where the `]` of a set is; one that comes first is a letter of it."""
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
    """Turn what stands between `[` and `]` into a set of a regular expression."""
    is_negated = body[:1] in ("!", "^")
    letters = re.sub(r"([\[&~|^])", r"\\\1", body[is_negated:])
    letters = re.sub(r"^\]", r"\\]", letters).replace("--", r"\--")
    return f"[{'^' if is_negated else ''}{letters}]"


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
