"""Training in bfloat16 where the device multiplies in it, else in float32.

A processor without arithmetic for bfloat16 emulates it, up to fifty times slower than float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from api.library.models import computes


def autocast(device: torch.device) -> torch.autocast:
    """Return what a step's forward pass runs under."""
    enabled = computes(device.type, "bfloat16")
    return torch.autocast(device.type, torch.bfloat16, enabled)


def take_step(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Let an optimizer take its step; torch's Muon orthogonalizes in bfloat16 wherever it runs."""
    if computes(device.type, "bfloat16"):
        optimizer.step()
        return
    with _Float32():
        optimizer.step()


class _Float32(TorchFunctionMode):
    """Whatever is to be converted to bfloat16 becomes float32."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  (as torch has it)
        kwargs = kwargs or {}
        if kwargs.get("dtype") is torch.bfloat16:
            kwargs = {**kwargs, "dtype": torch.float32}
        return func(*args, **kwargs)
