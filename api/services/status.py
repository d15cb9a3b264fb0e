"""The contents and models of a library."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import PurePath

from api.library.checks import check_key
from api.library.library import Library
from api.schemas.library import LibraryOut, RootOut
from ingest.imaging.decode import path_text
from ingest.stats import SkippedBefore
from search.errors import SegsearchError
from search.index.payload import FIELDS
from search.manifest import load_manifest
from search.settings import NEWEST_STARTER, STARTER_VERSIONS


def library_out(library: Library) -> LibraryOut:
    """The library's models, engine, counts and roots; loads no model."""
    settings, ledger = library.settings, library.ledger()
    # Another command may have changed the manifest since this process read it.
    made = load_manifest(library.folder) or library.manifest
    segmenter = (made.segmenter.name if made else settings.segmenter) or ""
    encoder = (made.encoder.name if made else settings.encoder) or ""
    return LibraryOut(
        library=path_text(library.folder),
        segmenter=segmenter,
        encoder=encoder,
        crop_recipe=made.crop_recipe if made else settings.crop_recipe,
        starter_models=encoder in STARTER_VERSIONS,
        newer_segmenter=_newer(segmenter),
        newer_encoder=_newer(encoder),
        engine=_engine(library),
        roots=tuple(
            RootOut(root_id=root.root_id, path=path_text(root.path), present=root.path.is_dir())
            for root in ledger.roots()
        ),
        unread=_by_extension(ledger.unread()),
        **ledger.counts(),
    )


def _newer(model: str) -> str | None:
    return NEWEST_STARTER if model in STARTER_VERSIONS[:-1] else None


def _engine(library: Library) -> str:
    if library.settings.qdrant:
        return f"Qdrant server {library.settings.qdrant}"
    exists = all((library.folder / "index" / each).is_dir() for each in FIELDS)
    missing = library.manifest is not None and not exists
    return "Qdrant Edge, embedded" + (" (missing: see `segsearch verify`)" if missing else "")


def server_version(library: Library) -> str | None:
    """The version of the library's Qdrant server, or the reason why it is unknown.

    None if the library has no server. The server is asked once, without retries.
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
    """Count files by extension, most frequent first."""
    found = Counter(PurePath(os.fsdecode(name)).suffix.lower() for name in names)
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def skipped_files(library: Library) -> list[SkippedBefore]:
    """Every skipped file, with the reason and the time."""
    return [
        SkippedBefore(path=path_text(file.path), reason=file.reason, noted_at=file.noted_at)
        for file in library.ledger().skipped()
    ]
