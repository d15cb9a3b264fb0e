"""Names and instances through automatic masks, on photos whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from support.mean_color import COLORS, ByMeanColor

from search.models.encoder import unit_rows
from training.evaluation.automatic import (
    MATCHES_NONE,
    CutPhoto,
    Found,
    by_name,
    first_matches_precision,
    same_again,
)
from training.evaluation.naming import LEAST_OF_A_KIND

AXES = unit_rows(np.eye(4, dtype=np.float32))
DIRECTIONS = dict(zip(COLORS, AXES, strict=False))


def cut(name: str, *directions: str | None, right: int | None = 0) -> CutPhoto:
    """A photo of one true thing, whose masks look like these (None: like nothing)."""
    vectors = np.stack([AXES[3] if d is None else DIRECTIONS[d] for d in directions])
    matched = np.full(len(directions), MATCHES_NONE)
    ious = np.zeros(len(directions), np.float32)
    if right is not None:
        matched[right], ious[right] = 0, 0.8
    return CutPhoto(vectors, matched, ious, [name])


def test_every_true_segment_counts_once_and_those_that_are_missed_count() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    truths = np.array([0, 0, MATCHES_NONE, 1])
    # 0 at the first place, its second mask passed over, nothing, 1 at the third place
    assert first_matches_precision(scores, truths, 2) == pytest.approx((1 + 2 / 3) / 2)
    assert first_matches_precision(scores, truths, 4) == pytest.approx((1 + 2 / 3) / 4)
    assert first_matches_precision(scores, np.full(4, MATCHES_NONE), 3) == 0


def test_a_name_is_right_where_a_mask_matches_its_thing() -> None:
    photos = [cut("rose", "rose", None) for _ in range(LEAST_OF_A_KIND)]
    assert values(by_name(ByMeanColor(), photos)) == [1, 1]
    photos[-1] = cut("rose", "rose", None, right=None)  # looks like a rose, but is cut wrongly
    precision, with_misses = values(by_name(ByMeanColor(), photos))
    assert precision == 1
    assert with_misses == pytest.approx(3 / 4)
    assert by_name(ByMeanColor(), photos[:3]).precision is None


def test_the_same_thing_is_looked_for_in_other_frames_alone() -> None:
    frames = [cut("rose", "rose", None) for _ in range(3)]
    others = [cut("leaf", "leaf", None)]
    assert values(same_again(frames, others)) == pytest.approx([1, 1])
    unlike = [cut("rose", "rose"), cut("rose", "leaf")]
    found = values(same_again(unlike, [cut("rose", "rose")]))  # in another photo nothing is right
    assert found == pytest.approx([(1 / 2 + 1) / 2] * 2)
    precision, with_misses = values(same_again([*frames, cut("rose", None, right=None)], others))
    assert precision == pytest.approx(3 / 4)  # one of four asks in vain
    assert with_misses == pytest.approx(3 / 4 * 2 / 3)  # and the others miss one of three


def values(found: Found) -> list[float]:
    """Both figures."""
    return [figure.value for figure in found if figure is not None]
