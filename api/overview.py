"""What a library holds, in one record."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

from api.library import Library
from api.models import STARTER
from api.schemas import LibraryOut, RootOut
from ingest.photos import shown_path
from ingest.tally import SkippedBefore


def library_out(library: Library) -> LibraryOut:
    """Return the library's models, engine, counts and roots; no model is loaded for it."""
    settings, ledger = library.settings, library.ledger()
    return LibraryOut(
        library=shown_path(library.folder),
        segmenter=settings.segmenter or "",
        encoder=settings.encoder or "",
        crop_recipe=settings.crop_recipe,
        starter_models=settings.encoder == STARTER,
        engine=f"Qdrant server {settings.qdrant}" if settings.qdrant else "Qdrant Edge, embedded",
        roots=tuple(
            RootOut(root_id=root.root_id, path=shown_path(root.path), present=root.path.is_dir())
            for root in ledger.roots()
        ),
        unread=_by_extension(ledger.unread()),
        **ledger.counts(),
    )


def _by_extension(names: Iterable[bytes]) -> dict[str, int]:
    """Count files by extension, most first."""
    found = Counter(PurePath(os.fsdecode(name)).suffix.lower() for name in names)
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def skipped_files(library: Library) -> list[SkippedBefore]:
    """Return every file that could not be used, why, and since when."""
    return [
        SkippedBefore(path=shown_path(file.path), reason=file.reason, noted_at=file.noted_at)
        for file in library.ledger().skipped()
    ]
