"""Photos as the segmenter sees them, kept for the next click and shared by threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from api.tracing import stage
from ingest.segmentation.types import Prompt, SegmentedMask
from search.records import RgbImage

if TYPE_CHECKING:
    from ingest.segmentation.sam2 import EncodedPhoto, Segmenter

KEPT = 4  # SAM 2 keeps 17 MB of features a photo at 1,024 px; encoding takes a second on a CPU
GREY: RgbImage = np.full((64, 64, 3), 128, np.uint8)


@dataclass(frozen=True)
class TurnTaking:
    """An encoded photo that waits for its turn: a segmenter is not for several threads at once."""

    photo: EncodedPhoto
    turn: threading.Lock

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the photo."""
        return self.photo.size_wh

    def masks(self, prompt: Prompt, *, candidates: int = 3) -> list[SegmentedMask]:
        """Return three candidate masks or one, best predicted IoU first.

        Raises:
            UsageError: the prompt is empty or lies outside the photo.
        """
        with self.turn, stage("segment"):
            return self.photo.masks(prompt, candidates=candidates)


class EncodedPhotos:
    """The photos that were asked about last, encoded."""

    def __init__(self, segmenter: Callable[[], Segmenter], kept: int = KEPT) -> None:
        self._segmenter = segmenter
        self._kept = kept
        self._photos: OrderedDict[str, TurnTaking] = OrderedDict()
        self._turn = threading.Lock()

    def get(self, photo_id: str, pixels: Callable[[], RgbImage]) -> EncodedPhoto:
        """Return an encoded photo; its pixels are asked for only if it is not kept.

        Raises:
            ModelError: the segmenter can't be had.
        """
        with self._turn:
            if photo_id in self._photos:
                self._photos.move_to_end(photo_id)
                return self._photos[photo_id]
        rgb, segmenter = pixels(), self._segmenter()
        with self._turn:
            if photo_id not in self._photos:
                with stage("encode_photo"):
                    self._photos[photo_id] = TurnTaking(segmenter.encode(rgb), self._turn)
            while len(self._photos) > self._kept:
                self._photos.popitem(last=False)
            return self._photos[photo_id]

    def run_in(self) -> None:
        """Load the segmenter and cut a grey picture: the first use costs more than the next ones.

        Raises:
            ModelError: the segmenter can't be had.
        """
        segmenter = self._segmenter()
        with self._turn:
            segmenter.encode(GREY).masks(Prompt(points_xy=((32.0, 32.0),), labels=(1,)))
