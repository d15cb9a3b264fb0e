"""An open library: its manifest, ledger, index and models, each made when it is first needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import filelock

from api.library.checks import (
    check_found,
    check_ledger_is_lost,
    check_no_manifest_is_lost,
    claim_ledger,
    open_ledger_of,
    place_ledger,
)
from api.library.encoded_photos import EncodedPhotos
from api.library.image_cache import ImageCache
from api.library.index_handle import OpenedIndex, claim_of
from api.library.models import devices, load_encoder, load_segmenter, with_preset
from api.library.ownership import Ownership, current_owner
from api.library.permissions import make_private_folder, write_like
from api.library.precedence import check_asked, remembered
from api.tracing import stage
from ingest.catalog.ledger import Ledger
from ingest.steps import Workshop
from search.errors import (
    LibraryError,
    OwnedError,
    SegsearchError,
)
from search.finder import Finder
from search.index.base import SegmentIndex
from search.index.claim import LibraryClaim
from search.index.payload import PAYLOAD_FORMAT
from search.manifest import (
    Manifest,
    ModelName,
    check_same_encoder,
    check_same_segmenter,
    load_manifest,
    save_manifest,
)
from search.masks.outlines import Outlines
from search.models.crops import recipe_fingerprint
from search.models.encoder import Encoder
from search.settings import Settings

if TYPE_CHECKING:  # it imports torch, and most commands need no model
    from ingest.segmentation.sam2 import Segmenter

INGEST_LOCK = "ingest.lock"
REBUILDING = "rebuilding"  # the folder of a ledger that is being made anew
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
            settings: what was asked for; what the manifest says goes before the defaults.
            command: what others are told if they find the library in use.
            create: make the library if there is none.
            other_segmenter: allow another segmenter than the library was made with.
            differing: settings that may differ from what the library was made with.
            segmenter: use this one instead of loading the one that is named.
            encoder: use this one instead of loading the one that is named.

        Raises:
            LibraryError: there is no library, or its manifest can't be read.
            MismatchError: it was made otherwise than the settings ask for.
        """
        self.folder = Path(settings.library).expanduser().absolute()
        if "library" not in settings.model_fields_set:
            check_found(self.folder)
        write_like(self.folder)
        self.manifest = load_manifest(self.folder)
        if self.manifest is None:
            check_no_manifest_is_lost(self.folder)
        if self.manifest is None and not create:
            raise LibraryError(
                f"there is no library at {self.folder}. Make one with `segsearch ingest PHOTOS "
                f"--library {settings.library}`, or name another with --library."
            )
        self._ledger_folder = self.folder  # another one while a lost ledger is made anew
        self.asked = settings
        known = remembered(settings, self.manifest, differing) if self.manifest else {}
        self._differing = frozenset(differing)
        self.settings = with_preset(settings.with_defaults(known))
        self._other_segmenter = other_segmenter
        self._lock = threading.RLock()
        self._local = threading.local()
        self._opened = OpenedIndex(self.folder, settings, command=command, create=create)
        self._segmenter: Segmenter | None = None
        self._encoder: Encoder | None = None
        self._given = (segmenter, encoder)
        self._not_followed: str | None = None  # vectors whose encoder can't be had here
        self._outlines = Outlines()
        self.encoded = EncodedPhotos(self.segmenter)
        self.pictures = ImageCache(self.folder, settings.picture_cache_bytes)
        if self.manifest is not None:
            may_differ = {*differing, *(("segmenter",) if other_segmenter else ())}
            check_asked(settings, self.manifest, self.folder, may_differ)

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened."""
        self.let_go_of_index()
        self.pictures.close()
        self._close_ledger()

    def _close_ledger(self) -> None:
        if hasattr(self._local, "ledger"):  # this thread's; SQLite closes no other's
            self._local.ledger.close()
            del self._local.ledger

    def let_go_of_index(self) -> None:
        """Close the index, so that other commands can have it; it is opened again when needed."""
        with self._lock:
            self._opened.close()

    # what it is made with

    def checked_manifest(self) -> Manifest:
        """Return the manifest, written now if this library is new.

        Raises:
            MismatchError: the models' weights are not those that the library was made with.
        """
        with self._lock:
            encoder = self._encoder_name(self.encoder())
            segmenter = self._segmenter_name(self.segmenter())
            if self.manifest is None:
                with closing(self.open_ledger()) as ledger:  # this thread may end before others
                    library_id = ledger.library_id()
                manifest = Manifest(
                    library_id=library_id,
                    masks=self.settings.masks(),
                    segmenter=segmenter,
                    encoder=encoder,
                    crop_recipe=self.settings.crop_recipe,
                    crop_fingerprint=recipe_fingerprint(self.settings.crop_recipe),
                    dim=self.encoder().dim,
                    qdrant=self.settings.qdrant,
                    collection_prefix=self.settings.collection_prefix,
                    models=self.settings.models,
                )
                self._open_index(manifest)  # before anything is written
                self._save(manifest)
                return manifest
            return self.manifest

    def _manifest(self) -> Manifest:
        """Return the manifest of a library that was made before."""
        if self.manifest is None:
            raise LibraryError(f"the library {self.folder} has no manifest yet")
        return self.manifest

    def _save(self, manifest: Manifest) -> None:
        save_manifest(self.folder, manifest)
        self.manifest = manifest

    def adopt_segmenter(self) -> None:
        """Make the segmenter in use the library's own (`ingest --resegment`)."""
        manifest, segmenter = self.checked_manifest(), self._segmenter_name(self.segmenter())
        if segmenter != manifest.segmenter:
            self._save(manifest.model_copy(update={"segmenter": segmenter}))

    def adopt_masks(self) -> tuple[str, ...]:
        """Remember how photos are segmented from now on; return what was changed, in words."""
        if self.manifest is None:
            return ()
        before, now = self.manifest.masks or {}, self.settings.masks()
        if before != now:
            self._save(self.manifest.model_copy(update={"masks": now}))
        return tuple(
            f"{name.replace('_', '-')} {now[name]} (was {before[name]})"
            for name in before
            if name in now and before[name] != now[name]
        )

    def adopt_server(self) -> str:
        """Make the server that was asked for the library's own; return its address.

        Raises:
            ForeignIndexError: its collections are another library's.
            MissingIndexError: the collections are not there.
        """
        from search.index.qdrant_connection import server_address

        self.index()
        address = server_address(self.settings.qdrant or "")
        where = {"qdrant": address, "collection_prefix": self.settings.collection_prefix}
        self._save(self._manifest().model_copy(update=where))
        return address

    @contextmanager
    def rebuilding_ledger(self) -> Iterator[Callable[[], None]]:
        """Use a new ledger beside one that is missing, empty or damaged, while the block runs.

        What is yielded puts it in place. If that is not called it stays beside, and the next time
        it is gone on with.

        Raises:
            LibraryError: the ledger knows photos, or the index can't be opened.
            OwnedError: another process has the library open, with the ledger of before.
        """
        manifest = self._manifest()
        check_ledger_is_lost(self.folder)
        self._ledger_folder = self.folder / REBUILDING
        make_private_folder(self._ledger_folder)
        try:
            ledger = self.ledger()
            self._save(manifest.model_copy(update={"library_id": claim_ledger(manifest, ledger)}))
            self._opened.open(self._manifest(), self.settings, ledger, compared=False)
            self.own_index()  # refused while a server goes on with the ledger of before
            yield self._place_ledger
        finally:
            self._close_ledger()
            self._ledger_folder = self.folder

    def _place_ledger(self) -> None:
        self._close_ledger()
        place_ledger(self._ledger_folder, self.folder)
        self._ledger_folder = self.folder

    def note_payloads(self) -> None:
        """Note that all points have today's payload, if the index was told of every photo."""
        manifest = self.manifest
        if manifest is None or manifest.payload_format == PAYLOAD_FORMAT:
            return
        if not self.ledger().count_stale():
            self._opened.have_payloads_of(PAYLOAD_FORMAT)
            self._save(manifest.model_copy(update={"payload_format": PAYLOAD_FORMAT}))

    def _encoder_name(self, encoder: Encoder) -> ModelName:
        return ModelName(name=self.settings.encoder or "", fingerprint=encoder.fingerprint)

    def _segmenter_name(self, segmenter: Segmenter) -> ModelName:
        return ModelName(
            name=self.settings.segmenter or "",
            fingerprint=segmenter.fingerprint,
            config=self.settings.segmenter_config,
        )

    # its parts

    def ledger(self) -> Ledger:
        """Return this thread's connection to the ledger.

        Raises:
            LibraryError: it is missing, damaged, or another library's.
        """
        if not hasattr(self._local, "ledger"):
            self._local.ledger = self.open_ledger()
        ledger: Ledger = self._local.ledger
        return ledger

    def open_ledger(self) -> Ledger:
        """Open the ledger once more; close it when done.

        Raises:
            LibraryError: it is missing, damaged, or another library's.
        """
        if self.manifest is None or self._ledger_folder != self.folder:
            make_private_folder(self._ledger_folder)
            return Ledger(self._ledger_folder)
        return open_ledger_of(self.manifest, self.folder, self._save)

    def segmenter(self) -> Segmenter:
        """Return the segmenter, loaded once.

        Raises:
            ModelError: it can't be had.
            MismatchError: the library was made with another one.
        """
        with self._lock:
            if self._segmenter is None:
                segmenter = self._given[0] or load_segmenter(self.settings)
                if self.manifest is not None and not self._other_segmenter:
                    check_same_segmenter(self.manifest, self._segmenter_name(segmenter))
                self._segmenter = segmenter
            return self._segmenter

    def encoder(self) -> Encoder:
        """Return the encoder, loaded once.

        Raises:
            ModelError: it can't be had.
            MismatchError: the library was made with another one.
        """
        with self._lock:
            if self._encoder is None:
                encoder = self._given[1] or load_encoder(self.settings)
                if self.manifest is not None and "encoder" not in self._differing:
                    self._check_encoder(self.manifest, encoder, self.settings)
                self._encoder = encoder
            return self._encoder

    def _check_encoder(self, manifest: Manifest, encoder: Encoder, settings: Settings) -> None:
        name = ModelName(name=settings.encoder or "", fingerprint=encoder.fingerprint)
        recipe = settings.crop_recipe
        check_same_encoder(manifest, name, recipe, recipe_fingerprint(recipe))

    def index(self) -> SegmentIndex:
        """Return the index: this process's own, or the one of the process that serves it.

        Raises:
            OwnedError: another process has it open and does not serve.
            StoreError: the store can't be opened or reached.
        """
        with self._lock:
            if self._opened.index is None:
                manifest = self.manifest or self.checked_manifest()
                if self._opened.index is None:  # a new library has opened it by now
                    self._open_index(manifest)
            assert self._opened.index is not None
            return self._opened.index

    def _open_index(self, manifest: Manifest) -> None:
        with closing(self.open_ledger()) as ledger:
            self._opened.open(manifest, self.settings, ledger)

    def check_store(self) -> None:
        """Open the index; of a new library ask at least the server. No model is loaded for it.

        Raises:
            StoreError: the store can't be opened or reached, or its collections are another
                library's.
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
        """Return what a server's collections are asked: whether they are this library's."""
        return claim_of(self._manifest(), self.ledger())

    def own_index(self) -> tuple[SegmentIndex, Ownership | None]:
        """Return the index for a process that will serve it, and the ownership (none of a server).

        Raises:
            OwnedError: another process owns the library already.
        """
        index = self.index()
        if self._opened.ownership is None and not (self.manifest and self.manifest.qdrant):
            info = current_owner(self.folder)
            raise OwnedError(
                f"the library {self.folder} is served already, by process {info.pid} at "
                f"{info.address}. Use that one, or stop it first."
            )
        return index, self._opened.ownership

    def finder(self) -> Finder:
        """Return a finder over the library, with the vectors that are the active ones now."""
        with self._lock:
            self._follow_swap()
            index, loaded, recipe = self.index(), self._encoder, self.settings.crop_recipe
        return Finder(index, lambda: loaded or self.encoder(), recipe, self._outlines, timer=stage)

    def _follow_swap(self) -> None:
        """Take the vectors that another command made the active ones meanwhile.

        Those before them go on serving while the encoder of the new ones can't be loaded.
        """
        manifest = load_manifest(self.folder)
        if not self._is_swapped(manifest) or manifest.vector_name == self._not_followed:
            return
        settings = _settings_with_vectors(self.settings, manifest)
        try:
            encoder = self._given[1] or load_encoder(settings)
            self._check_encoder(manifest, encoder, settings)
            self._take_vectors(manifest, encoder)
        except SegsearchError as error:
            self._not_followed = manifest.vector_name
            _logger.error(
                "the vectors %s can't be used, %s go on serving: %s",
                manifest.vector_name,
                self.manifest.vector_name if self.manifest else "",
                error,
            )

    def _is_swapped(self, manifest: Manifest | None) -> TypeGuard[Manifest]:
        """Say whether the manifest in the folder names other vectors than are in use here."""
        if manifest is None or self.manifest is None:
            return False
        return manifest.vector_name != self.manifest.vector_name

    def _take_vectors(self, manifest: Manifest, encoder: Encoder | None) -> None:
        """Use the manifest's vectors from now on; without an encoder, its own is loaded then."""
        self._opened.take_vectors(manifest)
        self.settings = _settings_with_vectors(self.settings, manifest)
        self.manifest, self._encoder = manifest, encoder

    def workshop(self) -> Workshop:
        """Return what ingest works with: one workshop for each device, beside the first."""
        return Workshop(
            settings=self.settings,
            open_ledger=self.open_ledger,
            index=self.index,
            segmenter=self.segmenter,
            encoder=self.encoder,
            beside=tuple(self._workshop_on(device) for device in devices(self.settings)[1:]),
        )

    def _workshop_on(self, device: str) -> Workshop:
        """Return a workshop with models of its own."""
        settings = self.settings.model_copy(update={"device": device})

        @cache
        def segmenter() -> Segmenter:
            with self._lock:  # configs are read into one place of the process
                return self._given[0] or load_segmenter(settings)

        @cache
        def encoder() -> Encoder:
            with self._lock:
                return self._given[1] or load_encoder(settings)

        return Workshop(settings, self.open_ledger, self.index, segmenter, encoder)

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Keep other commands from adding or removing photos meanwhile.

        Raises:
            OwnedError: another command is at it.
        """
        make_private_folder(self.folder)
        lock = filelock.FileLock(self.folder / INGEST_LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise OwnedError(
                f"another command is adding or removing photos in {self.folder}. Wait until it "
                "ends, then run this one again."
            ) from error
        try:
            with self._lock:
                manifest = load_manifest(self.folder)  # what it says may have changed until now
                if self._differing:
                    self.manifest = manifest
                elif self._is_swapped(manifest):
                    self._take_vectors(manifest, None)
            yield
        finally:
            lock.release()


def _settings_with_vectors(settings: Settings, manifest: Manifest) -> Settings:
    named = {"encoder": manifest.encoder.name, "crop_recipe": manifest.crop_recipe}
    return settings.model_copy(update=named)
