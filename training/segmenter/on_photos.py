"""Train the starter segmenter on photos with region labels and on drawings.

    python -m training.segmenter.on_photos --photos FOLDER --earlier FILE --out FOLDER

A run that was stopped goes on from its last checkpoint with the same command. It begins with
ImageNet's weights in the trunk and an earlier segmenter's prompts and decoder; the layers between
start as the least-squares map from the one to the other (see pretrained.py).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from starter import weights_dir
from starter.lite_trunk import IMAGENET_MEAN, IMAGENET_STD, LiteTrunk
from training.made_by import device_name
from training.precision import autocast
from training.segmenter.attention_loss import grounding_loss, looking_distance
from training.segmenter.batches import Batches, Recipe
from training.segmenter.decoder import Features, Looks, encode
from training.segmenter.decoder import decode as decode_all
from training.segmenter.export import export, sharpen
from training.segmenter.mask_loss import MaskLoss, mask_loss
from training.segmenter.photos import load_photos
from training.segmenter.pretrained import fill_lite0, lite0_file, start_like
from training.segmenter.prompts import correction, point_tokens, precise_prompts
from training.segmenter.sampled import decode, drawn, sample
from training.segmenter.sampled_loss import sampled_loss

CONFIG = weights_dir() / "segmenter.yaml"
SHARPNESS = 3.0  # of the exported logits; see segmenter_export.sharpen
FIT_BATCHES = 12  # that the least-squares start is made from
CORRECTED_EVERY = 3  # steps
CHECK_EVERY = 0.2  # of the run
KEEP = 0.995  # of the moving average, a step


class Training:
    """A run: model, its moving average, optimizer and the step it has come to."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, torch.device(device)
        self.model = build(CONFIG, recipe.size_px).to(self.device)
        self.average = build(CONFIG, recipe.size_px).to(self.device).eval()
        self.optimizer = _optimizer(recipe, self.model)
        self.step, self.seconds = 0, 0.0
        self.earlier: list[dict[str, Any]] = []

    @property
    def done(self) -> float:
        """The share of the run's time that lies behind."""
        return min(1.0, self.seconds / 60 / self.recipe.minutes)

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

    def start(self, batches: Batches, weights: Path) -> dict[str, float]:
        """Begin with ImageNet's weights and the decoder of a segmenter exported before."""
        fill_lite0(cast(LiteTrunk, self.model.image_encoder.trunk).features, lite0_file())
        earlier = build(weights.with_suffix(".yaml"), self.recipe.size_px)
        earlier.load_state_dict(torch.load(weights, weights_only=True)["model"])
        earlier.float()
        made = json.loads(weights.with_suffix(".json").read_text())
        sharpen(earlier, 1 / made["sharpness"])
        self.earlier = made["stages"]
        stream = itertools.islice(batches.stream(0), FIT_BATCHES)
        explained = start_like(self.model, earlier, (self.pixels(batch) for batch in stream))
        self.average.load_state_dict(self.model.state_dict())
        return explained

    def go_on_from(self, path: Path) -> None:
        """Begin with the averaged weights of another run's checkpoint, or with exported ones."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if "average" in state:
            self.model.load_state_dict(state["average"])
            self.earlier = state["stages"]
        else:
            made = json.loads(path.with_suffix(".json").read_text())
            self.model.load_state_dict(state["model"])
            sharpen(self.model, 1 / made["sharpness"])
            self.earlier = made["stages"]
        self.average.load_state_dict(self.model.state_dict())

    def pixels(self, batch: dict[str, Tensor]) -> Tensor:
        """Return normalized pixels (B, 3, S, S)."""
        images = batch["images"].to(self.device).float().permute(0, 3, 1, 2) / 255
        mean, std = (
            torch.tensor(values, device=self.device)[:, None, None]
            for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
        return ((images - mean) / std).contiguous()

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Learn from one batch; return what the log tells."""
        self.model.train()
        warm = min(1.0, (self.step + 1) / self.recipe.warm_up_steps)
        rate = self.recipe.learning_rate * warm * max(0.02, 0.5 + 0.5 * math.cos(
            math.pi * self.done))  # fmt: skip
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        with autocast(self.device), sdpa_kernel([SDPBackend.MATH]):
            loss, told = self._loss({name: v.to(self.device) for name, v in batch.items()})
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, 2.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.step += 1
        keep = min(KEEP, (1 + self.step) / (20 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.model.parameters()), 1 - keep
            )
        return {"loss": float(loss.detach()), "norm": float(norm), **told}

    def _loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of clicks, boxes, pairs of points and corrected masks."""
        features = encode(self.model, self.pixels(batch))
        targets = batch["targets"].float() / 255
        clicks = self.recipe.clicks
        labels = torch.ones(*batch["counts"].shape, 1, dtype=torch.int32, device=self.device)
        sparse = point_tokens(self.model, batch["points"][:, :, None], labels).flatten(0, 1)
        looks = Looks()
        by_click = self._answered(features, sparse, clicks, targets.flatten(0, 1),
                                  batch["counts"].flatten(), looks)  # fmt: skip
        looking = looking_distance(
            _by_picture(looks, len(targets)), batch["points"], self.recipe.size_px
        )
        grounding = grounding_loss(looks, targets.flatten(0, 1), batch["counts"].flatten(),
                                   labels.flatten(0, 1), self.recipe.size_px)  # fmt: skip
        asked = precise_prompts(batch, targets, self.recipe.precise)
        sparse = point_tokens(self.model, asked.coordinates, asked.labels).flatten(0, 1)
        by_precise = self._answered(features, sparse, self.recipe.precise, asked.targets,
                                    asked.counts)  # fmt: skip
        teach = max(0.0, 1 - 2 * self.done)
        loss = (
            by_click.candidates + 0.25 * by_click.single + by_click.iou
            + 0.25 * by_precise.candidates + 0.5 * by_precise.single + 0.5 * by_precise.iou
            + self.recipe.looking * teach * looking
            + self.recipe.grounding * grounding
        )  # fmt: skip
        told = {
            "best": by_click.best_iou, "pick": by_click.picked_iou,
            "precise": by_precise.best_iou, "iou_err": float(by_click.iou.detach()),
            "look": float(looking.detach()), "ground": float(grounding.detach()),
        }  # fmt: skip
        if self.recipe.corrected and self.step % CORRECTED_EVERY == 0:
            by_corrected = self._corrected(features, batch, targets)
            loss = loss + 0.4 * by_corrected.single + 0.1 * by_corrected.candidates
            loss = loss + 0.3 * by_corrected.iou
            told["corrected"] = by_corrected.best_iou
        return loss, told

    def _answered(
        self,
        features: Features,
        sparse: Tensor,
        prompts: int,
        targets: Tensor,
        counts: Tensor,
        looks: Looks | None = None,
        dense: Tensor | None = None,
    ) -> MaskLoss:
        """Return the loss of M = B * `prompts` prompts, picture by picture."""
        of_picture = torch.arange(len(sparse), device=self.device) // prompts
        tokens = features.embedding.shape[-1] ** 2
        chosen = sample(targets, round(tokens * self.recipe.tokens_share))
        logits, iou = decode(self.model, features, of_picture, sparse, chosen, dense, looks)
        return sampled_loss(logits, iou, drawn(targets, chosen), chosen.pixel_weight, counts)

    def _corrected(self, features: Features, batch: dict[str, Tensor], targets: Tensor) -> MaskLoss:
        """Return the loss of masks given back with a click where they are wrong."""
        count = self.recipe.corrected
        points, targets = batch["points"][:, :count], targets[:, :count].flatten(0, 1)
        labels = torch.ones(*points.shape[:2], 1, dtype=torch.int32, device=self.device)
        with torch.no_grad():
            sparse = point_tokens(self.model, points[:, :, None], labels).flatten(0, 1)
            first = decode_all(self.model, features.repeated(count), sparse[:, None], two_way=True)
        mended = correction(self.model, first.logits[:, 0].float(), first.iou[:, 0].float(),
                            points.flatten(0, 1), targets)  # fmt: skip
        return self._answered(features, mended.sparse, count, mended.targets,
                              torch.ones(len(targets), dtype=torch.long, device=self.device),
                              dense=mended.dense)  # fmt: skip

    @torch.no_grad()
    def check(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Return how the averaged model answers single clicks on photos it has not seen."""
        shown: list[tuple[float, float, float]] = []
        for at in range(0, len(batch["images"]), 8):
            part = {name: values[at : at + 8].to(self.device) for name, values in batch.items()}
            points = part["points"]
            count = points.shape[1]
            labels = torch.ones(*points.shape[:2], 1, dtype=torch.int32, device=self.device)
            with autocast(self.device), sdpa_kernel([SDPBackend.MATH]):
                features = encode(self.average, self.pixels(part))
                sparse = point_tokens(self.average, points[:, :, None], labels).flatten(0, 1)
                answer = decode_all(
                    self.average, features.repeated(count), sparse[:, None], two_way=True
                )
            found = mask_loss(answer.logits[:, 0], answer.iou[:, 0],
                              part["targets"].flatten(0, 1).float() / 255,
                              part["counts"].flatten())  # fmt: skip
            shown.append((found.best_iou, found.picked_iou, float(found.iou)))
        best, pick, off = np.mean(shown, axis=0)
        return {"check_best": round(float(best), 4), "check_pick": round(float(pick), 4),
                "check_iou_mse": round(float(off), 4)}  # fmt: skip

    def save(self, path: Path) -> None:
        """Write everything that going on needs, all or nothing."""
        state = {
            "stages": self.stages,
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Go on with a checkpoint of this run."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.earlier = state["stages"][:-1]


def build(config: Path, size_px: int | None = None) -> SAM2Base:
    """Return an untrained model of a config, for pictures of another size if one is given."""
    settings = OmegaConf.load(config)
    if size_px is not None:
        settings.model.image_size = size_px
    model: SAM2Base = instantiate(settings.model, _recursive_=True)
    return model


def _by_picture(looks: Looks, pictures: int) -> Looks:
    """Return the tokens' attention (B, heads, N * T, cells) of that of prompts, (B * N, ...)."""
    logits = (
        values.reshape(pictures, -1, *values.shape[1:]).transpose(1, 2) for values in looks.logits
    )
    return Looks([values.flatten(2, 3) for values in logits])


def _optimizer(recipe: Recipe, model: SAM2Base) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = []
    pretrained = ".trunk.features."
    for of_trunk, share in ((False, 1.0), (True, recipe.trunk_rate)):
        some = [p for name, p in model.named_parameters() if (pretrained in name) == of_trunk]
        if not share:
            for parameter in some:
                parameter.requires_grad_(False)
            continue
        for matrices in (True, False):
            decay = recipe.weight_decay if matrices else 0.0
            chosen = [p for p in some if (p.ndim > 1) == matrices]
            groups.append({"params": chosen, "share": share, "weight_decay": decay})
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))


