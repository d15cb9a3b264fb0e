"""Train a segmenter of SAM 2's architecture on drawn pictures alone: what on_photos begins with.

    python -m training.segmenter.on_drawings --out FOLDER

A run stopped at any moment goes on from its last checkpoint with the same command. It trains in
two stages. First the image does not attend to the prompt, so many prompts share a picture's
features and a step costs little more than encoding; a reader that sees the encoder's features at
the click, thrown away afterwards, gives the encoder a short way to the loss, and the tokens'
attention is taught to look at the click. Then sam2's whole two-way decoder is trained, with
corrections of its own masks among the prompts.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, IterableDataset

from training.made_by import device_name
from training.precision import autocast, take_step
from training.segmenter.attention_loss import grounding_loss, looking_distance
from training.segmenter.clicks import ClickBatch, click_batches
from training.segmenter.decoder import Features, Looks, decode, encode, prepare
from training.segmenter.export import export, sharpen
from training.segmenter.mask_loss import MaskLoss, mask_loss
from training.segmenter.prompts import correction, point_tokens, precise_prompts

CONFIG = Path(__file__).with_name("drawings.yaml")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CHECK_SEED = 7  # the stream that checks are drawn from; training's streams have other seeds
CHECK_PICTURES = 8  # of each of the batches that are checked


@dataclass(frozen=True)
class Recipe:
    """What decides a run's result, but for rounding."""

    size_px: int = 256  # of the pictures; the weights are used at the config's image_size
    steps: int = 12_000
    minutes: float = 0.0  # if set, not longer than that, as on a machine rented by the hour
    pictures: int = 8  # a step
    clicks: int = 16  # a picture
    two_way_from: float = 0.55  # share of the steps after which the image attends to prompts
    two_way_clicks: int = 6
    learning_rate: float = 6e-4
    warm_up_steps: int = 200
    weight_decay: float = 0.05
    look_steps: int = 300  # before the first step: only the attention to the click's place
    look_until: float = 0.3  # share of the steps during which that goes on beside the masks
    grounding: float = 0.5  # weight of teaching the image which cells are the prompt's
    sharpness: float = 3.0  # of the exported logits; see sharpen()
    leaves: float = 0.5  # share of the pictures that are dead leaves; the others are scenes
    seed: int = 1


