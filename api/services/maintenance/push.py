"""Copy an embedded library to a Qdrant server."""

from __future__ import annotations

from api.library.index.ownership import served_owner
from api.library.library import Library
from ingest.maintenance.push import Pushed, Show, push
from search.errors import OwnedError, UsageError
from search.index.base import SegmentIndex
from search.index.qdrant import open_qdrant_index


def push_library(
    library: Library, show: Show, *, switch: bool = False, prune: bool = False
) -> Pushed:
    """Copy photos, segments and active vectors to the server of the settings.

    Args:
        library: an embedded library, locked for writing.
        show: wraps the photos in a progress bar.
        switch: use the server from now on, if the copy is complete.
        prune: delete photos on the server that are not in the library.

    Raises:
        UsageError: the library is on a server already.
        OwnedError: with `switch`, a process serves the library from its folder.
    """
    if library.manifest is None or library.manifest.qdrant is not None:
        raise UsageError(
            f"the vectors of {library.folder} are on a server already. Copy them with "
            "Qdrant's own snapshots."
        )
    if switch and (owner := served_owner(library.folder)):
        raise OwnedError(
            f"the library is served by process {owner.pid}, which would keep using the vectors in "
            "the folder. Push without --switch, or stop it first."
        )
    source, target = library.index(), _target(library)
    try:
        pushed = push(library.ledger(), source, target, prune=prune, show=show)
    finally:
        target.close()
    if switch and not (pushed.interrupted or pushed.differences):
        _switch(library)
    return pushed


def _target(library: Library) -> SegmentIndex:
    """The server's index with the library's active vectors."""
    made = library.manifest
    assert made is not None
    return open_qdrant_index(
        library.settings,
        vector_name=made.vector_name,
        dim=made.dim,
        claim=library.claim(),
        create=True,
        add=True,
        patient=True,
    )


def _switch(library: Library) -> None:
    """Use the server from now on; it only has the active vectors."""
    assert library.manifest is not None
    settings = library.settings
    updates = {
        "qdrant": settings.qdrant,
        "collection_prefix": settings.collection_prefix,
        "others": (),
        "before": None,
    }
    library.save_manifest(library.manifest.model_copy(update=updates))