def main(argv: list[str] | None = None) -> None:
    """Train, going on where an earlier run in the same folder stopped."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    add = parser.add_argument
    add("--photos", type=Path, required=True, help="folder with truth.json; see photos.py")
    add("--leave-out", action="append", default=[], help="sources that begin so are left out")
    add("--out", type=Path, required=True, help="folder of checkpoint and weights")
    add("--earlier", type=Path, help="segmenter.pt of one whose decoder to begin with")
    add("--start-from", type=Path, help="checkpoint.pt or segmenter.pt to begin with")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--save-every", type=float, default=3.0, help="minutes")
    for item in fields(Recipe):
        add("--" + item.name.replace("_", "-"), type=type(item.default), default=item.default)
    given: dict[str, Any] = vars(parser.parse_args(argv))
    recipe = Recipe(**{item.name: given[item.name] for item in fields(Recipe)})
    torch.set_num_threads(given["threads"])
    photos = load_photos(given["photos"], leave_out=given["leave_out"])
    training = Training(recipe, given["device"])
    batches = Batches(recipe, photos)
    out: Path = given["out"]
    out.mkdir(parents=True, exist_ok=True)
    if (out / "checkpoint.pt").exists():
        training.load(out / "checkpoint.pt")
    elif given["start_from"]:
        training.go_on_from(given["start_from"])
    elif given["earlier"]:
        print(json.dumps(training.start(batches, given["earlier"])), flush=True)
    else:
        parser.error("name what to begin with: --earlier or --start-from")
    run(training, batches, out, save_every_s=60 * given["save_every"])


def run(training: Training, batches: Batches, out: Path, *, save_every_s: float) -> None:
    """Train to the end of the recipe's time, saving and checking on the way."""
    checks = batches.checks()
    told: list[dict[str, float]] = []
    saved_at = time.monotonic()
    with (out / "log.jsonl").open("a") as log:

        def tell(line: dict[str, float]) -> None:
            print(json.dumps(line), file=log, flush=True)
            print(json.dumps(line), flush=True)

        if not training.step:
            tell({"step": 0, **training.check(checks)})
        checked_at = training.done
        stream = batches.stream(training.step)
        began = time.monotonic()
        while training.done < 1:
            told.append(training.train_step(next(stream)))
            training.seconds += time.monotonic() - began
            began = time.monotonic()
            if len(told) < 20 and time.monotonic() - saved_at < save_every_s:
                continue
            line: dict[str, float] = {
                "step": training.step, "minutes": round(training.seconds / 60, 2),
            }  # fmt: skip
            for name in {name for step in told for name in step}:
                line[name] = round(float(np.mean([s[name] for s in told if name in s])), 4)
            told = []
            if time.monotonic() - saved_at >= save_every_s:
                training.save(out / "checkpoint.pt")
                if training.done >= checked_at + CHECK_EVERY:
                    line |= training.check(checks)
                    checked_at = training.done
                saved_at = time.monotonic()
            tell(line)
    training.save(out / "checkpoint.pt")
    export(training.average, CONFIG, out, sharpness=SHARPNESS, stages=training.stages)


if __name__ == "__main__":
    main()
