"""The index of a library in this process: embedded, on a server, or that of the owner process."""

from __future__ import annotations

from pathlib import Path

from api.library.checks import check_key, compare_index, missing_index
from api.library.index.index_probe import opening
from api.library.index.ownership import Ownership, current_owner, take_ownership
from api.library.index.remote_index import RemoteIndex
from api.settings import Settings
from ingest.catalog.ledger import Ledger
from search.errors import MissingIndexError
from search.index.base import SegmentIndex
from search.index.claim import LibraryClaim
from search.index.points import PointIndex
from search.manifest import Manifest

# A person waits for these commands, so they don't wait long for a Qdrant server.
IMPATIENT_COMMANDS = frozenset(("search", "serve", "show", "segment"))


class IndexHandle:
    """Opens and closes the index, and the ownership of an embedded one."""

    def __init__(self, folder: Path, requested: Settings, *, command: str, create: bool) -> None:
        """Open nothing yet.

        Args:
            folder: of the library.
            requested: the settings that were given, without those of the manifest.
            command: named to other processes that find the library in use.
            create: create missing collections.
        """
        self._folder, self._requested = folder, requested
        self._command, self._create = command, create
        self.index: SegmentIndex | None = None
        self.ownership: Ownership | None = None

    def open(
        self, manifest: Manifest, settings: Settings, ledger: Ledger, *, compared: bool = True
    ) -> None:
        """Open the index and compare it with the ledger.

        Args:
            manifest: of the library.
            settings: address and options of a server.
            ledger: of the library.
            compared: check counts against the ledger; False while it is rebuilt from the index.

        Raises:
            OwnedError: another process has it open and does not serve.
            StoreError: it can't be opened or reached, or belongs to another library.
            LibraryError: index and ledger don't match.
        """
        creates = self._creates(manifest, settings)
        claim = claim_of(manifest, ledger, trusting=not compared)
        try:
            self.index = self._open(manifest, settings, claim, create=creates)
            if compared and isinstance(self.index, PointIndex):  # not a remote one
                self.index.payload_format = manifest.payload_format
                compare_index(self.index, ledger, self._folder, restoring=creates)
        except MissingIndexError as error:
            self.close()
            raise missing_index(error, ledger.count_finished()) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the index, if it is open, and release its ownership."""
        if self.index is not None:
            self.index.close()
            self.index = None
        if self.ownership is not None:
            self.ownership.release()
            self.ownership = None

    def use_vectors(self, manifest: Manifest) -> None:
        """Switch to the active vectors of a manifest."""
        if self.index is not None:
            self.index = self.index.with_vectors(manifest.vector_name, manifest.dim)

    def set_payload_format(self, payload_format: int) -> None:
        """Note the payload format of all points."""
        if isinstance(self.index, PointIndex):
            self.index.payload_format = payload_format

    def _open(
        self, manifest: Manifest, settings: Settings, claim: LibraryClaim, *, create: bool
    ) -> SegmentIndex:
        vectors = manifest.vector_name, manifest.dim
        if manifest.qdrant:
            check_key(self._requested, manifest.qdrant)
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
        """True if missing collections may be created, which is only on the library's own server."""
        return self._create and not _is_elsewhere(manifest, settings)


def claim_of(manifest: Manifest, ledger: Ledger, *, trusting: bool = False) -> LibraryClaim:
    """How collections on a server prove to be this library's.

    Args:
        manifest: of the library.
        ledger: of the library.
        trusting: also accept collections without a library id, whatever photos they hold.
    """
    library_id = manifest.library_id or ledger.library_id()
    return LibraryClaim(library_id, len if trusting else ledger.count_known)


def _is_elsewhere(manifest: Manifest, settings: Settings) -> bool:
    """True if the requested server is not the one in the manifest."""
    if manifest.qdrant is None or settings.qdrant is None:
        return False
    from search.index.qdrant_connection import server_address

    prefixes = {manifest.collection_prefix, settings.collection_prefix}
    addresses = {server_address(manifest.qdrant), server_address(settings.qdrant)}
    return len(addresses) > 1 or len(prefixes) > 1
