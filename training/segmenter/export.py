"""From a training run to weights that sam2 loads."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from sam2.modeling.sam2_base import SAM2Base

from training.made_by import versions


def export(
    model: SAM2Base, config: Path, out: Path, *, sharpness: float, stages: list[dict[str, Any]]
) -> None:
    """Write segmenter.pt in sam2's form and half precision, its config, and how it was made.

    Args:
        model: left as it is.
        config: to be put beside the weights.
        out: a folder.
        sharpness: see sharpen.
        stages: what each stretch of training was, the last one last.
    """
    sharpened = copy.deepcopy(model)
    sharpen(sharpened, sharpness)
    weights = {name: values.half().cpu() for name, values in sharpened.state_dict().items()}
    part = out / "segmenter.part"
    torch.save({"model": weights}, part)
    part.replace(out / "segmenter.pt")
    (out / "segmenter.yaml").write_text(config.read_text())
    made = {
        "stages": stages,
        "steps": sum(stage["steps_done"] for stage in stages),
        "pictures": sum(stage["steps_done"] * stage["pictures"] for stage in stages),
        "sharpness": sharpness,
        "versions": versions("torch", "numpy", "sam2"),
    }
    (out / "segmenter.json").write_text(json.dumps(made, indent=2) + "\n")


@torch.no_grad()
def sharpen(model: SAM2Base, factor: float) -> None:
    """Multiply all mask logits by a factor, so that stability scores mean what they do in SAM.

    No mask changes: the threshold is 0. Logits that are given as mask prompts are divided by it.
    """
    decoder = model.sam_mask_decoder
    for mlp in decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight.mul_(factor)
        mlp.layers[-1].bias.mul_(factor)
    model.sam_prompt_encoder.mask_downscaling[0].weight.div_(factor)
