"""sam2's two-way mask decoding of which only some parts of each mask are drawn.

The transformer runs as sam2 has it. But every image token becomes 4 x 4 pixels of the mask by
itself, so a loss over some tokens needs the others' pixels neither forward nor backward; most of
a step's time goes there. Of half of the tokens the chance to be drawn is higher, those of the
targets; `Sample.weight` makes up for it, so that IoU and areas are right on average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from training.segmenter.decoder import Features, Looks, attend

SIDE = 4  # pixels of the mask, each way, that an image token becomes

Module = Any  # sam2 comes without types


@dataclass(frozen=True)
class Sample:
    """K of the n image tokens for each of M prompts, and how many each stands for."""

    tokens: Tensor  # (M, K) indices
    weight: Tensor  # (M, K), about n / K on average

    @property
    def pixel_weight(self) -> Tensor:
        """The weight of each drawn pixel, (M, K * 16)."""
        return self.weight.repeat_interleave(SIDE * SIDE, 1)


def sample(targets: Tensor, count: int) -> Sample:
    """Choose tokens: half of them where a target is, half anywhere.

    Args:
        targets: (M, 3, h, w) of 0 to 1.
        count: K.
    """
    prompts, _, height, width = targets.shape
    tokens = (height // SIDE) * (width // SIDE)
    there = blocked(targets).amax((1, 3)) > 0  # (M, n)
    first, second = count // 2, count - count // 2
    chance = torch.rand(prompts, tokens, device=targets.device)
    by_target = (chance + there.float()).topk(first, 1).indices
    chance = torch.rand(prompts, tokens, device=targets.device).scatter(1, by_target, -1.0)
    anywhere = chance.topk(second, 1).indices
    holding = there.sum(1, keepdim=True).float()
    drawn = holding.clamp(max=first)
    rest = second / (tokens - first)
    of_target = drawn / holding.clamp(min=1)
    of_target = of_target + (1 - of_target) * rest
    of_others = (first - drawn) / (tokens - holding).clamp(min=1)
    of_others = of_others + (1 - of_others) * rest
    chosen = torch.cat([by_target, anywhere], 1)
    of_chosen = torch.where(there.gather(1, chosen), of_target, of_others)
    return Sample(chosen, 1 / of_chosen.clamp(min=1e-3))


def blocked(values: Tensor) -> Tensor:
    """Return pixels (M, t, h, w) by image token: (M, t, n, 16)."""
    m, t, height, width = values.shape
    rows, columns = height // SIDE, width // SIDE
    values = values.reshape(m, t, rows, SIDE, columns, SIDE).permute(0, 1, 2, 4, 3, 5)
    return values.reshape(m, t, rows * columns, SIDE * SIDE)


def drawn(targets: Tensor, chosen: Sample) -> Tensor:
    """Return the chosen pixels of targets (M, t, h, w): (M, t, K * 16)."""
    by_token = blocked(targets)
    at = chosen.tokens[:, None, :, None].expand(-1, by_token.shape[1], -1, SIDE * SIDE)
    return by_token.gather(2, at).flatten(2)


def decode(
    model: SAM2Base,
    features: Features,
    of_picture: Tensor,
    sparse: Tensor,
    chosen: Sample,
    dense: Tensor | None = None,
    looks: Looks | None = None,
) -> tuple[Tensor, Tensor]:
    """Decode M prompts as sam2 does; return logits (M, 4, K * 16) and IoU (M, 4).

    Args:
        model: the segmenter.
        features: of B pictures.
        of_picture: (M,) which picture each prompt is of.
        sparse: (M, T, C) the prompt encoder's tokens.
        chosen: what is drawn.
        dense: (M, C, h, w) of the mask input; without it, "no mask".
        looks: is filled with attention logits.
    """
    decoder, prompts = model.sam_mask_decoder, model.sam_prompt_encoder
    if dense is None:
        keys = (features.embedding + prompts.no_mask_embed.weight[..., None, None])[of_picture]
    else:
        keys = features.embedding[of_picture] + dense
    keys = keys.flatten(2).transpose(1, 2).contiguous()
    code = prompts.get_dense_pe().flatten(2).transpose(1, 2)
    if torch.is_autocast_enabled(keys.device.type):  # or every sum would make it float32 again
        dtype = torch.get_autocast_dtype(keys.device.type)
        keys, code = keys.to(dtype), code.to(dtype)
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([tokens.expand(len(sparse), -1, -1), sparse], 1)
    queries, keys = transformed(decoder.transformer, tokens, keys, code, looks)
    logits = _drawn_logits(decoder, features, of_picture, queries, keys, chosen)
    return logits, decoder.iou_prediction_head(queries[:, 0])


def transformed(
    transformer: Module, tokens: Tensor, keys: Tensor, code: Tensor, looks: Looks | None
) -> tuple[Tensor, Tensor]:
    """Run sam2's TwoWayTransformer on tokens (M, T, C) and image tokens (M, n, C)."""
    queries = tokens
    seen_by = looks.logits if looks else None
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            queries = attend(layer.self_attn, queries, queries, queries)
        else:
            at = queries + tokens
            queries = queries + attend(layer.self_attn, at, at, queries)
        queries = layer.norm1(queries)
        seen = attend(layer.cross_attn_token_to_image, queries + tokens, keys + code, keys,
                       seen_by)  # fmt: skip
        queries = layer.norm2(queries + seen)
        queries = layer.norm3(queries + layer.mlp(queries))
        seen = attend(layer.cross_attn_image_to_token, keys + code, queries + tokens, queries,
                       looks.of_image if looks else None)  # fmt: skip
        keys = layer.norm4(keys + seen)
    final = transformer.final_attn_token_to_image
    queries = queries + attend(final, queries + tokens, keys + code, keys, seen_by)
    return transformer.norm_final_attn(queries), keys


