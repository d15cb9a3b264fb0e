"""An open library: its manifest, ledger, index and models, each made when it is first needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, cast

import filelock

from api.encoded import EncodedPhotos
from api.kept import KeptPictures
from api.models import devices, load_encoder, load_segmenter, with_preset
from api.owner import Ownership, current_owner, owned_index, take_ownership
from api.trace import Timed
from ingest.ledger import Ledger
from ingest.workshop import Workshop
from search.crops import recipe_fingerprint
from search.encoder import Encoder
from search.errors import LibraryError, MismatchError, OwnedError, SegsearchError
from search.finder import Finder
from search.index import SegmentIndex
from search.manifest import (
    Manifest,
    ModelName,
    check_same_encoder,
    check_same_segmenter,
    load_manifest,
    save_manifest,
)
from search.outlines import Outlines
from search.settings import Settings

if TYPE_CHECKING:  # it imports torch, and most commands need no model
    from ingest.segmenter import Segmenter

INGEST_LOCK = "ingest.lock"
# Somebody waits for what these commands answer; the others wait for a Qdrant server that is away.
IMPATIENT_COMMANDS = frozenset(("search", "serve", "show", "segment"))
CHANGED_BY = {
    "segmenter": "ingest --resegment",
    "encoder": "reembed",
    "crop_recipe": "reembed",
    "qdrant": "push --switch",
}
FINDING = frozenset(("nearest_segments", "ranked_segments", "nearest_photos"))
ENCODING = frozenset(("encode_crops", "encode_texts"))
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
        self.manifest = load_manifest(self.folder)
        if self.manifest is None and not create:
            raise LibraryError(
                f"there is no library at {self.folder}. Make one with `segsearch ingest PHOTOS "
                f"--library {settings.library}`, or name another with --library."
            )
        known = self.manifest.defaults() if self.manifest else {}
        if "encoder" in differing and "models" in settings.model_fields_set:
            known.pop("encoder", None)  # it is the pair's that is meant
        self.asked = settings
        self._differing = frozenset(differing)
        self.settings = with_preset(settings.with_defaults(known))
        self._command = command
        self._other_segmenter = other_segmenter
        self._lock = threading.RLock()
        self._local = threading.local()
        self._index: SegmentIndex | None = None
        self._ownership: Ownership | None = None
        self._segmenter: Segmenter | None = None
        self._encoder: Encoder | None = None
        self._given = (segmenter, encoder)
        self._not_followed: str | None = None  # vectors whose encoder can't be had here
        self._outlines = Outlines()
        self.encoded = EncodedPhotos(self.segmenter)
        self.pictures = KeptPictures(self.folder, settings.picture_cache_bytes)
        self._check_asked()

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened."""
        self.let_go_of_index()
        self.pictures.close()
        if hasattr(self._local, "ledger"):  # this thread's; SQLite closes no other's
            self._local.ledger.close()
            del self._local.ledger

    def let_go_of_index(self) -> None:
        """Close the index, so that other commands can have it; it is opened again when needed."""
        with self._lock:
            if self._index is not None:
                self._index.close()
                self._index = None
            if self._ownership is not None:
                self._ownership.release()
                self._ownership = None

    # what it is made with

    def _check_asked(self) -> None:
        """Refuse at once what names another encoder, recipe or segmenter than the manifest."""
        if self.manifest is None:
            return
        made_with = {
            "encoder": self.manifest.encoder.name,
            "crop_recipe": self.manifest.crop_recipe,
            "qdrant": self.manifest.qdrant,
            "collection_prefix": self.manifest.collection_prefix,
        }
        if not self._other_segmenter:
            made_with["segmenter"] = self.manifest.segmenter.name
        asked = with_preset(self.asked) if "models" in self.asked.model_fields_set else self.asked
        for name, made in made_with.items():
            given = getattr(asked, name)
            is_asked = name in asked.model_fields_set and name not in self._differing
            if is_asked and given not in (None, made):
                flag = name.replace("_", "-")
                hint = f" `segsearch {CHANGED_BY[name]}` changes it." if name in CHANGED_BY else ""
                raise MismatchError(
                    f"the library {self.folder} was made with {flag} {made!r}, not {given!r}. "
                    f"Leave --{flag} (and --models) out to use the library's own, or choose "
                    f"another --library.{hint}"
                )

    def checked_manifest(self) -> Manifest:
        """Return the manifest, written now if this library is new.

        Raises:
            MismatchError: the models' weights are not those that the library was made with.
        """
        with self._lock:
            encoder = self._encoder_name(self.encoder())
            segmenter = self._segmenter_name(self.segmenter())
            if self.manifest is None:
                self.manifest = Manifest(
                    segmenter=segmenter,
                    encoder=encoder,
                    crop_recipe=self.settings.crop_recipe,
                    crop_fingerprint=recipe_fingerprint(self.settings.crop_recipe),
                    dim=self.encoder().dim,
                    qdrant=self.settings.qdrant,
                    collection_prefix=self.settings.collection_prefix,
                    models=self.settings.models,
                )
                save_manifest(self.folder, self.manifest)
            return self.manifest

    def adopt_segmenter(self) -> None:
        """Make the segmenter in use the library's own (`ingest --resegment`)."""
        manifest, segmenter = self.checked_manifest(), self._segmenter_name(self.segmenter())
        if segmenter != manifest.segmenter:
            self.manifest = manifest.model_copy(update={"segmenter": segmenter})
            save_manifest(self.folder, self.manifest)

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
        """Return this thread's connection to the ledger."""
        if not hasattr(self._local, "ledger"):
            self._local.ledger = Ledger(self.folder)
        ledger: Ledger = self._local.ledger
        return ledger

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
            if self._index is None:
                self._index = self._open_index(self.manifest or self.checked_manifest())
            return self._index

    def _open_index(self, manifest: Manifest) -> SegmentIndex:
        if manifest.qdrant:
            from search.server_index import open_server_index

            return open_server_index(
                self.settings,
                vector_name=manifest.vector_name,
                dim=manifest.dim,
                patient=self._command not in IMPATIENT_COMMANDS,
            )
        self._ownership = take_ownership(self.folder, self._command)
        if self._ownership is None:
            vectors = (manifest.vector_name, manifest.dim)
            return owned_index(current_owner(self.folder), vectors)
        from search.edge_index import EdgeIndex

        try:
            return EdgeIndex.open(
                self.folder / "index", vector_name=manifest.vector_name, dim=manifest.dim
            )
        except BaseException:
            self._ownership.release()
            self._ownership = None
            raise

    def own_index(self) -> tuple[SegmentIndex, Ownership | None]:
        """Return the index for a process that will serve it, and the ownership (none of a server).

        Raises:
            OwnedError: another process owns the library already.
        """
        index = self.index()
        if self._ownership is None and not (self.manifest and self.manifest.qdrant):
            info = current_owner(self.folder)
            raise OwnedError(
                f"the library {self.folder} is served already, by process {info.pid} at "
                f"{info.address}. Use that one, or stop it first."
            )
        return index, self._ownership

    def finder(self) -> Finder:
        """Return a finder over the library, with the vectors that are the active ones now."""
        with self._lock:
            self._follow_swap()
            index = cast(SegmentIndex, Timed(self.index(), "find", FINDING))
            loaded, recipe = self._encoder, self.settings.crop_recipe
        return Finder(
            index,
            lambda: cast(Encoder, Timed(loaded or self.encoder(), "encode", ENCODING)),
            recipe,
            self._outlines,
        )

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
        if self._index is not None:
            self._index = self._index.beside(manifest.vector_name, manifest.dim)
        self.settings = _settings_with_vectors(self.settings, manifest)
        self.manifest, self._encoder = manifest, encoder

    def workshop(self) -> Workshop:
        """Return what ingest works with: one workshop for each device, beside the first."""
        return Workshop(
            settings=self.settings,
            open_ledger=lambda: Ledger(self.folder),
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

        return Workshop(settings, lambda: Ledger(self.folder), self.index, segmenter, encoder)

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Keep other commands from adding or removing photos meanwhile.

        Raises:
            OwnedError: another command is at it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
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
