"""Dead leaves: pictures with the statistics of photos, for the segmenter's training."""

import numpy as np
import pytest

from starter.scenes import draw_scene
from training.segmenter.clicks import click_batches
from training.segmenter.leaves import Leaves, draw_leaves

SIDE_PX = 128


def test_a_seed_gives_one_picture() -> None:
    first, again, other = (draw_leaves(seed, SIDE_PX) for seed in (5, 5, 6))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("seed", range(8))
def test_every_pixel_is_of_a_node_and_parts_are_of_their_thing(seed: int) -> None:
    leaves = draw_leaves(seed, SIDE_PX)
    nodes = len(leaves.members)
    assert leaves.image.shape == (SIDE_PX, SIDE_PX, 3)
    assert leaves.image.dtype == np.uint8
    assert leaves.labels.max() < nodes
    assert leaves.members.diagonal().all()
    assert not np.tril(leaves.members, -1).any()  # parents come before their children
    parents_of = leaves.members.sum(axis=0)
    assert parents_of.max() <= 3  # a mark on a part of a thing


def test_marks_lie_within_what_they_are_on() -> None:
    """Nearly all: what came to lie on top later may hide a body more than its marks."""
    inside = []
    for seed in range(12):
        leaves = draw_leaves(seed, SIDE_PX)
        inner = leaves.members & ~np.eye(len(leaves.members), dtype=bool)
        for body in np.flatnonzero(inner.any(axis=1)):
            own = leaves.labels == body
            if not own.any():
                continue  # a group of parts
            whole = leaves.members[body][leaves.labels]
            rows, columns = np.nonzero(own)
            marks = np.argwhere(whole & ~own)
            inside += [
                rows.min() <= row <= rows.max() and columns.min() <= column <= columns.max()
                for row, column in marks
            ]
    assert len(inside) > 1000
    assert np.mean(inside) > 0.9


def test_its_surfaces_are_rougher_than_those_of_scenes() -> None:
    """What scenes lack and photos have: change from pixel to pixel within a thing."""

    def roughness(image: np.ndarray, labels: np.ndarray) -> float:
        change = np.abs(np.diff(image.astype(float).mean(axis=2), axis=1))
        return float(np.median(change[labels[:, 1:] == labels[:, :-1]]))

    leaves = [draw_leaves(seed, SIDE_PX) for seed in range(20)]
    scenes = [draw_scene(seed, (SIDE_PX, SIDE_PX)) for seed in range(20)]
    of_leaves = np.median([roughness(leaf.image, leaf.labels) for leaf in leaves])
    of_scenes = np.median([roughness(scene.image, scene.labels_hw) for scene in scenes])
    assert of_leaves > 1.5 * of_scenes


def test_batches_mix_leaves_with_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def watched(seed: int, side_px: int) -> Leaves:
        drawn.append(seed)
        return draw_leaves(seed, side_px)

    monkeypatch.setattr("training.segmenter.clicks.draw_leaves", watched)
    for share, counts in ((0.0, {0}), (0.5, set(range(3, 18))), (1.0, {20})):
        drawn.clear()
        batch = next(click_batches(4, 1, pictures=40, clicks=2, size_px=64, leaves=share))
        assert (batch.counts >= 1).all()
        assert len([seed for seed in set(drawn) if seed >= 400_000_020]) in counts
