"""Loading SAM 2 checkpoints by hub name or path.

Loading runs no code from a checkpoint: weights are read with `weights_only`, and since hydra
instantiates any class that a config names, only configs that ship with sam2 or segsearch are used.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import sam2
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES
from sam2.modeling.sam2_base import SAM2Base

from search.errors import ModelError
from search.models.hub import hub_file

State = Mapping[str, torch.Tensor]
SAM2_CONFIGS = Path(sam2.__path__[0]) / "configs"
# trunk width and blocks -> the letter in sam2's config names
TRUNKS = {(96, 12): "t", (96, 16): "s", (112, 24): "b+", (144, 48): "l"}
# build_sam2(apply_postprocessing=True): fall back to the best of three where one is unstable
DECODER_EXTRAS = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
}


def load_model(name: str, config: str | Path | None = None) -> tuple[SAM2Base, str]:
    """Load SAM 2 by hub name or from a checkpoint file, on the CPU; return it and its fingerprint.

    Args:
        name: hub name (`facebook/sam2.1-hiera-small`), or path of a checkpoint in sam2's form,
            {"model": state}.
        config: name of a config of the package sam2 (`sam2.1_hiera_t`), or the path of one that
            ships with segsearch; None: determined from the checkpoint's shapes.

    Raises:
        HubError: the hub can't be reached and the cache has no copy.
        ModelError: no such model, or the file is not a checkpoint of that config.
    """
    path, named_config = _checkpoint_file(name)
    state = _read_state(path)
    config_path = (
        config if isinstance(config, Path) else _config_path(config or named_config, state)
    )
    model = _build(config_path, state, path).eval()
    digest = hashlib.sha256(config_path.read_bytes())
    with path.open("rb") as weights:
        digest.update(hashlib.file_digest(weights, "sha256").digest())
    return model, digest.hexdigest()


def _checkpoint_file(name: str) -> tuple[Path, str | None]:
    """Return the checkpoint's path, and sam2's config if it is a hub name."""
    if Path(name).expanduser().is_file():
        return Path(name).expanduser(), None
    if name not in HF_MODEL_ID_TO_FILENAMES:
        known = ", ".join(sorted(HF_MODEL_ID_TO_FILENAMES))
        raise ModelError(f"there is no SAM 2 model or file {name!r}. Known names: {known}.")
    config, filename = HF_MODEL_ID_TO_FILENAMES[name]
    return hub_file(name, filename, remedy="other_segmenter"), config


def _read_state(path: Path) -> State:
    """Read a checkpoint's tensors as float32, without running code in it."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        state: State = loaded["model"]
        return {key: value.float() for key, value in state.items()}
    except (
        pickle.UnpicklingError,
        RuntimeError,
        KeyError,
        TypeError,
        EOFError,
        OSError,
        AttributeError,
        ValueError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path} is not a SAM 2 checkpoint ({reason}). It must be a dict with the weights "
            'under "model", saved by torch.save. Download it again or choose another.'
        ) from error


def _config_path(config: str | None, state: State) -> Path:
    """Find a config that ships with sam2, by name or by the checkpoint's shapes."""
    name = Path(config).name.removesuffix(".yaml") if config else _config_name(state)
    found = {
        path.stem: path
        for path in sorted(SAM2_CONFIGS.glob("sam2*/sam2*hiera_*.yaml"))
        if "training" not in path.parent.name
    }
    if name not in found:
        raise ModelError(
            f"there is no SAM 2 config {name!r}; only those of the package sam2 are used: "
            f"{', '.join(found)}."
        )
    return found[name]


def _config_name(state: State) -> str:
    """Determine the config from the trunk's shapes; only SAM 2.1 has `obj_ptr_tpos_proj`."""
    embed = state.get("image_encoder.trunk.patch_embed.proj.weight")
    blocks = {key.split(".")[3] for key in state if key.startswith("image_encoder.trunk.blocks.")}
    letter = TRUNKS.get((embed.shape[0] if embed is not None else 0, len(blocks)))
    if letter is None:
        raise ModelError(
            "this checkpoint has none of SAM 2's four sizes; name its config with "
            "--segmenter-config."
        )
    release = "sam2.1" if "obj_ptr_tpos_proj.weight" in state else "sam2"
    return f"{release}_hiera_{letter}"


def _build(config_path: Path, state: State, path: Path) -> SAM2Base:
    """Instantiate a config's model and load the weights."""
    config = OmegaConf.load(config_path)
    if not isinstance(config, DictConfig):
        raise ModelError(f"{config_path} is not a SAM 2 config")
    for key, value in DECODER_EXTRAS.items():
        OmegaConf.update(config, f"model.sam_mask_decoder_extra_args.{key}", value, force_add=True)
    OmegaConf.resolve(config)
    model: SAM2Base = instantiate(config.model, _recursive_=True)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        problems = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise ModelError(
            f"{path} does not fit the config {config_path.stem}: {problems[:300]} "
            "Name the right one with --segmenter-config, or omit it."
        ) from error
    return model