class Reader(nn.Module):
    """A hypernetwork that is shown the features at the click; thrown away after training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels // 8
        self.mlp = nn.Sequential(
            nn.Linear(2 * channels + channels // 4 + channels // 4, 256),
            nn.ReLU(),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, 4 * self.out_channels),
        )

    def forward(self, features: Features, upscaled: Tensor, at: Tensor, code: Tensor) -> Tensor:
        """Return logits (B, N, 4, h, w) for clicks `at` (B, N, 2) in -1..1 with their codes."""
        seen = [
            functional.grid_sample(values.float(), at[:, :, None], align_corners=False)[..., 0]
            for values in (features.embedding, features.stride8, features.stride4, upscaled)
        ]
        inputs = torch.cat([*(values.transpose(1, 2) for values in seen), code], -1)
        weights = self.mlp(inputs).reshape(*at.shape[:2], 4, self.out_channels)
        return torch.einsum("bntc,bchw->bnthw", weights, upscaled)


class _Batches(IterableDataset[dict[str, Tensor]]):
    """The stream of a seed from a batch number on; several workers take turns."""

    def __init__(self, recipe: Recipe, seed: int, start: int, size_px: int) -> None:
        self.arguments = (recipe, seed, start, size_px)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        recipe, seed, start, size_px = self.arguments
        worker = torch.utils.data.get_worker_info()
        turn, turns = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            os.nice(10)
        batches = click_batches(
            seed, start + turn, every=turns, pictures=recipe.pictures, clicks=recipe.clicks,
            size_px=size_px, leaves=recipe.leaves,
        )  # fmt: skip
        for batch in batches:
            yield _tensors(batch)


def _tensors(batch: ClickBatch) -> dict[str, Tensor]:
    return {item.name: torch.from_numpy(getattr(batch, item.name)) for item in fields(batch)}


class Training:
    """A run: model, its moving average, optimizer and the step it has come to."""

    def __init__(self, recipe: Recipe, config: Path, device: str) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, torch.device(device)
        self.model = _build(config, recipe.size_px).to(self.device)
        self.average = _build(config, recipe.size_px).to(self.device).eval()
        self.reader = Reader(self.model.hidden_dim).to(self.device)
        self.optimizers = _optimizers(recipe, self.model, self.reader)
        # On a CPU the fused attention's backward pass takes twice as long as the plain one's.
        self._attention = [SDPBackend.MATH]
        if self.device.type != "cpu":
            self._attention += [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
        self.step = 0
        self.seconds = 0.0
        self.earlier: list[dict[str, Any]] = []

    @property
    def stages(self) -> list[dict[str, Any]]:
        """What this run is, and before it those whose weights it began with."""
        this = {
            **asdict(self.recipe),
            "steps_done": self.step,
            "minutes": round(self.seconds / 60, 1),
            "device": device_name(self.device),
        }
        return [*self.earlier, this]

    def _parameters(self) -> list[nn.Parameter]:
        return [*self.model.parameters(), *self.reader.parameters()]

    @property
    def done(self) -> float:
        """The share of the run that lies behind: of its steps or its time, whichever is more."""
        of_time = self.seconds / 60 / self.recipe.minutes if self.recipe.minutes else 0.0
        return max(self.step / max(1, self.recipe.steps), of_time)

    @property
    def two_way(self) -> bool:
        """Whether the image attends to the prompts by now."""
        return self.done >= self.recipe.two_way_from

    def prepare(self, batch: dict[str, Tensor], weights: Path | None = None) -> None:
        """Set the start: fresh, from another run's checkpoint, or from exported weights."""
        if weights:
            state = torch.load(weights, map_location=self.device, weights_only=True)
            if "average" in state:
                self.model.load_state_dict(state["average"])
                self.reader.load_state_dict(state["reader"])
                self.earlier = state["stages"]
            else:  # exported weights: half precision, sharpened, without the reader
                self.model.load_state_dict(state["model"])
                made = json.loads(weights.with_suffix(".json").read_text())
                sharpen(self.model, 1 / made["sharpness"])
                self.earlier = made["stages"]
        else:
            prepare(self.model, self._pixels(batch))
        self._learn_to_look(batch)
        self.average.load_state_dict(self.model.state_dict())

    def _learn_to_look(self, batch: dict[str, Tensor]) -> None:
        """Teach the tokens' attention where a click is, before anything else is learnt.

        Without it the tokens look anywhere, and the masks long depend on the picture alone.
        """
        model, size_px = self.model, self.recipe.size_px
        decoder, prompts = model.sam_mask_decoder, model.sam_prompt_encoder
        learning = [
            *decoder.transformer.parameters(),
            *prompts.parameters(),
            decoder.mask_tokens.weight,
            decoder.iou_token.weight,
        ]
        optimizer = torch.optim.AdamW(learning, betas=(0.9, 0.98), weight_decay=0.0)
        with torch.no_grad():
            features = encode(model, self._pixels(batch)[:4])
        pictures = len(features.embedding)
        for step in range(self.recipe.look_steps):
            left = 1 - step / self.recipe.look_steps
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * min(1.0, (step + 1) / 20, 2 * left)
            points = torch.rand(pictures, 16, 2, device=self.device) * size_px
            labels = torch.ones(pictures, 16, 1, dtype=torch.int32, device=self.device)
            looks = Looks()
            with autocast(self.device):
                sparse = point_tokens(self.model, points[:, :, None], labels)
                decode(model, features, sparse, two_way=False, looks=looks)
                loss = looking_distance(looks, points, size_px)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(learning, 1.0)
            optimizer.step()

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Learn from one batch; return what the log tells."""
        self.model.train()
        batch = {name: values.to(self.device) for name, values in batch.items()}
        warm = min(1.0, (self.step + 1) / self.recipe.warm_up_steps)
        cosine = 0.5 + 0.5 * math.cos(math.pi * self.done)
        rate = self.recipe.learning_rate * warm * max(0.02, cosine)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        with autocast(self.device), sdpa_kernel(self._attention):
            loss, told = self._two_way_loss(batch) if self.two_way else self._shared_loss(batch)
        for parameter in self._parameters():
            parameter.grad = None
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(self._parameters(), 1.0)
        if torch.isfinite(norm):
            for optimizer in self.optimizers:
                take_step(optimizer, self.device)
        self.step += 1
        keep = min(0.999, (1 + self.step) / (20 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.model.parameters()), 1 - keep
            )
        return {"loss": float(loss.detach()), "norm": float(norm), **told}

    def _shared_loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Stage one: all prompts of a picture on the same features."""
        features = encode(self.model, self._pixels(batch))
        points, targets, counts = batch["points"], _shares(batch["targets"]), batch["counts"]
        pictures, clicks = counts.shape
        labels = torch.ones(pictures, clicks, 1, dtype=torch.int32, device=self.device)
        sparse = point_tokens(self.model, points[:, :, None], labels)
        looks = Looks()
        clicked = decode(self.model, features, sparse, two_way=False, looks=looks)
        flat_targets, flat_counts = targets.flatten(0, 1), counts.flatten()
        by_click = mask_loss(
            clicked.logits.flatten(0, 1), clicked.iou.flatten(0, 1), flat_targets, flat_counts
        )
        read = self.reader(
            features, clicked.upscaled, points / self.recipe.size_px * 2 - 1, sparse[:, :, 0]
        )
        by_reader = mask_loss(
            read.flatten(0, 1), clicked.iou.detach().flatten(0, 1), flat_targets, flat_counts
        )
        asked = precise_prompts(batch, targets, clicks // 2)
        sparse = point_tokens(self.model, asked.coordinates, asked.labels)
        precise = decode(self.model, features, sparse, two_way=False)
        by_precise = mask_loss(
            precise.logits.flatten(0, 1), precise.iou.flatten(0, 1), asked.targets, asked.counts
        )
        looking = looking_distance(looks, points, self.recipe.size_px)
        teach = max(0.0, 1 - self.done / self.recipe.look_until)
        loss = (
            _ambiguous(by_click)
            + 0.5 * by_reader.candidates
            + 0.5 * _certain(by_precise)
            + 2 * teach * looking
            + 0.3 * _offset(features.embedding)
        )
        return loss, {
            "best": by_click.best_iou,
            "pick": by_click.picked_iou,
            "read": by_reader.best_iou,
            "precise": by_precise.best_iou,
            "iou_err": float(by_click.iou.detach()),
            "look": float(looking.detach()),
        }

    def _two_way_loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Stage two: sam2's whole decoder, a prompt at a time."""
        features = encode(self.model, self._pixels(batch))
        clicks = min(self.recipe.two_way_clicks, self.recipe.clicks)
        targets = _shares(batch["targets"][:, :clicks])
        points, counts = batch["points"][:, :clicks], batch["counts"][:, :clicks].flatten()
        labels = torch.ones(len(points), clicks, 1, dtype=torch.int32, device=self.device)
        repeated = features.repeated(clicks)
        sparse = point_tokens(self.model, points[:, :, None], labels).flatten(0, 1)[:, None]
        looks = Looks()
        clicked = decode(self.model, repeated, sparse, two_way=True, looks=looks)
        grounding = grounding_loss(
            looks, targets.flatten(0, 1), counts, labels.flatten(0, 1), self.recipe.size_px
        )
        by_click = mask_loss(clicked.logits[:, 0], clicked.iou[:, 0], targets.flatten(0, 1), counts)

        by_precise, of_precise = self._two_way_precise(batch, features, max(1, 2 * clicks // 3))
        grounding = grounding + of_precise
        mended = correction(
            self.model,
            clicked.logits[:, 0].detach().float(),
            clicked.iou[:, 0].detach(),
            points.flatten(0, 1),
            targets.flatten(0, 1),
        )
        every = slice(None, None, 2)  # a correction for every second click
        corrected = decode(
            self.model,
            Features(repeated.embedding[every], repeated.stride4[every], repeated.stride8[every]),
            mended.sparse[every, None],
            mended.dense[every],
            two_way=True,
        )
        by_corrected = mask_loss(
            corrected.logits[:, 0],
            corrected.iou[:, 0],
            mended.targets[every],
            torch.ones_like(counts[every]),
        )
        loss = (
            _ambiguous(by_click)
            + _certain(by_precise)
            + 0.3 * _certain(by_corrected)
            + self.recipe.grounding * grounding
            + 0.1 * _offset(features.embedding)
        )
        return loss, {
            "best": by_click.best_iou,
            "pick": by_click.picked_iou,
            "precise": by_precise.best_iou,
            "corrected": by_corrected.best_iou,
            "ground": float(grounding.detach()) / 2,
            "iou_err": float(by_click.iou.detach()),
        }

    def _two_way_precise(
        self, batch: dict[str, Tensor], features: Features, prompts: int
    ) -> tuple[MaskLoss, Tensor]:
        """Return the masks' loss and the grounding of boxes and pairs of points."""
        asked = precise_prompts(batch, _shares(batch["targets"]), prompts)
        sparse = point_tokens(self.model, asked.coordinates, asked.labels).flatten(0, 1)
        looks = Looks()
        shown = decode(
            self.model, features.repeated(prompts), sparse[:, None], two_way=True, looks=looks
        )
        grounding = grounding_loss(
            looks, asked.targets, asked.counts, asked.labels.flatten(0, 1), self.recipe.size_px
        )
        return mask_loss(
            shown.logits[:, 0], shown.iou[:, 0], asked.targets, asked.counts
        ), grounding

    def _pixels(self, batch: dict[str, Tensor]) -> Tensor:
        images = batch["images"].to(self.device).float().permute(0, 3, 1, 2) / 255
        mean, std = (
            torch.tensor(values, device=self.device)[:, None, None]
            for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
        return ((images - mean) / std).contiguous()

    @torch.no_grad()
    def check(self, batches: list[dict[str, Tensor]]) -> dict[str, float]:
        """Return how well the averaged model answers single clicks on pictures it has not seen."""
        best, picked = [], []
        for batch in batches:
            features = encode(self.average, self._pixels(batch))
            points = batch["points"].to(self.device)
            count = points.shape[1]
            labels = torch.ones(len(points), count, 1, dtype=torch.int32, device=self.device)
            sparse, _ = self.average.sam_prompt_encoder(
                points=(points.flatten(0, 1)[:, None], labels.flatten(0, 1)), boxes=None, masks=None
            )
            shown = decode(self.average, features.repeated(count), sparse[:, None], two_way=True)
            found = mask_loss(
                shown.logits[:, 0],
                shown.iou[:, 0],
                _shares(batch["targets"].to(self.device)).flatten(0, 1),
                batch["counts"].to(self.device).flatten(),
            )
            best.append(found.best_iou)
            picked.append(found.picked_iou)
        return {"check_best": float(np.mean(best)), "check_pick": float(np.mean(picked))}

    def save(self, path: Path) -> None:
        """Write everything that going on needs, all or nothing."""
        state = {
            "stages": self.stages,
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "reader": self.reader.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint; its recipe is replaced by this run's."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.reader.load_state_dict(state["reader"])
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        self.step, self.seconds = state["step"], state["seconds"]
        self.earlier = state["stages"][:-1]


def _build(config: Path, size_px: int) -> SAM2Base:
    settings = OmegaConf.load(config)
    settings.model.image_size = size_px
    model: SAM2Base = instantiate(settings.model, _recursive_=True)
    return model


def _optimizers(recipe: Recipe, model: SAM2Base, reader: Reader) -> list[torch.optim.Optimizer]:
    """Return Muon (Jordan 2024) for the matrices within transformer blocks, AdamW for the rest."""
    inner = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and (".blocks." in name or ".transformer." in name)
    }
    others = [p for name, p in model.named_parameters() if name not in inner]
    others += reader.parameters()
    rate, decay = recipe.learning_rate, recipe.weight_decay
    return [
        torch.optim.Muon(
            inner.values(), lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            [
                {"params": [p for p in others if p.ndim > 1], "weight_decay": decay},
                {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=rate,
            betas=(0.9, 0.98),
        ),
    ]


def _shares(targets: Tensor) -> Tensor:
    return targets.float() / 255


def _ambiguous(loss: MaskLoss) -> Tensor:
    return loss.candidates + 0.25 * loss.single + 2 * loss.iou


def _certain(loss: MaskLoss) -> Tensor:
    return 0.5 * loss.candidates + loss.single + 2 * loss.iou


def _offset(embedding: Tensor) -> Tensor:
    """Penalize constant offsets and vanishing spread of channels, which blind the tokens."""
    values = embedding.float()
    spread = (values.var((2, 3)).mean(0) + 1e-6).sqrt()
    return values.mean((0, 2, 3)).square().mean() + 2 * torch.relu(0.6 - spread).mean()


def main(argv: list[str] | None = None) -> None:
    """Train, going on where an earlier run in the same folder stopped."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and weights")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--start-from", type=Path, help="checkpoint or weights to begin with")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1),
                        help="processes that draw scenes")  # fmt: skip
    parser.add_argument("--save-every", type=int, default=250, help="steps")
    for item in fields(Recipe):
        flag = "--" + item.name.replace("_", "-")
        parser.add_argument(flag, type=type(item.default), default=item.default)
    given: dict[str, Any] = vars(parser.parse_args(argv))
    recipe = Recipe(**{item.name: given[item.name] for item in fields(Recipe)})
    out: Path = given["out"]
    torch.set_num_threads(given["threads"])
    run(recipe, given["config"], out, device=given["device"], workers=given["workers"],
        save_every=given["save_every"], start_from=given["start_from"])  # fmt: skip


def run(
    recipe: Recipe,
    config: Path,
    out: Path,
    *,
    device: str,
    workers: int,
    save_every: int,
    start_from: Path | None = None,
) -> Training:
    """Train to the recipe's last step, saving and checking on the way; return the run."""
    training = Training(recipe, config, device)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    size_px = recipe.size_px
    shown = replace(recipe, leaves=0.0, pictures=CHECK_PICTURES)
    check_stream = iter(_Batches(shown, CHECK_SEED, 0, size_px))
    checks = [next(check_stream) for _ in range(6)]
    if checkpoint.exists():
        training.load(checkpoint)
    else:
        training.prepare(next(iter(_Batches(recipe, recipe.seed, 0, size_px))), start_from)
    loader = DataLoader(
        _Batches(recipe, recipe.seed, training.step, size_px),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="fork" if workers else None,
    )
    told: list[dict[str, float]] = []
    with (out / "log.jsonl").open("a") as log:
        stream = iter(loader)
        while training.done < 1:
            began = time.monotonic()
            told.append(training.train_step(next(stream)))
            training.seconds += time.monotonic() - began
            if training.step % 50 == 0:
                line = {"step": training.step, "minutes": round(training.seconds / 60, 2)}
                for name in told[-1]:
                    values = [step[name] for step in told if name in step]
                    line[name] = round(float(np.mean(values)), 4)
                told = []
                if training.step % save_every == 0:
                    training.save(checkpoint)
                    line |= training.check(checks)
                print(json.dumps(line), file=log, flush=True)
                print(json.dumps(line), flush=True)
    training.save(checkpoint)
    export(training.average, config, out, sharpness=recipe.sharpness, stages=training.stages)
    return training


if __name__ == "__main__":
    main()
