"""What a model's image processor does to crops that already have its size."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from search.crops import Rgb

SAME_PIXELS = 1e-4  # of values around 1; float32 sums in another order differ by less than 1e-6


class OneStep(NamedTuple):
    """Rescaling and normalising as one step: value = level * scale + shift, for each channel."""

    scale: tuple[float, ...]
    shift: tuple[float, ...]


def input_px(processor: Any) -> int:  # noqa: ANN401
    """Return the side of the squares that an image processor makes."""
    if getattr(
        processor, "max_num_patches", None
    ):  # SigLIP 2 of any shape: as many patches in a row
        return int(processor.max_num_patches**0.5) * int(processor.patch_size)
    size = processor.crop_size if getattr(processor, "do_center_crop", False) else processor.size
    return int(size["height"] or size["shortest_edge"])


def mean_rgb(processor: Any) -> Rgb:  # noqa: ANN401
    red, green, blue = (round(255 * mean) for mean in processor.image_mean)
    return red, green, blue


def one_step(processor: Any, size_px: int) -> OneStep | None:  # noqa: ANN401
    """Return the one step that equals an image processor on crops of its size; None: it does more.

    The processor takes most of a small model's time, one crop after another.
    """
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    mean, std = (
        (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,), (1.0,))
    )
    step = OneStep(
        tuple(factor / s for s in std), tuple(-m / s for m, s in zip(mean, std, strict=True))
    )
    crop = np.random.default_rng(0).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)
    theirs = processor(images=[crop], return_tensors="np")
    ours = (crop * np.array(step.scale) + np.array(step.shift)).transpose(2, 0, 1)
    values = theirs["pixel_values"]
    same = list(theirs) == ["pixel_values"] and values.shape == (1, *ours.shape)
    return step if same and np.allclose(values[0], ours, atol=SAME_PIXELS) else None
