"""The mask decoder for float32 on a CPU, in tiles of image tokens that fit into the cache.

It computes the same as `ingest.segmentation.mask_decoder`, up to rounding; the identities and the
symbols n, b, h, t, c are explained there. Matrix products are torch's; the operations between two
of them are fused by numba into one pass over the tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from ingest.segmentation.mask_decoder import (
    Decoded,
    Module,
    PhotoTokens,
    PointDecoder,
    check_finite,
    folded_keys,
    folded_queries,
    folded_values,
    unfolded,
)
from search.jit import compiled

TILE = 640  # image tokens; 0.6 MB, or 1.2 MB when upscaled
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_RANGE = np.float32(87)  # e^-87 is about the smallest normal float32
_FAR = np.float32(40)  # difference of scores beyond which heads need their own maximum
_LOG2_E = np.float32(1.44269504)
_LN_2 = np.float32(0.693359375), np.float32(-2.12194440e-4)  # n times the first part is exact
_EXP = tuple(np.float32(1 / value) for value in (720, 120, 24, 6, 2, 1, 1))
_GELU = tuple(  # highest power first
    np.float32(value)
    for value in (
        2.93249612e-06,
        -1.67472470e-05,
        9.75823460e-05,
        1.11350415e-04,
        9.80663082e-04,
        8.59163115e-03,
        4.47888015e-02,
        9.97324953e-02,
        1.0,
    )
)


class TiledDecoder(PointDecoder):
    """`PointDecoder` for float32 on a CPU, in tiles of at most `tile` image tokens."""

    def __init__(self, model: SAM2Base, *, tile: int = TILE) -> None:
        super().__init__(model)
        self._tile = tile

    def decode(self, photo: PhotoTokens, points: Tensor) -> Decoded:
        """Run the transformer for b points; `points` are their embeddings, (b, 2, c)."""
        blocks, last = self._transformer.layers, self._transformer.final_attn_token_to_image
        prompt = torch.cat([self._output_tokens(len(points)), points], dim=1)  # (b, t, c)
        block, image = blocks[0], photo.image.expand(len(points), -1, -1)
        updated = torch.empty(image.shape)  # reused by all blocks, since it is in the cache
        q = block.norm1(block.self_attn(prompt, prompt, prompt))
        q = q + self._first_to_image(block.cross_attn_token_to_image, q + prompt, photo)
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            q = block.norm2(q)
            q = block.norm3(q + block.mlp(q))
            now = q
            if following is not None:
                q = following.norm1(q + following.self_attn(q + prompt, q + prompt, q))
            to_image = last if following is None else following.cross_attn_token_to_image
            queries = folded_queries(to_image, q + prompt)
            scores = self._update(block, photo, image, updated, (now, now + prompt), queries)
            image = updated
            mixed = torch.bmm(torch.softmax(scores, dim=1).mT, image)  # (b, h t, c)
            q = q + unfolded(to_image, mixed)
        return self._scored(self._transformer.norm_final_attn(q), image)

    def logits(self, photo: PhotoTokens, decoded: Decoded, which: list[int]) -> Tensor:
        """Return (b, m, 4 side, 4 side) float32 logits of the mask tokens in `which`."""
        b, n, c = decoded.image.shape
        norm = _arrays(self._decoder.output_upscaling[1])
        hyper = self._hyper(decoded.tokens, which).numpy()  # (b, m, c/8)
        logits = torch.empty(b, len(which), 4 * photo.side, 4 * photo.side)
        half, full = torch.empty(self._tile, c), torch.empty(4 * self._tile, c // 2)
        for tile in _tiles(n, self._tile):
            start, rows = tile.start, tile.stop - tile.start
            quarters = slice(4 * start, 4 * tile.stop)
            for i in range(b):
                torch.mm(decoded.image[i, tile], self._half_weight.t(), out=half[:rows])
                by_pixel = half[:rows].view(4 * rows, c // 4)
                skip_half = photo.skip_half[tile].view(4 * rows, c // 4).numpy()
                _norm_gelu(by_pixel.numpy(), skip_half, *norm)
                torch.mm(by_pixel, self._full_weight.t(), out=full[: 4 * rows])
                upscaled, skip_full = full[: 4 * rows].numpy(), photo.skip_full[quarters].numpy()
                _draw(upscaled, skip_full, hyper[i], start, photo.side, logits[i].numpy())
        check_finite(logits)
        return logits

    def _update(
        self,
        block: Module,
        photo: PhotoTokens,
        image: Tensor,
        updated: Tensor,
        tokens: tuple[Tensor, Tensor],
        queries: Tensor,
    ) -> Tensor:
        """Image-to-token attention, and the scores of the token-to-image attention after it.

        Args:
            block: of the transformer.
            photo: the tensors that all points share.
            image: (b, n, c).
            updated: (b, n, c), overwritten with the new image tokens; may be `image`.
            tokens: (b, t, c), without and with the prompt tokens added.
            queries: folded queries of the next attention (b, h t, c).

        Returns:
            scores (b, n, h t).
        """
        b, n, c = image.shape
        t = tokens[0].shape[1]
        attention, norm = block.cross_attn_image_to_token, _arrays(block.norm4)
        keys, bias = folded_keys(attention, tokens[1])
        values = folded_values(attention, tokens[0])
        next_scores = torch.empty(b, n, queries.shape[1])
        at, mixed = torch.empty(self._tile, c), torch.empty(self._tile, c)
        for tile in _tiles(n, self._tile):
            rows = tile.stop - tile.start
            position, tile_at, tile_mixed = photo.position[tile], at[:rows], mixed[:rows]
            for i in range(b):
                torch.add(image[i, tile], position, out=tile_at)
                scores = torch.addmm(bias[i].t(), tile_at, keys[i].t())  # (rows, h t)
                _softmax(scores.view(rows, -1, t).numpy())
                torch.mm(scores, values[i], out=tile_mixed)
                _add_norm(
                    tile_mixed.numpy(),
                    image[i, tile].numpy(),
                    *norm,
                    position.numpy(),
                    updated[i, tile].numpy(),
                    tile_at.numpy(),
                )
                torch.mm(tile_at, queries[i].t(), out=next_scores[i, tile])
        return next_scores


def _tiles(n: int, at_most: int) -> Iterator[slice]:
    """Divide n image tokens into tiles of about equal size."""
    size = math.ceil(n / math.ceil(n / at_most))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _arrays(norm: Module) -> tuple[Any, Any, np.float32]:
    """Convert a LayerNorm to weight, bias and epsilon."""
    return norm.weight.detach().numpy(), norm.bias.detach().numpy(), np.float32(norm.eps)


@compiled(reordered=True)
def _gelu(x: Any) -> Any:  # noqa: ANN401
    """Compute GELU, x P(X <= x) for a standard normal X, to 3e-7 (torch in float32: 4e-7).

    P(X <= -a) is half of a polynomial to the power of -8, after formulas 7.1.27 and 7.1.28 of
    Abramowitz and Stegun, Handbook of Mathematical Functions, with coefficients fitted to
    a P(X <= -a).
    """
    a = abs(x)
    power = _GELU[0]
    for k in range(1, 9):
        power = power * a + _GELU[k]
    power *= power
    power *= power
    power *= power
    return max(x, _ZERO) - _HALF * a / power


@compiled(reordered=True)
def _exp(x: Any) -> Any:  # noqa: ANN401
    """Compute e^x for x in -87..0, to a relative 4e-7: 2^n times a Taylor series of the rest."""
    n = np.floor(x * _LOG2_E + _HALF)
    rest = x - n * _LN_2[0] - n * _LN_2[1]
    series = _EXP[0]
    for k in range(1, 7):
        series = series * rest + _EXP[k]
    exponent = np.int32((np.int32(n) + np.int32(127)) << np.int32(23))
    return series * exponent.view(np.float32)


@compiled(reordered=True)
def _softmax(scores: Any) -> None:  # noqa: ANN401, C901  (one fused loop)
    """Replace scores (rows, h, t) by their softmax over t."""
    rows, heads, t = scores.shape
    flat = scores.reshape(rows, heads * t)
    for r in range(rows):
        top, low = flat[r, 0], flat[r, 0]
        for k in range(1, heads * t):
            top, low = max(top, flat[r, k]), min(low, flat[r, k])
        if low < top - _FAR:  # with one maximum for all heads, a head could underflow
            for head in range(heads):
                own = scores[r, head, 0]
                for k in range(1, t):
                    own = max(own, scores[r, head, k])
                for k in range(t):
                    scores[r, head, k] += top - own
        for k in range(heads * t):
            flat[r, k] = _exp(max(flat[r, k] - top, -_RANGE))
        for head in range(heads):
            total = _ZERO
            for k in range(t):
                total += scores[r, head, k]
            share = _ONE / total
            for k in range(t):
                scores[r, head, k] *= share


@compiled(reordered=True)
def _standardize(row: Any, added: Any, eps: Any) -> None:  # noqa: ANN401
    """Add to a row (c,) in place, then normalize it to mean 0 and variance 1."""
    c = row.shape[0]
    total = _ZERO
    for k in range(c):
        value = row[k] + added[k]
        row[k] = value
        total += value
    mean = total / np.float32(c)
    total = _ZERO
    for k in range(c):
        value = row[k] - mean
        row[k] = value
        total += value * value
    scale = _ONE / np.sqrt(total / np.float32(c) + eps)
    for k in range(c):
        row[k] *= scale


@compiled(reordered=True)
def _add_norm(
    product: Any,  # noqa: ANN401
    added: Any,  # noqa: ANN401
    weight: Any,  # noqa: ANN401
    bias: Any,  # noqa: ANN401
    eps: Any,  # noqa: ANN401
    position: Any,  # noqa: ANN401
    out: Any,  # noqa: ANN401
    out_at: Any,  # noqa: ANN401
) -> None:
    """Write LayerNorm(product + added), (rows, c), to out, and with position added to out_at."""
    rows, c = product.shape
    for r in range(rows):
        _standardize(product[r], added[r], eps)
        for k in range(c):
            value = product[r, k] * weight[k] + bias[k]
            out[r, k] = value
            out_at[r, k] = value + position[r, k]


@compiled(reordered=True)
def _norm_gelu(product: Any, added: Any, weight: Any, bias: Any, eps: Any) -> None:  # noqa: ANN401
    """Replace product by GELU(LayerNorm(product + added)), (rows, c)."""
    rows, c = product.shape
    for r in range(rows):
        _standardize(product[r], added[r], eps)
        for k in range(c):
            product[r, k] = _gelu(product[r, k] * weight[k] + bias[k])


@compiled(reordered=True)
def _draw(product: Any, added: Any, hyper: Any, first: int, side: int, logits: Any) -> None:  # noqa: ANN401
    """Compute the logits of an upscaled tile and write them in pixel order.

    Args:
        product: (4 tokens, 4 c) features in blocked order: token, quarter, pixel of the quarter.
        added: skip features in the same order.
        hyper: (m, c) feature weights, one row per mask.
        first: index of the first token.
        side: tokens per row of the image.
        logits: (m, 4 side, 4 side), written to.
    """
    rows, width = product.shape
    m, c = hyper.shape
    pixels = np.empty(width, np.float32)
    for r in range(rows):
        for k in range(width):
            pixels[k] = _gelu(product[r, k] + added[r, k])
        token, quarter = first + r // 4, r % 4
        y = token // side * 4 + quarter // 2 * 2
        x = token % side * 4 + quarter % 2 * 2
        for pixel in range(4):
            for j in range(m):
                total = _ZERO
                for k in range(c):
                    total += pixels[pixel * c + k] * hyper[j, k]
                logits[j, y + pixel // 2, x + pixel % 2] = total
