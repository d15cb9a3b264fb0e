"""Our segmenter against sam2's own generator and predictor, mask by mask, on the same weights."""

from __future__ import annotations

import copy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from support.real_data import real_data
from support.sam_reference import (
    differences,
    reference_masks,
    reference_predictor,
    reference_without_small_regions,
)

from ingest.imaging.decode import decode_photo
from ingest.segmentation.mask_decoder import PointDecoder
from ingest.segmentation.mask_generator import _grid_passes
from ingest.segmentation.sam2 import Sam2Segmenter, load_segmenter
from ingest.segmentation.types import MaskParameters, Prompt
from search.errors import ModelError, UsageError
from search.masks.rle import array_from_mask, box_iou, iou, mask_from_array
from search.records import Box
from search.threads import using_workers
from starter import weights_dir
from starter.scenes import click_targets, draw_scene

GRID = MaskParameters(
    points_per_side=9, points_per_batch=24, pred_iou_thresh=0.4, stability_score_thresh=0.5
)


@pytest.fixture(scope="module")
def segmenter() -> Sam2Segmenter:
    return load_segmenter(
        str(weights_dir() / "segmenter.pt"), config=weights_dir() / "segmenter.yaml"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_m2m": True},
        {"multimask_output": False},
        {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2},
        {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "points_per_side": 5},
        {"stability_score_offset": 0.3, "mask_threshold": 0.2, "box_nms_thresh": 0.4},
    ],
    ids=lambda changes: "-".join(changes) or "defaults",
)
def test_automatic_masks_are_those_of_sam2(
    segmenter: Sam2Segmenter, changes: dict[str, float]
) -> None:
    parameters = replace(GRID, **changes)  # type: ignore[arg-type]
    rgb = draw_scene(3, (317, 211)).image
    ours = segmenter.automatic(rgb, parameters)
    assert len(ours) >= 2
    reference = reference_masks(segmenter.model, rgb, parameters)
    assert differences([mask for mask in reference if mask["area"]], ours) == []


@pytest.mark.parametrize("size_wh", [(50, 1), (3, 700), (2, 2), (256, 256), (1201, 97)])
def test_automatic_masks_are_those_of_sam2_at_odd_sizes(
    segmenter: Sam2Segmenter, size_wh: tuple[int, int]
) -> None:
    rgb = _noise(size_wh)
    ours = segmenter.automatic(rgb, GRID)
    assert differences(reference_masks(segmenter.model, rgb, GRID), ours) == []


def test_automatic_masks_are_those_of_sam2_on_real_photos(segmenter: Sam2Segmenter) -> None:
    photos = sorted(real_data("coco", "images").iterdir())[:2]
    for photo in photos:
        rgb = decode_photo(photo, max_pixels=10**8, max_bytes=10**8).rgb
        ours = segmenter.automatic(rgb, GRID)
        assert ours
        assert differences(reference_masks(segmenter.model, rgb, GRID), ours) == [], photo.name


@pytest.mark.parametrize("min_area_px", [20, 400])
def test_small_regions_are_removed_as_by_sam2(segmenter: Sam2Segmenter, min_area_px: int) -> None:
    parameters = replace(GRID, min_mask_region_area=min_area_px)
    rgb = draw_scene(8, (300, 260)).image
    ours = segmenter.automatic(rgb, parameters)
    untouched = {mask.mask.counts for mask in segmenter.automatic(rgb, GRID)}
    assert any(mask.mask.counts not in untouched for mask in ours), "nothing was mended"
    reference = reference_without_small_regions(segmenter.model, rgb, parameters)
    assert [(m.mask.counts, list(m.bbox_xywh.xyxy)) for m in ours] == reference


def test_a_point_batch_of_another_size_changes_no_mask(segmenter: Sam2Segmenter) -> None:
    rgb = draw_scene(5, (320, 240)).image
    one, other = (
        segmenter.automatic(rgb, replace(GRID, points_per_batch=batch)) for batch in (48, 7)
    )
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert iou(array_from_mask(a.mask), array_from_mask(b.mask)) > 0.999


