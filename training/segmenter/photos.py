"""Training photos with region labels: read, cropped, clicked.

The folder has a truth.json: {"images": {path: {"kind", "source", "labels": [png, ...]}}}. Each
label map of kind "regions" is one person's division of the photo, so a pixel may mean several
regions, large or small: these are the targets of a click. Of kind "classes" there is one map of
classes, 0 for what is in none; then a pixel means a connected piece of its class, all of the
class, and everything that has any class (the person, in photos of clothing).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from starter.scenes import MAX_CLICK_TARGETS
from training.segmenter.clicks import STRIDE, ClickBatch, point_beside, point_of, roughly_boxed

LONG_SIDE_PX = 512  # photos are kept at
SMALLEST_CLICKED = 0.003  # of the crop; smaller regions are not clicked on purpose
SMALLEST_MEANT = 0.0015
SAME_IOU = 0.75  # regions of two people that are nearer than this are one target
AREA_EXPONENT = 0.35  # of a region's area: how much oftener large ones are clicked
WHOLE_SHARE = 0.45  # of samples that show the whole photo
SMALLEST_CROP = 0.5  # of each side
INMOST_SHARE = 0.5  # of clicks that are on the inmost of some places instead of any
INMOST_OF = 6
CROPS_TRIED = 5  # before the whole photo is taken, in which some region is large enough
HELD_OUT_EVERY = 12  # every twelfth photo is kept for checks

Labels = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class LabeledPhoto:
    """A photo (h, w, 3) and label maps (h, w); 0 is no region."""

    source: str
    rgb: NDArray[np.uint8]
    maps: tuple[Labels, ...]
    by_many: bool  # several people's regions, not one person's classes


def load_photos(folder: Path, *, leave_out: Sequence[str] = ()) -> list[LabeledPhoto]:
    """Read all photos whose source begins with none of `leave_out`."""
    truths = json.loads((folder / "truth.json").read_text())["images"]
    photos = (
        _load(folder, name, truths[name])
        for name in sorted(truths)
        if not truths[name]["source"].startswith(tuple(leave_out))
    )
    return [photo for photo in photos if any(_regions(labels) for labels in photo.maps)]


def _load(folder: Path, name: str, truth: dict[str, object]) -> LabeledPhoto:
    with Image.open(folder / name) as image:
        scale = min(1.0, LONG_SIDE_PX / max(image.size))
        size_wh = (round(image.width * scale), round(image.height * scale))
        rgb = np.asarray(image.convert("RGB").resize(size_wh, Image.Resampling.BOX))
    labels = truth["labels"]
    assert isinstance(labels, list)
    maps = [_read_labels(folder / str(path), size_wh) for path in labels]
    if truth["kind"] == "classes":
        maps = [_components(maps[0]), maps[0], (maps[0] > 0).astype(np.uint16)]
    maps = [labels.astype(np.min_scalar_type(int(labels.max()))) for labels in maps]
    return LabeledPhoto(str(truth["source"]), rgb, tuple(maps), truth["kind"] == "regions")


def _read_labels(path: Path, size_wh: tuple[int, int]) -> Labels:
    with Image.open(path) as image:
        labels = np.asarray(image).astype(np.uint16)
    rows = ((np.arange(size_wh[1]) + 0.5) * labels.shape[0] / size_wh[1]).astype(int)
    columns = ((np.arange(size_wh[0]) + 0.5) * labels.shape[1] / size_wh[0]).astype(int)
    small: Labels = labels[rows][:, columns]
    return small


def _components(labels: Labels) -> Labels:
    """Return connected pieces of every class, numbered anew."""
    pieces = np.zeros(labels.shape, np.int64)
    for value in np.unique(labels[labels > 0]):
        found, _ = ndimage.label(labels == value, structure=np.ones((3, 3)))
        pieces[found > 0] = found[found > 0] + pieces.max()
    return pieces.astype(np.uint16)


def photo_batch(
    rng: np.random.Generator,
    photos: Sequence[LabeledPhoto],
    clicks: int,
    size_px: int,
    *,
    changed: bool = True,
) -> ClickBatch:
    """Return one sample of each of B photos; those that show no region are drawn again.

    Args:
        rng: decides crops, clicks and colors.
        photos: B of them.
        clicks: of each photo.
        size_px: side that crops are stretched to, a multiple of 4.
        changed: crop, mirror and tint; else the whole photo as it is.
    """
    samples = []
    for photo in photos:
        tries = (
            _sample(rng, photo, clicks, size_px, changed=changed and attempt < CROPS_TRIED)
            for attempt in itertools.count()
        )
        samples.append(next(sample for sample in tries if sample is not None))
    return ClickBatch(*(np.stack(column) for column in zip(*samples, strict=True)))


def _sample(
    rng: np.random.Generator, photo: LabeledPhoto, clicks: int, size_px: int, *, changed: bool
) -> tuple[NDArray[np.generic], ...] | None:
    """Return one picture's arrays in ClickBatch's order; None where it shows no region."""
    image, maps = _crop(rng, photo, size_px, changed)
    clicked = [(number, value, area) for number, labels in enumerate(maps)
               for value, area in _regions(labels)]  # fmt: skip
    if not clicked:  # as a crop of the background
        return None
    weight = np.array([area for *_, area in clicked]) ** AREA_EXPONENT
    chosen = rng.choice(len(clicked), clicks, p=weight / weight.sum())
    cells = size_px // STRIDE
    points, inside, outside = (np.empty((clicks, 2), np.float32) for _ in range(3))
    boxes, boxed = np.empty((clicks, 4), np.float32), np.zeros(clicks, np.int64)
    targets = np.zeros((clicks, MAX_CLICK_TARGETS, cells, cells), np.uint8)
    counts = np.empty(clicks, np.int64)
    for index, which in enumerate(chosen):
        number, value, _ = clicked[which]
        y, x = _click(rng, maps[number] == value)
        meant = _meant(maps, y, x)
        shares = [_shares(mask) for mask in meant]
        counts[index] = len(meant)
        targets[index, : len(meant)] = np.round(np.stack(shares) * 255)
        boxed[index] = rng.integers(len(meant))
        points[index] = (x + 0.5, y + 0.5)
        inside[index] = point_of(rng, meant[0], points[index])
        outside[index] = point_beside(rng, meant[0], points[index])
        boxes[index] = roughly_boxed(rng, _extent(meant[boxed[index]]), size_px)
    return image, points, inside, outside, boxes, boxed, targets, counts


def _crop(
    rng: np.random.Generator, photo: LabeledPhoto, size_px: int, changed: bool
) -> tuple[NDArray[np.uint8], list[Labels]]:
    """Return a part of the photo and of its maps, stretched to a square."""
    height, width = photo.rgb.shape[:2]
    left, top, wide, high = 0, 0, width, height
    if changed and rng.random() > WHOLE_SHARE:
        wide, high = (
            round(side * rng.uniform(SMALLEST_CROP, 1.0)) for side in (width, height)
        )  # fmt: skip
        left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
    rows = top + ((np.arange(size_px) + 0.5) * high / size_px).astype(int)
    columns = left + ((np.arange(size_px) + 0.5) * wide / size_px).astype(int)
    image = np.asarray(
        Image.fromarray(photo.rgb).resize(
            (size_px, size_px),
            Image.Resampling.BILINEAR,
            box=(left, top, left + wide, top + high),
        )
    )
    maps = [labels[rows][:, columns] for labels in photo.maps]
    if not changed:
        return image, maps
    if rng.random() < 0.5:
        image, maps = image[:, ::-1], [labels[:, ::-1] for labels in maps]
    if rng.random() < 0.7:
        gain = rng.uniform(0.75, 1.2) * rng.uniform(0.94, 1.06, 3)
        image = (image * gain.astype(np.float32) + np.float32(rng.normal(0, 8))).clip(0, 255)
    return np.ascontiguousarray(image, np.uint8), maps


def _regions(labels: Labels) -> list[tuple[int, float]]:
    """Return the regions that may be clicked on and their share of the picture."""
    areas = np.bincount(labels.ravel()) / labels.size
    areas[0] = 0
    return [(int(value), float(areas[value])) for value in np.flatnonzero(areas > SMALLEST_CLICKED)]


def _click(rng: np.random.Generator, mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Return a pixel (y, x) of a mask: any, or the inmost of some."""
    flat = np.flatnonzero(mask)
    some = flat[rng.integers(len(flat), size=INMOST_OF)]
    ys, xs = np.divmod(some, mask.shape[1])
    if rng.random() < INMOST_SHARE:
        depth = ndimage.distance_transform_edt(mask[::STRIDE, ::STRIDE])
        best = int(depth[ys // STRIDE, xs // STRIDE].argmax())
        return int(ys[best]), int(xs[best])
    return int(ys[0]), int(xs[0])


def _meant(maps: Sequence[Labels], y: int, x: int) -> list[NDArray[np.bool_]]:
    """Return up to three different regions that hold a pixel, smallest first; at least one."""
    found = [labels == labels[y, x] for labels in maps if labels[y, x]]
    areas = [int(np.count_nonzero(mask)) for mask in found]
    order = np.argsort(areas, kind="stable")
    kept: list[int] = []
    for at in order:
        if areas[at] < SMALLEST_MEANT * found[at].size and at != order[-1]:
            continue
        if kept and areas[kept[-1]] > SAME_IOU * areas[at]:
            both = int(np.count_nonzero(found[at] & found[kept[-1]]))
            if both > SAME_IOU * (areas[at] + areas[kept[-1]] - both):
                continue
        kept.append(int(at))
    if len(kept) > MAX_CLICK_TARGETS:
        kept = [kept[0], kept[len(kept) // 2], kept[-1]]
    return [found[at] for at in kept]


def _shares(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the share of each cell of 4 x 4 pixels: (S / 4, S / 4).

    Four bytes of 0 or 1 are added up by one multiplication, ten times as fast as by mean().
    """
    fours = np.ascontiguousarray(mask).view(np.uint32)  # (S, S / 4)
    sums = (fours * np.uint32(0x01010101)) >> np.uint32(24)
    return np.asarray(sums.reshape(-1, STRIDE, sums.shape[1]).sum(axis=1) / STRIDE**2, np.float32)


def _extent(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the mask's box x0, y0, x1, y1."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return np.asarray(edges, np.float32)
