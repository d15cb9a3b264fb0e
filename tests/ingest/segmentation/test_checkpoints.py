"""Real checkpoint forms: full-size random weights saved as sam2 saves them, by path and by name."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES, build_sam2
from support.sam_reference import differences, reference_masks

from ingest.segmentation.sam2 import load_segmenter
from ingest.segmentation.types import MaskParameters, Prompt
from search.errors import HubError, ModelError
from search.settings import Precision
from starter import weights_dir
from starter.scenes import draw_scene

EVERYTHING = MaskParameters(points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full-size sam2.1 hiera-tiny checkpoint with random weights, 156 MB."""
    torch.manual_seed(0)
    model = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu")
    path = tmp_path_factory.mktemp("sam") / "sam2.1_hiera_tiny.pt"
    torch.save({"model": model.state_dict()}, path)
    return path


def test_a_full_size_checkpoint_gives_the_masks_of_sam2(tiny: Path) -> None:
    segmenter = load_segmenter(str(tiny))
    reference = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", str(tiny), device="cpu")
    rgb = draw_scene(1, (330, 250)).image
    ours = segmenter.automatic(rgb, EVERYTHING)
    assert ours
    assert differences(reference_masks(reference, rgb, EVERYTHING), ours) == []
    click = Prompt(points_xy=((100, 80),), labels=(1,))
    assert len(segmenter.encode(rgb).masks(click)) == 3


@pytest.mark.parametrize("config", ["sam2.1_hiera_t", "configs/sam2.1/sam2.1_hiera_t.yaml"])
def test_a_config_may_be_named_as_sam2_names_it(tiny: Path, config: str) -> None:
    named, told = load_segmenter(str(tiny), config=config), load_segmenter(str(tiny))
    assert named.fingerprint == told.fingerprint


@pytest.mark.parametrize(
    "name",
    [
        "facebook/sam2-hiera-tiny",
        "facebook/sam2-hiera-base-plus",
        "facebook/sam2.1-hiera-small",
        "facebook/sam2.1-hiera-base-plus",
        "facebook/sam2.1-hiera-large",
    ],
)
def test_the_config_is_determined_by_the_shapes(name: str) -> None:
    from ingest.segmentation.checkpoints import _config_name

    config, _ = HF_MODEL_ID_TO_FILENAMES[name]
    model = build_sam2(config, device="cpu")
    assert _config_name(model.state_dict()) == Path(config).stem


def test_a_hub_name_is_taken_from_the_cache_without_a_network(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = tmp_path / "models--facebook--sam2.1-hiera-tiny"
    (repo / "snapshots" / "abc").mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    (repo / "snapshots" / "abc" / "sam2.1_hiera_tiny.pt").symlink_to(tiny)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = load_segmenter("facebook/sam2.1-hiera-tiny")
    assert found.fingerprint == load_segmenter(str(tiny)).fingerprint


def test_an_unreachable_hub_is_an_error_with_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="can't be reached") as caught:
        load_segmenter("facebook/sam2.1-hiera-large")
    assert caught.value.remedy == "other_segmenter"


def test_the_fingerprint_is_of_the_weights(tiny: Path, tmp_path: Path) -> None:
    state = torch.load(tiny, weights_only=True)["model"]
    copy, other = tmp_path / "copy.pt", tmp_path / "other.pt"
    copy.write_bytes(tiny.read_bytes())
    state["no_mem_embed"] += 1
    torch.save({"model": state}, other)
    first = load_segmenter(str(tiny)).fingerprint
    assert load_segmenter(str(copy)).fingerprint == first
    assert load_segmenter(str(other)).fingerprint != first


def test_half_precision_weights_work(tmp_path: Path) -> None:
    saved = torch.load(weights_dir() / "segmenter.pt", weights_only=True)["model"]
    assert {value.dtype for value in saved.values()} == {torch.float16}
    segmenter = load_segmenter(
        str(weights_dir() / "segmenter.pt"), config=weights_dir() / "segmenter.yaml"
    )
    assert segmenter.automatic(np.zeros((40, 40, 3), np.uint8), EVERYTHING) is not None


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_reduced_precision_answers_like_float32(precision: Precision) -> None:
    path, config = str(weights_dir() / "segmenter.pt"), weights_dir() / "segmenter.yaml"
    rgb = draw_scene(4, (320, 240)).image
    click = Prompt(points_xy=((160, 120),), labels=(1,))
    full = load_segmenter(path, config=config).encode(rgb).masks(click)
    half = load_segmenter(path, config=config, precision=precision).encode(rgb).masks(click)
    for a, b in zip(full, half, strict=True):
        assert a.predicted_iou == pytest.approx(b.predicted_iou, abs=0.05)


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("code in a checkpoint was run",))


def test_loading_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "trap.pt"
    torch.save({"model": Trap()}, path)
    with pytest.raises(ModelError, match="not a SAM 2 checkpoint"):
        load_segmenter(str(path))


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps([1, 2])])
def test_a_file_that_is_not_a_checkpoint_is_a_model_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.pt is not a SAM 2 checkpoint"):
        load_segmenter(str(path))


def test_weights_without_the_model_key_are_a_model_error(tmp_path: Path) -> None:
    path = tmp_path / "bare.pt"
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match='the weights under "model"'):
        load_segmenter(str(path))


def test_a_config_of_another_size_is_a_model_error(tiny: Path) -> None:
    with pytest.raises(ModelError, match=r"does not fit the config sam2\.1_hiera_l"):
        load_segmenter(str(tiny), config="sam2.1_hiera_l")


@pytest.mark.parametrize("config", ["evil", "sam2.1_hiera_b+_MOSE_finetune", "../segmenter"])
def test_only_configs_that_ship_with_sam2_are_used(tiny: Path, config: str) -> None:
    with pytest.raises(ModelError, match="only those of the package sam2"):
        load_segmenter(str(tiny), config=config)


def test_an_unknown_model_name_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"facebook/sam2\.1-hiera-small"):
        load_segmenter("facebook/sam9")
