"""What a library holds, in one record."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import PurePath

from api.library.checks import check_key
from api.library.library import Library
from api.library.models import STARTER
from api.schemas.library import LibraryOut, RootOut
from ingest.imaging.decode import path_text
from ingest.stats import SkippedBefore
from search.errors import SegsearchError
from search.index.payload import FIELDS
from search.manifest import load_manifest


def library_out(library: Library) -> LibraryOut:
    """Return the library's models, engine, counts and roots; no model is loaded for it."""
    settings, ledger = library.settings, library.ledger()
    # Another command may have changed what is in use since this process read the manifest.
    made = load_manifest(library.folder) or library.manifest
    encoder = (made.encoder.name if made else settings.encoder) or ""
    return LibraryOut(
        library=path_text(library.folder),
        segmenter=(made.segmenter.name if made else settings.segmenter) or "",
        encoder=encoder,
        crop_recipe=made.crop_recipe if made else settings.crop_recipe,
        starter_models=encoder == STARTER,
        engine=_engine(library),
        roots=tuple(
            RootOut(root_id=root.root_id, path=path_text(root.path), present=root.path.is_dir())
            for root in ledger.roots()
        ),
        unread=_by_extension(ledger.unread()),
        **ledger.counts(),
    )


def _engine(library: Library) -> str:
    if library.settings.qdrant:
        return f"Qdrant server {library.settings.qdrant}"
    is_there = all((library.folder / "index" / each).is_dir() for each in FIELDS)
    missing = library.manifest is not None and not is_there
    return "Qdrant Edge, embedded" + (" (missing: see `segsearch verify`)" if missing else "")


def server_version(library: Library) -> str | None:
    """Return the version of the library's Qdrant server, or why it can't be told.

    None: the library has no server.

    It is asked once, and not waited for.
    """
    if library.settings.qdrant is None or library.manifest is None:
        return None
    from search.index.qdrant_connection import QdrantConnection

    try:
        check_key(library.requested, library.settings.qdrant)
        with closing(QdrantConnection.to_server(library.settings)) as connection:
            return connection.version()
    except SegsearchError as error:
        return str(error)


def _by_extension(names: Iterable[bytes]) -> dict[str, int]:
    """Count files by extension, most first."""
    found = Counter(PurePath(os.fsdecode(name)).suffix.lower() for name in names)
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def skipped_files(library: Library) -> list[SkippedBefore]:
    """Return every file that could not be used, why, and since when."""
    return [
        SkippedBefore(path=path_text(file.path), reason=file.reason, noted_at=file.noted_at)
        for file in library.ledger().skipped()
    ]
