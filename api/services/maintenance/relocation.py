"""Record that a library's photos or its Qdrant server have moved."""

from __future__ import annotations

import os
from pathlib import Path

from api.library.library import Library
from ingest.index_sync import sync_index
from search.errors import UsageError


def move_root(library: Library, old: Path, new: Path) -> tuple[Path, int]:
    """Record that the root `old` is now at `new`; return its new path and its number of files.

    Args:
        library: locked for writing.
        old: an ingested folder.
        new: an existing folder.

    Raises:
        UsageError: `old` is not a root, or `new` overlaps another one.
    """
    ledger = library.ledger()
    root = ledger.move_root(Path(os.path.realpath(old)), Path(os.path.realpath(new)))
    sync_index(ledger, library.index)
    return root.path, sum(1 for _ in ledger.known_below(root, b""))


def move_server(library: Library) -> str:
    """Record that the library's Qdrant server is now at the URL of the settings; return the URL.

    Raises:
        UsageError: the library is embedded.
    """
    if library.manifest is None or library.manifest.qdrant is None:
        raise UsageError(
            f"the vectors of {library.folder} are in its folder, not on a server. "
            "`segsearch push --switch` copies them to one."
        )
    return library.adopt_server()
