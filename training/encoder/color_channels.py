"""Channels that carry color through the pretrained trunk, and units that are free to learn looks.

What tells ImageNet's kinds apart is seldom absolute color: a linear map of pooled features explains
.98 of the variance of a crop's mean color after the third of seven stages, .64 after the last, and
of a single place less. So three channels of each later stage, those that are missed least, are
given over to red, green and blue: the fourth stage reads them off the third, and each block hands
them on as they are. Some units of the last layer are freed in the same way. Wherever something is
given over, the layers that read it read instead what the other channels say of it (least squares).
Nothing is trained, and the architecture stays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.encoder.trunks import MEAN, STD, pixel_values

READ_FROM = 3  # stages before stay as they are, and color is read off what they give
CARRIED = 3  # red, green, blue
FREED_UNITS = 257  # of the last layer's 1280
SEE_COLOR = 192  # of these, that see nothing but color
ABOUT_FILL = 0.6  # of these, whose planes go through the fill: mixed with it, a color scales them
# A pixel value of -1 to 1 is carried as 1 to 5, which ReLU6 leaves as it is.
SCALE, OFFSET = 2.0, 3.0
RIDGE = 1e-3
SEEN_AT_ONCE = 64
SHOWN = 2000  # crops that it is fitted to


class Spread(NamedTuple):
    """How c channels vary together over crops and places."""

    mean: Tensor  # (c,)
    covariance: Tensor  # (c, c), float64


class Linear(NamedTuple):
    """A map of channels: weight (k, c), offset (k,)."""

    weight: Tensor
    offset: Tensor


@torch.inference_mode()
def carry_colors(trunk: nn.Module, crops: NDArray[np.uint8]) -> list[int]:
    """Change a trunk in place; return the units of its last layer that are free to learn.

    The first SEE_COLOR of them see color alone, by random weights.

    Args:
        trunk: EfficientNet-Lite of timm, in evaluation mode.
        crops: (n, s, s, 3), which show what is missed least.

    """
    model: Any = trunk
    start = _run(lambda x: model.blocks[:READ_FROM](model.bn1(model.conv_stem(x))), crops)
    parts = [
        _Part(block.conv_pw, block.bn1, block.conv_pwl, block.bn3, block)
        for stage in model.blocks[READ_FROM:]
        for block in stage
    ]
    spreads = _spreads(model, parts, start)
    reading = fit_reading(start, crops)
    carriers: list[int] = []
    for place, part in enumerate(parts):
        if part.block.has_skip:  # color goes around the block
            part.write.weight[carriers] = 0
            _set_norm(part.write_norm, carriers, torch.zeros(CARRIED), 0.0)
            continue
        readers: list[_Part | None] = []
        for later in [*parts[place + 1 :], None]:
            readers.append(later)
            if later is None or not later.block.has_skip:
                break
        carriers = _open_block(part, reading, readers, spreads, model)
        identity = torch.eye(part.write.out_channels)[carriers]
        reading = Linear(identity, torch.zeros(CARRIED))
    return _free_units(model, carriers, spreads)


def fit_reading(low: Tensor, crops: NDArray[np.uint8]) -> Linear:
    """Fit what the places of features (n, c, h, w) say of the mean color of their parts of crops.

    Args:
        low: of a stage.
        crops: (n, s, s, 3) that it is of.

    """
    cells = low.shape[-1]
    side = crops.shape[1] // cells
    levels = crops.reshape(len(crops), cells, side, cells, side, 3).mean(axis=(2, 4))
    wanted = OFFSET + SCALE * (torch.from_numpy(levels).reshape(-1, 3) / 255 - MEAN) / STD
    features = low.permute(0, 2, 3, 1).reshape(-1, low.shape[1]).double()
    middle, mean = features.mean(0), wanted.mean(0)
    square = (features - middle).T @ (features - middle) / len(features)
    shared = (features - middle).T @ (wanted - mean) / len(features)
    weight = torch.linalg.solve(_ridged(square), shared).T
    return Linear(weight.float(), (mean - weight @ middle).float())


class _Part(NamedTuple):
    """A block's first layer with its norm, and its last with its own."""

    read: Any
    read_norm: Any
    write: Any
    write_norm: Any
    block: Any


class _Spreads(NamedTuple):
    """How channels vary before any change, by block; that of None is the last layer's."""

    inputs: dict[Any, Spread]
    inner: dict[Any, Spread]  # what the block's last layer reads


def _spreads(model: Any, parts: list[_Part], x: Tensor) -> _Spreads:  # noqa: ANN401  (timm)
    found = _Spreads({}, {})
    for part in parts:
        found.inputs[part.block] = _spread(x)
        found.inner[part.block] = _spread(_run(lambda x, p=part: _inner(p, x), x))
        x = _run(part.block, x)
    found.inputs[None] = _spread(x)
    found.inner[None] = _spread(_run(lambda x: model.bn2(model.conv_head(x)), x))
    return found


def _inner(part: _Part, x: Tensor) -> Tensor:
    """Return what the last layer of a block reads."""
    wide: Tensor = part.block.bn2(part.block.conv_dw(part.read_norm(part.read(x))))
    return wide


