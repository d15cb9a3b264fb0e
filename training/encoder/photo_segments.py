"""Segments of real photos to train on, as people labelled them.

The folder holds images/, labels/ and truth.json: {"images": {name: {"source", "kind", "labels"}}}.
A label map has 8 or 16 bits, 0 is unlabelled. Of kind "regions" each value is one region as one
person drew it; of kind "classes" a region is a connected component of a value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from search.records import MaskArray, RgbImage

MIN_FRACTION = 0.004  # of the photo: less shows too little
MIN_SIDE_PX = 12  # of the shorter side of a region's box
MAX_FRACTION = 0.8
PEOPLE = 2  # whose label maps are used, where several people labelled a photo
MAX_SEGMENTS = 12  # of a photo, drawn at random


class PhotoSegment(NamedTuple):
    """A photo of the training set and one mask over it."""

    rgb: RgbImage  # (h, w, 3)
    mask: MaskArray  # (h, w)


def iter_photo_segments(
    folder: Path, seed: int = 0, leave_out: tuple[str, ...] = ()
) -> Iterator[PhotoSegment]:
    """Yield segments of all photos, photo by photo.

    Args:
        folder: images/, labels/ and truth.json.
        seed: which segments are drawn where a photo has many.
        leave_out: photos whose source starts with any of these are left out.

    """
    rng = np.random.default_rng(seed)
    truths: dict[str, Any] = json.loads((folder / "truth.json").read_text())["images"]
    for name in sorted(truths):
        truth = truths[name]
        if leave_out and truth["source"].startswith(leave_out):
            continue
        with Image.open(folder / name) as image:
            rgb = np.array(image.convert("RGB"))
        masks = [mask for path in _chosen(truth["labels"]) for mask in _regions(folder / path)]
        for place in sorted(rng.permutation(len(masks))[:MAX_SEGMENTS]):
            yield PhotoSegment(rgb, masks[place])


def _chosen(paths: list[str]) -> list[str]:
    """Return the label maps of the first and the last person."""
    return paths if len(paths) <= PEOPLE else [paths[0], paths[-1]]


def _regions(path: Path) -> list[MaskArray]:
    """Return the regions of a label map that are neither tiny nor all of the photo.

    A value of a map of regions may lie in several pieces; each large one is taken as a region too,
    since a segmenter would cut it so.
    """
    with Image.open(path) as png:
        labels: NDArray[np.int64] = np.asarray(png).astype(np.int64)
    found = []
    for value in np.unique(labels[labels > 0]):
        pieces, count = ndimage.label(labels == value)
        found += [pieces == piece for piece in range(1, count + 1)]
    return [mask for mask in found if _is_shown(mask)]


def _is_shown(mask: MaskArray) -> bool:
    if not MIN_FRACTION <= mask.mean() <= MAX_FRACTION:
        return False
    rows, columns = mask.any(axis=1).sum(), mask.any(axis=0).sum()
    return bool(min(rows, columns) >= MIN_SIDE_PX)
