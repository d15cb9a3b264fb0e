"""Real photos with the masks that people drew: COCO's panoptic ones, BSDS's by hand.

The folder is not part of the project. It holds coco/ and bsds/, each with images/ and a truth.json:
for COCO {"images": {name: {"panoptic": png, "segments": [{"id", "iscrowd"}]}}}, for BSDS
{"images": {name: {"humans": [{"png", "regions"}]}}}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from search.records import MaskArray, RgbImage

MIN_FRACTION = 0.01  # smaller segments are not asked for


class TruePhoto(NamedTuple):
    """A photo and its true masks, each at least 1% of it, all at one size."""

    name: str
    rgb: RgbImage
    masks: list[MaskArray]


def iter_coco(folder: Path, long_side_px: int, limit: int | None) -> Iterator[TruePhoto]:
    """Yield COCO photos with panoptic masks, by name; those of crowds are left out."""
    return islice(_iter_photos(folder, long_side_px, _coco_labels), limit)


def iter_bsds(folder: Path, long_side_px: int, limit: int | None) -> Iterator[TruePhoto]:
    """Yield BSDS photos with the masks of the person who drew the middle number of regions."""
    return islice(_iter_photos(folder, long_side_px, _bsds_labels), limit)


Labels = tuple[NDArray[np.int64], list[int]]  # (h, w), and those that are segments


def _iter_photos(
    folder: Path, long_side_px: int, read_labels: Callable[[Path, Any], Labels | None]
) -> Iterator[TruePhoto]:
    truths = json.loads((folder / "truth.json").read_text())["images"]
    for name in sorted(truths):
        labels = read_labels(folder, truths[name])
        if labels is None:
            continue
        photo = _scaled(name, folder / "images" / name, *labels, long_side_px)
        if photo.masks:
            yield photo


def _coco_labels(folder: Path, truth: Any) -> Labels | None:  # noqa: ANN401  (JSON)
    if not truth.get("panoptic"):
        return None
    with Image.open(folder / truth["panoptic"]) as png:
        red, green, blue = np.moveaxis(np.asarray(png.convert("RGB"), np.int64), 2, 0)
    ids = [segment["id"] for segment in truth["segments"] if not segment["iscrowd"]]
    return red + 256 * green + 65536 * blue, ids


def _bsds_labels(folder: Path, truth: Any) -> Labels | None:  # noqa: ANN401  (JSON)
    humans = sorted(truth["humans"], key=lambda human: human["regions"])
    with Image.open(folder / humans[len(humans) // 2]["png"]) as png:
        labels = np.asarray(png).astype(np.int64)
    return labels, [int(label) for label in np.unique(labels) if label > 0]


def _scaled(
    name: str, path: Path, labels_hw: NDArray[np.int64], ids: list[int], long_side_px: int
) -> TruePhoto:
    """Bring a photo to the long side by averaging, its labels by taking the nearest."""
    with Image.open(path) as image:
        scale = long_side_px / max(image.size)
        width, height = (round(side * scale) for side in image.size)
        resized = image.convert("RGB").resize((width, height), Image.Resampling.BOX)
    rows = ((np.arange(height) + 0.5) * labels_hw.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * labels_hw.shape[1] / width).astype(int)
    small = labels_hw[rows][:, columns]
    masks = [small == label for label in ids]
    return TruePhoto(name, np.array(resized), [m for m in masks if m.mean() >= MIN_FRACTION])


MIN_NAMED_PX = 64  # 8 x 8: less of a thing shows too little


class NamedMask(NamedTuple):
    """A photo at its own size, one true mask over it, and what that is."""

    rgb: RgbImage
    mask: MaskArray
    name: str


def iter_coco_things(folder: Path, limit: int | None = None) -> Iterator[NamedMask]:
    """Yield the things of COCO photos with panoptic masks, crowds left out, photo by photo."""
    truths = json.loads((folder / "truth.json").read_text())["images"]
    named = [name for name in sorted(truths) if truths[name].get("panoptic")]
    for name in named[:limit]:
        labels, _ = _coco_labels(folder, truths[name]) or (np.zeros((0, 0), np.int64), [])
        with Image.open(folder / "images" / name) as image:
            rgb = np.array(image.convert("RGB"))
        for segment in truths[name]["segments"]:
            mask = labels == segment["id"]
            if segment["isthing"] and not segment["iscrowd"] and mask.sum() >= MIN_NAMED_PX:
                yield NamedMask(rgb, mask, segment["category"])


def iter_davis(folder: Path, limit: int | None = None) -> Iterator[NamedMask]:
    """Yield the frames of DAVIS sequences with the mask of what moves, named by the sequence."""
    sequences = json.loads((folder / "truth.json").read_text())["sequences"]
    for name in sorted(sequences):
        for frame in sequences[name]["frames"][:limit]:
            with (
                Image.open(folder / frame["image"]) as image,
                Image.open(folder / frame["mask"]) as mask,
            ):
                inside = np.asarray(mask.convert("L")) > 127
                yield NamedMask(np.array(image.convert("RGB")), inside, name)
