"""Pictures, clicks and what they may mean, as training wants them: many targets at low resolution.

Every batch is a function of the stream's seed and the batch's number alone, so a run that was
stopped goes on with the pictures it would have seen.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from starter.scenes import (
    CLICK_GROWTH,
    CLICK_MIN_FRACTION,
    MAX_CLICK_TARGETS,
    draw_scene,
    subtree_members,
)
from training.evaluation.held_out import HELD_OUT_SEEDS
from training.segmenter.leaves import draw_leaves

STRIDE = 4  # a mask decoder's logits are at a quarter of the picture's resolution
SEEDS_PER_STREAM = 100_000_000
KEPT_SCENES = 2_000
NODE_WEIGHT_EXPONENT = 0.25  # of its area: most segments of a photo are small
LANES = 16
SEEN_AGAIN = 0.5  # share of a batch that shows earlier scenes, cropped and tinted anew

Floats = NDArray[np.float32]
Labels = NDArray[np.uint16]


@dataclass(frozen=True)
class ClickBatch:
    """B pictures of S px with N clicks each, and for each click up to three nested targets."""

    images: NDArray[np.uint8]  # (B, S, S, 3)
    points: Floats  # (B, N, 2) x, y in px: clicks on the targets
    inside: Floats  # (B, N, 2) another point of the smallest target
    outside: Floats  # (B, N, 2) a point near the smallest target and not of it
    boxes: Floats  # (B, N, 4) x0, y0, x1, y1 of the boxed target
    boxed: NDArray[np.int64]  # (B, N) which target the box is drawn around
    targets: NDArray[np.uint8]  # (B, N, 3, S / 4, S / 4) share of each cell, 0 to 255
    counts: NDArray[np.int64]  # (B, N) how many of the three targets there are, smallest first


def click_batches(
    seed: int,
    start: int,
    *,
    pictures: int,
    clicks: int,
    size_px: int,
    leaves: float = 0.0,
    every: int = 1,
) -> Iterator[ClickBatch]:
    """Yield every n-th batch from number `start` on; `leaves` is the share of dead leaves.

    Raises:
        ValueError: the seed's scenes would run into those that are held out for measuring.
    """
    streams = HELD_OUT_SEEDS.start // SEEDS_PER_STREAM
    if not 0 <= seed < streams:
        raise ValueError(f"the stream's seed must be 0 to {streams - 1}, not {seed}")
    kept: OrderedDict[int, tuple[NDArray[np.uint8], Labels, Floats]] = OrderedDict()
    number = start
    while True:
        rng = np.random.default_rng((seed, number))
        samples = [
            _sample(rng, _scene(kept, scene_seed, size_px, leaves), clicks, size_px)
            for scene_seed in _scene_seeds(rng, seed, number, pictures)
        ]
        yield ClickBatch(*(np.stack(column) for column in zip(*samples, strict=True)))
        number += every


def _scene_seeds(rng: np.random.Generator, seed: int, number: int, pictures: int) -> list[int]:
    """Return new scenes' seeds, then those of scenes that earlier batches of its lane showed.

    Lanes are every sixteenth batch: a process of up to 16 that share a stream, if their number
    divides 16, has drawn all of its lanes' scenes itself.
    """
    new = pictures - round(pictures * SEEN_AGAIN)
    reach = KEPT_SCENES // (LANES * max(1, new))  # batches of a lane that one process keeps
    earlier = rng.integers(1, max(1, reach) + 1, pictures - new)
    batches = np.maximum(number - LANES * earlier, number % LANES)
    old = batches * new + rng.integers(0, max(1, new), pictures - new)
    first = number * new
    return [seed * SEEDS_PER_STREAM + int(index) for index in (*range(first, first + new), *old)]


def _scene(
    kept: OrderedDict[int, tuple[NDArray[np.uint8], Labels, Floats]],
    seed: int,
    size_px: int,
    leaves: float,
) -> tuple[NDArray[np.uint8], Labels, Floats]:
    """Return image, labels and (n, n) subtree members; drawn anew only if no longer kept."""
    if seed not in kept:
        if np.random.default_rng(seed).random() < leaves:
            drawn = draw_leaves(seed, size_px)
            kept[seed] = (drawn.image, drawn.labels, drawn.members.astype(np.float32))
        else:
            scene = draw_scene(seed, (size_px, size_px))
            members = subtree_members(scene.nodes).astype(np.float32)
            kept[seed] = (scene.image, scene.labels_hw, members)
        if len(kept) > KEPT_SCENES:
            kept.popitem(last=False)
    return kept[seed]


def _sample(
    rng: np.random.Generator,
    scene: tuple[NDArray[np.uint8], Labels, Floats],
    clicks: int,
    size_px: int,
) -> tuple[NDArray[np.generic], ...]:
    """Return one picture's arrays in ClickBatch's order."""
    image, labels, members = scene
    image, labels = _augmented(rng, image, labels)
    parents = _parents(members)
    extents = _extents(labels, members)
    cells = size_px // STRIDE
    shares = _label_shares(labels, len(members), cells)
    places = _clicks_by_node(rng, labels, clicks)
    pieces: dict[int, NDArray[np.int32]] = {}
    points, inside, outside = (np.empty((clicks, 2), np.float32) for _ in range(3))
    boxes = np.empty((clicks, 4), np.float32)
    boxed = np.zeros(clicks, np.int64)
    targets = np.zeros((clicks, MAX_CLICK_TARGETS, cells, cells), np.uint8)
    counts = np.empty(clicks, np.int64)
    for index, (y, x) in enumerate(places):
        node = int(labels[y, x])
        if node not in pieces:
            visible = members[node][labels] > 0
            pieces[node] = ndimage.label(visible, structure=np.ones((3, 3)))[0]
        piece = pieces[node] == pieces[node][y, x]
        found, around = _targets(piece, node, shares, members, parents, extents)
        counts[index] = len(found)
        targets[index, : len(found)] = np.round(np.stack(found) * 255)
        boxed[index] = rng.integers(len(found))
        points[index] = (x + 0.5, y + 0.5)
        smallest = found[0].repeat(STRIDE, 0).repeat(STRIDE, 1) > 0.5
        inside[index] = point_of(rng, smallest, points[index])
        outside[index] = point_beside(rng, smallest, points[index])
        boxes[index] = roughly_boxed(rng, around[boxed[index]], size_px)
    return image, points, inside, outside, boxes, boxed, targets, counts


def _targets(
    piece: NDArray[np.bool],
    node: int,
    shares: Floats,
    members: Floats,
    parents: list[int | None],
    extents: Floats,
) -> tuple[list[Floats], list[Floats]]:
    """Return what `scenes.click_targets` returns, as shares of low-resolution cells, and boxes."""
    cells = shares.shape[-1]
    step = piece.shape[0] // cells
    nested = [piece.reshape(cells, step, cells, step).mean(axis=(1, 3), dtype=np.float32)]
    around = [_extents(piece.astype(np.uint16), np.eye(2, dtype=np.float32))[1]]
    climbing: int | None = node
    while climbing is not None:
        # Not a matrix product: BLAS would start threads of its own in every process that draws.
        nested.append(shares[members[climbing] > 0].sum(axis=0))
        around.append(extents[climbing])
        climbing = parents[climbing]
    areas = [float(share.mean()) for share in nested]
    kept: list[int] = []
    for index, area in enumerate(areas):
        if area < min(CLICK_MIN_FRACTION, areas[-1]):
            continue
        if kept and area < CLICK_GROWTH * areas[kept[-1]]:
            kept.pop()
        kept.append(index)
    if len(kept) > MAX_CLICK_TARGETS:
        kept = [kept[0], kept[len(kept) // 2], kept[-1]]
    return [nested[index] for index in kept], [around[index] for index in kept]


def _extents(labels: Labels, members: Floats) -> Floats:
    """Return the box (nodes, 4) x0, y0, x1, y1 of what is seen of each node and those in it, px."""
    nowhere = np.asarray((np.inf, np.inf, -np.inf, -np.inf), np.float32)
    of_label = np.tile(nowhere, (len(members), 1))
    for label, place in enumerate(ndimage.find_objects(labels.astype(np.int32) + 1)):
        if place:
            rows, columns = place
            of_label[label] = (columns.start, rows.start, columns.stop, rows.stop)
    within = members[:, :, None] > 0
    low = np.where(within, of_label[None, :, :2], np.inf).min(1)
    high = np.where(within, of_label[None, :, 2:], -np.inf).max(1)
    return np.concatenate([low, high], 1).astype(np.float32)


def _label_shares(labels: Labels, nodes: int, cells: int) -> Floats:
    """Return (nodes, cells, cells): the share of each cell that each label has."""
    step = labels.shape[0] // cells
    rows, columns = np.divmod(np.arange(labels.size), labels.shape[1])
    cell = rows // step * cells + columns // step
    counts = np.bincount(labels.ravel().astype(np.int64) * cells * cells + cell,
                         minlength=nodes * cells * cells)  # fmt: skip
    shares: Floats = (counts.reshape(nodes, cells, cells) / (step * step)).astype(np.float32)
    return shares


def _parents(members: Floats) -> list[int | None]:
    """Return each node's parent: of the nodes above it, the last drawn."""
    above = members - np.eye(len(members), dtype=np.float32)
    return [int(np.flatnonzero(column)[-1]) if column.any() else None for column in above.T]


