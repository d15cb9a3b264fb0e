"""The decoder for float32 on a CPU: tile by tile of the image, so that each stays in the cache.

What `ingest.segmentation.mask_decoder` does whole, product by product, is done here for some
image tokens at a time (the identities and the letters n, b, h, t, c are explained there). Products
are torch's; all that lies between two of them is compiled, in one pass over the tile. Results are
equal up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
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

TILE = 640  # image tokens: 0.6 MB of them, twice that when they are upscaled
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_RANGE, _FAR = np.float32(87), np.float32(40)  # e^-87 is the least float32, about
_LOG2_E = np.float32(1.44269504)
_LN_2 = np.float32(0.693359375), np.float32(-2.12194440e-4)  # the first part times n is exact
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
    """`PointDecoder` for float32 on a CPU."""

    def decode(self, photo: PhotoTokens, points: Tensor) -> Decoded:
        """Run the transformer for b points; `points` are their embeddings, (b, 2, c)."""
        blocks, last = self._transformer.layers, self._transformer.final_attn_token_to_image
        prompt = torch.cat([self._output_tokens(len(points)), points], dim=1)  # (b, t, c)
        block, image = blocks[0], photo.image.expand(len(points), -1, -1)
        updated = torch.empty(image.shape)  # one for all blocks: it is what the cache is full of
        q = block.norm1(block.self_attn(prompt, prompt, prompt))
        q = q + self._first_to_image(block.cross_attn_token_to_image, q + prompt, photo)
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            q = block.norm2(q)
            q = block.norm3(q + block.mlp(q))
            now = q
            if following is not None:
                q = following.norm1(q + following.self_attn(q + prompt, q + prompt, q))
            to_image = last if following is None else following.cross_attn_token_to_image
            asked = folded_queries(to_image, q + prompt)
            scores = self._update(block, photo, image, updated, (now, now + prompt), asked)
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
        half, full = torch.empty(TILE, c), torch.empty(4 * TILE, c // 2)
        for tile in _tiles(n):
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
        asked: Tensor,
    ) -> Tensor:
        """Let image tokens attend to tokens, and score the result for whoever attends to it next.

        Args:
            block: of the transformer.
            photo: what all points share.
            image: (b, n, c).
            updated: (b, n, c), written to; it may be `image` itself.
            tokens: (b, t, c), as they are and with their prompt added.
            asked: folded queries of the next attention (b, h t, c).

        Returns:
            scores (b, n, h t).
        """
        b, n, c = image.shape
        t = tokens[0].shape[1]
        attention, norm = block.cross_attn_image_to_token, _arrays(block.norm4)
        keys, bias = folded_keys(attention, tokens[1])
        values = folded_values(attention, tokens[0])
        next_scores = torch.empty(b, n, asked.shape[1])
        at, mixed = torch.empty(TILE, c), torch.empty(TILE, c)
        for tile in _tiles(n):
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
                torch.mm(tile_at, asked[i].t(), out=next_scores[i, tile])
        return next_scores


def _tiles(n: int) -> Iterator[slice]:
    """Divide image tokens into tiles of about the same size."""
    size = math.ceil(n / math.ceil(n / TILE))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _arrays(norm: Module) -> tuple[Any, Any, np.float32]:
    """Return weight, bias and epsilon of a LayerNorm."""
    return norm.weight.detach().numpy(), norm.bias.detach().numpy(), np.float32(norm.eps)


@compiled(reordered=True)
def _gelu(x: Any) -> Any:  # noqa: ANN401
    """Return x P(X <= x) for a standard normal X, to 3e-7 (torch's own in float32: 4e-7).

    P(X <= -a) is half of a polynomial to the power of -8, as in 7.1.27 and 7.1.28 of Abramowitz and
    Stegun's Handbook of Mathematical Functions; the coefficients are fitted to a P(X <= -a).
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
    """Return e^x for x from -87 to 0, to 4e-7 of it: 2^n times a Taylor series within ln 2 / 2."""
    n = np.floor(x * _LOG2_E + _HALF)
    rest = x - n * _LN_2[0] - n * _LN_2[1]
    series = _EXP[0]
    for k in range(1, 7):
        series = series * rest + _EXP[k]
    exponent = np.int32((np.int32(n) + np.int32(127)) << np.int32(23))
    return series * exponent.view(np.float32)


@compiled(reordered=True)
def _softmax(scores: Any) -> None:  # noqa: ANN401
    """Replace scores (rows, h, t) by their softmax over t."""
    rows, heads, t = scores.shape
    flat = scores.reshape(rows, heads * t)
    for r in range(rows):
        top, low = flat[r, 0], flat[r, 0]
        for k in range(1, heads * t):
            top, low = max(top, flat[r, k]), min(low, flat[r, k])
        if low < top - _FAR:  # one maximum for all heads could make another head vanish
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
    """Add to a row (c,), then bring it to mean 0 and variance 1."""
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
    """Write the LayerNorm of product + added (rows, c), and the same with the position added."""
    rows, c = product.shape
    for r in range(rows):
        _standardize(product[r], added[r], eps)
        for k in range(c):
            value = product[r, k] * weight[k] + bias[k]
            out[r, k] = value
            out_at[r, k] = value + position[r, k]


@compiled(reordered=True)
def _norm_gelu(product: Any, added: Any, weight: Any, bias: Any, eps: Any) -> None:  # noqa: ANN401
    """Put GELU of the LayerNorm of product + added (rows, c) in place of product."""
    rows, c = product.shape
    for r in range(rows):
        _standardize(product[r], added[r], eps)
        for k in range(c):
            product[r, k] = _gelu(product[r, k] * weight[k] + bias[k])


@compiled(reordered=True)
def _draw(product: Any, added: Any, hyper: Any, first: int, side: int, logits: Any) -> None:  # noqa: ANN401
    """Put the masks of an upscaled tile where they belong.

    Args:
        product: (4 tokens, 4 c) features in blocked order: token, quarter, pixel of the quarter.
        added: skip features, likewise.
        hyper: (m, c) weights of features, a row a mask.
        first: the first token.
        side: tokens of a row of the image.
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
