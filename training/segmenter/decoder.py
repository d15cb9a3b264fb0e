"""SAM 2's mask decoder as training runs it, and where its weights start from.

The modules and the arithmetic are sam2's. Two things differ. Many prompts of a picture share the
image tokens while `two_way` is off: then the image does not attend to the prompt, and keys, values
and upscaled features are computed once a picture instead of once a prompt. And attention is plain
softmax attention, whose backward pass is the faster one on a CPU; it can report its logits, which
lets training teach the tokens where to look.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn
from torch.nn import functional

POSITION_RANK = 40  # of the unit square's Fourier code: that many directions hold its energy
POSITION_GAIN = 3.5


@dataclass
class Looks:
    """Attention logits of every layer: of tokens on the image and of the image on tokens."""

    logits: list[Tensor] = field(default_factory=list)  # each (G, heads, N * T, h * w)
    of_image: list[Tensor] = field(default_factory=list)  # each (G, heads, h * w, N * T)


@dataclass(frozen=True)
class Features:
    """Of B pictures: stride-16 embedding and decoder-ready features at strides 4 and 8."""

    embedding: Tensor  # (B, C, S / 16, S / 16)
    stride4: Tensor  # (B, C / 8, S / 4, S / 4)
    stride8: Tensor  # (B, C / 4, S / 8, S / 8)

    def repeated(self, prompts: int) -> Features:
        """Return the same with every picture repeated for each of its prompts."""
        return Features(
            *(
                values.repeat_interleave(prompts, 0)
                for values in (self.embedding, self.stride4, self.stride8)
            )
        )


@dataclass(frozen=True)
class Decoded:
    """What the decoder says of G pictures with N prompts each."""

    logits: Tensor  # (G, N, 4, h, w): the single mask, then the three candidates
    iou: Tensor  # (G, N, 4)
    upscaled: Tensor  # (G, C / 8, h, w)


def encode(model: SAM2Base, pixels: Tensor) -> Features:
    """Encode normalized pixels (B, 3, S, S) as SAM2ImagePredictor does."""
    stride4, stride8, embedding = model.forward_image(pixels)["backbone_fpn"]
    return Features(embedding + model.no_mem_embed.transpose(1, 2)[..., None], stride4, stride8)


def decode(
    model: SAM2Base,
    features: Features,
    sparse: Tensor,
    dense: Tensor | None = None,
    *,
    two_way: bool,
    looks: Looks | None = None,
) -> Decoded:
    """Decode prompts (G, N, T, C); with `two_way` exactly as sam2 does, and N must be 1.

    Args:
        model: the segmenter.
        features: of the G pictures.
        sparse: the prompt encoder's tokens.
        dense: (G, C, h, w) of its mask input; without it, "no mask".
        two_way: let the image attend to the prompt.
        looks: is filled with attention logits.
    """
    decoder = model.sam_mask_decoder
    groups, prompts, _, channels = sparse.shape
    if two_way and prompts != 1:
        raise ValueError("two-way decoding takes one prompt a group: repeat the features instead")
    height, width = features.embedding.shape[-2:]
    if dense is None:
        dense = model.sam_prompt_encoder.no_mask_embed.weight[..., None, None]
    keys = (features.embedding + dense).flatten(2).transpose(1, 2)
    key_code = model.sam_prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2)
    output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    code = torch.cat([output.expand(groups, prompts, -1, -1), sparse], 2)
    tokens = code.shape[2]

    def by_prompt(values: Tensor) -> Tensor:
        return values.reshape(groups * prompts, tokens, channels)

    def by_group(values: Tensor) -> Tensor:
        return values.reshape(groups, prompts * tokens, channels)

    transformer = decoder.transformer
    seen_by = looks.logits if looks else None
    code = by_group(code)
    queries = code
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            one = by_prompt(queries)
            queries = by_group(attend(layer.self_attn, one, one, one))
        else:
            one = by_prompt(queries + code)
            queries = queries + by_group(attend(layer.self_attn, one, one, by_prompt(queries)))
        queries = layer.norm1(queries)
        seen = attend(
            layer.cross_attn_token_to_image, queries + code, keys + key_code, keys, seen_by
        )
        queries = layer.norm2(queries + seen)
        queries = layer.norm3(queries + layer.mlp(queries))
        if two_way:
            keys = keys + attend(
                layer.cross_attn_image_to_token,
                keys + key_code,
                queries + code,
                queries,
                looks.of_image if looks else None,
            )
        keys = layer.norm4(keys)
    final = transformer.final_attn_token_to_image
    queries = queries + attend(final, queries + code, keys + key_code, keys, seen_by)
    queries = transformer.norm_final_attn(queries).reshape(groups, prompts, tokens, channels)

    grid = keys.transpose(1, 2).reshape(groups, channels, height, width)
    up16, norm, act8, up8, act4 = decoder.output_upscaling
    upscaled = act4(up8(act8(norm(up16(grid) + features.stride8))) + features.stride4)
    weights = torch.stack(
        [mlp(queries[:, :, 1 + at]) for at, mlp in enumerate(decoder.output_hypernetworks_mlps)], 2
    )
    return Decoded(
        torch.einsum("gntc,gchw->gnthw", weights, upscaled),
        decoder.iou_prediction_head(queries[:, :, 0]),
        upscaled,
    )


def attend(
    attention: nn.Module, q: Tensor, k: Tensor, v: Tensor, kept: list[Tensor] | None = None
) -> Tensor:
    """Run one of sam2's Attention modules: (G, n, C) on (G, m, C)."""
    heads = cast(int, attention.num_heads)

    def split(values: Tensor) -> Tensor:
        return values.reshape(*values.shape[:2], heads, -1).transpose(1, 2)

    q, k, v = (
        split(cast(nn.Linear, project)(values))
        for project, values in (
            (attention.q_proj, q),
            (attention.k_proj, k),
            (attention.v_proj, v),
        )
    )
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if kept is not None:
        kept.append(logits)
    mixed = functional.softmax(logits.float(), -1).to(v.dtype) @ v
    out: Tensor = cast(nn.Linear, attention.out_proj)(mixed.transpose(1, 2).flatten(2))
    return out


