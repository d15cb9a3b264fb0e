"""Loading what transformers saved: quietly, data only, and with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search.errors import ModelError
from search.model_folder import WAY_OUT


def load_model(folder: Path, device: str, precision: str) -> Any:  # noqa: ANN401
    """Load a dual encoder in evaluation mode, on its device."""
    import torch
    from transformers import AutoModel

    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError("torch sees no CUDA device; leave --device out to use what is there")
    if precision == "auto":
        precision = "bfloat16" if device.startswith("cuda") else "float32"
    model, report = AutoModel.from_pretrained(
        folder,
        dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
    )
    if not (hasattr(model, "get_text_features") and hasattr(model, "get_image_features")):
        raise ModelError(
            f"a {type(model).__name__} is no encoder of both words and pictures: "
            f"get_text_features and get_image_features are needed, as CLIP and SigLIP have them"
        )
    if report["missing_keys"]:  # transformers would fill them with random numbers
        absent = sorted(report["missing_keys"])
        raise ModelError(f"its weights lack {len(absent)} tensors, among them {absent[0]}")
    return model.eval().to(device)


def load_tokenizer(folder: Path) -> Any:  # noqa: ANN401
    """Load a model's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def load_image_processor(folder: Path) -> Any:  # noqa: ANN401
    """Load a model's image processor; this imports torchvision, which takes a second."""
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Say of any error whose model it was, and what to do."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{name} can't be used: {error}. {WAY_OUT}") from error
    except Exception as error:  # what transformers raises for a damaged file is not documented
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{name} can't be loaded ({type(error).__name__}: {reason}). If a file is damaged, "
            f"delete it and fetch it anew. {WAY_OUT}"
        ) from error


@contextmanager
def silenced() -> Iterator[None]:
    """Keep transformers' progress bars and advice off stderr; what fails still raises."""
    from transformers.utils import logging as chatter

    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()
