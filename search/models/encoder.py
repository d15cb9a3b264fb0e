"""CLIP-like encoders: texts and crops to unit vectors in one space."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from search.errors import ModelError, UsageError
from search.models.crops import Rgb, View
from search.models.model_folder import folder_fingerprint, model_folder
from search.models.preprocessing import Normalization, input_px, mean_rgb, normalization
from search.records import RgbImage, Vectors, checked_vectors
from search.settings import Precision
from search.threads import shared_map

_logger = logging.getLogger(__name__)

# Prompt ensembling: the mean over templates beats a single one by 3.5 points on ImageNet (Radford
# et al. 2021, section 3.1.4). "cropped" and "close-up" are among the 80 templates of that paper,
# and segments are both.
TEMPLATES = (
    "{}",
    "a photo of {}.",
    "a photo of a {}.",
    "a cropped photo of a {}.",
    "a close-up photo of a {}.",
)
# SigLIP was trained on texts padded to full length and attends to the padding.
PADDED_MODELS = ("siglip", "siglip2")
# Refining, filtering and paging repeat the same text; vectors of one query are some 10 KB.
CACHED_QUERIES = 256
# Crops per thread on a CPU: activations then fit into its cache.
CPU_BATCH = 8


class Encoder(Protocol):
    """Encodes crops and texts as unit vectors in one space."""

    @property
    def name(self) -> str:
        """The model as requested: hub name or folder."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all that vectors depend on, except device and precision."""

    @property
    def dim(self) -> int:
        """Length of its vectors."""

    @property
    def input_px(self) -> int:
        """Side of its square input."""

    @property
    def mean_rgb(self) -> Rgb:
        """Neutral color for padding: the mean of its training images."""

    def encode_crops(self, crops: Sequence[RgbImage] | RgbImage) -> Vectors:
        """(n, dim) unit rows for n crops of (input_px, input_px, 3); no crops give (0, dim)."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """(n, dim) unit rows; no texts give (0, dim). Long texts are truncated."""


def encode_query(encoder: Encoder, text: str) -> Vectors:
    """(1, dim) unit vector of a query: the mean over TEMPLATES.

    Raises:
        UsageError: the text is empty.

    """
    words = " ".join(text.split())
    if not words:
        raise UsageError("the text to search for is empty")
    vectors = encoder.encode_texts([template.format(words) for template in TEMPLATES])
    return unit_rows(vectors.mean(axis=0, keepdims=True))


def encode_segments(encoder: Encoder, segments: Sequence[Sequence[View]]) -> Vectors:
    """(n, dim) unit rows: for each segment the weighted sum of the vectors of its views."""
    crops = [view.rgb for views in segments for view in views]
    owners = [i for i, views in enumerate(segments) for _ in views]
    weights = np.array([view.weight for views in segments for view in views], dtype=np.float32)
    mixed = np.zeros((len(segments), encoder.dim), dtype=np.float32)
    np.add.at(mixed, owners, weights[:, None] * encoder.encode_crops(crops))
    return unit_rows(mixed)


def unit_rows(rows: NDArray[np.float32]) -> Vectors:
    """Scale rows to unit length.

    Raises:
        ModelError: a row is zero, or holds a value that is not finite.

    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ModelError(
            "the encoder returned a vector that is zero or not finite; its weights may be damaged",
            remedy="full_precision",
        )
    return checked_vectors(rows / lengths, len(rows))


