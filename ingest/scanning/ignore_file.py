"""Reading an ignore file in any common encoding, or an error that says how to fix it.

An unreadable file must not count as empty, since it may name private folders.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from pathlib import Path

IGNORE_NAME = ".segsearchignore"
MAX_BYTES = 64 * 1024  # a few thousand patterns; the largest known .gitignore files have 6 kB

# UTF-32 before UTF-16, whose byte order mark is a prefix of UTF-32's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE_ENDS = re.compile(r"\r\n|\n|\r")  # not splitlines(): names may hold U+2028 and the like


class BadPatternError(ValueError):
    """An ignore file is invalid; the message says which and why."""


def lines_from_folder(folder: Path) -> list[str]:
    """Read the lines of a folder's ignore file; without one, an empty list.

    Raises:
        OSError: it can't be read.
        BadPatternError: it is not a regular file, too large, or not text.
    """
    path = folder / IGNORE_NAME
    try:
        content = _content(path)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise BadPatternError(f"{IGNORE_NAME} is a broken symbolic link") from None
        return []
    return [reading for line in _LINE_ENDS.split(_text(content)) for reading in _readings(line)]


def _content(path: Path) -> bytes:
    """Read a regular file; reading a pipe or a device might never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise BadPatternError(f"{IGNORE_NAME} is not a file: replace it with one, or remove it")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise BadPatternError(f"{IGNORE_NAME} can't be read ({why})") from error
    if len(content) > MAX_BYTES:
        raise BadPatternError(
            f"{IGNORE_NAME} has more than {MAX_BYTES // 1024} kB: shorten it, with patterns such "
            "as 'private/' instead of single files"
        )
    return content


def _text(content: bytes) -> str:
    """Decode by the byte order mark, else like file names."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            try:
                return content.decode(encoding).removeprefix("\ufeff")
            except UnicodeDecodeError as error:
                raise BadPatternError(
                    f"{IGNORE_NAME} is not valid {encoding.upper()}: save it as UTF-8"
                ) from error
    if b"\0" in content:
        raise BadPatternError(f"{IGNORE_NAME} is not text in UTF-8: save it as UTF-8")
    return os.fsdecode(content)


def _readings(line: str) -> list[str]:
    """Return the possible readings of a line: as raw bytes, and as Windows-1252 if not UTF-8.

    Both are excluded; a line that begins with ! is read as raw bytes only.
    """
    is_utf8 = not any("\udc80" <= letter <= "\udcff" for letter in line)
    if is_utf8 or line.startswith("!"):
        return [line]
    return [line, os.fsencode(line).decode("cp1252", "replace")]
