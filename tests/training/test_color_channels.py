"""Color goes through a trunk that does not know it, and the rest of the trunk stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray

from training.encoder.color_channels import (
    FREED_UNITS,
    READ_FROM,
    SEE_COLOR,
    carry_colors,
    fit_reading,
)
from training.encoder.trunks import pixel_values

SIDE_PX = 64


def plain_crops(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Crops of four plain quarters each, of any colors."""
    colors = rng.integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)
    return colors.repeat(SIDE_PX // 2, axis=1).repeat(SIDE_PX // 2, axis=2)


@pytest.fixture(scope="module")
def trunk() -> Any:
    """One of random weights, whose norms have seen some crops."""
    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.inference_mode():
        model(pixel_values(torch.from_numpy(plain_crops(np.random.default_rng(1), 100))))
    return model.eval()


def test_the_color_read_off_an_early_stage_arrives_at_the_last_layer(trunk: Any) -> None:
    rng = np.random.default_rng(0)
    shapes = {name: values.shape for name, values in trunk.state_dict().items()}
    shown, crops = plain_crops(rng, 150), torch.from_numpy(plain_crops(rng, 400))
    with torch.inference_mode():
        stem = trunk.bn1(trunk.conv_stem(pixel_values(torch.from_numpy(shown))))
        reading = fit_reading(trunk.blocks[:READ_FROM](stem), shown)
        low = trunk.blocks[:READ_FROM](trunk.bn1(trunk.conv_stem(pixel_values(crops))))
        wanted = (low.mean((2, 3)) @ reading.weight.T).numpy()
        before = trunk(pixel_values(crops))
        units = carry_colors(trunk, shown)
        seen = trunk.global_pool(trunk.forward_features(pixel_values(crops)))
        after = trunk(pixel_values(crops))
    assert {name: values.shape for name, values in trunk.state_dict().items()} == shapes
    assert len(set(units)) == FREED_UNITS
    known = np.c_[seen[:, units[:SEE_COLOR]].numpy(), np.ones(len(seen))]
    rows, *_ = np.linalg.lstsq(known[:300], wanted[:300], rcond=1e-3)
    missed = np.square(known[300:] @ rows - wanted[300:]).sum()
    assert missed < 0.1 * np.square(wanted[300:] - wanted.mean(axis=0)).sum()
    assert torch.cosine_similarity(before, after).mean() > 0.8  # the classifier hardly notices
