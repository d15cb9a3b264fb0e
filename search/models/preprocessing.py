"""The steps of an image processor that are left for crops of its input size."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from search.models.crops import Rgb

SAME_PIXELS = 1e-4  # of values around 1; float32 sums in another order differ by less than 1e-6


class Normalization(NamedTuple):
    """Rescaling and normalization as one step: value = level * scale + shift, by channel."""

    scale: tuple[float, ...]
    shift: tuple[float, ...]


def input_px(processor: Any) -> int:  # noqa: ANN401
    """Side of the square input of an image processor."""
    patches = getattr(processor, "max_num_patches", None)
    if patches:  # SigLIP 2 for any shape: a square of as many patches
        return int(patches**0.5) * int(processor.patch_size)
    size = processor.crop_size if getattr(processor, "do_center_crop", None) else processor.size
    return int(size.get("height") or size.get("shortest_edge"))


def mean_rgb(processor: Any) -> Rgb:  # noqa: ANN401
    """Mean color of the training images of a model, 0..255."""
    red, green, blue = (round(255 * mean) for mean in processor.image_mean)
    return red, green, blue


def normalization(processor: Any, size_px: int) -> Normalization | None:  # noqa: ANN401
    """The equivalent of an image processor on crops of its size; None if it does more.

    The processor handles crops one by one, and takes longer for each than a small model.
    """
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    plain = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else plain
    scale = tuple(factor / s for s in std)
    shift = tuple(-m / s for m, s in zip(mean, std, strict=True))
    crop = np.random.default_rng(0).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)
    theirs = processor(images=[crop], return_tensors="np")
    ours = (crop * np.array(scale) + np.array(shift)).transpose(2, 0, 1)[None]  # (1, 3, s, s)
    values = theirs["pixel_values"]
    if list(theirs) != ["pixel_values"] or values.shape != ours.shape:
        return None
    return Normalization(scale, shift) if np.allclose(values, ours, atol=SAME_PIXELS) else None
