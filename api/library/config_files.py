"""Settings from files: one of the user's own, one that is named, one in the working directory.

A folder that was downloaded may hold a segsearch.toml, too. What is found there, and was not named,
may change how photos are read and segmented, but not where anything is sent or what is loaded.
"""

from __future__ import annotations

import codecs
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from platformdirs import user_config_path

from api.settings import Settings, group_of
from search.errors import UsageError

NAME = "segsearch.toml"
SAFE_GROUPS = ("masks", "ingest")
SAFE = frozenset(("library", "device", "precision", "crop_recipe", "log_format", "log_requests"))
UNSAFE = frozenset(("follow_links",))
MAX_BYTES = 1_000_000
ENCODINGS = {  # by the byte order mark, longest first
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def settings_from_files(named: Path | None) -> dict[str, Any]:
    """Return the settings of files, those of the first of them that has one.

    Args:
        named: the file to read instead of those that are looked for.

    Raises:
        UsageError: a file can't be read, has a key that is no setting, or one that may not stand
            in the working directory.
    """
    if named is not None:
        return _read(named)
    return {**_users_own(), **_working_directory()}


def users_file() -> Path:
    """Return where the user's own settings are looked for."""
    folder: Path = user_config_path("segsearch", appauthor=False)
    return folder / NAME


def _users_own() -> dict[str, Any]:
    path = users_file()
    return _read(path) if path.is_file() else {}


def _working_directory() -> dict[str, Any]:
    path = Path(NAME)
    if not path.is_file():
        return {}
    found = _read(path)
    if refused := sorted(name for name in found if not _is_safe(name)):
        raise UsageError(
            f"{path.absolute()} may not set {', '.join(refused)}: whoever made the folder would "
            f"decide about it. Put it into {users_file()}, or name the file with --config."
        )
    library = found.get("library")
    if isinstance(library, str) and Path(library).exists() and not belongs_to_user(Path(library)):
        raise UsageError(
            f"{path.absolute()} names a library of another user, {library}. Name it with --library "
            "if it is meant."
        )
    if found:
        click.echo(f"settings of {path.absolute()} are used: {', '.join(sorted(found))}", err=True)
    return found


def _is_safe(name: str) -> bool:
    return name in SAFE or (group_of(name) in SAFE_GROUPS and name not in UNSAFE)


def _read(path: Path) -> dict[str, Any]:
    """Return what a file says; a path in it is relative to the working directory."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(f"{path} can't be read: it has more than {MAX_BYTES:,} bytes")
        found = tomllib.loads(_text(content))
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # no TOML, or no text in its encoding
        raise UsageError(f"{path} can't be read: {error}") from error
    _check_known(found, path)
    return found


def _text(content: bytes) -> str:
    encodings = (name for mark, name in ENCODINGS.items() if content.startswith(mark))
    return content.decode(next(encodings, "utf-8")).replace("\r\n", "\n")


def _check_known(found: Mapping[str, Any], path: Path) -> None:
    for name in found:
        if name not in Settings.model_fields:
            raise UsageError(f"{path}: there is no setting {name!r}")


def belongs_to_user(folder: Path) -> bool:
    """Say whether a folder is this user's, as far as the system knows owners."""
    if not hasattr(os, "getuid"):
        return True
    return folder.stat().st_uid == os.getuid()
