"""Losses on the decoder's attention: where the tokens look, and which cells answer a prompt.

Without them the masks come to depend on the picture alone, or light up whatever looks like the
thing that was meant; see docs/decisions/0013-training-in-two-stages.md.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from training.segmenter.decoder import Looks

LOOKING_TOKENS = 5  # the IoU token and the four mask tokens


def looking_distance(looks: Looks, points: Tensor, size_px: int) -> Tensor:
    """Return how far tokens' attention is from the cells around the click (Kullback-Leibler).

    Args:
        looks: attention logits, each (B, heads, N * T, cells), of all tokens.
        points: (B, N, 2) clicks.
        size_px: side of the picture.
    """
    prompts = points.shape[1]
    side = round(looks.logits[0].shape[-1] ** 0.5)
    centers = (torch.arange(side, device=points.device) + 0.5) * size_px / side
    near = (1 - (points[..., None] - centers).abs() * side / size_px).clamp(min=0) + 1e-6
    near = near / near.sum(-1, keepdim=True)  # (B, N, 2, side): bilinear weights
    wanted = (near[:, :, 1, :, None] * near[:, :, 0, None]).flatten(2)
    least = (wanted * wanted.clamp(min=1e-9).log()).sum(-1).mean()
    distances = []
    for logits in looks.logits:
        batch, heads, _, cells = logits.shape
        tokens = logits.reshape(batch, heads, prompts, -1, cells)[:, :, :, :LOOKING_TOKENS]
        log_share = functional.log_softmax(tokens.float(), -1)
        distances.append(least - (wanted[:, None, :, None] * log_share).sum(-1).mean())
    return torch.stack(distances).mean()


def grounding_loss(
    looks: Looks, targets: Tensor, counts: Tensor, labels: Tensor, size_px: int
) -> Tensor:
    """Return how far the image's attention to prompts is from the cells that are meant.

    A cell of the target should attend to the prompt's points, any other cell to the rest of the
    tokens. Of eight heads the first three look after the smallest target, the last after the
    largest.

    Args:
        looks: of two-way decoding, one prompt a group; tokens are 5, the points, and a pad.
        targets: (M, 3, h, w) of 0 to 1, smallest first.
        counts: (M,) how many targets there are.
        labels: (M, P) of the points; those labelled 0 are not of the target.
        size_px: side of the picture.
    """
    side = round(looks.of_image[0].shape[2] ** 0.5)
    cells = functional.adaptive_avg_pool2d(targets, side).flatten(2)  # (M, 3, cells)
    heads = looks.of_image[0].shape[1]
    of_head = torch.arange(heads, device=counts.device) * 3 // heads
    of_head = torch.minimum(of_head[None], counts[:, None] - 1)  # (M, heads)
    wanted = cells.gather(1, of_head[:, :, None].expand(-1, -1, cells.shape[-1]))
    meant = (labels != 0).float()[:, None, None]  # (M, 1, 1, P)
    losses = []
    for logits in looks.of_image:
        share = functional.softmax(logits.float(), -1)[..., LOOKING_TOKENS:-1]
        share = (share * meant).sum(-1).clamp(1e-4, 1 - 1e-4)  # (M, heads, cells)
        overlap = 2 * (share * wanted).sum(-1) + 0.1
        dice = 1 - overlap / (share.sum(-1) + wanted.sum(-1) + 0.1)
        with torch.autocast(share.device.type, enabled=False):  # CUDA's refuses what follows
            losses.append(dice.mean() + functional.binary_cross_entropy(share, wanted))
    return torch.stack(losses).mean()
