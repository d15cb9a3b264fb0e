"""What drawn parts of masks are held to: dice and cross-entropy against nested targets."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from training.segmenter.mask_loss import CROSS_ENTROPY, MaskLoss, assign


def sampled_loss(
    logits: Tensor, iou: Tensor, targets: Tensor, weight: Tensor, counts: Tensor
) -> MaskLoss:
    """Return the losses of M prompts.

    Args:
        logits: (M, 4, p), the single mask and three candidates, at p pixels.
        iou: (M, 4), predicted.
        targets: (M, 3, p) of 0 to 1, smallest first.
        weight: (M, p) how many pixels each stands for.
        counts: (M,) how many targets there are.
    """
    logits, targets, weight = logits.float(), targets.float(), weight[:, None]
    there = torch.arange(3, device=counts.device) < counts[:, None]  # (M, 3)
    cost = _cost(logits, targets, weight)
    with torch.no_grad():
        true_iou = _iou(logits > 0, targets > 0.5, weight).masked_fill(~there[:, None], 0)
        chosen = assign(cost[:, 1:], counts)  # (M, 3): the candidate of each target
        nearest = cost[:, 0].masked_fill(~there, torch.inf).argmin(1)
    of_target = cost[:, 1:].gather(1, chosen[:, None]).squeeze(1)
    best_target = true_iou.amax(2)
    picked = best_target[:, 1:].gather(1, iou[:, 1:].argmax(1, keepdim=True))
    return MaskLoss(
        (of_target * there).sum() / there.sum(),
        cost[:, 0].gather(1, nearest[:, None]).mean(),
        (iou.float() - best_target).abs().mean(),
        float(true_iou[:, 1:].amax(1)[there].mean()),
        float(picked.mean()),
    )


def _cost(logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Return (M, P, T): dice plus cross-entropy of every mask with every target."""
    share = logits.sigmoid() * weight
    both = torch.bmm(share, targets.transpose(1, 2))
    sums = share.sum(-1)[:, :, None] + (targets * weight).sum(-1)[:, None]
    dice = 1 - (2 * both + 1) / (sums + 1)
    entropy = (functional.softplus(logits) * weight).sum(-1)[:, :, None]
    entropy = entropy - torch.bmm(logits * weight, targets.transpose(1, 2))
    return dice + CROSS_ENTROPY * entropy / weight.sum(-1)[:, :, None]


def _iou(masks: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Return (M, P, T) of binary masks (M, P, p) and (M, T, p)."""
    inside, wanted = masks * weight, targets.float()
    both = torch.bmm(inside, wanted.transpose(1, 2))
    either = inside.sum(-1)[:, :, None] + (wanted * weight).sum(-1)[:, None] - both
    return both / either.clamp(min=1)
