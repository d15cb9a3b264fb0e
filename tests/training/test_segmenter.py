"""Training the starter segmenter: its pictures, its losses, its decoder, going on after a stop."""

import dataclasses
import json
from itertools import combinations, islice, pairwise
from pathlib import Path
from typing import TypedDict

import numpy as np
import pytest
import torch
from support.sam_reference import reference_masks

from ingest.segmentation.checkpoints import _build, _read_state
from ingest.segmentation.types import MaskParameters
from starter.scenes import Scene, SceneNode, click_targets, draw_scene
from training.segmenter.attention_loss import looking_distance
from training.segmenter.clicks import STRIDE, click_batches
from training.segmenter.decoder import Looks, decode, encode
from training.segmenter.export import sharpen
from training.segmenter.mask_loss import mask_loss
from training.segmenter.on_drawings import CONFIG, Recipe, Training, run
from training.segmenter.prompts import correction, precise_prompts

TINY = Recipe(size_px=64, steps=4, pictures=2, clicks=4, two_way_from=0.5, two_way_clicks=2,
              look_steps=2, warm_up_steps=1)  # fmt: skip


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    stream = click_batches(3, 0, pictures=3, clicks=5, size_px=64)
    third = list(islice(stream, 3))[2]
    again = next(click_batches(3, 2, pictures=3, clicks=5, size_px=64))
    for item in dataclasses.fields(third):
        assert np.array_equal(getattr(third, item.name), getattr(again, item.name)), item.name


