"""What a library is opened with: its manifest, and the settings that follow from it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from api.library.checks import check_found, check_no_manifest_is_lost
from api.library.models import with_preset
from api.library.permissions import write_like
from api.library.precedence import check_requested, remembered
from api.settings import Settings
from search.errors import LibraryError
from search.manifest import Manifest, load_manifest, save_manifest


class Configuration:
    """The manifest of a library and the settings in use."""

    def __init__(self, requested: Settings, *, create: bool, differing: Collection[str]) -> None:
        """Read the manifest.

        Args:
            requested: settings that were given; the manifest replaces defaults among them.
            create: a missing library is not an error.
            differing: settings that may differ from the manifest.

        Raises:
            LibraryError: there is no library, or its manifest can't be read.
            MismatchError: a requested setting differs that may not.
        """
        self.folder = Path(requested.library).expanduser().absolute()
        if "library" not in requested.model_fields_set:
            check_found(self.folder)
        write_like(self.folder)
        self.requested = requested
        self.differing = frozenset(differing)
        self.manifest = load_manifest(self.folder)
        if self.manifest is None:
            check_no_manifest_is_lost(self.folder)
        if self.manifest is None and not create:
            raise LibraryError(
                f"there is no library at {self.folder}. Make one with `segsearch ingest PHOTOS "
                f"--library {requested.library}`, or name another with --library."
            )
        known = remembered(requested, self.manifest, differing) if self.manifest else {}
        self.settings = with_preset(requested.with_defaults(known))
        if self.manifest is not None:
            check_requested(requested, self.manifest, self.folder, differing)

    def existing_manifest(self) -> Manifest:
        """The manifest of a library that is not new.

        Raises:
            LibraryError: there is none yet.
        """
        if self.manifest is None:
            raise LibraryError(f"the library {self.folder} has no manifest yet")
        return self.manifest

    def save(self, manifest: Manifest) -> None:
        """Write the manifest and use it."""
        save_manifest(self.folder, manifest)
        self.manifest = manifest

    def swapped_manifest(self) -> Manifest | None:
        """The manifest in the folder, if another command made other vectors the active ones."""
        stored = load_manifest(self.folder)
        if stored is None or self.manifest is None:
            return None
        return stored if stored.vector_name != self.manifest.vector_name else None

    def settings_for(self, manifest: Manifest) -> Settings:
        """The settings in use, with the encoder and crop recipe of a manifest."""
        named = {"encoder": manifest.encoder.name, "crop_recipe": manifest.crop_recipe}
        return self.settings.model_copy(update=named)

    def use_vectors(self, manifest: Manifest) -> None:
        """Use a manifest with other active vectors."""
        self.settings, self.manifest = self.settings_for(manifest), manifest

    def adopt_masks(self) -> tuple[str, ...]:
        """Store the mask settings in use for photos that come later; return what changed."""
        if self.manifest is None:
            return ()
        before, now = self.manifest.masks or {}, self.settings.masks()
        if before != now:
            self.save(self.manifest.model_copy(update={"masks": now}))
        return tuple(
            f"{name.replace('_', '-')} {now[name]} (was {before[name]})"
            for name in before
            if name in now and before[name] != now[name]
        )
