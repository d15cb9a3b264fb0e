"""Training the starter segmenter on photos: labels, drawn parts of masks, the pretrained trunk."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from starter import weights_dir
from starter.lite_trunk import LiteFeatures, LiteTrunk
from training.evaluation.photo_cutting import boundary_f
from training.segmenter import on_drawings
from training.segmenter.batches import Batches, Recipe
from training.segmenter.clicks import STRIDE
from training.segmenter.decoder import Features
from training.segmenter.decoder import decode as decode_all
from training.segmenter.export import export
from training.segmenter.mask_loss import mask_loss
from training.segmenter.on_photos import CONFIG, Training, build, run
from training.segmenter.photos import load_photos, photo_batch
from training.segmenter.pretrained import start_like
from training.segmenter.sampled import blocked, decode, drawn, sample
from training.segmenter.sampled_loss import sampled_loss

TINY = Recipe(minutes=0.01, size_px=64, pictures=2, drawings=1, clicks=4, precise=4, corrected=1)


@pytest.fixture
def photos_folder(tmp_path: Path) -> Path:
    """Return a folder of one photo by two people, one of classes, and one without any label."""
    folder = tmp_path / "photos"
    (folder / "images").mkdir(parents=True)
    rgb = np.zeros((60, 80, 3), np.uint8)
    rgb[:, 40:] = 255
    halves = np.ones((60, 80), np.uint8)
    halves[:, 40:] = 2
    quarters = halves.copy()
    quarters[30:, 40:] = 3
    classes = np.zeros((60, 80), np.uint8)
    classes[10:20, 10:20], classes[40:50, 10:20], classes[20:40, 5:30] = 4, 4, 7
    labels = {"halves": halves, "quarters": quarters, "classes": classes, "none": classes * 0}
    for name, values in labels.items():
        Image.fromarray(values).save(folder / f"{name}.png")
        Image.fromarray(rgb).save(folder / "images" / f"{name}.png")
    truths = {
        "images/halves.png": ("People", "regions", ["halves.png", "quarters.png"]),
        "images/classes.png": ("Classes", "classes", ["classes.png"]),
        "images/none.png": ("Classes", "classes", ["none.png"]),
    }
    keys = ("source", "kind", "labels")
    images = {name: dict(zip(keys, told, strict=True)) for name, told in truths.items()}
    (folder / "truth.json").write_text(json.dumps({"images": images}))
    return folder


def test_a_photo_without_any_region_is_left_out_and_so_is_an_unwanted_source(
    photos_folder: Path,
) -> None:
    assert [photo.by_many for photo in load_photos(photos_folder)] == [False, True]
    assert [photo.source for photo in load_photos(photos_folder, leave_out=["Cl"])] == ["People"]


def test_a_click_means_the_regions_of_several_people_smallest_first(photos_folder: Path) -> None:
    (photo,) = load_photos(photos_folder, leave_out=["Classes"])
    batch = photo_batch(np.random.default_rng(0), [photo], 40, 64, changed=False)
    right = batch.points[0, :, 0] > 32
    assert (batch.counts[0][~right] == 1).all()  # both people drew the left half
    assert (batch.counts[0][right] == 2).all()
    shares = batch.targets[0].mean((2, 3)) / 255
    assert np.allclose(shares[~right, 0], 0.5)
    assert np.allclose(shares[right][:, :2], (0.25, 0.5))


def test_a_click_on_a_class_means_its_piece_the_class_and_all_of_the_thing(
    photos_folder: Path,
) -> None:
    (photo,) = load_photos(photos_folder, leave_out=["People"])
    batch = photo_batch(np.random.default_rng(0), [photo], 40, 64, changed=False)
    areas = batch.targets[0].astype(float).sum((2, 3))
    three = batch.counts[0] == 3
    assert three.any()
    assert not three.all()  # where there is one piece of a class, two targets are the same
    assert (areas[three, 1] > 1.5 * areas[three, 0]).all()
    x, y = (batch.points[0, 0] // STRIDE).astype(int)
    assert batch.targets[0, 0, 0, y, x] > 0


def test_a_crop_beside_all_regions_is_taken_anew(photos_folder: Path) -> None:
    (photo,) = load_photos(photos_folder, leave_out=["People"])
    batch = photo_batch(np.random.default_rng(1), [photo] * 30, 2, 32)
    assert (batch.counts >= 1).all()


@pytest.fixture(scope="module")
def features() -> Features:
    torch.manual_seed(0)
    maps = [torch.randn(2, c, s, s) for c, s in ((192, 4), (24, 16), (48, 8))]
    return Features(*maps)


def test_drawn_parts_are_those_of_whole_masks(features: Features) -> None:
    model = on_drawings._build(on_drawings.CONFIG, 64)
    sparse, of_picture = torch.randn(6, 2, 192), torch.tensor([0, 0, 0, 1, 1, 1])
    chosen = sample(torch.rand(6, 3, 16, 16), 7)
    with torch.no_grad():
        whole = decode_all(model, features.repeated(3), sparse[:, None], two_way=True)
        logits, iou = decode(model, features, of_picture, sparse, chosen)
    assert torch.allclose(iou, whole.iou[:, 0], atol=1e-5)
    assert torch.allclose(logits, drawn(whole.logits[:, 0], chosen), atol=1e-4)


def test_weights_of_drawn_tokens_keep_areas_right_on_average() -> None:
    torch.manual_seed(0)
    target = torch.zeros(2000, 3, 32, 32)
    target[:, 0, 4:12, 4:20] = 1
    chosen = sample(target, 20)
    area = (drawn(target, chosen)[:, 0] * chosen.pixel_weight).sum(1)
    assert abs(float(area.mean()) - 128) < 2
    assert abs(float(chosen.weight.sum(1).mean()) - 64) < 1


def test_the_loss_of_all_tokens_is_the_loss_of_the_mask() -> None:
    torch.manual_seed(0)
    logits, iou = torch.randn(5, 4, 16, 16), torch.rand(5, 4)
    targets = (torch.rand(5, 3, 16, 16) > 0.5).float()
    counts = torch.tensor([1, 2, 3, 3, 2])
    targets *= (torch.arange(3) < counts[:, None])[..., None, None]
    whole = mask_loss(logits, iou, targets, counts)
    flat, wanted = (blocked(values).flatten(2) for values in (logits, targets))
    drawn_loss = sampled_loss(flat, iou, wanted, torch.ones(5, 256), counts)
    assert torch.isclose(drawn_loss.single, whole.single)
    assert torch.isclose(drawn_loss.candidates, whole.candidates)
    assert drawn_loss.best_iou == pytest.approx(whole.best_iou)


def test_the_trunk_gives_the_maps_that_its_config_promises() -> None:
    trunk = LiteTrunk().eval()
    with torch.no_grad():
        maps = trunk(torch.zeros(1, 3, 96, 96))
    assert [tuple(values.shape[1:]) for values in maps] == [
        (channels, side, side)
        for channels, side in zip(reversed(trunk.channel_list), (24, 12, 6), strict=True)
    ]


def test_every_layer_of_the_pretrained_trunk_has_a_place() -> None:
    convolutions = [m for m in LiteFeatures().modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 1 + 15 * 3 + 2  # the stem; the first block does not expand


def test_a_new_trunk_starts_by_imitating_the_earlier_one() -> None:
    torch.manual_seed(0)
    model, earlier = build(CONFIG, 64), on_drawings._build(on_drawings.CONFIG, 64)
    explained = start_like(model, earlier, [torch.rand(4, 3, 64, 64) for _ in range(3)])
    assert set(explained) == {"stride4", "stride8", "stride16"}
    assert all(share > 0.2 for share in explained.values()), explained
    ours, theirs = model.sam_mask_decoder, earlier.sam_mask_decoder
    assert torch.equal(ours.iou_token.weight, theirs.iou_token.weight)


def test_a_run_goes_on_where_it_stopped_and_exports_what_sam2_loads(
    photos_folder: Path, tmp_path: Path
) -> None:
    batches = Batches(TINY, load_photos(photos_folder) * 2)
    training = Training(TINY, "cpu")
    run(training, batches, tmp_path, save_every_s=0)
    assert training.step
    again = Training(TINY, "cpu")
    again.load(tmp_path / "checkpoint.pt")
    assert again.step == training.step
    assert again.done == 1
    state = torch.load(tmp_path / "segmenter.pt", weights_only=True)["model"]
    build(tmp_path / "segmenter.yaml", 64).load_state_dict(state)
    export(again.average, CONFIG, tmp_path, sharpness=1.0, stages=again.stages)
    assert json.loads((tmp_path / "segmenter.json").read_text())["steps"] == training.step


def test_the_config_beside_the_weights_is_the_one_that_training_has() -> None:
    assert weights_dir() / "segmenter.yaml" == CONFIG


def test_outlines_that_agree_within_the_tolerance_count_fully() -> None:
    mask: NDArray[np.bool_] = np.zeros((300, 400), np.bool_)
    mask[100:200, 100:200] = True
    moved, far = np.roll(mask, 3, axis=1), np.roll(mask, 60, axis=1)
    assert boundary_f(mask, mask) == 1
    assert boundary_f(mask, moved) == 1  # the tolerance is 3.75 px
    assert boundary_f(mask, far) < 0.6
    assert boundary_f(mask, mask & False) == 0