@pytest.mark.parametrize("changes", [{}, {"use_m2m": True}, {"adaptive_points": True}])
def test_threads_that_share_the_points_change_no_mask(
    segmenter: Sam2Segmenter, changes: dict[str, bool]
) -> None:
    parameters = replace(GRID, points_per_batch=5, **changes)
    rgb = draw_scene(5, (320, 240)).image
    with (
        ThreadPoolExecutor(1, "", torch.set_num_threads, (1,)) as one,
        ThreadPoolExecutor(3, "", torch.set_num_threads, (1,)) as three,
    ):
        with using_workers(one):
            alone = segmenter.automatic(rgb, parameters)
        with using_workers(three):
            assert segmenter.automatic(rgb, parameters) == alone != []


def test_threads_that_others_start_keep_all_of_torchs_threads() -> None:
    script = (
        "import threading, torch\n"
        "from search.threads import workers\n"
        "torch.set_num_threads(3)\n"
        "seen = [workers().submit(torch.get_num_threads).result()]\n"
        "other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))\n"
        "other.start(); other.join()\n"
        "print([*seen, torch.get_num_threads()])"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split("\n")[0] == "[1, 3, 3]"


def test_adaptive_points_skip_points_in_found_masks_only(
    segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb = draw_scene(5, (320, 240)).image
    whole = segmenter.automatic(rgb, GRID)
    prompts: list[int] = []
    candidates = PointDecoder.candidates

    def counted(self: PointDecoder, photo: Any, embedded: Any, **options: Any) -> Any:
        prompts.append(len(embedded))
        return candidates(self, photo, embedded, **options)

    monkeypatch.setattr(PointDecoder, "candidates", counted)
    some = segmenter.automatic(rgb, replace(GRID, adaptive_points=True))
    assert 4 <= sum(prompts) < 81
    # What a point decodes to doesn't depend on the others: a mask is one of the whole grid's or
    # took its place because the better one's point was left out.
    known = {mask.mask.counts for mask in whole}
    assert sum(mask.mask.counts in known for mask in some) >= len(some) / 2
    # If no mask may cover a point, every point is a prompt, and the masks are the whole grid's.
    prompts.clear()
    uncovered = Sam2Segmenter(segmenter.model, segmenter.fingerprint, covering_fraction=0.0)
    every = uncovered.automatic(rgb, replace(GRID, adaptive_points=True))
    assert sum(prompts) == 81
    assert {m.mask.counts for m in every} == known


@pytest.mark.parametrize("side", [1, 2, 3, 5, 16, 33])
def test_the_passes_of_adaptive_points_are_the_grid(side: int) -> None:
    passes = _grid_passes(side**2)
    assert sorted(np.concatenate(passes)) == list(range(side**2))
    assert len(passes[0]) <= max(1, (side + 2) // 4) ** 2


def test_a_photo_without_masks_gives_none_even_with_crop_layers(segmenter: Sam2Segmenter) -> None:
    parameters = replace(GRID, pred_iou_thresh=0.9999, crop_n_layers=1, min_mask_region_area=9)
    assert segmenter.automatic(np.full((64, 80, 3), 120, np.uint8), parameters) == []


def test_crop_layers_with_empty_crops_are_dropped(segmenter: Sam2Segmenter) -> None:
    rgb = _noise((50, 1))
    with_layers = segmenter.automatic(rgb, replace(GRID, crop_n_layers=2))
    assert with_layers == segmenter.automatic(rgb, GRID)


def test_limits_by_area_drop_what_is_outside_them(segmenter: Sam2Segmenter) -> None:
    rgb = draw_scene(5, (320, 240)).image
    limits = replace(GRID, min_area_fraction=0.01, max_area_fraction=0.2)
    kept = [m for m in segmenter.automatic(rgb, GRID) if 0.01 <= m.area_fraction <= 0.2]
    assert kept
    assert segmenter.automatic(rgb, limits) == kept


@pytest.mark.parametrize("candidates", [1, 3])
@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(points_xy=((120, 90),), labels=(1,)),
        Prompt(points_xy=((120, 90), (30, 40), (200, 150)), labels=(1, 0, 1)),
        Prompt(box_xywh=Box(60, 50, 120, 90)),
        Prompt(points_xy=((100, 100),), labels=(1,), box_xywh=Box(60, 50, 120, 90)),
    ],
    ids=["point", "points", "box", "point-and-box"],
)
def test_prompted_masks_are_those_of_sam2s_predictor(
    segmenter: Sam2Segmenter, prompt: Prompt, candidates: int
) -> None:
    rgb = draw_scene(11, (320, 240)).image
    predictor = reference_predictor(segmenter.model)
    predictor.set_image(rgb.copy())
    masks, scores, _ = predictor.predict(
        point_coords=np.array(prompt.points_xy) if prompt.points_xy else None,
        point_labels=np.array(prompt.labels) if prompt.points_xy else None,
        box=np.array(prompt.box_xywh.xyxy) if prompt.box_xywh else None,
        multimask_output=candidates > 1,
    )
    ours = segmenter.encode(rgb).masks(prompt, candidates=candidates)
    best_first = np.argsort(-scores, kind="stable")
    assert [m.predicted_iou for m in ours] == pytest.approx(scores[best_first], abs=1e-5)
    for mine, i in zip(ours, best_first, strict=True):
        np.testing.assert_array_equal(array_from_mask(mine.mask), masks[i] > 0)
        assert mine.area_px == int(masks[i].sum())


def test_a_mask_is_refined_as_sam2_refines_its_own_logits(segmenter: Sam2Segmenter) -> None:
    rgb = draw_scene(11, (320, 240)).image
    photo = segmenter.encode(rgb)
    click = Prompt(points_xy=((120, 90),), labels=(1,))
    first = photo.masks(click)[0]
    refined = photo.masks(click.model_copy(update={"mask": first.mask}), candidates=1)
    assert len(refined) == 1
    unrefined = photo.masks(click, candidates=1)
    assert refined[0].mask != unrefined[0].mask, "the mask made no difference"


def test_a_mask_with_a_point_is_answered_as_sam2s_predictor_does(
    segmenter: Sam2Segmenter,
) -> None:
    rgb = draw_scene(11, (320, 240)).image
    photo = segmenter.encode(rgb)
    click = Prompt(points_xy=((120, 90),), labels=(1,))
    given = photo.masks(click)[0].mask
    predictor = reference_predictor(segmenter.model)
    predictor.set_image(rgb.copy())
    masks, scores, _ = predictor.predict(
        point_coords=np.array(click.points_xy),
        point_labels=np.array(click.labels),
        mask_input=photo._logits_from_mask(given),
    )
    ours = photo.masks(click.model_copy(update={"mask": given}))
    assert [m.predicted_iou for m in ours] == pytest.approx(sorted(scores)[::-1], abs=1e-5)
    for mine, i in zip(ours, np.argsort(-scores, kind="stable"), strict=True):
        np.testing.assert_array_equal(array_from_mask(mine.mask), masks[i] > 0)


def test_a_mask_alone_is_refined(segmenter: Sam2Segmenter) -> None:
    """A mask that is too large, too small or beside its thing comes nearer to it."""
    gains = []
    for seed in range(8):
        scene = draw_scene(seed, (320, 240))
        true_hw = scene.labels_hw == _largest_thing(scene.labels_hw)
        photo = segmenter.encode(scene.image)
        reach = max(2, round(float(np.sqrt(true_hw.sum())) * 0.12))
        for given_hw in (
            ndimage.binary_dilation(true_hw, iterations=reach),
            ndimage.binary_erosion(true_hw, iterations=reach),
            np.roll(true_hw, (reach, reach), (0, 1)),
        ):
            if given_hw.any():
                (best,) = photo.masks(Prompt(mask=mask_from_array(given_hw)), candidates=1)
                before = iou(given_hw, true_hw)
                gains.append(iou(array_from_mask(best.mask), true_hw) - before)
    assert np.mean(np.array(gains) > 0) > 0.7, gains
    assert np.mean(gains) > 0.1, gains


def test_a_mask_alone_may_be_smaller_than_the_photo(segmenter: Sam2Segmenter) -> None:
    rgb = draw_scene(11, (320, 240)).image
    photo = segmenter.encode(rgb)
    given_hw = array_from_mask(photo.masks(Prompt(points_xy=((120, 90),), labels=(1,)))[0].mask)
    small, full = mask_from_array(given_hw[::2, ::2]), mask_from_array(given_hw)
    refined = [array_from_mask(photo.masks(Prompt(mask=m))[0].mask) for m in (small, full)]
    assert iou(*refined) > 0.9


def test_masks_without_pixels_are_left_out(
    segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = segmenter.encode(draw_scene(11, (320, 240)).image)
    logits = np.full((3, 240, 320), -1, np.float32)
    logits[1, 5, 7] = 1
    answer = (logits, np.array([0.9, 0.5, 0.1]), None)
    monkeypatch.setattr(photo._predictor, "predict", lambda **_: answer)
    (only,) = photo.masks(Prompt(points_xy=((120, 90),), labels=(1,)))
    assert (only.area_px, only.predicted_iou) == (1, 0.5)


def test_a_box_is_clipped_to_the_photo(
    segmenter: Sam2Segmenter,
) -> None:
    photo = segmenter.encode(draw_scene(11, (320, 240)).image)
    within = photo.masks(Prompt(box_xywh=Box(0, 50, 120, 190)))
    assert photo.masks(Prompt(box_xywh=Box(-40, 50, 160, 999))) == within
    everything = photo.masks(Prompt(box_xywh=Box(0, 0, 320, 240)))
    assert photo.masks(Prompt(box_xywh=Box(0, 0, 1e308, 1e308))) == everything


def test_one_encoding_answers_many_prompts_and_others_in_between(
    segmenter: Sam2Segmenter,
) -> None:
    click = Prompt(points_xy=((60, 60),), labels=(1,))
    first, second = draw_scene(1, (200, 150)).image, draw_scene(2, (150, 200)).image
    one, two = segmenter.encode(first), segmenter.encode(second)
    before = one.masks(click)
    two.masks(click)
    segmenter.automatic(second, replace(GRID, points_per_side=2))
    assert one.masks(click) == before
    assert before == segmenter.encode(first).masks(click)


def test_a_click_selects_the_clicked_segment(segmenter: Sam2Segmenter) -> None:
    best = []
    for seed in range(12):
        scene = draw_scene(seed, (320, 240))
        ys, xs = np.nonzero(scene.labels_hw == _largest_thing(scene.labels_hw))
        x, y = int(np.median(xs)), int(np.median(ys))
        photo = segmenter.encode(scene.image)
        cut = photo.masks(Prompt(points_xy=((x, y),), labels=(1,)))
        targets = click_targets(scene, (x, y))
        best.append(max(iou(array_from_mask(m.mask), t) for m in cut for t in targets))
    assert float(np.mean(best)) > 0.35  # the bundled model: .49 on its own scenes, chance .1


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        (Prompt(), "at least one point"),
        (Prompt(points_xy=((1, 1),), labels=()), "needs a label"),
        (Prompt(points_xy=((1, 1),), labels=(2,)), "needs a label"),
        (Prompt(points_xy=((999, 1),), labels=(1,)), "outside the photo of 64 x 48"),
        (Prompt(box_xywh=Box(70, 0, 9, 9)), "covers nothing"),
        (Prompt(box_xywh=Box(5, 5, 0, 9)), "covers nothing"),
        (Prompt(mask=mask_from_array(np.ones((64, 48), np.bool_))), "does not fit"),
        (Prompt(mask=mask_from_array(np.zeros((48, 64), np.bool_))), "mask is empty"),
        (Prompt(points_xy=((9, 9), (5, 5)), labels=(0, 0)), "points outside alone"),
        (Prompt(box_xywh=Box(-9, -9, 9, 9)), "covers nothing"),
    ],
)
def test_an_invalid_prompt_is_a_usage_error(
    segmenter: Sam2Segmenter, prompt: Prompt, told: str
) -> None:
    photo = segmenter.encode(_noise((64, 48)))
    with pytest.raises(UsageError, match=told):
        photo.masks(prompt)


