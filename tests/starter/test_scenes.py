"""Drawn scenes: exact nested masks, names read from pixels, the same picture for the same seed."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starter.drawing.canvas import Style
from starter.drawing.colors import (
    COLOR_NAMES,
    MODIFIERS,
    SAMPLE_COLORS,
    draw_palette,
    name_color,
    name_pixels,
)
from starter.drawing.patterns import PATTERNS, Frame, pattern_map
from starter.drawing.shapes import SHAPES, draw_outline, stamp_outline
from starter.layouts import LAYOUTS
from starter.scenes import (
    PlacedThing,
    Scene,
    Theme,
    click_targets,
    draw_scene,
    segments,
    subtree_mask,
)
from starter.things import ASSEMBLIES, Thing, draw_style

seeds = st.integers(0, 40)
few_examples = settings(max_examples=12, deadline=None, derandomize=True)


@cache
def scene_of(seed: int) -> Scene:
    return draw_scene(seed, (128, 128))


@few_examples
@given(seed=seeds)
def test_the_same_seed_draws_the_same_scene(seed: int) -> None:
    again = draw_scene(seed, (128, 128))
    assert np.array_equal(again.image, scene_of(seed).image)
    assert np.array_equal(again.labels_hw, scene_of(seed).labels_hw)
    assert again.nodes == scene_of(seed).nodes


def test_another_seed_draws_another_scene() -> None:
    assert not np.array_equal(scene_of(1).image, scene_of(2).image)


@pytest.mark.parametrize("size_wh", [(256, 256), (640, 256), (300, 700), (1600, 1067)])
def test_a_scene_has_the_size_that_was_asked_for(size_wh: tuple[int, int]) -> None:
    scene = draw_scene(3, size_wh)
    assert scene.image.shape == (size_wh[1], size_wh[0], 3)
    assert scene.image.dtype == np.uint8
    assert scene.labels_hw.shape == (size_wh[1], size_wh[0])
    assert scene.labels_hw.dtype == np.uint16


def test_a_size_out_of_range_is_refused_with_the_range() -> None:
    with pytest.raises(ValueError, match="64 to 4096"):
        draw_scene(0, (256, 20))


@few_examples
@given(seed=seeds)
def test_every_label_is_a_node_with_pixels_of_its_own(seed: int) -> None:
    scene = scene_of(seed)
    for label in np.unique(scene.labels_hw):
        assert not scene.nodes[label].is_group


@few_examples
@given(seed=seeds)
def test_parents_come_before_children_and_contain_them(seed: int) -> None:
    scene = scene_of(seed)
    for index, node in enumerate(scene.nodes):
        if node.parent is not None:
            assert node.parent < index
            child, parent = subtree_mask(scene, index), subtree_mask(scene, node.parent)
            assert not (child & ~parent).any()


@few_examples
@given(seed=seeds)
def test_segments_are_distinct_and_as_large_as_they_say(seed: int) -> None:
    found = segments(scene_of(seed), 0.002)
    assert len({mask.tobytes() for mask, _ in found}) == len(found) > 0
    for mask, truth in found:
        assert mask.mean() == pytest.approx(truth.area_fraction)
        assert truth.area_fraction >= 0.002
        assert truth.color in truth.colors or len(truth.colors) == 1


@few_examples
@given(seed=seeds)
def test_any_two_segments_are_nested_or_apart(seed: int) -> None:
    masks = [mask for mask, _ in segments(scene_of(seed), 0.002)]
    for first in masks:
        for second in masks:
            shared = int((first & second).sum())
            assert shared in (0, int(first.sum()), int(second.sum()))


@few_examples
@given(seed=seeds)
def test_attributes_use_the_known_words_only(seed: int) -> None:
    for node in scene_of(seed).nodes:
        assert node.color in COLOR_NAMES
        assert node.modifier in MODIFIERS
        assert node.pattern in (*PATTERNS, None)
        assert node.shape in (*SHAPES, None)
        assert node.is_group == (node.pattern is None)


@few_examples
@given(seed=seeds)
def test_a_segment_is_named_after_its_most_common_color(seed: int) -> None:
    scene = scene_of(seed)
    for mask, truth in segments(scene, 0.01):
        names, _ = name_pixels(scene.image[mask])
        counts = np.bincount(names.ravel(), minlength=len(COLOR_NAMES))
        assert counts[COLOR_NAMES.index(truth.color)] == counts.max()


def test_plain_segments_mostly_have_the_name_of_their_mean_color() -> None:
    agreeing = [
        name_color(scene_of(seed).image[mask].mean(axis=0))[0] == truth.color
        for seed in range(30)
        for mask, truth in segments(scene_of(seed), 0.01)
        if truth.pattern == "plain"
    ]
    assert len(agreeing) > 40
    assert np.mean(agreeing) > 0.85


@few_examples
@given(seed=seeds, x=st.integers(0, 127), y=st.integers(0, 127))
def test_click_targets_contain_the_click_and_lie_in_each_other(seed: int, x: int, y: int) -> None:
    targets = click_targets(scene_of(seed), (x, y))
    assert 1 <= len(targets) <= 3
    for target in targets:
        assert target[y, x]
    for smaller, larger in pairwise(targets):
        assert not (smaller & ~larger).any()
        assert smaller.sum() < larger.sum()


def test_a_click_on_a_part_offers_the_part_and_the_whole() -> None:
    styles = scene_styles(4)
    scene = draw_scene(
        5,
        (256, 256),
        theme=Theme("sheet", "bare", "vivid", 0.0),
        placed=[PlacedThing(Thing("flower", styles, 1), (0.5, 0.5), 0.3)],
    )
    targets = click_targets(scene, (128, 128))
    assert len(targets) == 2
    assert np.array_equal(targets[-1], subtree_mask(scene, scene.placed_nodes[0] or 0))


def test_a_click_outside_of_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="lies outside"):
        click_targets(scene_of(0), (128, 0))


@pytest.mark.parametrize("name", SAMPLE_COLORS)
def test_the_sample_of_each_color_has_its_name(name: str) -> None:
    assert name_color(np.array(SAMPLE_COLORS[name]) * 255)[0] == name


@given(rgb=st.tuples(*[st.integers(0, 31)] * 3))
@settings(derandomize=True)
def test_naming_pixels_agrees_with_naming_one_color(rgb: tuple[int, int, int]) -> None:
    middle = np.array(rgb, dtype=np.uint8) * 8 + 4
    name, modifier = name_pixels(middle)
    assert (COLOR_NAMES[int(name)], MODIFIERS[int(modifier)]) == name_color(middle)


@pytest.mark.parametrize("pattern", PATTERNS[1:])
def test_a_pattern_shows_both_colors(pattern: str) -> None:
    share = pattern_map(np.random.default_rng(2), pattern, Frame(96, 96, (48, 48), 96))
    assert share is not None
    assert share.shape == (96, 96)
    assert share.min() >= 0
    assert share.max() <= 1
    assert share.max() - share.min() > 0.5


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 1000))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_every_shape_leaves_an_anti_aliased_stamp_inside_the_picture(shape: str, seed: int) -> None:
    outline = draw_outline(np.random.default_rng(seed), shape).placed((50, 40), (30, 30), 0.3)
    stamp = stamp_outline(outline, (100, 80))
    assert stamp is not None
    assert np.zeros((80, 100))[stamp.window].shape == stamp.alpha.shape
    assert 30 < stamp.area_px < 3000
    assert ((stamp.alpha > 0) & (stamp.alpha < 255)).any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_can_be_asked_for(layout: str) -> None:
    scene = draw_scene(1, (160, 120), theme=Theme(layout=layout))
    assert len(scene.nodes) >= 1


@pytest.mark.parametrize("kind", ASSEMBLIES)
def test_an_assembly_is_a_group_whose_parts_have_shapes(kind: str) -> None:
    thing = Thing(kind, scene_styles(4), 1)
    scene = draw_scene(
        2, theme=Theme("sheet", "bare", None, 0.0), placed=[PlacedThing(thing, (0.5, 0.5), 0.35)]
    )
    group = scene.placed_nodes[0]
    assert group is not None
    assert scene.nodes[group].is_group
    assert all(node.shape in SHAPES for node in scene.nodes if node.parent == group)


def scene_styles(count: int) -> tuple[Style, ...]:
    rng = np.random.default_rng(7)
    palette = draw_palette(rng, "vivid")
    return tuple(draw_style(rng, palette, "plain") for _ in range(count))
