"""The segmenter and the encoder of a library, loaded once and checked against its manifest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING

from api.library.configuration import Configuration
from api.library.models import load_encoder, load_segmenter
from api.settings import Settings
from search.manifest import Manifest, ModelName, check_same_encoder, check_same_segmenter
from search.models.crops import recipe_fingerprint
from search.models.encoder import Encoder

if TYPE_CHECKING:  # it imports torch, and most commands need no model
    from ingest.segmentation.sam2 import Segmenter


class ModelRegistry:
    """Loads models when they are first used; threads may share it."""

    def __init__(
        self,
        config: Configuration,
        lock: AbstractContextManager[object],
        *,
        segmenter: Segmenter | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        """Know what to load.

        Args:
            config: names the models, and the settings that may differ from the manifest.
            lock: reentrant; held while a model is loaded. Hydra, which reads SAM 2 configs, has
                global state.
            segmenter: use this one instead of loading one.
            encoder: use this one instead of loading one.
        """
        self._config = config
        self._given_segmenter, self._given_encoder = segmenter, encoder
        self._segmenter: Segmenter | None = None
        self.loaded_encoder: Encoder | None = None
        self._lock = lock

    def segmenter(self) -> Segmenter:
        """The segmenter, loaded once.

        Raises:
            ModelError: it can't be loaded.
            MismatchError: the library was made with another one.
        """
        with self._lock:
            if self._segmenter is None:
                segmenter = self._load_segmenter(self._config.settings)
                manifest = self._config.manifest
                if manifest is not None and "segmenter" not in self._config.differing:
                    check_same_segmenter(manifest, self.segmenter_name(segmenter))
                self._segmenter = segmenter
            return self._segmenter

    def encoder(self) -> Encoder:
        """The encoder, loaded once.

        Raises:
            ModelError: it can't be loaded.
            MismatchError: the library was made with another one.
        """
        with self._lock:
            if self.loaded_encoder is None:
                encoder = self._load_encoder(self._config.settings)
                manifest = self._config.manifest
                if manifest is not None and "encoder" not in self._config.differing:
                    _check_encoder(manifest, encoder, self._config.settings)
                self.loaded_encoder = encoder
            return self.loaded_encoder

    def encoder_for(self, manifest: Manifest) -> Encoder:
        """Load the encoder of another manifest of this library.

        Raises:
            ModelError: it can't be loaded.
            MismatchError: it has other weights than those that the manifest names.
        """
        settings = self._config.settings_for(manifest)
        encoder = self._load_encoder(settings)
        _check_encoder(manifest, encoder, settings)
        return encoder

    def on_device(self, device: str) -> tuple[Callable[[], Segmenter], Callable[[], Encoder]]:
        """Functions that return a segmenter and an encoder on another device, each loaded once."""
        settings = self._config.settings.model_copy(update={"device": device})

        @cache
        def segmenter() -> Segmenter:
            return self._load_segmenter(settings)

        @cache
        def encoder() -> Encoder:
            return self._load_encoder(settings)

        return segmenter, encoder

    def segmenter_name(self, segmenter: Segmenter) -> ModelName:
        """Name and fingerprint of a segmenter, as the manifest stores them."""
        settings = self._config.settings
        return ModelName(
            name=settings.segmenter or "",
            fingerprint=segmenter.fingerprint,
            config=settings.segmenter_config,
        )

    def _load_segmenter(self, settings: Settings) -> Segmenter:
        with self._lock:
            return self._given_segmenter or load_segmenter(settings)

    def _load_encoder(self, settings: Settings) -> Encoder:
        with self._lock:
            return self._given_encoder or load_encoder(settings)


def encoder_name(encoder: Encoder, settings: Settings) -> ModelName:
    """Name and fingerprint of an encoder, as the manifest stores them."""
    return ModelName(name=settings.encoder or "", fingerprint=encoder.fingerprint)


def _check_encoder(manifest: Manifest, encoder: Encoder, settings: Settings) -> None:
    name, recipe = encoder_name(encoder, settings), settings.crop_recipe
    check_same_encoder(manifest, name, recipe, recipe_fingerprint(recipe))