@dataclass(frozen=True, eq=False)
class ClipEncoder:
    """CLIP, SigLIP or another dual encoder of transformers."""

    name: str
    fingerprint: str
    dim: int
    input_px: int
    mean_rgb: Rgb
    batch: int
    model: Any  # transformers has no types for what its Auto classes return
    tokenizer: Any
    pixels: Any  # its image processor
    normalization: Normalization | None  # None: use the image processor

    @classmethod
    def load(
        cls, name_or_folder: str, *, device: str, precision: Precision, batch: int
    ) -> ClipEncoder:
        """Load a model from a folder, or by its hub name (as owner/name or owner/name@revision).

        Args:
            name_or_folder: as `openai/clip-vit-base-patch32`, or a folder of save_pretrained.
            device: "auto", "cuda", "mps" or "cpu".
            precision: of weights and activations.
            batch: crops, or texts, encoded at once.

        Raises:
            HubError: the hub can't be reached and the cache has no copy; within 5 seconds.
            ModelError: the model can't be loaded, is damaged, or is no dual encoder.

        """
        folder = model_folder(name_or_folder)  # before the import of torch, which takes seconds
        with _explained(name_or_folder), _silenced():
            model = _load_model(folder, device, precision)
            tokenizer, pixels = _load_processors(folder)
        size_px = input_px(pixels)
        encoder = cls(
            name=name_or_folder,
            fingerprint=folder_fingerprint(folder),
            dim=0,
            input_px=size_px,
            mean_rgb=mean_rgb(pixels),
            batch=batch,
            model=model,
            tokenizer=tokenizer,
            pixels=pixels,
            normalization=normalization(pixels, size_px),
        )
        with _explained(name_or_folder):
            return replace(encoder, dim=encoder._text_features(["a"]).shape[1])

    def encode_crops(self, crops: Sequence[RgbImage] | RgbImage) -> Vectors:
        """(n, dim) unit rows for n crops of (input_px, input_px, 3); no crops give (0, dim)."""
        import torch

        on_cpu = self.model.device.type == "cpu"
        size = min(self.batch, CPU_BATCH) if on_cpu else self.batch
        parts = [crops[start : start + size] for start in range(0, len(crops), size)]
        # Not in float16, since `_in_range` may replace the model.
        shared = on_cpu and self.model.dtype == torch.float32 and len(parts) > 1
        rows = shared_map(self._crop_rows, parts) if shared else map(self._crop_rows, parts)
        return unit_rows(np.concatenate([np.empty((0, self.dim), dtype=np.float32), *rows]))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """(n, dim) unit rows; no texts give (0, dim). Long texts are truncated.

        Rows of recent queries are cached, and read-only.
        """
        is_query = len(texts) == len(TEMPLATES)
        return self._kept_rows(tuple(texts)) if is_query else self._text_rows(texts)

    @cached_property
    def _kept_rows(self) -> Callable[[tuple[str, ...]], Vectors]:
        return lru_cache(CACHED_QUERIES)(self._text_rows)

    def _text_rows(self, texts: Sequence[str]) -> Vectors:
        rows = [np.empty((0, self.dim), dtype=np.float32)]
        for start in range(0, len(texts), self.batch):
            rows.append(self._text_features(texts[start : start + self.batch]))
        found = unit_rows(np.concatenate(rows))
        found.flags.writeable = False
        return found

    def _crop_rows(self, crops: Sequence[RgbImage] | RgbImage) -> NDArray[np.float32]:
        """(n, dim) vectors as the model gives them, not normalized."""
        part = np.array(crops)  # (n, input_px, input_px, 3)
        if part.shape[1:] != (self.input_px, self.input_px, 3) or part.dtype != np.uint8:
            raise ValueError(f"expected uint8 crops of {self.input_px} px, got {part.shape}")
        return self._in_range(partial(self._crop_features, part))

    def _crop_features(self, crops: NDArray[np.uint8]) -> Any:  # noqa: ANN401
        return self.model.get_image_features(**self._pixel_values(crops))

    def _pixel_values(self, crops: NDArray[np.uint8]) -> dict[str, Any]:
        """Model inputs for (n, s, s, 3) crops, on its device."""
        import torch

        if self.normalization is None:
            inputs = self.pixels(images=list(crops), return_tensors="pt")
            return dict(inputs.to(self.model.device, self.model.dtype))
        levels = torch.from_numpy(crops).to(self.model.device).permute(0, 3, 1, 2)  # (n, 3, s, s)
        scale, shift = (
            torch.tensor(x, device=levels.device)[:, None, None] for x in self.normalization
        )
        return {"pixel_values": (levels * scale + shift).to(self.model.dtype)}

    def _text_features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim) vectors as the model gives them, not normalized."""
        config = self.model.config
        tokens = self.tokenizer(
            list(texts),
            padding="max_length" if config.model_type in PADDED_MODELS else True,
            truncation=True,
            max_length=_max_tokens(self.tokenizer, config),
            return_tensors="pt",
        ).to(self.model.device)
        known = {name: tokens[name] for name in ("input_ids", "attention_mask") if name in tokens}
        return self._in_range(lambda: self.model.get_text_features(**known))

    def _in_range(self, run: Callable[[], Any]) -> NDArray[np.float32]:
        """Features; if they overflow float16, the model is converted to bfloat16."""
        import torch

        with torch.inference_mode():
            rows = _features(run())
            if self.model.dtype == torch.float16 and not np.isfinite(rows).all():
                _logger.warning(
                    "values of the encoder exceed the range of float16; it continues in bfloat16"
                )
                self.model.to(torch.bfloat16)
                rows = _features(run())
        return rows


def _load_model(folder: Path, device: str, precision: Precision) -> Any:  # noqa: ANN401
    """Load a dual encoder in evaluation mode, on its device."""
    import torch
    from transformers import AutoModel

    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError("torch finds no CUDA device", remedy="other_device")
    model, report = AutoModel.from_pretrained(
        folder,
        dtype=getattr(torch, precision),
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
    # Crops lie in memory with their channels last; convolutions need not rearrange them then.
    return model.eval().to(device, memory_format=torch.channels_last)


def _load_processors(folder: Path) -> tuple[Any, Any]:
    """Return a model's tokenizer and image processor."""
    from transformers import AutoImageProcessor, AutoTokenizer

    return (
        AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True),
        AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True),
    )


def _features(output: Any) -> NDArray[np.float32]:  # noqa: ANN401
    """(n, dim) features; transformers 5 wraps them in an output object."""
    features = getattr(output, "pooler_output", output)
    return np.asarray(features.float().cpu().numpy())


def _max_tokens(tokenizer: Any, config: Any) -> int:  # noqa: ANN401
    """Maximum tokens of a text; a tokenizer without a limit says 1e30."""
    text_config = getattr(config, "text_config", config)
    return int(min(tokenizer.model_max_length, text_config.max_position_embeddings))


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Add the name of the model to any error, and a remedy."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{name} can't be used: {error}", remedy="other_encoder") from error
    except Exception as error:  # what transformers raises for a damaged file is not documented
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{name} can't be loaded ({type(error).__name__}: {reason}). If a file is damaged, "
            "delete it and download it again.",
            remedy="other_encoder",
        ) from error


@contextmanager
def _silenced() -> Iterator[None]:
    """Silence progress bars and advice of transformers."""
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
