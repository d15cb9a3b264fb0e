"""Train the starter encoder on drawn pictures: `python -m training.encoder.train --out DIR`.

It goes on from DIR/checkpoint.pt if that is there, so it can be stopped at any moment and started
again. At the end DIR/encoder/ holds the encoder in half precision and training.json, which says
how it was made.
"""

import argparse
import copy
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers import CLIPModel

from starter.drawing.colors import COLOR_NAMES, MODIFIERS
from starter.drawing.patterns import PATTERNS
from starter.drawing.shapes import SHAPES
from training.encoder.captions import HINTED_SHARE, HOLDS, UNKNOWN, Claim, caption
from training.encoder.check import HeldOut, check_encoder, draw_held_out
from training.encoder.crops import UNKNOWN_CLASS, Batch, BatchPlan, iter_batches
from training.encoder.model import EncoderShape, fill_rgb, new_encoder, new_processor, save_encoder
from training.made_by import device_name, versions
from training.precision import autocast, take_step

FIRST_SCALE, LAST_SCALE = 14.0, 60.0  # of cosines in the loss; it is learnt in between
WARM_UP_STEPS = 60
STEADY_SHARE = 0.5  # of training at the full learning rate: on a busy machine it may get few steps
CONCEPT_WEIGHT = 1.0  # of the words for each color, pattern and shape as classes
HEADS_WEIGHT = 0.5  # of the classifying head, which is thrown away afterwards
CLIP_NORM = 1.0
LEAST_CLAIM = 0.05  # weight of a caption whose colors hardly show
FAR_BELOW = -1e4  # a score that leaves nothing of a pair after softmax
HELD_OUT_SEGMENTS = 500
VERSIONED = ("torch", "transformers", "tokenizers", "numpy", "pillow", "segsearch")
CONCEPTS = (
    *(Claim(colors=(name,)) for name in COLOR_NAMES),
    *(Claim(pattern=name) for name in PATTERNS),
    *(Claim(shape=name) for name in SHAPES),
)
KINDS = (len(COLOR_NAMES), len(PATTERNS), len(SHAPES), len(MODIFIERS))


@dataclass(frozen=True)
class Recipe:
    """Everything that the weights depend on, hardware aside."""

    shape: EncoderShape = field(default_factory=EncoderShape)
    plan: BatchPlan = field(default_factory=BatchPlan)
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    ema_decay: float = 0.998
    minutes: float = 90.0  # the learning rate falls to nothing by then,
    steps: int = 0  # or, if given, by this step
    workers: int = 1  # that draw


@dataclass
class Progress:
    """How far training has come."""

    step: int = 0
    seconds: float = 0.0

    def share(self, recipe: Recipe) -> float:
        """Return 0 at the start, 1 at the end."""
        if recipe.steps:
            return self.step / recipe.steps
        return self.seconds / (60 * recipe.minutes)


class Batches(IterableDataset[Batch]):
    """The batches from a step on, as a DataLoader's workers draw them in turn."""

    def __init__(self, plan: BatchPlan, first_step: int) -> None:
        """Take the plan and the first step."""
        self.plan, self.first_step = plan, first_step

    def __iter__(self) -> Iterator[Batch]:
        """Yield this worker's batches, at low priority: training should not wait for the CPU."""
        info = get_worker_info()
        if info is None:
            return iter_batches(self.plan, self.first_step)
        os.nice(10)
        torch.set_num_threads(1)
        turn = (self.first_step + info.id) % info.num_workers
        return iter_batches(self.plan, self.first_step, worker=turn, workers=info.num_workers)


