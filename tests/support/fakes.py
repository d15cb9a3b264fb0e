"""Models whose answers can be told beforehand, by colour, and a real library made with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from api.library.library import Library
from api.settings import Settings
from ingest.pipeline import ingest
from ingest.segmentation.types import MaskParameters, Prompt, SegmentedMask
from ingest.stats import IngestSummary, Tally
from search.errors import ModelError
from search.masks.rle import bbox_xywh_from_array, box_iou, mask_from_array
from search.models.encoder import unit_rows
from search.records import Box, MaskArray, RgbImage, Vectors
from starter.drawing.photo_file import Capture, save_photo

WORDS = {
    "red": (230, 30, 30),
    "green": (30, 200, 30),
    "blue": (30, 30, 230),
    "yellow": (230, 220, 30),
}
GREY = (128, 128, 128)
LEVELS = 4  # of each channel that the segmenter tells apart
MIN_AREA_PX = 30


@dataclass(frozen=True)
class ColorEncoder:
    """An encoder whose vector is the mean colour; words are the colour that they name.

    The word "crash" fails as a mistake in the code would, "unloadable" as a damaged model.
    """

    name: str = "color"
    fingerprint: str = "c0105"
    dim: int = 3
    input_px: int = 8
    mean_rgb: tuple[int, int, int] = GREY

    def encode_crops(self, crops: Sequence[RgbImage] | RgbImage) -> Vectors:
        return self._vectors([np.asarray(crop).mean(axis=(0, 1)) for crop in crops])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        if any("crash" in text for text in texts):
            raise RuntimeError("a secret of the inside")
        if any("unloadable" in text for text in texts):
            raise ModelError("the model is damaged; fetch it anew")
        return self._vectors([_named_color(text) for text in texts])

    def _vectors(self, colors: Sequence[Any]) -> Vectors:
        rows = np.zeros((len(colors), self.dim), np.float32)
        if len(colors):
            rows[:, :3] = np.array(colors) / 255 + 0.05
        return unit_rows(rows)


def _named_color(text: str) -> tuple[int, int, int]:
    return next((color for word, color in WORDS.items() if word in text), GREY)


@dataclass
class ColorSegmenter:
    """A segmenter whose masks are the connected regions of about one colour."""

    fingerprint: str = "5e9"
    photos_encoded: int = 0

    def automatic(self, rgb: RgbImage, parameters: MaskParameters) -> list[SegmentedMask]:
        low, high = parameters.min_area_fraction, parameters.max_area_fraction
        cut = [_cut(region, 0.9) for region in _regions(rgb)]
        return [mask for mask in cut if low <= mask.area_fraction <= high]

    def encode(self, rgb: RgbImage) -> ColorPhoto:
        self.photos_encoded += 1
        return ColorPhoto(_regions(rgb), (rgb.shape[1], rgb.shape[0]))


@dataclass(frozen=True)
class ColorPhoto:
    """Answers a point with the region there, a box with the region whose box is most like it."""

    regions: list[MaskArray]
    size_wh: tuple[int, int]

    def masks(self, prompt: Prompt, *, candidates: int = 3) -> list[SegmentedMask]:
        prompt = prompt.checked(self.size_wh)
        found = self._region(prompt)
        if found is None:
            return []
        nested = (found, ndimage.binary_fill_holes(found), np.ones_like(found))
        cut = [_cut(mask, iou) for mask, iou in zip(nested, (0.9, 0.8, 0.7), strict=True)]
        return cut[: 3 if candidates > 1 else 1]

    def _region(self, prompt: Prompt) -> MaskArray | None:
        if prompt.box_xywh is not None:
            box = prompt.box_xywh
            return max(
                self.regions, key=lambda r: box_iou(bbox_xywh_from_array(r), box), default=None
            )
        inside = [xy for xy, label in zip(prompt.points_xy, prompt.labels, strict=True) if label]
        x, y = (int(each) for each in (inside or [(0.0, 0.0)])[0])
        return next((region for region in self.regions if region[y, x]), None)


def _regions(rgb: RgbImage) -> list[MaskArray]:
    levels = (rgb // (256 // LEVELS)).astype(np.int32)
    keys = levels @ np.array([LEVELS * LEVELS, LEVELS, 1])
    found = []
    for key in np.unique(keys):
        labels, count = ndimage.label(keys == key)
        found += [labels == number for number in range(1, count + 1)]
    return [region for region in found if region.sum() >= MIN_AREA_PX]


def _cut(mask_hw: MaskArray, predicted_iou: float) -> SegmentedMask:
    height, width = mask_hw.shape
    ys, xs = np.nonzero(mask_hw)
    return SegmentedMask(
        mask=mask_from_array(mask_hw),
        bbox_xywh=bbox_xywh_from_array(mask_hw),
        area_px=int(mask_hw.sum()),
        predicted_iou=predicted_iou,
        stability_score=0.95,
        point_xy=(float(xs[0]), float(ys[0])),
        crop_box_xywh=Box(0, 0, width, height),
    )


class Quiet:
    """Progress that nobody watches."""

    def start(self, photos: int) -> None:
        pass

    def show(self, tally: Tally) -> None:
        pass


def make_library(folder: Path, *, cutter: ColorSegmenter | None = None, **settings: Any) -> Library:
    """A new, empty library with the models above, or with another segmenter."""
    return Library(
        Settings(library=folder, **{"decode_workers": 0, **settings}),
        command="test",
        create=True,
        segmenter=cutter or ColorSegmenter(),
        encoder=ColorEncoder(),
    )


def add_photos(
    library: Library, folder: Path, photos: Mapping[str, tuple[RgbImage, Capture]]
) -> IngestSummary:
    """Write photos into a folder (their names are paths below it) and ingest it."""
    for name, (rgb, capture) in photos.items():
        save_photo(rgb, capture, folder / name)
    return ingest([folder], library.ingest_context(), Quiet())
