"""The picture side: what a crop looks like is learnt by some units of the trunk's last layer.

Names are what ImageNet's classifier says, by a linear map that nothing is trained for. The units
that it needs least are given over to looks (color_channels.py), and learn from drawings and from
pixels' colors.

`python -m training.encoder.looks --out DIR` goes on from what prepare wrote there, and from
DIR/looks.pt if that is there.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from search.models.crops import WEIGHTS
from starter.drawing.colors import COLOR_NAMES
from starter.drawing.patterns import PATTERNS
from starter.drawing.shapes import SHAPES
from training.encoder.captions import HINTED_SHARE
from training.encoder.classes import mixed_views, picture_profiles, unit
from training.encoder.color_channels import SEE_COLOR
from training.encoder.space import LOOKS, LOOKS_AT, NAME_DIMS, NAMES, TONES, Space
from training.encoder.trunks import TRUNK, last_layer, load_classifier
from training.encoder.words import load_words

Floats = NDArray[np.float32]

WIDTH = 1280
WELL_KNOWN = 0.7  # familiarity of the words that the space is fitted to
UNKNOWN_CLASS = -1
OWN_SHARE = 0.5  # of what a view says that is its own; the rest is what both views say
LOOKS_SCALE = 30.0  # logits a unit of looks
BATCH = 256
SHARES = {"photos": (0.15, 0.45), "drawn": (0.4,)}  # of a batch: context, masked; drawn
MEAN_COLOR_SHARE = 0.5  # of what colors a segment is said to have
COLOR_LENGTH = 0.5  # of the looks of what has one color alone
LEARNING_RATE, LAST_RATE = 2e-4, 2e-6
WARM_UP_SHARE = 0.04
CLIP_NORM = 1.0
DROPPED = 0.3  # of the units, at each step
DECAY = 0.1
LOG_EVERY = 100
WEIGHTS_OF = {"colors": 80.0, "tones": 0.2, "patterns": 0.5, "shapes": 0.4, "length": 0.3}
SAVE_EVERY_S = 120.0


class Crops(NamedTuple):
    """n views: what the fixed layers made of them, and what is true of them."""

    low: NDArray[np.float16]  # (n, 320, s, s)
    colors: Floats  # (n, colors): shares of pixels, mixed with the name of their mean
    modifiers: NDArray[np.int64]
    patterns: NDArray[np.int64]
    shapes: NDArray[np.int64]

    def at(self, places: NDArray[np.int64]) -> Crops:
        """Return some of them."""
        chosen: list[Any] = [values[places] for values in self]
        return Crops(*chosen)


class PictureHead(nn.Module):
    """The trunk and the projection to names and looks, as they are exported.

    One unit of the last layer is held at 1, for transformers' projection has no bias.
    """

    units: Tensor

    def __init__(self, units: int) -> None:
        """Take the trunk as the package has it.

        Args:
            units: of the last layer, that learn looks.

        """
        super().__init__()
        trunk: Any = load_classifier(TRUNK)
        self.trunk = trunk.requires_grad_(False)
        self.projection = nn.Linear(WIDTH, NAME_DIMS + len(LOOKS), bias=False)
        self.projection.requires_grad_(False)
        self.register_buffer("units", torch.zeros(units + 1, dtype=torch.long))

    def forward(self, low: Tensor) -> Tensor:
        """Return (n, names + looks) of what the fixed layers give."""
        rows: Tensor = self.projection(last_layer(self.trunk)(low))
        return rows

    @property
    def constant(self) -> Tensor:
        """The unit that is held at 1."""
        return self.units[-1]

    @torch.no_grad()
    def begin(self, trunk: dict[str, Tensor], units: list[int]) -> None:
        """Take a trunk whose units are given over, the last of them as the one that is 1."""
        self.trunk.load_state_dict(trunk)
        self.units.copy_(torch.tensor(units))
        self._give(torch.zeros(1, self.trunk.conv_head.in_channels), torch.ones(1), self.units[-1:])

    @torch.no_grad()
    def take(self, learner: LooksLearner) -> None:
        """Take over what the learner has learnt."""
        units = self.units[:-1]
        bias = learner.units.bias
        assert bias is not None
        self._give(learner.units.weight[:, :, 0, 0], bias, units)
        self.projection.weight[LOOKS_AT] = learner.map_to_looks

    def _give(self, weight: Tensor, bias: Tensor, units: Tensor) -> None:
        norm = self.trunk.bn2
        norm.running_mean[units], norm.running_var[units] = 0, 1 - norm.eps
        norm.weight[units], norm.bias[units] = 1, bias
        self.trunk.conv_head.weight[units] = weight[:, :, None, None]


class LooksLearner(nn.Module):
    """The units of the last layer that learn, and the map from all units to looks."""

    def __init__(self, head: PictureHead) -> None:
        """Begin with the units as the head has them."""
        super().__init__()
        units = head.units[:-1]
        norm = head.trunk.bn2
        scale = norm.weight[units] / (norm.running_var[units] + norm.eps).sqrt()
        weight = head.trunk.conv_head.weight[units]
        self.units = nn.Conv2d(weight.shape[1], len(units), 1)
        with torch.no_grad():
            self.units.weight.copy_(weight * scale[:, None, None, None])
            assert self.units.bias is not None
            self.units.bias.copy_(norm.bias[units] - norm.running_mean[units] * scale)
        self.projection = nn.Linear(WIDTH, len(LOOKS), bias=False)
        nn.init.zeros_(self.projection.weight)
        self.places = units
        seeing, colors = units[:SEE_COLOR], len(COLOR_NAMES) + len(TONES)
        self.reads = torch.ones_like(self.projection.weight)  # by what each look is told
        self.reads[colors:, seeing] = 0
        self.reads[:colors] = 0
        self.reads[:colors, [*seeing, head.constant]] = 1

    def forward(self, low: Tensor, others: Tensor) -> Tensor:
        """Return (n, looks) from what the fixed layers give and (n, 1280) of the last layer."""
        seen = F.relu6(self.units(low)).mean((2, 3))
        rows = F.dropout(others.index_copy(1, self.places, seen), DROPPED, self.training)
        return F.linear(rows, self.map_to_looks)

    @property
    def map_to_looks(self) -> Tensor:
        """The (looks, 1280) map; colors and tones read the units that see color, others do not."""
        return self.projection.weight * self.reads


def view_profiles(out: Path) -> Floats:
    """Return what the crops say of ImageNet's kinds: (n, 1000) unit rows.

    Of a photo's segment, half is what the view says itself, half what both views say together.
    """
    own = picture_profiles(np.load(out / "logits.npz")["logits"].astype(np.float32))
    if not (out / "photos.npz").exists():
        return own
    views = own.reshape(-1, 2, own.shape[1])
    both = mixed_views(views[:, 0], views[:, 1], WEIGHTS)[:, None]
    return unit(OWN_SHARE * views + (1 - OWN_SHARE) * both).reshape(own.shape)


def fit_space(out: Path) -> Space:
    """Fit the space to what the crops and the words say of the kinds, and write it."""
    words = load_words(out)
    space = Space.fitted(view_profiles(out), words.profiles[words.known >= WELL_KNOWN])
    space.save(out / "space.npz")
    return space


def load_crops(out: Path, name: str) -> Crops:
    """Return the crops of photos or drawn."""
    with np.load(out / f"{name}.npz") as truth, np.load(out / f"{name}_low.npz") as saved:
        views = len(saved["low"]) // len(truth["colors"])  # two of a photo's segment
        shares = truth["colors"] * (truth["colors"] >= HINTED_SHARE)
        shares /= shares.sum(axis=1, keepdims=True)
        of_mean = np.eye(len(COLOR_NAMES), dtype=np.float32)[truth["mean_colors"]]
        colors = MEAN_COLOR_SHARE * of_mean + (1 - MEAN_COLOR_SHARE) * shares
        told = [truth[key] for key in ("modifiers", "patterns", "shapes")]
        return Crops(saved["low"], *(values.repeat(views, 0) for values in (colors, *told)))


def names_map(head: PictureHead, space: Space, logits: Floats) -> Floats:
    """Return the (names, features) map that gives what the classifier says, in the space.

    It is the classifier's own map, not one that is fitted: crops to fit it to hold too few kinds
    of things (mean AP .26 on COCO, .47 so).
    """
    weight, bias = (part.detach().numpy() for part in head.trunk.classifier.parameters())
    length = np.linalg.norm(logits - logits.mean(axis=1, keepdims=True), axis=1).mean()
    rows = space.basis.T @ (weight - weight.mean(axis=0)) / length
    rows[:, head.constant] = space.basis.T @ ((bias - bias.mean()) / length - space.picture_mean)
    mapped: Floats = rows.astype(np.float32)
    return mapped


@torch.inference_mode()
def pooled(head: PictureHead, crops: Crops) -> Tensor:
    """Return what the last layer makes of crops: (n, 1280)."""
    batches = (crops.low[start : start + BATCH] for start in range(0, len(crops.low), BATCH))
    return torch.cat([last_layer(head.trunk)(as_tensor(batch)) for batch in batches])


def as_tensor(low: NDArray[np.float16]) -> Tensor:
    """Return crops as the last layer takes them."""
    return torch.from_numpy(low).float().contiguous(memory_format=torch.channels_last)


def losses(rows: Tensor, batch: Crops) -> dict[str, Tensor]:
    """Return how far (n, looks) rows are from what is true, one number each.

    Colors are asked for by how much of them there is, and not which is more likely, since words
    rank segments by them.
    """
    counts = [len(COLOR_NAMES), len(TONES), len(PATTERNS), len(SHAPES)]
    beside_names = rows / (1 + rows.square().sum(dim=1, keepdim=True)).sqrt()
    colors = torch.split(beside_names, counts, dim=1)[0]
    wanted = COLOR_LENGTH * (torch.from_numpy(batch.colors) - 1 / len(COLOR_NAMES))
    _, tones, patterns, shapes = torch.split(LOOKS_SCALE * rows, counts, dim=1)
    neither = F.pad(tones, (1, 0))  # the score of neither dark nor light is 0
    return {
        "colors": (colors - wanted).square().sum(dim=1).mean(),
        "tones": F.cross_entropy(neither, torch.from_numpy(batch.modifiers)),
        "patterns": _known_loss(patterns, batch.patterns),
        "shapes": _known_loss(shapes, batch.shapes),
        "length": rows.square().sum(dim=1).mean(),
    }


def _known_loss(scores: Tensor, truths: NDArray[np.int64]) -> Tensor:
    """Return the cross entropy over those whose class is known, 0 if none is."""
    if not (truths != UNKNOWN_CLASS).any():
        return scores.sum() * 0
    return F.cross_entropy(scores, torch.from_numpy(truths), ignore_index=UNKNOWN_CLASS)


def joined(parts: list[Crops]) -> Crops:
    """Return the crops of all parts."""
    values: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Crops(*values)


def prepared(out: Path) -> list[str]:
    """Return which of photos and drawn were prepared."""
    return [name for name in ("photos", "drawn") if (out / f"{name}.npz").exists()]


def train(out: Path, steps: int, seed: int = 0) -> PictureHead:
    """Train the units of looks, or go on from out/looks.pt."""
    names = prepared(out)
    fitted = (out / "space.npz").exists()
    space = Space.load(out / "space.npz") if fitted else fit_space(out)
    parts = [load_crops(out, name) for name in names]
    torch.manual_seed(seed)
    start = torch.load(out / "trunk.pt", weights_only=True)
    head = PictureHead(len(start["units"]) - 1).eval()
    head.begin(start["trunk"], start["units"])
    logits = np.load(out / "logits.npz")["logits"].astype(np.float32)
    names_rows = names_map(head, space, logits)
    head.projection.weight[NAMES] = torch.from_numpy(names_rows)
    others = torch.cat([pooled(head, part) for part in parts])
    counts = {name: len(part.low) for name, part in zip(names, parts, strict=True)}
    crops = joined(parts)
    learner = LooksLearner(head)
    optimizer = torch.optim.AdamW(learner.parameters(), LEARNING_RATE, weight_decay=DECAY)
    first = _resume(out / "looks.pt", learner, optimizer)
    saved = time.monotonic()
    for step in range(first, steps):
        rng = np.random.default_rng((seed, step))
        places = _drawn_places(rng, counts)
        batch = crops.at(places)
        for group in optimizer.param_groups:
            group["lr"] = _rate(step / steps)
        found = losses(learner(as_tensor(batch.low), others[torch.from_numpy(places)]), batch)
        optimizer.zero_grad(set_to_none=True)
        weighted = [WEIGHTS_OF[name] * loss for name, loss in found.items()]
        torch.autograd.backward(torch.stack(weighted).sum())
        nn.utils.clip_grad_norm_(learner.parameters(), CLIP_NORM)
        optimizer.step()
        if step % LOG_EVERY == 0:
            said = ", ".join(f"{name} {loss.item():.3f}" for name, loss in found.items())
            print(f"step {step} of {steps}: {said}", file=sys.stderr, flush=True)
        if time.monotonic() - saved > SAVE_EVERY_S or step + 1 == steps:
            head.take(learner)
            _save(out / "looks.pt", head, learner, optimizer, step + 1)
            saved = time.monotonic()
    return head


def _drawn_places(rng: np.random.Generator, counts: dict[str, int]) -> NDArray[np.int64]:
    """Return the places of a batch's crops, so many of each as SHARES says.

    Args:
        rng: draws them.
        counts: of views of photos and drawn ones; those of a photo's segment take turns.

    """
    chosen, first = [], 0
    total = sum(sum(SHARES[name]) for name in counts)
    for name, count in counts.items():
        views = len(SHARES[name])
        for view, share in enumerate(SHARES[name]):
            drawn = rng.integers(count // views, size=round(BATCH * share / total))
            chosen.append(first + views * drawn + view)
        first += count
    return np.concatenate(chosen)


def _rate(share: float) -> float:
    """Return the learning rate: up in the first part, then down along a cosine."""
    risen = min(1.0, (share + 1e-4) / WARM_UP_SHARE)
    return LAST_RATE + (LEARNING_RATE * risen - LAST_RATE) * (1 + math.cos(math.pi * share)) / 2


def _save(
    path: Path,
    head: PictureHead,
    learner: LooksLearner,
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    unfinished = path.with_suffix(".part")
    state = {
        "head": head.state_dict(),
        "learner": learner.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
    }
    torch.save(state, unfinished)
    unfinished.replace(path)


def _resume(path: Path, learner: LooksLearner, optimizer: torch.optim.Optimizer) -> int:
    """Return the step to go on with: 0 without a checkpoint."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    learner.load_state_dict(state["learner"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.encoder.looks", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    started = time.monotonic()
    train(asked.out, asked.steps)
    print(f"looks: {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