def _clicks_by_node(rng: np.random.Generator, labels: Labels, clicks: int) -> list[tuple[int, int]]:
    """Draw nodes, large ones hardly more often than small ones, then a pixel of each (y, x)."""
    order = np.argsort(labels.ravel(), kind="stable")
    areas = np.bincount(labels.ravel())
    starts = np.concatenate([[0], np.cumsum(areas)])
    weight = np.where(areas < CLICK_MIN_FRACTION * labels.size, 0.0, areas**NODE_WEIGHT_EXPONENT)
    nodes = rng.choice(len(areas), clicks, p=weight / weight.sum())
    flat = order[starts[nodes] + (rng.random(clicks) * areas[nodes]).astype(np.int64)]
    return [(int(at) // labels.shape[1], int(at) % labels.shape[1]) for at in flat]


def point_of(rng: np.random.Generator, mask: NDArray[np.bool], otherwise: Floats) -> Floats:
    """Return a random pixel's center of a mask; a given point if the mask is empty."""
    flat = np.flatnonzero(mask)
    if not len(flat):
        return otherwise
    y, x = divmod(int(flat[rng.integers(len(flat))]), mask.shape[1])
    return np.asarray((x + 0.5, y + 0.5), np.float32)


def point_beside(rng: np.random.Generator, mask: NDArray[np.bool], click: Floats) -> Floats:
    """Return a pixel that is not the mask's, most of the time not far from the click."""
    size = mask.shape[0]
    for reach in (0.12, 0.25, 0.5, 1.0):
        near = click + rng.normal(0, reach * size, (16, 2))
        near = near[((near >= 0) & (near < size)).all(axis=1)]
        off = near[~mask[near[:, 1].astype(int), near[:, 0].astype(int)]]
        if len(off):
            return np.asarray(off[0], np.float32)
    return point_of(rng, ~mask, click)


def roughly_boxed(rng: np.random.Generator, exact: Floats, size_px: int) -> Floats:
    """Return a mask's box; every second one loose or tight, as people and detectors draw them."""
    sides = np.tile(exact[2:] - exact[:2], 2)
    off = rng.normal(0, 0.05, 4).clip(-0.1, 0.1) * (rng.random() < 0.5)
    return np.asarray((exact + off * sides).clip(0, size_px), np.float32)


def _augmented(
    rng: np.random.Generator, image: NDArray[np.uint8], labels: Labels
) -> tuple[NDArray[np.uint8], Labels]:
    """Return a zoomed crop, turned, mirrored and tinted, at the same size."""
    size = labels.shape[0]
    if rng.random() < 0.5:
        sides = size * rng.uniform(0.6, 1.0) * rng.uniform(0.8, 1.25, 2)
        wide, high = sides.round().astype(int).clip(size // 2, size)
        left, top = int(rng.integers(size - wide + 1)), int(rng.integers(size - high + 1))
        rows = top + (np.arange(size) * high // size)
        columns = left + (np.arange(size) * wide // size)
        labels = labels[rows[:, None], columns]
        box = (left, top, left + int(wide), top + int(high))
        image = np.asarray(
            Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=box)
        )
    turns = int(rng.integers(4))
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    if rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    if rng.random() < 0.3:
        image = image[..., rng.permutation(3)]
    if rng.random() < 0.7:
        gain = rng.uniform(0.7, 1.25) * rng.uniform(0.92, 1.08, 3)
        tinted = image * gain.astype(np.float32) + np.float32(rng.normal(0, 10))
        image = tinted.clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)
