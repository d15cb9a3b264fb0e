"""An open library: its manifest, ledger, index and models, each opened when first used."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from api.library.checks import check_ledger_is_lost, claim_ledger
from api.library.configuration import Configuration
from api.library.encoded_photos import EncodedPhotos
from api.library.image_cache import ImageCache
from api.library.index.index_handle import IndexHandle, claim_of
from api.library.index.ownership import Ownership, current_owner
from api.library.ledgers import Ledgers
from api.library.model_registry import ModelRegistry, encoder_name
from api.library.models import devices
from api.library.write_lock import write_lock
from api.settings import Settings
from api.tracing import stage
from ingest.catalog.ledger import Ledger
from ingest.context import IngestContext
from search.errors import OwnedError, SegsearchError
from search.finder import Finder
from search.index.base import SegmentIndex
from search.index.claim import LibraryClaim
from search.index.payload import PAYLOAD_FORMAT
from search.manifest import Manifest, load_manifest
from search.masks.outlines import Outlines
from search.models.crops import recipe_fingerprint
from search.models.encoder import Encoder

if TYPE_CHECKING:  # it imports torch, and most commands need no model
    from ingest.segmentation.sam2 import Segmenter

_logger = logging.getLogger(__name__)


class Library:
    """One library, as one process sees it. Close it when done (or use it in a `with`)."""

    def __init__(
        self,
        settings: Settings,
        *,
        command: str,
        create: bool = False,
        other_segmenter: bool = False,
        differing: Collection[str] = (),
        segmenter: Segmenter | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        """Open a library folder.

        Args:
            settings: the requested ones; the manifest replaces defaults among them.
            command: named to other processes that find the library in use.
            create: create the library if it does not exist.
            other_segmenter: allow another segmenter than the library was made with.
            differing: settings that may differ from what the library was made with.
            segmenter: use this one instead of loading one.
            encoder: use this one instead of loading one.

        Raises:
            LibraryError: there is no library, or its manifest can't be read.
            MismatchError: it was made with other models or settings than requested.
        """
        may_differ = {*differing, *(("segmenter",) if other_segmenter else ())}
        self._config = Configuration(settings, create=create, differing=may_differ)
        self._keeps_vectors = bool(differing)
        self._lock = threading.RLock()
        self._models = ModelRegistry(self._config, self._lock, segmenter=segmenter, encoder=encoder)
        self._ledgers = Ledgers(self._config)
        self._index = IndexHandle(self.folder, settings, command=command, create=create)
        self._unusable_vectors: str | None = None  # active ones whose encoder can't be loaded
        self._outlines = Outlines()
        self.encoded = EncodedPhotos(self.segmenter)
        self.pictures = ImageCache(self.folder, settings.picture_cache_bytes)

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened."""
        self.close_index()
        self.pictures.close()
        self._ledgers.close()

    def close_index(self) -> None:
        """Close the index, so that other processes can open it; the next use opens it again."""
        with self._lock:
            self._index.close()

    # Configuration

    @property
    def folder(self) -> Path:
        """The library folder, absolute."""
        return self._config.folder

    @property
    def requested(self) -> Settings:
        """The settings that were given, without those of the manifest."""
        return self._config.requested

    @property
    def settings(self) -> Settings:
        """The settings in use."""
        return self._config.settings

    @property
    def manifest(self) -> Manifest | None:
        """The manifest in use; None if the library is new."""
        return self._config.manifest

    def save_manifest(self, manifest: Manifest) -> None:
        """Write the manifest and use it."""
        self._config.save(manifest)

    def checked_manifest(self) -> Manifest:
        """The manifest, with the weights of both models checked; that of a new library is written.

        Raises:
            MismatchError: the models have other weights than those that the library was made with.
        """
        with self._lock:
            encoder, segmenter = self.encoder(), self.segmenter()
            if self.manifest is not None:
                return self.manifest
            with closing(self.open_ledger()) as ledger:  # this thread may end before others
                library_id = ledger.library_id()
            settings = self.settings
            manifest = Manifest(
                library_id=library_id,
                masks=settings.masks(),
                segmenter=self._models.segmenter_name(segmenter),
                encoder=encoder_name(encoder, settings),
                crop_recipe=settings.crop_recipe,
                crop_fingerprint=recipe_fingerprint(settings.crop_recipe),
                dim=encoder.dim,
                qdrant=settings.qdrant,
                collection_prefix=settings.collection_prefix,
                models=settings.models,
            )
            self._open_index(manifest)  # before anything is written
            self._config.save(manifest)
            return manifest

    def adopt_segmenter(self) -> None:
        """Store the segmenter in use as the library's own (`ingest --resegment`)."""
        manifest = self.checked_manifest()
        segmenter = self._models.segmenter_name(self.segmenter())
        if segmenter != manifest.segmenter:
            self._config.save(manifest.model_copy(update={"segmenter": segmenter}))

    def adopt_masks(self) -> tuple[str, ...]:
        """Store the mask settings in use for photos that come later; return what changed."""
        return self._config.adopt_masks()

    def adopt_server(self) -> str:
        """Store the requested Qdrant server as the library's own; return its address.

        Raises:
            ForeignIndexError: its collections belong to another library.
            MissingIndexError: the collections don't exist.
        """
        from search.index.qdrant_connection import server_address

        self.index()
        address = server_address(self.settings.qdrant or "")
        where = {"qdrant": address, "collection_prefix": self.settings.collection_prefix}
        self._config.save(self._config.existing_manifest().model_copy(update=where))
        return address

    def note_payloads(self) -> None:
        """Store that all points have the current payload format, if the ledger says so."""
        manifest = self.manifest
        if manifest is None or manifest.payload_format == PAYLOAD_FORMAT:
            return
        if not self.ledger().count_unsynced():
            self._index.set_payload_format(PAYLOAD_FORMAT)
            self._config.save(manifest.model_copy(update={"payload_format": PAYLOAD_FORMAT}))

    # Ledger

    def ledger(self) -> Ledger:
        """This thread's connection to the ledger.

        Raises:
            LibraryError: the ledger is missing, damaged, or another library's.
        """
        return self._ledgers.current()

    def open_ledger(self) -> Ledger:
        """A new connection to the ledger, which the caller closes.

        Raises:
            LibraryError: the ledger is missing, damaged, or another library's.
        """
        return self._ledgers.open()

    @contextmanager
    def rebuilding_ledger(self) -> Iterator[Callable[[], None]]:
        """Use a new ledger instead of a lost one; the yielded function puts it in place.

        If that is not called, the next rebuild continues with it.

        Raises:
            LibraryError: the ledger is not lost, or the index can't be opened.
            OwnedError: another process has the library open, with the old ledger.
        """
        manifest = self._config.existing_manifest()
        check_ledger_is_lost(self.folder)
        with self._ledgers.rebuilding() as place:
            ledger = self.ledger()
            library_id = claim_ledger(manifest, ledger)
            manifest = manifest.model_copy(update={"library_id": library_id})
            self._config.save(manifest)
            self._index.open(manifest, self.settings, ledger, compared=False)
            self.own_index()  # refused while a server uses the old ledger
            yield place

    # Models

    def segmenter(self) -> Segmenter:
        """The segmenter, loaded once.

        Raises:
            ModelError: it can't be loaded.
            MismatchError: the library was made with another one.
        """
        return self._models.segmenter()

    def encoder(self) -> Encoder:
        """The encoder, loaded once.

        Raises:
            ModelError: it can't be loaded.
            MismatchError: the library was made with another one.
        """
        return self._models.encoder()

    # Index

    def index(self) -> SegmentIndex:
        """The index: opened here, or that of the process that serves the library.

        Raises:
            OwnedError: another process has it open and does not serve.
            StoreError: it can't be opened or reached.
        """
        with self._lock:
            if self._index.index is None:
                manifest = self.manifest or self.checked_manifest()
                if self._index.index is None:  # that of a new library is open by now
                    self._open_index(manifest)
            assert self._index.index is not None
            return self._index.index

    def _open_index(self, manifest: Manifest) -> None:
        with closing(self.open_ledger()) as ledger:
            self._index.open(manifest, self.settings, ledger)

    def own_index(self) -> tuple[SegmentIndex, Ownership | None]:
        """The index for a process that will serve it, with the ownership if it is embedded.

        Raises:
            OwnedError: another process owns the library already.
        """
        index = self.index()
        if self._index.ownership is None and not (self.manifest and self.manifest.qdrant):
            info = current_owner(self.folder)
            raise OwnedError(
                f"the library {self.folder} is served already, by process {info.pid} at "
                f"{info.address}. Use that one, or stop it first."
            )
        return index, self._index.ownership

    def check_store(self) -> None:
        """Open the index; for a new library check at least the server. Loads no model.

        Raises:
            StoreError: it can't be opened or reached, or its collections belong to another
                library.
        """
        if self.manifest is not None:
            index = self.index()
            if self.manifest.payload_format < PAYLOAD_FORMAT:
                index.create_payload_indexes()
        elif self.settings.qdrant is not None:
            from search.index.qdrant_collections import check_server

            with closing(self.open_ledger()) as ledger:
                claim = LibraryClaim(ledger.library_id(), ledger.count_known)
                check_server(self.settings, claim)

    def claim(self) -> LibraryClaim:
        """How collections on a server prove to be this library's."""
        return claim_of(self._config.existing_manifest(), self.ledger())

    # What works with all of them

    def finder(self) -> Finder:
        """A finder over the vectors that are active now."""
        with self._lock:
            self._follow_swap()
            index, loaded = self.index(), self._models.loaded_encoder
            recipe = self.settings.crop_recipe
        return Finder(index, lambda: loaded or self.encoder(), recipe, self._outlines, timer=stage)

    def _follow_swap(self) -> None:
        """Use the vectors that another command made active; the old ones if that fails."""
        manifest = self._config.swapped_manifest()
        if manifest is None or manifest.vector_name == self._unusable_vectors:
            return
        try:
            self._use_vectors(manifest, self._models.encoder_for(manifest))
        except SegsearchError as error:
            self._unusable_vectors = manifest.vector_name
            _logger.error(
                "the vectors %s can't be used, %s stay in use: %s",
                manifest.vector_name,
                self._config.existing_manifest().vector_name,
                error,
            )

    def _use_vectors(self, manifest: Manifest, encoder: Encoder | None) -> None:
        """Switch to the vectors of a manifest; without an encoder, its own is loaded later."""
        self._index.use_vectors(manifest)
        self._config.use_vectors(manifest)
        self._models.loaded_encoder = encoder

    def ingest_context(self) -> IngestContext:
        """What ingest works with, on the first device, with one more for each other device."""
        return IngestContext(
            settings=self.settings,
            open_ledger=self.open_ledger,
            index=self.index,
            segmenter=self.segmenter,
            encoder=self.encoder,
            other_devices=tuple(self._context_on(device) for device in devices(self.settings)[1:]),
        )

    def _context_on(self, device: str) -> IngestContext:
        settings = self.settings.model_copy(update={"device": device})
        segmenter, encoder = self._models.on_device(device)
        return IngestContext(settings, self.open_ledger, self.index, segmenter, encoder)

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Keep other processes from adding or removing photos.

        Raises:
            OwnedError: another process is adding or removing photos.
        """
        with write_lock(self.folder):
            with self._lock:  # the manifest may have changed until now
                if self._keeps_vectors:
                    self._config.manifest = load_manifest(self.folder)
                elif manifest := self._config.swapped_manifest():
                    self._use_vectors(manifest, None)
            yield
