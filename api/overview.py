"""What a library holds, in one record."""

from __future__ import annotations

from api.library import Library
from api.models import STARTER
from api.schemas import LibraryOut, RootOut
from ingest.photos import path_text
from ingest.tally import SkippedBefore


def library_out(library: Library) -> LibraryOut:
    """Return the library's models, engine, counts and roots; no model is loaded for it."""
    settings, ledger = library.settings, library.ledger()
    return LibraryOut(
        library=path_text(library.folder),
        segmenter=settings.segmenter or "",
        encoder=settings.encoder or "",
        crop_recipe=settings.crop_recipe,
        starter_models=settings.encoder == STARTER,
        engine=f"Qdrant server {settings.qdrant}" if settings.qdrant else "Qdrant Edge, embedded",
        roots=tuple(
            RootOut(root_id=root.root_id, path=path_text(root.path), present=root.path.is_dir())
            for root in ledger.roots()
        ),
        **ledger.counts(),
    )


def skipped_files(library: Library) -> list[SkippedBefore]:
    """Return every file that could not be used, why, and since when."""
    return [
        SkippedBefore(path=path_text(file.path), reason=file.reason, noted_at=file.noted_at)
        for file in library.ledger().skipped()
    ]
