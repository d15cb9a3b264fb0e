r"""SAM 2's mask decoder for many single-point prompts on one photo, with fewer operations.

It has the same weights and, up to rounding, the same results as sam2; only the order of the matrix
products differs. Symbols used below, with the sizes of SAM 2 at 1,024 px:

    b  points decoded at once        n  image tokens (64 x 64 = 4,096)
    t  prompt tokens of a point (8)  c  channels (256)
    h  attention heads (8)           d  channels of a head in cross-attention (16)

A point has t = 8 tokens: object score, IoU, four masks, the point, and padding. The decoder (SAM
paper, figure 14) has two blocks of self-attention over tokens, token-to-image attention, MLP and
image-to-token attention; then a final token-to-image attention; then two transposed convolutions
that upscale the image tokens. Three identities make it cheaper:

1.  *Values that all points share are computed once.* Before the first block the image tokens X are
    the same for every point, so the first block's K(X + pe), V(X) and Q(X + pe) are computed once
    per photo.

2.  *Weights are folded into the smaller operand.* After the first block every point has its own
    image tokens, and projecting n of them costs n c hd. But h t = 64 rows are fewer than hd = 128
    channels:

        (q W_q)(X W_k + b_k)' = ((q W_q) W_k') X' + const      softmax ignores a constant per row
        A (X W_v + b_v)       = (A X) W_v + b_v                since rows of A sum to 1

    In image-to-token attention the bias stays, since it differs between tokens:

        (X W_q + b_q) k'      = X (W_q k') + b_q k'
        sum over heads of A_h v_h W_o = A M,  M = v_h W_o stacked over heads, (h t, c);
        its bias is added to M, 1/h to each row, since a head's weights sum to 1

3.  *A transposed convolution whose stride equals its kernel is a matrix product* into blocks of
    2 x 2 pixels. Both convolutions work in blocked order, with the skip features brought into that
    order once per photo; only the final masks are brought into pixel order.

Prompts with several points, boxes or masks use sam2's decoder (see `ingest.segmentation.sam2`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

Module = Any  # sam2 has no type annotations


class PhotoTokens(NamedTuple):
    """Tensors that all points on a photo share."""

    image: Tensor  # (n, c) image tokens before the first block
    position: Tensor  # (n, c) their positional encoding
    first_keys: Tensor  # (h, n, d) of the first block's attention from tokens to image
    first_values: Tensor  # (h, n, d)
    first_queries: Tensor  # (h, n, d) of the first block's attention from image to tokens
    skip_half: Tensor  # (n, c) features at twice the resolution, blocked by 4, bias added
    skip_full: Tensor  # (4 n, c/2) features at four times the resolution, likewise
    side: int  # n is side * side


class Decoded(NamedTuple):
    """The transformer's output for b points, before masks are computed."""

    predicted_iou: Tensor  # (b, 4) of the single mask and the three candidates
    tokens: Tensor  # (b, t, c)
    image: Tensor  # (b, n, c)

    def select(self, which: Tensor) -> Decoded:
        """Select points by index, in ascending order."""
        if len(which) == len(self.tokens):
            return self
        return Decoded(self.predicted_iou[which], self.tokens[which], self.image[which])