@torch.no_grad()
def prepare(model: SAM2Base, pixels: Tensor) -> None:
    """Give a fresh model a start that training can leave; sam2's own keeps it on a plateau.

    The neck's and the high-resolution features get zero mean and unit spread in every channel
    (LSUV, Mishkin and Matas 2015), measured on `pixels` (B, 3, S, S). Attention between tokens
    and image starts as attention to the place of the prompt: queries and keys project on the
    directions that the Fourier code of positions uses, and image features on the others.
    """
    model.no_mem_embed.zero_()
    neck, decoder = model.image_encoder.neck, model.sam_mask_decoder
    inputs = model.image_encoder.trunk(pixels)
    for conv, values in zip(neck.convs, reversed(inputs), strict=True):
        _standardize(conv.conv, values, 0.8)
    levels = neck(inputs)[0]
    _standardize(decoder.conv_s0, levels[0], 0.5)
    _standardize(decoder.conv_s1, levels[1], 0.5)
    code = model.sam_prompt_encoder.pe_layer((48, 48)).flatten(1).T
    directions = torch.linalg.svd(code - code.mean(0), full_matrices=False)[2][:POSITION_RANK]
    for conv in list(neck.convs)[:2]:
        kernel = conv.conv.weight[:, :, 0, 0]
        kernel.sub_(directions.T @ (directions @ kernel))
        conv.conv.bias.sub_(directions.T @ (directions @ conv.conv.bias))
    for layer in decoder.transformer.layers:
        _look_at_place(layer.cross_attn_token_to_image, directions, POSITION_GAIN)
        _look_at_place(layer.cross_attn_image_to_token, directions, 0.7 * POSITION_GAIN)
        # The image starts without attending to prompts: two-way decoding then changes nothing.
        nn.init.zeros_(layer.cross_attn_image_to_token.out_proj.weight)
        nn.init.zeros_(layer.cross_attn_image_to_token.out_proj.bias)
        layer.mlp.layers[-1].weight.mul_(0.2)
        for linear in (layer.self_attn.v_proj, layer.self_attn.out_proj):
            nn.init.eye_(linear.weight)
            linear.bias.zero_()
    _look_at_place(decoder.transformer.final_attn_token_to_image, directions, POSITION_GAIN)
    # nn.Embedding starts at unit spread, which drowns both the place and the image.
    prompts = model.sam_prompt_encoder
    for embedding in (decoder.mask_tokens, decoder.iou_token, *prompts.point_embeddings,
                      prompts.not_a_point_embed):  # fmt: skip
        embedding.weight.mul_(0.2)
    prompts.no_mask_embed.weight.mul_(0.05)


def _standardize(conv: nn.Conv2d, values: Tensor, spread: float) -> None:
    """Scale a convolution so that each channel has zero mean and the given spread."""
    out = conv(values)
    scale = spread / (out.std((0, 2, 3)) + 1e-4)
    assert conv.bias is not None
    conv.bias.copy_((conv.bias - out.mean((0, 2, 3))) * scale)
    conv.weight.mul_(scale[:, None, None, None])


def _look_at_place(attention: nn.Module, directions: Tensor, gain: float) -> None:
    """Tie queries and keys to a turned copy of the positions' directions."""
    q, k, v, out = (
        cast(nn.Linear, getattr(attention, name))
        for name in ("q_proj", "k_proj", "v_proj", "out_proj")
    )
    inner = q.weight.shape[0]
    turn = torch.linalg.qr(torch.randn(inner, inner))[0][:, : len(directions)]
    for linear in (q, k):
        linear.weight.copy_(gain * turn @ directions)
        linear.bias.zero_()
    nn.init.orthogonal_(v.weight, 1.5)
    nn.init.orthogonal_(out.weight, 1.2)
