"""Image embeddings of the segmenter, cached for the next prompt on the same photo."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from cachetools import LRUCache

from api.tracing import stage
from ingest.segmentation.types import Prompt, SegmentedMask
from search.records import RgbImage

if TYPE_CHECKING:
    from ingest.segmentation.sam2 import EncodedPhoto, Segmenter

CACHED_PHOTOS = 4  # SAM 2 needs 17 MB of features for one at 1,024 px; encoding takes 1 s on a CPU
GRAY: RgbImage = np.full((64, 64, 3), 128, np.uint8)


@dataclass(frozen=True)
class LockedPhoto:
    """An encoded photo whose segmenter one thread uses at a time."""

    photo: EncodedPhoto
    lock: threading.Lock

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the photo."""
        return self.photo.size_wh

    def masks(self, prompt: Prompt, *, candidates: int = 3) -> list[SegmentedMask]:
        """Up to `candidates` masks, best predicted IoU first.

        Raises:
            UsageError: the prompt is empty or lies outside the photo.
        """
        with self.lock, stage("segment"):
            return self.photo.masks(prompt, candidates=candidates)


class EncodedPhotos:
    """An LRU cache of encoded photos, shared by threads."""

    def __init__(self, segmenter: Callable[[], Segmenter], size: int = CACHED_PHOTOS) -> None:
        self._segmenter = segmenter
        self._photos: LRUCache[str, LockedPhoto] = LRUCache(size)
        self._lock = threading.Lock()

    def get(self, photo_id: str, pixels: Callable[[], RgbImage]) -> EncodedPhoto:
        """An encoded photo; `pixels` is called only if it is not cached.

        Raises:
            ModelError: the segmenter can't be loaded.
        """
        with self._lock:
            if cached := self._photos.get(photo_id):
                return cached
        rgb, segmenter = pixels(), self._segmenter()
        with self._lock:
            if cached := self._photos.get(photo_id):
                return cached
            with stage("encode_photo"):
                encoded = LockedPhoto(segmenter.encode(rgb), self._lock)
            self._photos[photo_id] = encoded
            return encoded

    def warm_up(self) -> None:
        """Load the segmenter and use it once: the first use is slower than later ones.

        Raises:
            ModelError: the segmenter can't be loaded.
        """
        segmenter = self._segmenter()
        with self._lock:
            segmenter.encode(GRAY).masks(Prompt(points_xy=((32.0, 32.0),), labels=(1,)))
