"""Model presets, and loading models by name on a device."""

from __future__ import annotations

import logging
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.settings import Settings
from search.errors import UsageError
from search.manifest import load_manifest
from search.models.encoder import Encoder
from search.settings import (
    DEFAULT_ENCODER,
    DEFAULT_SEGMENTER,
    NEWEST_STARTER,
    STARTER_VERSIONS,
    Precision,
)

if TYPE_CHECKING:
    from ingest.segmentation.sam2 import Segmenter

_logger = logging.getLogger(__name__)
STARTER = "starter"
PRESETS: dict[str, dict[str, Any]] = {
    "default": {"segmenter": DEFAULT_SEGMENTER, "encoder": DEFAULT_ENCODER},
    # The IoU head and logits of the starter have other scales: thresholds as in its model card.
    STARTER: {
        "segmenter": NEWEST_STARTER,
        "encoder": NEWEST_STARTER,
        "points_per_side": 12,
        "pred_iou_thresh": 0.25,
        "stability_score_thresh": 0.7,
        "box_nms_thresh": 0.75,
    },
}
EFFORTS = {"quick": 0.5, "standard": 1.0, "thorough": 2.0}  # times as many points a side


def with_preset(settings: Settings) -> Settings:
    """Settings in which `models` and `effort` replace defaults."""
    preset = PRESETS[settings.models]
    side = preset.get("points_per_side", Settings.model_fields["points_per_side"].default)
    points = round(side * EFFORTS[settings.effort])
    return settings.with_defaults({**preset, "points_per_side": points})


def settings_for_photo(settings: Settings) -> Settings:
    """Settings for a single photo: those of the library, if there is one."""
    manifest = load_manifest(Path(settings.library).expanduser())
    asked = {"models", "segmenter"} & settings.model_fields_set
    known = manifest.defaults() if manifest and not asked else {}
    return with_preset(settings.with_defaults(known))


def load_segmenter(settings: Settings) -> Segmenter:
    """Load the segmenter that the settings name.

    Raises:
        ModelError: it can't be loaded (HubError) or is not a SAM 2 checkpoint.
    """
    from ingest.segmentation.sam2 import load_segmenter as load
    from starter import weights_dir

    name = settings.segmenter or DEFAULT_SEGMENTER
    config: str | Path | None = settings.segmenter_config
    if name in STARTER_VERSIONS:
        name = str(weights_dir() / "segmenter.pt")
        config = weights_dir() / "segmenter.yaml"
    device = torch_device(settings.device)
    return load(name, config=config, device=device, precision=precision_on(device, settings))


def load_encoder(settings: Settings) -> Encoder:
    """Load the encoder that the settings name.

    Raises:
        ModelError: it can't be loaded (HubError) or is not a CLIP-like encoder.
    """
    from search.models.encoder import ClipEncoder
    from starter import encoder_dir

    name = settings.encoder or DEFAULT_ENCODER
    device = torch_device(settings.device)
    return ClipEncoder.load(
        str(encoder_dir(name) or name),
        device=device,
        precision=precision_on(device, settings),
        batch=settings.embed_batch,
    )


def devices(settings: Settings) -> tuple[str, ...]:
    """The requested devices; only ingest uses more than the first."""
    return tuple(settings.device.split(","))


def torch_device(device: str) -> str:
    """The device to run on: the first of several; for `auto` the best that exists.

    Raises:
        UsageError: this machine lacks one of them.
    """
    import torch

    if device != "auto":
        names = device.split(",")
        for name in names:
            _check_device(name)
        return names[0]
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_device(name: str) -> None:
    """Refuse a device that PyTorch can't use here."""
    import torch

    kind, _, number = name.partition(":")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: PyTorch finds no Apple GPU here; use --device auto or cpu")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            found = f"only {count}, counted from 0" if count else "no"
            raise UsageError(
                f"--device {name}: PyTorch finds {found} CUDA device here; use --device auto or cpu"
            )


def precision_on(device: str, settings: Settings) -> Precision:
    """The precision on a device; `auto` is float16 on CUDA, else float32."""
    if settings.precision == "auto":
        return "float16" if device.startswith("cuda") else "float32"
    if not computes(device, settings.precision):
        _logger.warning(
            f"precision {settings.precision} is emulated on this processor and takes many times as "
            "long as float32"
        )
    return settings.precision


def computes(device: str, precision: Precision) -> bool:
    """False if a device only emulates a precision, as far as is known."""
    import torch

    x86 = platform.machine().lower() in ("x86_64", "amd64")
    if precision == "float32" or device != "cpu" or not x86:
        return True
    can = torch.cpu.get_capabilities()
    kind = "fp16" if precision == "float16" else "bf16"
    return bool(can.get(f"avx512_{kind}") or can.get(f"amx_{kind}"))
