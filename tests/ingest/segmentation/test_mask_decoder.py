"""The reordered decoder gives what sam2's own mask decoder gives, for every kind of model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sam2.build_sam import build_sam2
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor
from support.sam_reference import reference_predictor
from torch import Tensor

from ingest.segmentation import mask_decoder_cpu
from ingest.segmentation.mask_decoder import PointDecoder
from ingest.segmentation.mask_decoder_cpu import TILE, TiledDecoder
from ingest.segmentation.mask_generator import low_res_predictor
from ingest.segmentation.sam2 import load_segmenter
from starter import weights_dir
from starter.scenes import draw_scene

WH = (200, 150)


@pytest.fixture(scope="module", params=["starter", "sam2.1-tiny", "sam2-tiny"])
def predictor(request: pytest.FixtureRequest) -> SAM2ImagePredictor:
    """sam2's predictor with an encoded photo; the tiny ones are full-size, with random weights."""
    torch.manual_seed(1)
    model = _model(request.param)
    found = low_res_predictor(reference_predictor(model))
    found.set_image(draw_scene(2, WH).image.copy())
    return found


def _model(name: str) -> SAM2Base:
    if name == "starter":
        path, config = weights_dir() / "segmenter.pt", weights_dir() / "segmenter.yaml"
        return load_segmenter(str(path), config=config).model
    family = name.removesuffix("-tiny")
    return build_sam2(f"configs/{family}/{family}_hiera_t.yaml", device="cpu")


def _prompts(predictor: SAM2ImagePredictor) -> tuple[Tensor, Tensor, Tensor]:
    """Return coordinates (b, 1, 2), labels (b, 1) and their embeddings (b, 2, c)."""
    points = torch.rand(5, 2, generator=torch.Generator().manual_seed(3)) * torch.tensor(WH)
    coords = predictor._transforms.transform_coords(points, normalize=True, orig_hw=WH[::-1])
    labels = torch.ones(len(points), 1, dtype=torch.int)
    with torch.inference_mode():
        embedded, _ = predictor.model.sam_prompt_encoder((coords[:, None], labels), None, None)
    return coords[:, None], labels, embedded


