"""An open library: its manifest, ledger, index and models, each made when it is first needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import filelock

from api.encoded import EncodedPhotos
from api.index_probe import opening
from api.kept import KeptPictures
from api.library_checks import (
    check_found,
    check_key,
    compare_index,
    empty_ledger_of,
    missing_index,
    open_ledger_of,
)
from api.models import devices, load_encoder, load_segmenter, with_preset
from api.owner import Ownership, current_owner, owned_index, take_ownership
from api.permissions import make_private_folder, write_like
from api.trace import Timed
from ingest.ledger import Ledger
from ingest.workshop import Workshop
from search.crops import recipe_fingerprint
from search.encoder import Encoder
from search.errors import (
    LibraryError,
    MismatchError,
    MissingIndexError,
    OwnedError,
    SegsearchError,
)
from search.finder import Finder
from search.index import PAYLOAD_FORMAT, SegmentIndex
from search.manifest import (
    Manifest,
    ModelName,
    check_same_encoder,
    check_same_segmenter,
    load_manifest,
    save_manifest,
)
from search.outlines import Outlines
from search.ownership import LibraryClaim
from search.points import PointIndex
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
        if "library" not in settings.model_fields_set:
            check_found(self.folder)
        write_like(self.folder)
        self.manifest = load_manifest(self.folder)
        if self.manifest is None and not create:
            raise LibraryError(
                f"there is no library at {self.folder}. Make one with `segsearch ingest PHOTOS "
                f"--library {settings.library}`, or name another with --library."
            )
        self.asked = settings
        self._create = create
        known = self._remembered(differing)
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
            self._release_ownership()

    # what it is made with

    def _check_asked(self) -> None:
        """Refuse at once what names another encoder, recipe or segmenter than the manifest."""
        if self.manifest is None:
            return
        made_with: dict[str, str | None] = {
            "encoder": self.manifest.encoder.name,
            "crop_recipe": self.manifest.crop_recipe,
        }
        if self.manifest.qdrant is None:  # else the collections say whether they are the library's
            made_with["qdrant"] = None
            made_with["collection_prefix"] = self.manifest.collection_prefix
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

    def _remembered(self, differing: Collection[str]) -> dict[str, Any]:
        """Return what the library was made with, as far as nothing else was asked for."""
        if self.manifest is None:
            return {}
        known, asked = self.manifest.defaults(), self.asked.model_fields_set
        if "encoder" in differing and "models" in asked:
            known.pop("encoder", None)  # it is the pair's that is meant
        if self._asks_for_other_segmenter(self.manifest):  # whose masks need other thresholds
            known = {name: known[name] for name in known if name not in (self.manifest.masks or {})}
        if "effort" in asked:
            known.pop("points_per_side", None)
        return known

    def _asks_for_other_segmenter(self, manifest: Manifest) -> bool:
        asked = with_preset(self.asked)
        named = {"segmenter", "models"} & self.asked.model_fields_set
        return bool(named) and asked.segmenter != manifest.segmenter.name

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
                self._index = self._checked_index(manifest)  # before anything is written
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
        from search.qdrant_connection import server_address

        self.index()
        address = server_address(self.settings.qdrant or "")
        where = {"qdrant": address, "collection_prefix": self.settings.collection_prefix}
        self._save(self._manifest().model_copy(update=where))
        return address

    def replace_ledger(self) -> None:
        """Put an empty ledger of this library in the place of one that is missing or empty.

        Raises:
            LibraryError: the ledger knows photos, or the index can't be opened.
        """
        manifest = self._manifest()
        self._local.ledger = empty_ledger_of(manifest, self.folder, self._save)
        library_id = self._local.ledger.library_id()
        self._index = self._open_index(manifest, LibraryClaim(library_id, len))

    def note_payloads(self) -> None:
        """Note that all points have today's payload, if the index was told of every photo."""
        manifest = self.manifest
        if manifest is None or manifest.payload_format == PAYLOAD_FORMAT:
            return
        if not self.ledger().count_stale():
            if isinstance(self._index, PointIndex):
                self._index.payload_format = PAYLOAD_FORMAT
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
        if self.manifest is None:
            make_private_folder(self.folder)
            return Ledger(self.folder)
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
            if self._index is None:
                manifest = self.manifest or self.checked_manifest()
                self._index = self._index or self._checked_index(manifest)
            return self._index

    def _checked_index(self, manifest: Manifest) -> SegmentIndex:
        """Open the index, and compare it with what the ledger knows."""
        with closing(self.open_ledger()) as ledger:
            try:
                index = self._open_index(manifest, self._claim(manifest, ledger))
            except MissingIndexError as error:
                raise missing_index(error, ledger.count_finished()) from error
            try:
                if isinstance(index, PointIndex):  # else its owner has compared it
                    index.payload_format = manifest.payload_format
                    compare_index(index, ledger, self.folder, restoring=self._creates(manifest))
            except BaseException:
                index.close()
                self._release_ownership()
                raise
        return index

    def check_store(self) -> None:
        """Open the index; of a new library ask at least the server. No model is loaded for it.

        Raises:
            StoreError: the store can't be opened or reached, or its collections are another
                library's.
        """
        if self.manifest is not None:
            index = self.index()
            if self.manifest.payload_format < PAYLOAD_FORMAT:
                index.add_fields()
        elif self.settings.qdrant is not None:
            from search.server_collections import check_server

            with closing(self.open_ledger()) as ledger:
                claim = LibraryClaim(ledger.library_id(), ledger.count_known)
                check_server(self.settings, claim)

    def _creates(self, manifest: Manifest) -> bool:
        """Say whether collections that are missing are to be created.

        Only by a command that fills them, and not at an address that is not the library's own.
        """
        return self._create and not self._is_elsewhere(manifest)

    def _is_elsewhere(self, manifest: Manifest) -> bool:
        """Say whether a server was asked for that is not the one in the manifest."""
        if manifest.qdrant is None or self.settings.qdrant is None:
            return False
        from search.qdrant_connection import server_address

        prefixes = {manifest.collection_prefix, self.settings.collection_prefix}
        addresses = {server_address(manifest.qdrant), server_address(self.settings.qdrant)}
        return len(addresses) > 1 or len(prefixes) > 1

    def claim(self) -> LibraryClaim:
        """Return what a server's collections are asked: whether they are this library's."""
        return self._claim(self._manifest(), self.ledger())

    def _claim(self, manifest: Manifest, ledger: Ledger) -> LibraryClaim:
        return LibraryClaim(manifest.library_id or ledger.library_id(), ledger.count_known)

    def _open_index(self, manifest: Manifest, claim: LibraryClaim) -> SegmentIndex:
        if manifest.qdrant:
            check_key(self.asked, manifest.qdrant)
            from search.server_index import open_server_index

            return open_server_index(
                self.settings,
                vector_name=manifest.vector_name,
                dim=manifest.dim,
                claim=claim,
                create=self._creates(manifest),
                patient=self._command not in IMPATIENT_COMMANDS,
            )
        self._ownership = take_ownership(self.folder, self._command)
        if self._ownership is None:
            vectors = (manifest.vector_name, manifest.dim)
            return owned_index(current_owner(self.folder), vectors)
        from search.edge_index import EdgeIndex

        try:
            with opening(self.folder, manifest.vector_name, manifest.dim):
                return EdgeIndex.open(
                    self.folder / "index",
                    vector_name=manifest.vector_name,
                    dim=manifest.dim,
                    create=self._creates(manifest),
                )
        except BaseException:
            self._release_ownership()
            raise

    def _release_ownership(self) -> None:
        if self._ownership is not None:
            self._ownership.release()
            self._ownership = None

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
