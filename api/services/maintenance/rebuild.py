"""Rebuild a lost ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from api.library.library import Library
from api.services.ingest import MakeProgress
from ingest.maintenance.rebuild import Rebuilt, rebuild


def rebuild_ledger(library: Library, paths: Sequence[Path], make_progress: MakeProgress) -> Rebuilt:
    """Rebuild the ledger from the index and the photos below these paths.

    The new ledger is used unless the run was interrupted or found no file of any photo.

    Args:
        library: locked for writing.
        paths: folders and files.
        make_progress: opens the progress display.
    """
    with library.rebuilding_ledger() as use_rebuilt, make_progress() as progress:
        rebuilt = rebuild(paths, library.ingest_context(), progress)
        if not rebuilt.interrupted and rebuilt.photos_with_file:
            use_rebuilt()
    return rebuilt
