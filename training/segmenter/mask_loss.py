"""What a click's masks are held to: dice and cross-entropy against one to three nested targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# Candidates keep the targets' order, smallest first: (number of targets, candidate of each).
ASSIGNMENTS = ((1, (0, 0, 0)), (1, (1, 1, 1)), (1, (2, 2, 2)), (2, (0, 1, 1)), (2, (0, 2, 2)),
               (2, (1, 2, 2)), (3, (0, 1, 2)))  # fmt: skip
CROSS_ENTROPY = 5.0  # weight of the mean cross-entropy beside dice, whose range is 0 to 1


@dataclass(frozen=True)
class MaskLoss:
    """Mean losses of one batch of prompts, and how well its masks fit."""

    candidates: Tensor  # of the three candidates, each target by the candidate assigned to it
    single: Tensor  # of the single mask, by the target that it is nearest to
    iou: Tensor  # squared error of the predicted IoU
    best_iou: float  # mean over targets of the best candidate
    picked_iou: float  # mean over prompts of the candidate with the highest predicted IoU


def mask_loss(logits: Tensor, iou: Tensor, targets: Tensor, counts: Tensor) -> MaskLoss:
    """Return the losses of M prompts.

    Args:
        logits: (M, 4, h, w), the single mask and three candidates.
        iou: (M, 4), predicted.
        targets: (M, 3, h, w) of 0 to 1, smallest first.
        counts: (M,) how many targets there are.
    """
    logits, targets = logits.float().flatten(2), targets.flatten(2)
    there = torch.arange(3, device=counts.device) < counts[:, None]  # (M, 3)
    cost = _cost(logits, targets)  # (M, 4, 3)
    true_iou = _iou(logits > 0, targets > 0.5).masked_fill(~there[:, None], 0)
    with torch.no_grad():
        chosen = assign(cost[:, 1:], counts)  # (M, 3): the candidate of each target
        nearest = cost[:, 0].masked_fill(~there, torch.inf).argmin(1)
    of_target = cost[:, 1:].gather(1, chosen[:, None]).squeeze(1)
    best_target = true_iou.amax(2)
    picked = best_target[:, 1:].gather(1, iou[:, 1:].argmax(1, keepdim=True))
    return MaskLoss(
        of_target[there].mean(),
        cost[:, 0].gather(1, nearest[:, None]).mean(),
        (iou.float() - best_target).square().mean(),
        float(true_iou[:, 1:].amax(1)[there].mean()),
        float(picked.mean()),
    )


def _cost(logits: Tensor, targets: Tensor) -> Tensor:
    """Return (M, P, T): dice plus cross-entropy of every mask with every target."""
    share = logits.sigmoid()
    products = torch.bmm(share, targets.transpose(1, 2))
    sums = share.sum(-1)[:, :, None] + targets.sum(-1)[:, None]
    dice = 1 - (2 * products + 1) / (sums + 1)
    entropy = functional.softplus(logits).sum(-1)[:, :, None]
    entropy = entropy - torch.bmm(logits, targets.transpose(1, 2))
    return dice + CROSS_ENTROPY * entropy / logits.shape[-1]


def _iou(masks: Tensor, targets: Tensor) -> Tensor:
    """Return (M, P, T) of binary masks (M, P, n) and (M, T, n)."""
    inside, wanted = masks.float(), targets.float()
    both = torch.bmm(inside, wanted.transpose(1, 2))
    either = inside.sum(-1)[:, :, None] + wanted.sum(-1)[:, None] - both
    return both / either.clamp(min=1)


def assign(cost: Tensor, counts: Tensor) -> Tensor:
    """Return (M, 3): for each target the candidate, in order, of the cheapest assignment."""
    table = torch.tensor([candidates for _, candidates in ASSIGNMENTS], device=cost.device)
    sizes = torch.tensor([size for size, _ in ASSIGNMENTS], device=cost.device)
    by_choice = cost[:, table, torch.arange(3, device=cost.device)]  # (M, choices, 3)
    used = torch.arange(3, device=cost.device) < sizes[:, None]
    total = by_choice.masked_fill(~used, 0).sum(-1)
    total = total.masked_fill(sizes != counts[:, None], torch.inf)
    return table[total.argmin(1)]
