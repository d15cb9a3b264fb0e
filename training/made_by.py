"""What is written beside weights: the machine and the versions that made them."""

from __future__ import annotations

import importlib.metadata
import platform

import torch


def versions(*packages: str) -> dict[str, str]:
    """Return Python's version and those of installed packages."""
    installed = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **installed}


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the number of threads on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread(s)"
