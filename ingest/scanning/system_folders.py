"""Folders that systems and programs keep for themselves: thumbnails, bins, snapshots, previews.

They hold pictures that nobody took: each photo again as its thumbnails, deleted ones, older states.
Names are compared without regard to case, since the systems that make them write several.
"""

from __future__ import annotations

import os
from pathlib import Path

NO_MEDIA_NAME = ".nomedia"  # Android: no media scanner shall look into this folder

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
    """Say whether a folder of this name is left out unless it is named itself."""
    folded = name.casefold()
    return folded in SYSTEM_FOLDERS or folded.endswith(PACKAGES) or folded.startswith(PREFIXES)


def is_kept_from_libraries(path: Path, root: Path) -> bool:
    """Say whether a path below a root lies in such a folder, or in one with a `.nomedia`.

    The root itself may be one: it was named.
    """
    folders = [path, *path.parents]
    below = folders[: folders.index(root)] if root in folders else []
    return any(is_system_folder(each.name) or _has_no_media(each) for each in below)


def _has_no_media(folder: Path) -> bool:
    return os.path.exists(folder / NO_MEDIA_NAME)  # noqa: PTH110  (Path.exists may raise)