def _drawn_logits(
    decoder: Module,
    features: Features,
    of_picture: Tensor,
    queries: Tensor,
    keys: Tensor,
    chosen: Sample,
) -> Tensor:
    """Return logits (M, 4, K * 16) of the chosen tokens, in the order of `blocked`."""
    up16, norm, act8, up8, act4 = decoder.output_upscaling
    m, count = chosen.tokens.shape
    picked = keys.gather(1, chosen.tokens[:, :, None].expand(-1, -1, keys.shape[-1]))
    half = _transposed(up16, picked.flatten(0, 1))  # (M K, 2, 2, C / 4)
    half = half + _skip(features.stride8, 2, of_picture, chosen).reshape(half.shape)
    mean = half.mean(-1, keepdim=True)
    spread = ((half - mean).square().mean(-1, keepdim=True) + norm.eps).rsqrt()
    half = act8((half - mean) * spread * norm.weight + norm.bias)
    full = _transposed(up8, half.reshape(-1, half.shape[-1]))  # (M K 4, 2, 2, C / 8)
    full = full.reshape(m * count, 2, 2, 2, 2, -1).transpose(2, 3)  # y, y within, x, x within
    full = full.reshape(m, count * SIDE * SIDE, -1)
    full = act4(full + _skip(features.stride4, SIDE, of_picture, chosen).reshape(full.shape))
    weights = torch.stack(
        [mlp(queries[:, 1 + at]) for at, mlp in enumerate(decoder.output_hypernetworks_mlps)], 1
    )
    logits: Tensor = weights @ full.transpose(1, 2)
    return logits


def _transposed(conv: Module, values: Tensor) -> Tensor:
    """Apply a transposed convolution of stride and kernel 2 to places (N, C): (N, 2, 2, k)."""
    weight = conv.weight  # (C, k, 2, 2)
    channels, out = weight.shape[:2]
    product = values @ weight.permute(0, 2, 3, 1).reshape(channels, -1).to(values.dtype)
    added: Tensor = product.reshape(-1, 2, 2, out) + conv.bias
    return added


def _skip(values: Tensor, side: int, of_picture: Tensor, chosen: Sample) -> Tensor:
    """Return skip features (B, k, h, w) of the chosen tokens: (M, K, side * side, k)."""
    b, k, height, width = values.shape
    rows, columns = height // side, width // side
    values = values.reshape(b, k, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
    values = values.reshape(b, rows * columns, side * side * k)
    return values[of_picture[:, None], chosen.tokens].reshape(*chosen.tokens.shape, -1, k)
