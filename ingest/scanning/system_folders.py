"""Folders of systems and programs that are not ingested: thumbnails, recycle bins, snapshots.

They contain copies: thumbnails of every photo, deleted photos, earlier states. Names are compared
case-insensitively, since systems use several spellings.
"""

from __future__ import annotations

import os
from pathlib import Path

NO_MEDIA_NAME = ".nomedia"  # Android's marker for folders that media scanners must skip

SYSTEM_FOLDERS = frozenset(
    (
        # Synology
        "@eadir",
        "#recycle",
        "#snapshot",
        "@tmp",
        "@sharebin",
        # QNAP
        "@recycle",
        "@recently-snapshot",
        "@__thumb",
        # other file servers
        "~snapshot",
        "#snapshots",
        "@snapshots",
        "network trash folder",
        "temporary items",
        "thevolumesettingsfolder",
        # Windows
        "$recycle.bin",
        "recycler",
        "recycled",
        "system volume information",
        # macOS, in archives made there
        "__macosx",
        # Linux
        "lost+found",
    )
)
# What macOS shows as one file: libraries of Photos, iPhoto, Aperture, Lightroom, Capture One, ...
PACKAGES = (
    ".photoslibrary",
    ".photolibrary",
    ".migratedphotolibrary",
    ".aplibrary",
    ".migratedaplibrary",
    ".lrdata",
    ".lrlibrary",
    ".cocatalog",
    ".imovielibrary",
    ".fcpbundle",
    ".theater",
    ".tvlibrary",
)
PREFIXES = ("appdata_oc",)  # Nextcloud: previews of everything


def is_system_folder(name: str) -> bool:
    """Return whether a folder of this name is excluded, unless it is given explicitly."""
    folded = name.casefold()
    return folded in SYSTEM_FOLDERS or folded.endswith(PACKAGES) or folded.startswith(PREFIXES)


def is_in_system_folder(path: Path, root: Path) -> bool:
    """Return whether a path is in a system folder or one with a `.nomedia`, below the root.

    The root itself does not count, since the user gave it.
    """
    folders = [path, *path.parents]
    below = folders[: folders.index(root)] if root in folders else []
    return any(is_system_folder(each.name) or _has_no_media(each) for each in below)


def _has_no_media(folder: Path) -> bool:
    return os.path.exists(folder / NO_MEDIA_NAME)  # noqa: PTH110  (Path.exists may raise)
