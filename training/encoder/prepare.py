"""Compute what training needs once: `python -m training.encoder.prepare --out DIR --photos DIR`.

Crops, what the fixed layers make of them, what the untouched classifier says, and the texts. Each
file is written whole or not at all, and kept if it is there, so that this can be stopped and called
again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from api.library.models import computes
from search.masks.rle import bbox_xywh_from_array
from search.models.crops import views
from starter.drawing.colors import COLOR_NAMES, MODIFIERS
from starter.drawing.patterns import PATTERNS
from starter.drawing.shapes import SHAPES
from training.encoder.color_channels import SHOWN, carry_colors
from training.encoder.crops import (
    Facts,
    class_index,
    cutout_shares,
    read_facts,
    scene_cutouts,
    show,
)
from training.encoder.photo_segments import iter_photo_segments
from training.encoder.trunks import (
    CROP_PX,
    FILL_RGB,
    TRUNK,
    load_classifier,
    lower_layers,
    pixel_values,
)
from training.encoder.words import write_texts

Levels = NDArray[np.uint8]

DRAWN_CROPS = 20_000
DRAWN_SEED = 7
BATCH = 64
SCENES_AT_ONCE = 40
CROPS_A_SCENE = 6


def prepare(out: Path, photos: Path | None, leave_out: tuple[str, ...], drawn: int) -> None:
    """Write each file that is not there yet; without photos, those of drawings only."""
    out.mkdir(parents=True, exist_ok=True)
    steps: dict[str, Callable[[], None]] = {}
    if photos is not None:
        steps["photos.npz"] = partial(write_photos, photos, out, leave_out)
    steps["drawn.npz"] = partial(write_drawn, out, drawn, DRAWN_SEED)
    steps["trunk.pt"] = partial(write_trunk, out)
    names = ("drawn",) if photos is None else ("photos", "drawn")
    for name in names:
        steps[f"{name}_low.npz"] = partial(write_low, out, name)
    steps["logits.npz"] = partial(write_logits, out, names[0])
    steps["texts.npz"] = partial(write_texts, out)
    for name, write in steps.items():
        if not (out / name).exists():
            started = time.monotonic()
            write()
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def write_photos(folder: Path, out: Path, leave_out: tuple[str, ...]) -> None:
    """Write both views of the photos' segments, (n, 2, s, s, 3), and the colors under the masks."""
    crops, facts = [], []
    for rgb, mask in iter_photo_segments(folder, leave_out=leave_out):
        box = bbox_xywh_from_array(mask)
        cut = views(rgb, mask, box, "fusion", size_px=CROP_PX, fill_rgb=FILL_RGB)
        crops.append(np.stack([view.rgb for view in cut]))
        facts.append(read_facts(rgb, mask, None, None))
    _save(out / "photos.npz", crops=np.stack(crops), **_truths(facts))


def write_drawn(out: Path, count: int, seed: int) -> None:
    """Write single views of so many drawn segments, with what is true of each."""
    crops, facts = [], []
    for crop, fact in _iter_drawn(seed):
        crops.append(crop)
        facts.append(fact)
        if len(crops) == count:
            break
    _save(out / "drawn.npz", crops=np.stack(crops), **_truths(facts))


def write_trunk(out: Path) -> None:
    """Write the trunk with channels for color, fitted to some of the crops."""
    trunk = load_classifier(TRUNK)
    files = [path for path in (out / "photos.npz", out / "drawn.npz") if path.exists()]
    rng, some = np.random.default_rng(0), []
    for path in files:
        crops = _crops(out, path.stem)
        some.append(crops[rng.choice(len(crops), min(len(crops), SHOWN // len(files)), False)])
    units = carry_colors(trunk, np.concatenate(some))
    unfinished = out / "trunk.part"
    torch.save({"trunk": trunk.state_dict(), "units": units}, unfinished)
    unfinished.replace(out / "trunk.pt")


def write_low(out: Path, name: str) -> None:
    """Write what the fixed layers make of the crops of photos or drawn: (n, 320, s, s)."""
    trunk = load_classifier(TRUNK)
    trunk.load_state_dict(torch.load(out / "trunk.pt", weights_only=True)["trunk"])
    _save(out / f"{name}_low.npz", low=_seen(lower_layers(trunk), _crops(out, name)))


def write_logits(out: Path, name: str) -> None:
    """Write what the untouched classifier says of the crops of photos or drawn: (n, 1000)."""
    _save(out / "logits.npz", logits=_seen(load_classifier(TRUNK), _crops(out, name)))


def _crops(out: Path, name: str) -> Levels:
    crops = np.load(out / f"{name}.npz")["crops"]
    return np.asarray(crops.reshape(-1, *crops.shape[-3:]))


def _iter_drawn(seed: int) -> Iterator[tuple[Levels, Facts]]:
    rng, scene = np.random.default_rng(seed), 0
    while True:
        numbers = range(scene, scene + SCENES_AT_ONCE)
        pool = [cutout for number in numbers for cutout in scene_cutouts(seed, number)]
        count = min(len(pool), SCENES_AT_ONCE * CROPS_A_SCENE)
        for place in rng.choice(len(pool), count, p=cutout_shares(pool), replace=False):
            yield show(rng, pool[place], CROP_PX, FILL_RGB)
        scene += SCENES_AT_ONCE


def _truths(facts: list[Facts]) -> dict[str, NDArray[Any]]:
    return {
        "colors": np.array([fact.shares for fact in facts], np.float32),
        "mean_colors": np.array([COLOR_NAMES.index(fact.mean_color) for fact in facts]),
        "modifiers": np.array([MODIFIERS.index(fact.modifier) for fact in facts]),
        "patterns": np.array([class_index(PATTERNS, fact.pattern) for fact in facts]),
        "shapes": np.array([class_index(SHAPES, fact.shape) for fact in facts]),
    }


@torch.inference_mode()
def _seen(model: Callable[[Tensor], Tensor], crops: Levels) -> NDArray[np.float16]:
    """Return what a model makes of (n, s, s, 3) crops."""
    rows = []
    for start in range(0, len(crops), BATCH):
        with torch.autocast("cpu", torch.bfloat16, computes("cpu", "bfloat16")):
            seen = model(pixel_values(torch.from_numpy(crops[start : start + BATCH])))
        rows.append(seen.half().numpy())
    return np.concatenate(rows)


def _save(path: Path, **arrays: NDArray[Any]) -> None:
    unfinished = path.with_suffix(".part.npz")
    np.savez(unfinished, allow_pickle=False, **arrays)
    unfinished.replace(path)


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.encoder.prepare", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="images/, labels/, truth.json")
    parser.add_argument(
        "--leave-out", action="append", default=[], help="sources that begin so are left out"
    )
    parser.add_argument("--drawn", type=int, default=DRAWN_CROPS, help="crops of drawn segments")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    prepare(asked.out, asked.photos, tuple(asked.leave_out), asked.drawn)


if __name__ == "__main__":
    main()