def test_boxes_fit_their_masks(segmenter: Sam2Segmenter) -> None:
    for cut in segmenter.automatic(draw_scene(6, (300, 200)).image, GRID):
        ys, xs = np.nonzero(array_from_mask(cut.mask))
        tight = Box(xs.min(), ys.min(), xs.max() - xs.min(), ys.max() - ys.min())
        assert cut.bbox_xywh == tight
        assert box_iou(cut.bbox_xywh, tight) in (0.0, 1.0)  # 0: a line has no area


def _noise(size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    width, height = size_wh
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _largest_thing(labels_hw: NDArray[np.uint16]) -> int:
    """Return the largest label that does not touch the picture's edge, else the largest."""
    edge = set(np.concatenate([labels_hw[0], labels_hw[-1], labels_hw[:, 0], labels_hw[:, -1]]))
    labels, counts = np.unique(labels_hw, return_counts=True)
    order = labels[np.argsort(-counts)]
    return int(next((label for label in order if label not in edge), order[0]))


def test_float16_finds_the_exact_masks(segmenter: Sam2Segmenter) -> None:
    rgb = draw_scene(3, (317, 211)).image
    half = Sam2Segmenter(segmenter.model, "half", dtype=torch.float16)
    arrays = [array_from_mask(found.mask) for found in half.automatic(rgb, GRID)]
    exact = segmenter.automatic(rgb, GRID)
    best = [max(iou(array_from_mask(mask.mask), other) for other in arrays) for mask in exact]
    assert sum(value >= 0.95 for value in best) >= 0.95 * len(exact)


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("conv_s0", 1e6),  # features
        ("transformer.layers.0.norm4", 1e6),  # image tokens, and so predicted IoU
        ("output_hypernetworks_mlps.2.layers.2", 1e7),  # logits
    ],
)
def test_float16_overflow_switches_to_bfloat16(
    segmenter: Sam2Segmenter, caplog: pytest.LogCaptureFixture, name: str, factor: float
) -> None:
    rgb = draw_scene(3, (120, 90)).image
    everything = replace(GRID, pred_iou_thresh=0.0, stability_score_thresh=0.0, points_per_side=3)
    model = copy.deepcopy(segmenter.model)
    with torch.no_grad():
        for parameter in model.sam_mask_decoder.get_submodule(name).parameters():
            parameter *= factor
    half = Sam2Segmenter(model, "half", dtype=torch.float16)
    expected = Sam2Segmenter(model, "bfloat16", dtype=torch.bfloat16).automatic(rgb, everything)
    assert half.automatic(rgb, everything) == expected != []
    assert "exceed the range of float16" in caplog.text
    assert half._sam.decoder.dtype == torch.bfloat16  # from now on


