"""Crops per second: our cutting and batched encoding against image processor + model, one by one.

    python -m bench.embed [--crops 64] [--rounds 5] [--device cpu] [--photo-px 4000]

Both ways see the same squares of the same photo, take turns in one process, and are compared by
their medians; the largest difference between their vectors is shown too. Models: the bundled
starter, and a random one of the size of openai/clip-vit-base-patch32 (speed doesn't depend on what
the weights say). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

from search.models.crops import RECIPES, square_around, views
from search.models.encoder import ClipEncoder, encode_segments
from search.records import Box, RgbImage, Vectors
from starter import weights_dir


def photo_with_boxes(long_side_px: int, count: int) -> tuple[RgbImage, list[Box]]:
    """Return a smooth random photo (3:4) and boxes of 2% to 30% of its long side."""
    rng = np.random.default_rng(0)
    width, height = long_side_px, long_side_px * 3 // 4
    coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    rgb = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
    sizes = np.exp(rng.uniform(np.log(0.02), np.log(0.3), (count, 2))) * width
    corners = rng.uniform(0, 1, (count, 2)) * ((width, height) - sizes)
    boxes = [Box(*map(int, (*corner, *size))) for corner, size in zip(corners, sizes, strict=True)]
    return rgb, boxes


def ours(encoder: ClipEncoder, rgb: RgbImage, boxes: list[Box]) -> Vectors:
    """Cut and encode context views our way: (n, dim)."""
    size_px, fill_rgb = encoder.input_px, encoder.mean_rgb
    cut = [views(rgb, None, b, "context", size_px=size_px, fill_rgb=fill_rgb) for b in boxes]
    return encode_segments(encoder, cut)


def one_by_one(
    model: Any,
    processor: Any,
    rgb: RgbImage,
    boxes: list[Box],
    fill_rgb: tuple[int, int, int],
) -> Vectors:
    """Cut the same squares plainly, and give each to processor and model: (n, dim)."""
    photo, rows = Image.fromarray(rgb), []
    for box in boxes:
        left, top, side = square_around(box, RECIPES["context"].side)
        square = Image.new("RGB", (side, side), fill_rgb)
        square.paste(photo, (-left, -top))
        inputs = processor(images=square, return_tensors="pt").to(model.device, model.dtype)
        with torch.inference_mode():
            features = model.get_image_features(**inputs).pooler_output.float()
        rows.append((features / features.norm()).cpu().numpy())
    return np.concatenate(rows)


def save_random_vit_b32(folder: Path) -> None:
    """Save a CLIP of the size of openai/clip-vit-base-patch32, with random weights."""
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    CLIPTokenizerFast.from_pretrained(weights_dir() / "encoder-1").save_pretrained(folder)


def seconds(run: Callable[[], Vectors]) -> tuple[float, Vectors]:
    """Return how long a run took, and what it gave."""
    started = time.perf_counter()
    vectors = run()
    return time.perf_counter() - started, vectors


def compare(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Time both ways in turns; return crops per second, their ratio and the largest difference."""
    encoder = ClipEncoder.load(str(folder), device=options.device, precision="float32", batch=64)
    processor = CLIPImageProcessor.from_pretrained(folder)
    rgb, boxes = photo_with_boxes(options.photo_px, options.crops)
    ways: dict[str, Callable[[], Vectors]] = {
        "ours": lambda: ours(encoder, rgb, boxes),
        "one_by_one": lambda: one_by_one(encoder.model, processor, rgb, boxes, encoder.mean_rgb),
    }
    vectors = {name: run() for name, run in ways.items()}  # also warms up
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, run in ways.items():
            taken[name].append(seconds(run)[0])
    rate = {name: options.crops / statistics.median(times) for name, times in taken.items()}
    return {
        "ours_crops_per_s": round(rate["ours"], 1),
        "one_by_one_crops_per_s": round(rate["one_by_one"], 1),
        "ratio": round(rate["ours"] / rate["one_by_one"], 2),
        "smallest_cosine": round(float((vectors["ours"] * vectors["one_by_one"]).sum(1).min()), 6),
    }


def main() -> None:
    """Run the comparison for both models."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--crops", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--photo-px", type=int, default=4000, help="long side of the photo")
    options = parser.parse_args()
    results: dict[str, Any] = {"device": options.device, "crops": options.crops}
    results["starter"] = compare(weights_dir() / "encoder", options)
    print("starter", results["starter"], file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        save_random_vit_b32(Path(folder))
        results["vit_b32"] = compare(Path(folder), options)
    print("vit_b32", results["vit_b32"], file=sys.stderr)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
