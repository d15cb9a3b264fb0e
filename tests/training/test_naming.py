"""How well an encoder knows names and instances, on pictures whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from support.mean_color import COLORS, ByMeanColor

from search.models.crops import Rgb
from training.evaluation.measures import average_precision
from training.evaluation.naming import NONSENSE, by_name, same_again
from training.evaluation.photos import NamedMask


def shown(name: str, color: Rgb) -> NamedMask:
    rgb = np.zeros((20, 20, 3), np.uint8) + np.array(color, np.uint8)
    mask = np.zeros((20, 20), bool)
    mask[4:16, 4:16] = True
    return NamedMask(rgb, mask, name)


def test_an_encoder_that_knows_every_name_finds_all_and_nonsense_less() -> None:
    masks = [shown(name, color) for name, color in COLORS.items() for _ in range(4)]
    found = by_name(ByMeanColor(), masks)
    assert found.name_map is not None
    assert found.name_map.value == 1
    assert found.by_name.keys() == COLORS.keys()
    assert found.nonsense is not None
    assert found.nonsense.value == 1


def test_kinds_of_fewer_than_four_segments_are_not_asked_for() -> None:
    masks = [shown("rose", COLORS["rose"])] * 4 + [shown("leaf", COLORS["leaf"])] * 3
    assert by_name(ByMeanColor(), masks).by_name.keys() == {"rose"}
    assert by_name(ByMeanColor(), masks[:3]).name_map is None


def test_the_same_thing_again_is_first_where_it_alone_looks_so() -> None:
    again = [shown(name, color) for name, color in COLORS.items() for _ in range(3)]
    figure = same_again(ByMeanColor(), again, [shown("other", (90, 90, 90))])
    assert figure is not None
    assert (figure.value, figure.number) == (1, 9)


def test_average_precision_is_the_mean_over_what_was_wanted() -> None:
    scores, wanted = np.array([3.0, 2.0, 1.0]), np.array([True, False, True])
    assert average_precision(scores, wanted) == pytest.approx((1 + 2 / 3) / 2)


def test_made_up_words_are_all_different() -> None:
    assert len(set(NONSENSE)) == len(NONSENSE)