class PointDecoder:
    """The decoder of one model; `dtype` is the precision of image tokens.

    Methods raise FloatingPointError if a result is not finite, since float16 has a small range.
    """

    def __init__(self, model: SAM2Base, dtype: torch.dtype = torch.float32) -> None:
        self._model = model
        self._decoder: Module = model.sam_mask_decoder
        self._transformer: Module = self._decoder.transformer
        self.dtype = dtype
        first, _, _, second, _ = self._decoder.output_upscaling
        self._half_weight, self._half_bias = _blocks_from_transposed(first, dtype)
        self._full_weight, self._full_bias = _blocks_from_transposed(second, dtype)

    def photo_tokens(self, features: dict[str, Any]) -> PhotoTokens:
        """Compute the tensors that all points share, from SAM2ImagePredictor's features."""
        prompts: Module = self._model.sam_prompt_encoder
        embedding = features["image_embed"][-1].float()  # (c, side, side)
        side = embedding.shape[-1]
        image = (embedding + prompts.no_mask_embed.weight.reshape(-1, 1, 1)).flatten(1).t()
        position = prompts.get_dense_pe()[0].flatten(1).t()
        to_image = self._transformer.layers[0].cross_attn_token_to_image
        to_tokens = self._transformer.layers[0].cross_attn_image_to_token
        full, half = (level[-1].float() for level in features["high_res_feats"])
        return PhotoTokens(
            image=image.to(self.dtype),
            position=position.to(self.dtype),
            first_keys=_heads(to_image.k_proj(image + position), to_image).to(self.dtype),
            first_values=_heads(to_image.v_proj(image), to_image).to(self.dtype),
            first_queries=_heads(to_tokens.q_proj(image + position), to_tokens).to(self.dtype),
            skip_half=(_blocked(half, side) + self._half_bias).flatten(1).to(self.dtype),
            skip_full=(_blocked_twice(full, side) + self._full_bias)
            .reshape(4 * side**2, -1)
            .to(self.dtype),
            side=side,
        )

    def decode(self, photo: PhotoTokens, points: Tensor) -> Decoded:
        """Run the transformer for b points; `points` are their embeddings, (b, 2, c)."""
        first, *later = self._transformer.layers
        prompt = torch.cat([self._output_tokens(len(points)), points], dim=1)  # (b, t, c)
        q = first.norm1(first.self_attn(prompt, prompt, prompt))
        q = first.norm2(
            q + self._first_to_image(first.cross_attn_token_to_image, q + prompt, photo)
        )
        q = first.norm3(q + first.mlp(q))
        attention = first.cross_attn_image_to_token
        scores = _keys(attention, q + prompt).to(self.dtype) @ photo.first_queries.mT
        x = self._to_tokens(first, photo.image, q, scores)  # (b, n, c)
        for block in later:
            with_prompt = q + prompt
            q = block.norm1(q + block.self_attn(with_prompt, with_prompt, q))
            x_at = x + photo.position
            q = block.norm2(
                q + self._to_image(block.cross_attn_token_to_image, q + prompt, x_at, x)
            )
            q = block.norm3(q + block.mlp(q))
            scores = self._folded_scores(block.cross_attn_image_to_token, q + prompt, x_at)
            x = self._to_tokens(block, x, q, scores)
        last = self._transformer.final_attn_token_to_image
        q = q + self._to_image(last, q + prompt, x + photo.position, x)
        return self._scored(self._transformer.norm_final_attn(q), x)

    def candidates(
        self, photo: PhotoTokens, points: Tensor, *, multimask: bool, pred_iou_thresh: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode b points to m = 3 masks each, or one without `multimask`.

        Points without a mask over `pred_iou_thresh` are dropped before masks are computed.

        Returns:
            indices of the k remaining points (k,), logits (k, m, 4 side, 4 side) float32, and
            predicted IoU (k, m).
        """
        decoded = self.decode(photo, points)
        best = (
            decoded.predicted_iou.amax(1) if not multimask else decoded.predicted_iou[:, 1:].amax(1)
        )
        left = torch.nonzero((best > pred_iou_thresh) | (pred_iou_thresh <= 0))[:, 0]
        decoded = decoded.select(left)
        if multimask:
            return left, self.logits(photo, decoded, [1, 2, 3]), decoded.predicted_iou[:, 1:]
        logits = self.logits(photo, decoded, [0, 1, 2, 3])
        if self._decoder.dynamic_multimask_via_stability:  # the single mask, or the best of three
            return left, *self._decoder._dynamic_multimask_via_stability(
                logits, decoded.predicted_iou
            )
        return left, logits[:, :1], decoded.predicted_iou[:, :1]

    def logits(self, photo: PhotoTokens, decoded: Decoded, which: list[int]) -> Tensor:
        """Return (b, m, 4 side, 4 side) float32 logits of the mask tokens in `which`."""
        b, n, c = decoded.image.shape
        half = _added_product(photo.skip_half, decoded.image, self._half_weight)  # (b, n, c)
        half = F.gelu(self._half_norm(half.reshape(b, 4 * n, c // 4)))
        full = _added_product(photo.skip_full, half, self._full_weight)  # (b, 4 n, c/2)
        full = F.gelu(full).reshape(b, 16 * n, c // 8)
        hyper = self._hyper(decoded.tokens, which).to(self.dtype)
        blocked = torch.bmm(full, hyper.mT)  # (b, 16 n, m)
        check_finite(blocked)
        return _unblocked(blocked, photo.side).float()

    @property
    def _iou_at(self) -> int:
        """Index of the IoU token; an object score token may precede it."""
        return int(self._decoder.pred_obj_scores)

    def _scored(self, tokens: Tensor, image: Tensor) -> Decoded:
        """Compute the predicted IoU from the transformer's output."""
        predicted_iou = self._decoder.iou_prediction_head(tokens[:, self._iou_at])
        check_finite(predicted_iou)
        return Decoded(predicted_iou, tokens, image)

    def _hyper(self, tokens: Tensor, which: list[int]) -> Tensor:
        """Return the (b, m, c/8) pixel feature weights of the masks in `which`."""
        networks, at = self._decoder.output_hypernetworks_mlps, self._iou_at + 1
        return torch.stack([networks[i](tokens[:, at + i]) for i in which], dim=1)

    def _output_tokens(self, b: int) -> Tensor:
        decoder = self._decoder
        scores = [decoder.obj_score_token.weight] if decoder.pred_obj_scores else []
        tokens: Tensor = torch.cat([*scores, decoder.iou_token.weight, decoder.mask_tokens.weight])
        return tokens.expand(b, -1, -1)

    def _first_to_image(self, attention: Module, q: Tensor, photo: PhotoTokens) -> Tensor:
        """Token-to-image attention of the first block, one product for all b t tokens."""
        b, t, _ = q.shape
        queries = attention.q_proj(q).to(self.dtype)  # (b, t, h d)
        queries = queries.reshape(b * t, attention.num_heads, -1).transpose(0, 1)  # (h, b t, d)
        mixed = F.scaled_dot_product_attention(
            queries[None], photo.first_keys[None], photo.first_values[None]
        )[0]  # (h, b t, d)
        out: Tensor = attention.out_proj(mixed.transpose(0, 1).reshape(b, t, -1).float())
        return out

    def _to_image(self, attention: Module, q: Tensor, x_at: Tensor, x: Tensor) -> Tensor:
        """Token-to-image attention of later blocks, to each point's own image tokens."""
        folded = folded_queries(attention, q).to(self.dtype)
        scores = torch.bmm(folded, x_at.mT)  # (b, h t, n)
        return unfolded(attention, torch.bmm(torch.softmax(scores, -1), x).float())

    def _folded_scores(self, attention: Module, q: Tensor, x_at: Tensor) -> Tensor:
        """Return the (b, h, t, n) scores of image-to-token attention."""
        folded, bias = folded_keys(attention, q)
        scores = torch.baddbmm(bias.to(self.dtype), folded.to(self.dtype), x_at.mT)
        return scores.reshape(len(q), attention.num_heads, q.shape[1], -1)

    def _to_tokens(self, block: Module, x: Tensor, q: Tensor, scores: Tensor) -> Tensor:
        """Image-to-token attention: x (n, c) or (b, n, c) becomes (b, n, c)."""
        weights = torch.softmax(scores, dim=2).flatten(1, 2)  # over tokens: (b, h t, n)
        folded = folded_values(block.cross_attn_image_to_token, q).to(self.dtype)
        norm = block.norm4
        return F.layer_norm(
            torch.baddbmm(x.expand(len(q), -1, -1), weights.mT, folded),
            (q.shape[-1],),
            norm.weight.to(self.dtype),
            norm.bias.to(self.dtype),
            norm.eps,
        )

    def _half_norm(self, x: Tensor) -> Tensor:
        """Apply the upscaling's LayerNorm2d to channels in the last dimension."""
        norm = self._decoder.output_upscaling[1]
        weight, bias = norm.weight.to(self.dtype), norm.bias.to(self.dtype)
        return F.layer_norm(x, (x.shape[-1],), weight, bias, norm.eps)


def check_finite(x: Tensor) -> None:
    """Raise FloatingPointError if x has infinite or NaN values."""
    if not torch.isfinite(x).all():
        raise FloatingPointError


def _added_product(added: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Return added (n, k) + x (b, n, c) @ weight.T (c, k), in one pass over the result."""
    b = len(x)
    return torch.baddbmm(added.expand(b, -1, -1), x, weight.t().expand(b, -1, -1))


def folded_queries(attention: Module, q: Tensor) -> Tensor:
    """Return (b, h t, c) queries of tokens (b, t, c) on unprojected image tokens (identity 2)."""
    b, _, c = q.shape
    queries = _heads(attention.q_proj(q), attention)  # (b, h, t, d)
    queries = queries * queries.shape[-1] ** -0.5
    folded: Tensor = queries @ attention.k_proj.weight.reshape(attention.num_heads, -1, c)
    return folded.reshape(b, -1, c)


def unfolded(attention: Module, mixed: Tensor) -> Tensor:
    """Project attention-weighted image tokens (b, h t, c) to the attention output (b, t, c)."""
    b, _, c = mixed.shape
    h = attention.num_heads
    weight = attention.v_proj.weight.reshape(h, -1, c)
    values = mixed.reshape(b, h, -1, c) @ weight.mT + attention.v_proj.bias.reshape(h, 1, -1)
    out: Tensor = attention.out_proj(values.transpose(1, 2).flatten(2))
    return out


def folded_keys(attention: Module, q: Tensor) -> tuple[Tensor, Tensor]:
    """Return (b, h t, c) keys of tokens for unprojected image tokens, and biases (b, h t, 1).

    The bias of the image tokens' queries differs between tokens, so it stays (identity 2).
    """
    b, _, c = q.shape
    h = attention.num_heads
    keys = _keys(attention, q)  # (b, h, t, d)
    folded = keys @ attention.q_proj.weight.reshape(h, -1, c)
    bias = keys @ attention.q_proj.bias.reshape(h, -1, 1)
    return folded.reshape(b, -1, c), bias.reshape(b, -1, 1)


def folded_values(attention: Module, q: Tensor) -> Tensor:
    """Return (b, h t, c) values of tokens (b, t, c) after the output projection (identity 2)."""
    b, _, c = q.shape
    h = attention.num_heads
    values = _heads(attention.v_proj(q), attention)  # (b, h, t, d)
    out = attention.out_proj.weight.t().reshape(h, -1, c)  # (h, d, c)
    folded: Tensor = values @ out + attention.out_proj.bias / h  # weights of a head sum to 1
    return folded.reshape(b, -1, c)


def _keys(attention: Module, q: Tensor) -> Tensor:
    """Return the (b, h, t, d) keys of tokens, scaled by d ** -0.5."""
    keys = _heads(attention.k_proj(q), attention)
    scaled: Tensor = keys * keys.shape[-1] ** -0.5
    return scaled


def _heads(x: Tensor, attention: Module) -> Tensor:
    """Split channels into heads: (..., n, h d) -> (..., h, n, d)."""
    split: Tensor = x.reshape(*x.shape[:-1], attention.num_heads, -1)
    return split.transpose(-2, -3)


def _blocks_from_transposed(conv: Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Convert a 2 x 2 transposed convolution to a matrix (4 out, in) and its bias (out,)."""
    inner, outer, *_ = conv.weight.shape
    weight = conv.weight.detach().permute(2, 3, 1, 0).reshape(4 * outer, inner)
    return weight.contiguous().to(dtype), conv.bias.detach()


def _blocked(features: Tensor, side: int) -> Tensor:
    """Reorder (c, 2 side, 2 side) features to (n, 4, c): image token, pixel within it."""
    c = features.shape[0]
    return features.reshape(c, side, 2, side, 2).permute(1, 3, 2, 4, 0).reshape(side**2, 4, c)


def _blocked_twice(features: Tensor, side: int) -> Tensor:
    """Reorder (c, 4 side, 4 side) features to (n, 4, 4, c): token, quarter, pixel of quarter."""
    c = features.shape[0]
    split = features.reshape(c, side, 2, 2, side, 2, 2)
    return split.permute(1, 4, 2, 5, 3, 6, 0).reshape(side**2, 4, 4, c)


def _unblocked(blocked: Tensor, side: int) -> Tensor:
    """Reverse `_blocked_twice`: (b, 16 n, m) to (b, m, 4 side, 4 side)."""
    b, _, m = blocked.shape
    split = blocked.reshape(b, side, side, 2, 2, 2, 2, m)
    return split.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(b, m, 4 * side, 4 * side)