def test_workers_taking_turns_see_the_same_batches() -> None:
    one = list(islice(click_batches(3, 0, pictures=2, clicks=3, size_px=64), 4))
    turns = [
        list(islice(click_batches(3, turn, pictures=2, clicks=3, size_px=64, every=2), 2))
        for turn in range(2)
    ]
    for number, batch in enumerate(one):
        assert np.array_equal(batch.images, turns[number % 2][number // 2].images)


def test_targets_are_nested_hold_the_click_and_fill_their_boxes() -> None:
    batch = next(click_batches(5, 0, pictures=6, clicks=12, size_px=128))
    for picture in range(6):
        for click in range(12):
            count = batch.counts[picture, click]
            targets = batch.targets[picture, click].astype(int)
            assert 1 <= count <= 3
            assert not targets[count:].any()
            x, y = (batch.points[picture, click] // STRIDE).astype(int)
            for smaller, larger in pairwise(targets[:count]):
                assert (smaller <= larger + 1).all()
                assert larger.sum() >= 1.2 * smaller.sum()
            assert targets[0, y, x] > 0
            near_x, near_y = (batch.outside[picture, click] // STRIDE).astype(int)
            assert targets[0, near_y, near_x] <= 128
            x0, y0, x1, y1 = batch.boxes[picture, click]
            assert 0 <= x0 < x1 <= 128
            assert 0 <= y0 < y1 <= 128


def test_targets_are_those_that_scenes_tell_of_a_click(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without augmentation, a batch's targets are click_targets at a quarter of the size."""
    monkeypatch.setattr(
        "training.segmenter.clicks._augmented", lambda rng, image, labels: (image, labels)
    )
    batch = next(click_batches(6, 0, pictures=4, clicks=8, size_px=128))
    scene = draw_scene(6 * 100_000_000, (128, 128))
    assert np.array_equal(batch.images[0], scene.image)
    for click in range(8):
        x, y = batch.points[0, click].astype(int)
        expected = [
            target.reshape(32, STRIDE, 32, STRIDE).mean(axis=(1, 3))
            for target in click_targets(scene, (int(x), int(y)))
        ]
        assert batch.counts[0, click] == len(expected)
        for target, truth in zip(batch.targets[0, click], expected, strict=False):
            assert np.allclose(target / 255, truth, atol=1 / 255)


def test_the_loss_assigns_targets_to_candidates_in_order_and_as_cheaply_as_can_be() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, 8, 8, generator=generator) * 3
    targets = (torch.rand(5, 3, 8, 8, generator=generator) > 0.5).float()
    counts = torch.tensor([1, 2, 3, 2, 1])
    found = mask_loss(logits, torch.rand(5, 4, generator=generator), targets, counts)

    def cost(mask: torch.Tensor, target: torch.Tensor) -> float:
        share = mask.sigmoid()
        dice = 1 - (2 * (share * target).sum() + 1) / (share.sum() + target.sum() + 1)
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(mask, target)
        return float(dice + 5 * entropy)

    costs = []
    for row, count in enumerate(counts.tolist()):
        choices = [
            [cost(logits[row, 1 + c], targets[row, t]) for t, c in enumerate(chosen)]
            for chosen in combinations(range(3), count)
        ]
        costs += min(choices, key=sum)
    assert float(found.candidates) == pytest.approx(np.mean(costs), rel=1e-4)


def test_the_loss_tells_the_best_and_the_picked_candidate() -> None:
    target = torch.zeros(1, 3, 4, 4)
    target[0, 0, :2] = 1
    logits = torch.full((1, 4, 4, 4), -9.0)
    logits[0, 2, :2] = 9  # exact
    logits[0, 3] = 9  # everything: IoU 1/2
    iou = torch.tensor([[0.0, 0.1, 0.2, 0.9]])
    found = mask_loss(logits, iou, target, torch.tensor([1]))
    assert found.best_iou == 1
    assert found.picked_iou == 0.5
    expected = np.mean([0, 0.1**2, 0.8**2, 0.4**2])
    assert float(found.iou) == pytest.approx(expected, rel=1e-5)


def test_two_way_decoding_is_sam2s_own() -> None:
    training = Training(TINY, CONFIG, "cpu")
    model = training.average
    with torch.no_grad():
        for parameter in model.parameters():  # nothing may be zero by its start
            parameter.add_(torch.randn_like(parameter) * 0.02)
        features = encode(model, torch.randn(2, 3, 64, 64))
        points = (torch.rand(2, 3, 2) * 64, torch.ones(2, 3, dtype=torch.int32))
        masks = torch.randn(2, 1, 16, 16)
        sparse, dense = model.sam_prompt_encoder(points=points, boxes=None, masks=masks)
        logits, iou, _, _ = model.sam_mask_decoder.predict_masks(
            features.embedding, model.sam_prompt_encoder.get_dense_pe(), sparse, dense, False,
            [features.stride4, features.stride8],
        )  # fmt: skip
        ours = decode(model, features, sparse[:, None], dense, two_way=True)
    assert torch.allclose(ours.logits[:, 0], logits, atol=1e-4)
    assert torch.allclose(ours.iou[:, 0], iou, atol=1e-5)


def test_prompts_that_share_a_picture_are_decoded_as_if_alone() -> None:
    model = Training(TINY, CONFIG, "cpu").average
    with torch.no_grad():
        features = encode(model, torch.randn(1, 3, 64, 64))
        points = (torch.rand(3, 1, 2) * 64, torch.ones(3, 1, dtype=torch.int32))
        sparse, _ = model.sam_prompt_encoder(points=points, boxes=None, masks=None)
        together = decode(model, features, sparse[None], two_way=False).logits[0]
        alone = decode(model, features.repeated(3), sparse[:, None], two_way=False).logits[:, 0]
    assert torch.allclose(together, alone, atol=1e-4)
    with pytest.raises(ValueError, match="one prompt a group"):
        decode(model, features, sparse[None], two_way=True)


def test_a_prepared_model_looks_at_the_click() -> None:
    drawn = next(click_batches(3, 0, pictures=4, clicks=4, size_px=128))
    batch = {
        item.name: torch.from_numpy(getattr(drawn, item.name)) for item in dataclasses.fields(drawn)
    }

    def distance(look_steps: int) -> float:
        recipe = dataclasses.replace(TINY, size_px=128, look_steps=look_steps)
        training = Training(recipe, CONFIG, "cpu")
        training.prepare(batch)
        model = training.average
        points = torch.rand(1, 12, 2, generator=torch.Generator().manual_seed(1)) * 128
        labels = torch.ones(12, 1, dtype=torch.int32)
        looks = Looks()
        with torch.no_grad():
            features = encode(model, torch.zeros(1, 3, 128, 128))
            sparse, _ = model.sam_prompt_encoder(
                points=(points[0][:, None], labels), boxes=None, masks=None
            )
            decode(model, features, sparse[None], two_way=False, looks=looks)
        return float(looking_distance(looks, points, 128))

    assert distance(30) < 0.7 * distance(0)


class Options(TypedDict):
    """How `run` trains, apart from the recipe."""

    device: str
    workers: int
    save_every: int


ON_CPU: Options = {"device": "cpu", "workers": 0, "save_every": 50}


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    def weights(folder: Path) -> dict[str, torch.Tensor]:
        return dict(_read_state(folder / "segmenter.pt"))

    run(TINY, CONFIG, tmp_path / "whole", **ON_CPU)
    # The same recipe, stopped in the middle of its four steps.
    stopping = Training.train_step
    calls: list[int] = []

    def stops(self: Training, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(self.step)
        told = stopping(self, batch)
        self.save(tmp_path / "halved" / "checkpoint.pt")
        return told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "train_step", stops)
        with pytest.raises(KeyboardInterrupt):
            run(TINY, CONFIG, tmp_path / "halved", **ON_CPU)
    again = run(TINY, CONFIG, tmp_path / "halved", **ON_CPU)
    assert again.step == 4
    whole, halved = weights(tmp_path / "whole"), weights(tmp_path / "halved")
    assert whole.keys() == halved.keys()
    for name, values in whole.items():
        # two units in the last place of half precision
        assert torch.allclose(values, halved[name], rtol=2e-3, atol=1e-3), name
    made = json.loads((tmp_path / "halved" / "segmenter.json").read_text())
    assert made["steps"] == 4
    assert [stage["seed"] for stage in made["stages"]] == [TINY.seed]
    assert made["versions"]["torch"] in torch.__version__


def test_weights_of_another_run_can_be_the_start_and_the_export_is_sam2s(tmp_path: Path) -> None:
    run(dataclasses.replace(TINY, steps=1), CONFIG, tmp_path / "small", **ON_CPU)
    larger = dataclasses.replace(TINY, size_px=128, steps=1)
    run(larger, CONFIG, tmp_path / "large", **ON_CPU,
        start_from=tmp_path / "small" / "checkpoint.pt")  # fmt: skip
    exported = tmp_path / "large"
    model = _build(exported / "segmenter.yaml", _read_state(exported / "segmenter.pt"), exported)
    started = Training(larger, CONFIG, "cpu")
    drawn = next(click_batches(1, 0, pictures=2, clicks=4, size_px=128))
    batch = {"images": torch.from_numpy(drawn.images)}
    started.recipe = dataclasses.replace(larger, look_steps=0)
    started.prepare(batch, exported / "segmenter.pt")
    assert [stage["size_px"] for stage in started.stages] == [64, 128, 128]
    trained = torch.load(exported / "checkpoint.pt", weights_only=True)["average"]
    for name, values in started.average.state_dict().items():
        assert torch.allclose(values, trained[name], rtol=2e-3, atol=1e-4), name
    everything = MaskParameters(points_per_side=2, pred_iou_thresh=-1, stability_score_thresh=-1)
    assert reference_masks(model, draw_scene(1, (96, 64)).image, everything)


def test_sharper_logits_change_no_mask_and_no_answer_to_mask_prompts() -> None:
    model = Training(TINY, CONFIG, "cpu").average
    points = (torch.rand(1, 2, 2) * 64, torch.ones(1, 2, dtype=torch.int32))

    def answer(factor: float) -> torch.Tensor:
        mask = torch.linspace(-4, 4, 256).reshape(1, 1, 16, 16) * factor
        sparse, dense = model.sam_prompt_encoder(points=points, boxes=None, masks=mask)
        features = encode(model, torch.ones(1, 3, 64, 64))
        return decode(model, features, sparse[:, None], dense, two_way=True).logits

    with torch.no_grad():
        before = answer(1)
        sharpen(model, 3)
        assert torch.allclose(answer(3), 3 * before, atol=1e-4)


def test_a_node_without_visible_pixels_is_never_clicked() -> None:
    """Subtrees that are painted over have no place to click; the stream must not stumble."""
    hidden = Scene(
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((64, 64), np.uint16),
        (
            SceneNode(None, "red", "", "plain", None, False, 4096),
            SceneNode(0, "blue", "", "plain", "star", False, 100),
        ),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.segmenter.clicks.draw_scene", lambda seed, size: hidden)
        batch = next(click_batches(1, 0, pictures=2, clicks=4, size_px=64))
    assert (batch.counts == 1).all()
    assert (batch.targets[:, :, 0] == 255).all()


def test_precise_prompts_mean_what_their_points_say() -> None:
    drawn = next(click_batches(2, 0, pictures=2, clicks=8, size_px=64))
    batch = {
        item.name: torch.from_numpy(getattr(drawn, item.name)) for item in dataclasses.fields(drawn)
    }
    asked = precise_prompts(batch, batch["targets"].float() / 255, 8)
    assert asked.labels[0].tolist() == 2 * [[2, 3], [1, 0], [2, 3], [1, 1]]
    for picture in range(2):
        for prompt in range(8):
            flat = 8 * picture + prompt
            truth = batch["targets"][picture, prompt].float() / 255
            if prompt % 2 == 0:  # a box
                box = asked.coordinates[picture, prompt].flatten()
                assert torch.equal(box, batch["boxes"][picture, prompt])
                boxed = truth[batch["boxed"][picture, prompt]]
                assert asked.counts[flat] == 1
                assert torch.equal(asked.targets[flat, 0], boxed)
            elif prompt % 4 == 1:  # a point of it and one that isn't
                assert torch.equal(
                    asked.coordinates[picture, prompt, 0], batch["points"][picture, prompt]
                )
                assert torch.equal(asked.targets[flat, 0], truth[0])
                assert asked.counts[flat] == 1
            else:
                assert torch.equal(asked.targets[flat], truth)
                assert asked.counts[flat] == batch["counts"][picture, prompt]


def test_a_correction_clicks_where_mask_and_target_differ() -> None:
    model = Training(TINY, CONFIG, "cpu").average
    targets = torch.zeros(2, 3, 16, 16)
    targets[:, 0, 4:12, 4:12] = 1
    logits = torch.full((2, 4, 16, 16), -5.0)
    logits[:, :, 4:12, 4:8] = 5  # the left half: the right half is missing
    logits[1, :, 4:12, 4:12] = 5
    logits[1, :, 0:3] = 5  # all of it, and a bar above
    prompts: list[tuple[torch.Tensor, torch.Tensor]] = []
    encode_prompts = model.sam_prompt_encoder.forward

    def recorded(points: tuple[torch.Tensor, torch.Tensor], boxes: object, masks: object) -> object:
        prompts.append(points)
        return encode_prompts(points=points, boxes=boxes, masks=masks)

    model.sam_prompt_encoder.forward = recorded
    mended = correction(model, logits, torch.ones(2, 4), torch.full((2, 2), 20.0), targets)
    coordinates, labels = prompts[-1]
    (missing_x, missing_y), (extra_x, extra_y) = (coordinates[:, 1] // STRIDE).int().tolist()
    assert labels[:, 1].tolist() == [1, 0]
    assert 8 <= missing_x < 12
    assert 4 <= missing_y < 12
    assert 0 <= extra_x < 16
    assert extra_y < 3
    assert torch.equal(mended.targets[0, 2], targets[0, 0])
