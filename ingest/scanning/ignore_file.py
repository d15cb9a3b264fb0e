"""Reading an ignore file: whatever an editor made of it, or a refusal that says what to do.

A file that can't be read for sure must not be taken for an empty one: what it names is private.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from pathlib import Path

IGNORE_NAME = ".segsearchignore"
MOST_BYTES = 64 * 1024  # some thousand patterns; git's largest known ones have a tenth of it

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE_ENDS = re.compile(r"\r\n|\n|\r")  # not splitlines(): names may hold U+2028 and the like


class BadPatternError(ValueError):
    """An ignore file can't be used; says which and why."""


def lines_from_folder(folder: Path) -> list[str]:
    """Return the lines of a folder's ignore file; none where there is no such file.

    Raises:
        OSError: it can't be read.
        BadPatternError: it is no file, too large, or no text.
    """
    path = folder / IGNORE_NAME
    try:
        content = _content(path)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise BadPatternError(f"{IGNORE_NAME} is a link to a file that is not there") from None
        return []
    return [reading for line in _LINE_ENDS.split(_text(content)) for reading in _readings(line)]


def _content(path: Path) -> bytes:
    """Read a regular file; a pipe would wait for ever, a device never ends."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise BadPatternError(f"{IGNORE_NAME} is not a file: replace it by one, or remove it")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise BadPatternError(f"{IGNORE_NAME} can't be read ({why})") from error
    if len(content) > MOST_BYTES:
        raise BadPatternError(
            f"{IGNORE_NAME} has more than {MOST_BYTES // 1024} kB: make it shorter, with patterns "
            "such as 'private/' instead of single files"
        )
    return content


def _text(content: bytes) -> str:
    """Decode by the mark at the beginning, else as the file system's names."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            try:
                return content.decode(encoding).removeprefix("\ufeff")
            except UnicodeDecodeError as error:
                raise BadPatternError(
                    f"{IGNORE_NAME} begins as {encoding.upper()} and is none: save it as UTF-8"
                ) from error
    if b"\0" in content:
        raise BadPatternError(f"{IGNORE_NAME} is no text in UTF-8: save it as UTF-8")
    return os.fsdecode(content)


def _readings(line: str) -> list[str]:
    """Return what a line may mean: bytes that are not UTF-8 are names so spelled, or Windows-1252.

    Both are left out; what is to be taken in again must be spelled as it is.
    """
    is_utf8 = not any("\udc80" <= letter <= "\udcff" for letter in line)
    if is_utf8 or line.startswith("!"):
        return [line]
    return [line, os.fsencode(line).decode("cp1252", "replace")]