def _open_block(
    part: _Part,
    reading: Linear,
    readers: list[_Part | None],
    spreads: _Spreads,
    model: Any,  # noqa: ANN401  (timm)
) -> list[int]:
    """Let a block that nothing goes around hand color on; return the channels it is in then.

    Args:
        part: of the block, changed in place.
        reading: color, of its input.
        readers: what its output is part of the input of; None is the last layer.
        spreads: of all blocks.
        model: the trunk.

    """
    block, inner = part.block, spreads.inner[part.block]
    hidden = _least(inner, part.write.weight[:, :, 0, 0].square().sum(0), CARRIED)
    _stop_reading(part.write, part.write_norm, hidden, inner)
    part.read.weight[hidden] = reading.weight[:, :, None, None]
    _set_norm(part.read_norm, hidden, reading.offset)
    block.conv_dw.weight[hidden] = _averaging(block.conv_dw)
    _set_norm(block.bn2, hidden, torch.zeros(CARRIED))
    layers = [
        (model.conv_head, model.bn2) if reader is None else (reader.read, reader.read_norm)
        for reader in readers
    ]
    matter = torch.stack([conv.weight[:, :, 0, 0].square().sum(0) for conv, _ in layers]).sum(0)
    last = readers[-1]
    given = _least(spreads.inputs[last and last.block], matter, CARRIED)
    for reader, (conv, norm) in zip(readers, layers, strict=True):
        _stop_reading(conv, norm, given, spreads.inputs[reader and reader.block])
    part.write.weight[given] = 0
    part.write.weight[given, hidden] = 1
    _set_norm(part.write_norm, given, torch.zeros(CARRIED))
    return given


def _free_units(model: Any, carriers: list[int], spreads: _Spreads) -> list[int]:  # noqa: ANN401  (timm)
    """Free the units of the last layer that the classifier misses least, and return them."""
    classifier = model.classifier
    units = _least(spreads.inner[None], classifier.weight.square().sum(0), FREED_UNITS)
    instead = _instead(spreads.inner[None], units)
    lost = classifier.weight[:, units]
    classifier.weight += lost @ instead.weight
    classifier.bias += lost @ instead.offset
    classifier.weight[:, units] = 0
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(SEE_COLOR, CARRIED, generator=generator)
    spot = OFFSET + SCALE * (2 * torch.rand(SEE_COLOR, CARRIED, generator=generator) - 1)
    spot[: round(ABOUT_FILL * SEE_COLOR)] = OFFSET
    seeing = units[:SEE_COLOR]  # each is 0 up to a plane through some color
    model.conv_head.weight[seeing] = 0
    for place, unit in enumerate(seeing):
        model.conv_head.weight[unit, carriers, 0, 0] = weight[place]
    _set_norm(model.bn2, seeing, -(weight * spot).sum(1))
    return units


def _least(spread: Spread, matter: Tensor, count: int) -> list[int]:
    """Return the channels that are missed least, one by one, once the others stand in for them.

    Args:
        spread: of the channels.
        matter: (c,) what a unit of each one's variance is worth.
        count: how many.

    """
    left, found = torch.arange(len(matter)), list[int]()
    inverse = torch.linalg.inv(_ridged(spread.covariance))
    for _ in range(count):
        place = int((matter[left].double() / inverse.diagonal()).argmin())
        found.append(int(left[place]))
        rest = torch.arange(len(left)) != place
        column = inverse[rest, place]
        inverse = inverse[rest][:, rest] - torch.outer(column, column) / inverse[place, place]
        left = left[rest]
    return found


def _instead(spread: Spread, places: list[int]) -> Linear:
    """Return the linear map of all channels that comes nearest to some, which it does not read."""
    kept = torch.ones(len(spread.mean), dtype=torch.bool)
    kept[places] = False
    square = _ridged(spread.covariance)[kept][:, kept]
    weight = torch.zeros(len(places), len(kept))
    solved = torch.linalg.solve(square, spread.covariance[kept][:, places])
    weight[:, kept] = solved.T.float()
    return Linear(weight, spread.mean[places] - weight @ spread.mean)


def _ridged(covariance: Tensor) -> Tensor:
    return covariance + RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))


def _stop_reading(conv: Any, norm: Any, places: list[int], spread: Spread) -> None:  # noqa: ANN401  (timm)
    """Let a layer read what the others say of some of its inputs instead of these."""
    instead = _instead(spread, places)
    lost = conv.weight[:, places, 0, 0]
    conv.weight[:, :, 0, 0] += lost @ instead.weight
    norm.bias += norm.weight * (lost @ instead.offset) / (norm.running_var + norm.eps).sqrt()
    conv.weight[:, places] = 0


def _set_norm(norm: Any, places: list[int], offset: Tensor, scale: float = 1.0) -> None:  # noqa: ANN401  (timm)
    """Let a norm in evaluation mode scale some channels and add an offset."""
    norm.running_mean[places] = 0
    norm.running_var[places] = 1 - norm.eps
    norm.weight[places] = scale
    norm.bias[places] = offset


def _averaging(conv: Any) -> Tensor:  # noqa: ANN401  (timm)
    """Return the kernel that takes a place as it is, or the mean of 2 x 2 with a stride of 2."""
    kernel = torch.zeros(conv.kernel_size)
    middle = conv.kernel_size[0] // 2
    if conv.stride[0] == 1:
        kernel[middle, middle] = 1
    else:  # padded as TensorFlow does: less before than after
        first = (conv.kernel_size[0] - 2) // 2
        kernel[first : first + 2, first : first + 2] = 1 / 4
    return kernel


def _spread(values: Tensor) -> Spread:
    rows = values.permute(1, 0, 2, 3).flatten(1)  # (c, n h w)
    mean = rows.mean(1)
    rows = rows - mean[:, None]
    return Spread(mean, (rows @ rows.T).double() / rows.shape[1])


def _run(layers: Any, rows: Tensor | NDArray[np.uint8]) -> Tensor:  # noqa: ANN401  (timm)
    """Return what layers make of features (n, c, h, w) or crops (n, s, s, 3)."""
    parts = []
    for start in range(0, len(rows), SEEN_AT_ONCE):
        part = rows[start : start + SEEN_AT_ONCE]
        pixels = part if isinstance(part, Tensor) else pixel_values(torch.from_numpy(part))
        parts.append(layers(pixels))
    return torch.cat(parts)