def test_encoding_for_prompts_switches_to_bfloat16_when_float16_overflows(
    segmenter: Sam2Segmenter, caplog: pytest.LogCaptureFixture
) -> None:
    model = copy.deepcopy(segmenter.model)
    with torch.no_grad():
        model.sam_mask_decoder.conv_s0.weight *= 1e6
    photo = Sam2Segmenter(model, "half", dtype=torch.float16).encode(draw_scene(3, (120, 90)).image)
    assert "exceed the range of float16" in caplog.text
    features = photo._predictor._features["high_res_feats"]
    assert all(torch.isfinite(level).all() for level in features)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_damaged_weights_are_a_model_error(segmenter: Sam2Segmenter, dtype: torch.dtype) -> None:
    model = copy.deepcopy(segmenter.model)
    with torch.no_grad():
        model.sam_mask_decoder.conv_s0.weight[0] = torch.nan
    damaged = Sam2Segmenter(model, "damaged", dtype=dtype)
    rgb = draw_scene(3, (120, 90)).image
    with pytest.raises(ModelError, match="weights may be damaged"):
        damaged.automatic(rgb, replace(GRID, points_per_side=2, pred_iou_thresh=0.0))
    with pytest.raises(ModelError, match="weights may be damaged"):
        damaged.encode(rgb)
