"""The index of a library as one process has it open: its own, a server's, or its owner's."""

from __future__ import annotations

from pathlib import Path

from api.library.checks import check_key, compare_index, missing_index
from api.library.index_probe import opening
from api.library.ownership import Ownership, current_owner, take_ownership
from api.library.remote_index import RemoteIndex
from ingest.catalog.ledger import Ledger
from search.errors import MissingIndexError
from search.index.base import SegmentIndex
from search.index.claim import LibraryClaim
from search.index.points import PointIndex
from search.manifest import Manifest
from search.settings import Settings

# Somebody waits for what these commands answer; the others wait for a Qdrant server that is away.
IMPATIENT_COMMANDS = frozenset(("search", "serve", "show", "segment"))


class OpenedIndex:
    """Opens the index when it is needed, and knows whether this process owns it."""

    def __init__(self, folder: Path, asked: Settings, *, command: str, create: bool) -> None:
        """Know what to open.

        Args:
            folder: of the library.
            asked: the settings that were given, without those of the manifest.
            command: what others are told if they find the library in use.
            create: create collections that are missing.
        """
        self._folder, self._asked = folder, asked
        self._command, self._create = command, create
        self.index: SegmentIndex | None = None
        self.ownership: Ownership | None = None

    def open(
        self, manifest: Manifest, settings: Settings, ledger: Ledger, *, compared: bool = True
    ) -> None:
        """Open the index, and compare it with what the ledger knows.

        Args:
            manifest: of the library.
            settings: where a server is, and how it is asked.
            ledger: of the library.
            compared: with the ledger; else it is about to be made from the index.

        Raises:
            OwnedError: another process has it open and does not serve.
            StoreError: the store can't be opened or reached, or is another library's.
            LibraryError: index and ledger don't belong together.
        """
        creates = self._creates(manifest, settings)
        claim = claim_of(manifest, ledger, trusting=not compared)
        try:
            self.index = self._open(manifest, settings, claim, create=creates)
            if compared and isinstance(self.index, PointIndex):  # else its owner has compared it
                self.index.payload_format = manifest.payload_format
                compare_index(self.index, ledger, self._folder, restoring=creates)
        except MissingIndexError as error:
            self.close()
            raise missing_index(error, ledger.count_finished()) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the index, if it is open, and let others own it."""
        if self.index is not None:
            self.index.close()
            self.index = None
        if self.ownership is not None:
            self.ownership.release()
            self.ownership = None

    def take_vectors(self, manifest: Manifest) -> None:
        """Use the manifest's active vectors from now on."""
        if self.index is not None:
            self.index = self.index.with_vectors(manifest.vector_name, manifest.dim)

    def have_payloads_of(self, payload_format: int) -> None:
        """Know that all points have payloads of this format."""
        if isinstance(self.index, PointIndex):
            self.index.payload_format = payload_format

    def _open(
        self, manifest: Manifest, settings: Settings, claim: LibraryClaim, *, create: bool
    ) -> SegmentIndex:
        vectors = manifest.vector_name, manifest.dim
        if manifest.qdrant:
            check_key(self._asked, manifest.qdrant)
            from search.index.qdrant import open_qdrant_index

            return open_qdrant_index(
                settings,
                vector_name=manifest.vector_name,
                dim=manifest.dim,
                claim=claim,
                create=create,
                patient=self._command not in IMPATIENT_COMMANDS,
            )
        self.ownership = take_ownership(self._folder, self._command)
        if self.ownership is None:
            return RemoteIndex(current_owner(self._folder), vectors)
        from search.index.edge import EdgeIndex

        with opening(self._folder, *vectors):
            return EdgeIndex.open(
                self._folder / "index",
                vector_name=manifest.vector_name,
                dim=manifest.dim,
                create=create,
            )

    def _creates(self, manifest: Manifest, settings: Settings) -> bool:
        """Say whether collections that are missing are to be created.

        Only by a command that fills them, and not at an address that is not the library's own.
        """
        return self._create and not _is_elsewhere(manifest, settings)


def claim_of(manifest: Manifest, ledger: Ledger, *, trusting: bool = False) -> LibraryClaim:
    """Return what a server's collections are asked: whether they are this library's.

    Args:
        manifest: of the library.
        ledger: of the library.
        trusting: take collections that don't say whose they are for its own.
    """
    library_id = manifest.library_id or ledger.library_id()
    return LibraryClaim(library_id, len if trusting else ledger.count_known)


def _is_elsewhere(manifest: Manifest, settings: Settings) -> bool:
    """Say whether a server was asked for that is not the one in the manifest."""
    if manifest.qdrant is None or settings.qdrant is None:
        return False
    from search.index.qdrant_connection import server_address

    prefixes = {manifest.collection_prefix, settings.collection_prefix}
    addresses = {server_address(manifest.qdrant), server_address(settings.qdrant)}
    return len(addresses) > 1 or len(prefixes) > 1