class Trainer:
    """The encoder, its average, the head and the optimizers; all of it goes into a checkpoint."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        """Start anew from the recipe's seed."""
        torch.manual_seed(recipe.plan.seed)
        self.recipe, self.device, self.progress = recipe, device, Progress()
        self.processor = new_processor(recipe.shape)
        self.model = new_encoder(recipe.shape, self.processor.tokenizer).to(device)
        self.head = nn.Linear(recipe.shape.width, sum(KINDS)).to(device)
        with torch.no_grad():
            self.model.logit_scale.fill_(float(np.log(FIRST_SCALE)))
        self.average = copy.deepcopy(self.model).eval()
        self.optimizers = _optimizers(recipe, self.model, self.head)

    def step(self, batch: Batch) -> dict[str, float]:
        """Learn from one batch and return its losses."""
        self.model.train()
        losses = self._losses(batch)
        total = (
            losses["captions"] + CONCEPT_WEIGHT * losses["concepts"] + HEADS_WEIGHT * losses["head"]
        )
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_([*self.model.parameters(), *self.head.parameters()], CLIP_NORM)
        self._set_learning_rate()
        for optimizer in self.optimizers:
            take_step(optimizer, self.device)
        self.progress.step += 1
        self._follow()
        return {name: loss.item() for name, loss in losses.items()}

    def save(self, path: Path) -> None:
        """Write a checkpoint; a crash meanwhile leaves the one before."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "head": self.head.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": asdict(self.progress),
            "recipe": asdict(self.recipe),
        }
        unfinished = path.with_suffix(".part")
        torch.save(state, unfinished)
        unfinished.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: it is of an encoder of another shape.
        """
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["recipe"]["shape"] != asdict(self.recipe.shape):
            raise ValueError(
                f"{path} holds an encoder of another shape: give the same sizes as then, "
                f"{state['recipe']['shape']}, or another --out"
            )
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.head.load_state_dict(state["head"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.progress = Progress(**state["progress"])

    @torch.no_grad()
    def begin_with(self, encoder: Path) -> None:
        """Take the weights of an encoder whose patches and crops may have other sizes.

        Patches and positions are resampled, so training on large patches can come first: it is
        quicker.
        """
        known = CLIPModel.from_pretrained(encoder, dtype=torch.float32).state_dict()
        for name, wanted in self.model.state_dict().items():
            values = known[name]
            if name.endswith("patch_embedding.weight"):
                values = _resampled(values, wanted.shape[-1])
                values = values * known[name][0, 0].numel() / wanted[0, 0].numel()
            elif name.endswith("vision_model.embeddings.position_embedding.weight"):
                grid = values[1:].T.unflatten(1, (math.isqrt(len(values) - 1), -1))
                places = _resampled(grid, math.isqrt(len(wanted) - 1))
                values = torch.cat([values[:1], places.flatten(1).T])
            wanted.copy_(values)
        self.average.load_state_dict(self.model.state_dict())

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return how badly captions, concept words and the head tell what is true."""
        rng = np.random.default_rng((self.recipe.plan.seed, self.progress.step, 1))
        prompts = [caption(rng, concept) for concept in CONCEPTS]
        tokens = self.processor.tokenizer(
            [*batch.captions, *prompts], padding=True, truncation=True, return_tensors="pt"
        ).to(self.device)
        with autocast(self.device):
            seen = self.model.vision_model(self._pixel_values(batch)).pooler_output
            images = self.model.visual_projection(seen)
            read = self.model.text_model(tokens["input_ids"], tokens["attention_mask"])
            texts = self.model.text_projection(read.pooler_output)
            guesses = self.head(seen)
        cosines = F.normalize(texts.float(), dim=1) @ F.normalize(images.float(), dim=1).T
        scores = self.model.logit_scale.exp() * cosines  # (captions and concepts, images)
        told = len(batch.captions)
        verdicts = torch.from_numpy(batch.verdicts).to(self.device)
        claimed = torch.from_numpy(batch.claimed).to(self.device)
        return {
            "captions": caption_loss(scores[:told], verdicts, claimed),
            "concepts": self._class_loss(batch, scores[told:].T),
            "head": self._class_loss(batch, guesses.float()),
        }

    def _pixel_values(self, batch: Batch) -> Tensor:
        pixels = self.processor.image_processor
        levels = torch.from_numpy(batch.crops).to(self.device).permute(0, 3, 1, 2)  # (n, 3, s, s)
        mean, std = (
            torch.tensor(x, device=self.device)[:, None, None]
            for x in (pixels.image_mean, pixels.image_std)
        )
        return (levels / 255 - mean) / std

    def _class_loss(self, batch: Batch, scores: Tensor) -> Tensor:
        """Return the cross entropy of (n, classes), summed over the kinds it has columns for."""
        seen = batch.color_shares * (batch.color_shares >= HINTED_SHARE)
        targets = (
            seen / seen.sum(axis=1, keepdims=True),
            batch.patterns,
            batch.shapes,
            batch.modifiers,
        )
        ends = [end for end in np.cumsum(KINDS).tolist() if end <= scores.shape[1]]
        losses = [
            F.cross_entropy(
                scores[:, end - count : end],
                torch.from_numpy(target).to(self.device),
                ignore_index=UNKNOWN_CLASS,
            )
            for end, count, target in zip(ends, KINDS, targets, strict=False)
        ]
        return torch.stack(losses).nansum()  # a batch may show none of a kind: a mean over nothing

    def _set_learning_rate(self) -> None:
        """Rise for a few steps, stay there, then fall evenly to nothing."""
        risen = (self.progress.step + 1) / WARM_UP_STEPS
        left = max(0.0, 1 - self.progress.share(self.recipe)) / (1 - STEADY_SHARE)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.learning_rate * min(risen, left, 1.0)

    @torch.no_grad()
    def _follow(self) -> None:
        """Hold the scale in its bounds and move the average towards the model."""
        self.model.logit_scale.clamp_(0, float(np.log(LAST_SCALE)))
        decay = min(self.recipe.ema_decay, self.progress.step / (10 + self.progress.step))
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.model.parameters()), 1 - decay
        )


def caption_loss(scores: Tensor, verdicts: Tensor, claimed: Tensor) -> Tensor:
    """Return the loss of (captions, images): each finds all that it holds of, both ways.

    What shows more of the claimed colors is to come first: it counts for more, by the square of
    their share. Pairs of which it is unknown whether they hold count neither for nor against.
    """
    holds = (verdicts == HOLDS) * claimed.square().clamp(min=LEAST_CLAIM)
    open_scores = scores.masked_fill(verdicts == UNKNOWN, FAR_BELOW)
    losses = [
        -((open_scores.log_softmax(dim) * holds).sum(dim) / holds.sum(dim)).mean() for dim in (0, 1)
    ]
    return losses[0] + losses[1]


def train(
    recipe: Recipe,
    out: Path,
    *,
    device: torch.device,
    start_from: Path | None = None,
    held_out: HeldOut | None = None,
    stop_after: int | None = None,
    log_every: int = 50,
    save_every_s: float = 180.0,
    check_every_s: float = 600.0,
) -> Trainer:
    """Train to the recipe's end, or up to a step; go on from out/checkpoint.pt if it is there."""
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    trainer = Trainer(recipe, device)
    if checkpoint.exists():
        trainer.resume(checkpoint)
        _log(f"going on at step {trainer.progress.step}")
    elif start_from:
        trainer.begin_with(start_from)
    progress = trainer.progress
    saved = checked = clock = time.monotonic()
    losses: list[dict[str, float]] = []
    for batch in _loader(recipe, progress.step):
        losses.append(trainer.step(batch))
        now = time.monotonic()
        progress.seconds += now - clock
        clock = now
        if progress.step % log_every == 0:
            _log_losses(trainer, losses)
            losses.clear()
        ended = progress.share(recipe) >= 1 or progress.step == stop_after
        if ended or now - saved >= save_every_s:
            trainer.save(checkpoint)
            saved = now
        if held_out is not None and not ended and now - checked >= check_every_s:
            _log(f"step {progress.step} held out {_check(trainer, held_out)}")
            checked = clock = time.monotonic()  # checks are no training
        if ended:
            break
    return trainer


def export(trainer: Trainer, out: Path, figures: dict[str, float]) -> None:
    """Write out/encoder/ for from_pretrained, with training.json: how it was made."""
    folder = out / "encoder"
    trainer.average.logit_scale.data.copy_(trainer.model.logit_scale)
    save_encoder(trainer.average, trainer.processor, folder)
    record = {
        "recipe": asdict(trainer.recipe),
        "steps": trainer.progress.step,
        "views": trainer.progress.step * trainer.recipe.plan.batch_size,
        "scenes": trainer.progress.step * trainer.recipe.plan.scenes_per_step
        + trainer.recipe.plan.window_scenes,
        "minutes": round(trainer.progress.seconds / 60, 1),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "device": device_name(trainer.device),
        "versions": versions(*VERSIONED),
        "held_out": figures,
    }
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    options = _parser().parse_args(arguments)
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.set_num_threads(options.threads)
    shape = EncoderShape(patch_px=options.patch_px)
    plan = BatchPlan(
        seed=options.seed,
        batch_size=options.batch_size,
        window_scenes=options.window_scenes,
        crop_px=shape.crop_px,
        fill_rgb=fill_rgb(new_processor(shape)),
    )
    recipe = Recipe(
        shape, plan, minutes=options.minutes, steps=options.steps, workers=options.workers
    )
    held_out = draw_held_out(HELD_OUT_SEGMENTS, shape.crop_px, plan.fill_rgb)
    trainer = train(
        recipe, options.out, device=device, start_from=options.start_from, held_out=held_out
    )
    figures = _check(trainer, held_out)
    export(trainer, options.out, figures)
    _log(f"held out {figures}; wrote {options.out / 'encoder'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.encoder.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and encoder")
    parser.add_argument("--start-from", type=Path, help="folder of an encoder to begin with")
    parser.add_argument("--patch-px", type=int, default=EncoderShape.patch_px)
    parser.add_argument("--minutes", type=float, default=Recipe.minutes, help="of training in all")
    parser.add_argument("--steps", type=int, default=0, help="instead of minutes")
    parser.add_argument("--batch-size", type=int, default=BatchPlan.batch_size)
    parser.add_argument("--window-scenes", type=int, default=BatchPlan.window_scenes)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    parser.add_argument("--threads", type=int, default=1, help="that train, on a CPU")
    parser.add_argument("--device", help="found by itself if not given")
    return parser


def _resampled(grids: Tensor, side: int) -> Tensor:
    """Return (..., side, side) of square grids, by bicubic interpolation."""
    flat = grids.reshape(-1, 1, *grids.shape[-2:])
    sized = F.interpolate(flat, (side, side), mode="bicubic", antialias=True)
    return sized.reshape(*grids.shape[:-2], side, side)


def _optimizers(
    recipe: Recipe, model: CLIPModel, head: nn.Module
) -> tuple[torch.optim.Optimizer, ...]:
    """Return Muon for the matrices within the layers, AdamW for all else."""
    named = [*model.named_parameters(), *head.named_parameters()]
    matrices = [p for name, p in named if p.ndim == 2 and ".layers." in name]
    others = [p for name, p in named if not (p.ndim == 2 and ".layers." in name)]
    rate, decay = recipe.learning_rate, recipe.weight_decay
    return (
        torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, weight_decay=decay, betas=(0.9, 0.98)),
    )


def _loader(recipe: Recipe, first_step: int) -> DataLoader[Batch]:
    return DataLoader(
        Batches(recipe.plan, first_step),
        batch_size=None,
        num_workers=recipe.workers,
        prefetch_factor=8 if recipe.workers else None,
    )


def _check(trainer: Trainer, held_out: HeldOut) -> dict[str, float]:
    return check_encoder(trainer.average, trainer.processor, held_out)


def _log_losses(trainer: Trainer, losses: list[dict[str, float]]) -> None:
    progress = trainer.progress
    means = {name: np.mean([loss[name] for loss in losses]) for name in losses[0]}
    told = ", ".join(f"{name} {mean:.3f}" for name, mean in means.items())
    scale = trainer.model.logit_scale.exp().item()
    _log(f"step {progress.step}, {progress.seconds / 60:.1f} min: {told}, scale {scale:.1f}")


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
