"""Prompts that training gives: points and boxes of a batch, and clicks that mend a mask."""

from __future__ import annotations

from typing import NamedTuple

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from training.segmenter.clicks import STRIDE

BOX_LABELS = (2, 3)  # sam2's labels of a box's corners
MAX_LOGIT = 32.0  # of a mask that is given as a prompt


class Prompts(NamedTuple):
    """n prompts of two points for each of B pictures, and what each means."""

    coordinates: Tensor  # (B, n, 2, 2) x, y in px
    labels: Tensor  # (B, n, 2)
    targets: Tensor  # (B * n, 3, h, w), smallest first
    counts: Tensor  # (B * n,) how many of the targets there are


class Correction(NamedTuple):
    """A second click for each of M masks, beside the mask itself."""

    sparse: Tensor  # (M, tokens, C)
    dense: Tensor  # (M, C, h, w)
    targets: Tensor  # (M, 3, h, w): the same one three times


def precise_prompts(batch: dict[str, Tensor], targets: Tensor, prompts: int) -> Prompts:
    """Return boxes and pairs of points, as many a picture.

    A box means its target alone; so does a point with another beside it that is not of the
    thing. Of two points of the thing the larger targets are as true as the smallest.

    Args:
        batch: tensors of click_data.ClickBatch.
        targets: (B, N, 3, h, w) of 0 to 1.
        prompts: n, at most N.
    """
    some = targets[:, :prompts]
    boxes = batch["boxes"][:, :prompts].reshape(len(some), -1, 2, 2)
    pairs = torch.stack([batch["points"], batch["outside"]], 2)[:, :prompts]
    couples = torch.stack([batch["points"], batch["inside"]], 2)[:, :prompts]
    cycle = torch.stack([boxes, pairs, boxes, couples])  # (4, B, n, 2, 2)
    kind = torch.arange(prompts, device=targets.device) % len(cycle)
    coordinates = cycle[kind, :, torch.arange(prompts)].transpose(0, 1)
    kinds = torch.tensor([BOX_LABELS, (1, 0), BOX_LABELS, (1, 1)], device=targets.device)
    labels = kinds[kind].int().expand(len(some), -1, -1)
    meant = torch.where(kind % 2 == 0, batch["boxed"][:, :prompts], 0)
    only = some.gather(2, meant[:, :, None, None, None].expand(-1, -1, 1, *some.shape[-2:]))
    of_couple = (kind == 3)[None, :, None, None, None]
    wanted = torch.where(of_couple, some, only.expand_as(some))
    counts = torch.where(kind == 3, batch["counts"][:, :prompts], 1)
    return Prompts(coordinates, labels, wanted.flatten(0, 1), counts.flatten())


@torch.no_grad()
def correction(
    model: SAM2Base, logits: Tensor, iou: Tensor, points: Tensor, targets: Tensor
) -> Correction:
    """Return a click where the picked mask and the nearest target differ, one for each mask.

    Args:
        model: whose prompt encoder learns from it.
        logits: (M, 4, h, w) of four masks, sam2's single one first.
        iou: (M, 4) as predicted.
        points: (M, 2) the first clicks, in px.
        targets: (M, 3, h, w) of 0 to 1.
    """
    every = torch.arange(len(logits), device=logits.device)
    picked = logits[every, 1 + iou[:, 1:].argmax(1)]  # (M, h, w)
    fits = ((picked[:, None] > 0) == (targets > 0.5)).float().mean((2, 3))
    fits = fits.masked_fill(targets.amax((2, 3)) == 0, -1)
    only = targets[every, fits.argmax(1)]
    wrong = ((picked > 0) != (only > 0.5)).float().flatten(1) + 1e-6
    cell = torch.multinomial(wrong, 1).squeeze(1)
    width = picked.shape[-1]
    place = torch.stack([cell % width, cell // width], 1).float() * STRIDE + STRIDE / 2
    positive = only.flatten(1)[every, cell] > 0.5
    coordinates = torch.stack([points, place], 1)
    labels = torch.stack([torch.ones_like(positive), positive], 1).int()
    with torch.enable_grad():
        sparse, dense = model.sam_prompt_encoder(
            points=(coordinates, labels),
            boxes=None,
            masks=picked[:, None].clamp(-MAX_LOGIT, MAX_LOGIT),
        )
    return Correction(sparse, dense, only[:, None].expand(-1, 3, -1, -1))


def point_tokens(model: SAM2Base, coordinates: Tensor, labels: Tensor) -> Tensor:
    """Return the prompt encoder's tokens (B, N, T, C) of points (B, N, P, 2)."""
    sparse, _ = model.sam_prompt_encoder(
        points=(coordinates.flatten(0, 1), labels.flatten(0, 1)), boxes=None, masks=None
    )
    tokens: Tensor = sparse.reshape(*coordinates.shape[:2], *sparse.shape[1:])
    return tokens