def _ours(
    predictor: SAM2ImagePredictor,
    dtype: torch.dtype = torch.float32,
    *,
    tile: int | None = None,
    points: int = 5,
    **how: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    model = predictor.model
    with torch.inference_mode():
        decoder = TiledDecoder(model, tile=tile) if tile else PointDecoder(model, dtype)
        photo = decoder.photo_tokens(predictor._features)
        return decoder.candidates(photo, _prompts(predictor)[2][:points], **how)


@pytest.mark.parametrize("tile", [None, TILE])
@pytest.mark.parametrize("multimask", [True, False])
def test_logits_and_scores_are_those_of_sam2s_decoder(
    predictor: SAM2ImagePredictor, multimask: bool, tile: int | None
) -> None:
    coords, labels, _ = _prompts(predictor)
    logits, predicted_iou, _ = predictor._predict(
        coords, labels, multimask_output=multimask, return_logits=True
    )
    left, ours, ours_iou = _ours(predictor, tile=tile, multimask=multimask, pred_iou_thresh=0.0)
    assert left.tolist() == [0, 1, 2, 3, 4]
    assert ours.shape == logits.shape
    np.testing.assert_allclose(ours_iou, predicted_iou, atol=1e-5)
    np.testing.assert_allclose(ours, logits, atol=float(logits.abs().max()) * 1e-5)


@pytest.mark.parametrize("points", [1, 3])
@pytest.mark.parametrize("tile", [100, 250, 10_000])
def test_the_tile_size_does_not_change_masks(
    predictor: SAM2ImagePredictor, tile: int, points: int
) -> None:
    _, whole, whole_iou = _ours(predictor, points=points, multimask=True, pred_iou_thresh=0.0)
    _, tiled, tiled_iou = _ours(
        predictor, tile=tile, points=points, multimask=True, pred_iou_thresh=0.0
    )
    np.testing.assert_allclose(tiled_iou, whole_iou, atol=1e-5)
    np.testing.assert_allclose(tiled, whole, atol=float(whole.abs().max()) * 1e-5)


def test_tiles_leave_what_the_photo_shares_as_it_was(predictor: SAM2ImagePredictor) -> None:
    with torch.inference_mode():
        decoder = TiledDecoder(predictor.model)
        photo = decoder.photo_tokens(predictor._features)
        before = [each.clone() for each in photo if isinstance(each, Tensor)]
        for points in (1, 2):
            decoded = decoder.decode(photo, _prompts(predictor)[2][:points])
            decoder.logits(photo, decoded, [1, 2, 3])
        assert all(
            torch.equal(each, was)
            for each, was in zip((e for e in photo if isinstance(e, Tensor)), before, strict=True)
        )


def test_the_compiled_gelu_is_as_exact_as_torchs() -> None:
    x = np.linspace(-30, 30, 6400, dtype=np.float32)
    exact = torch.nn.functional.gelu(torch.from_numpy(x).double()).numpy()
    torchs = torch.nn.functional.gelu(torch.from_numpy(x)).numpy()
    ours = np.array([mask_decoder_cpu._gelu(value) for value in x])
    assert np.abs(ours - exact).max() < 4e-7
    assert np.abs(ours - exact).max() < 2 * np.abs(torchs - exact).max()
    assert np.isnan(mask_decoder_cpu._gelu(np.float32("nan")))


@pytest.mark.parametrize("t", [3, 7, 8])
@pytest.mark.parametrize("apart", [0, 30, 500])
def test_the_compiled_softmax_holds_for_heads_far_apart(t: int, apart: float) -> None:
    rng = np.random.default_rng(t)
    scores = rng.normal(0, 5, (20, 6, t)).astype(np.float32)
    scores += rng.uniform(-apart, apart, (20, 6, 1)).astype(np.float32)
    exact = torch.softmax(torch.from_numpy(scores).double(), 2).numpy()
    mask_decoder_cpu._softmax(scores)
    np.testing.assert_allclose(scores, exact, atol=1e-6, rtol=1e-4)


def test_points_without_a_candidate_over_the_threshold_are_left_out(
    predictor: SAM2ImagePredictor,
) -> None:
    _, logits, predicted_iou = _ours(predictor, multimask=True, pred_iou_thresh=0.0)
    best = predicted_iou.amax(1)
    threshold = float(best.sort().values[1:3].mean())
    left, some_logits, some_iou = _ours(predictor, multimask=True, pred_iou_thresh=threshold)
    assert left.tolist() == torch.nonzero(best > threshold)[:, 0].tolist()
    assert len(left) == 3
    np.testing.assert_allclose(some_iou, predicted_iou[left], atol=1e-5)
    np.testing.assert_allclose(some_logits, logits[left], atol=float(logits.abs().max()) * 1e-5)


def test_no_point_over_the_threshold_gives_nothing(predictor: SAM2ImagePredictor) -> None:
    left, logits, predicted_iou = _ours(predictor, multimask=True, pred_iou_thresh=2.0)
    assert len(left) == len(logits) == len(predicted_iou) == 0


@pytest.mark.parametrize(("dtype", "apart"), [(torch.float16, 0.003), (torch.bfloat16, 0.02)])
def test_reduced_precision_agrees_with_float32_but_for_few_pixels(
    predictor: SAM2ImagePredictor, dtype: torch.dtype, apart: float
) -> None:
    _, full, full_iou = _ours(predictor, multimask=True, pred_iou_thresh=0.0)
    _, half, half_iou = _ours(predictor, dtype, multimask=True, pred_iou_thresh=0.0)
    assert float((full_iou - half_iou).abs().max()) < apart
    assert float(((full > 0) != (half > 0)).float().mean()) < apart
