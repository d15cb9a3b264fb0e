"""The text side: what comes after MiniLM's sentence vector learns where a text lies in the space.

MiniLM itself stays as it is. Its mean over the tokens is brought into BERT's own form by a seventh
layer, whose attention is even and passes the mean on (export.py); the rest of that layer, the
pooler and the projection are trained here, on vectors that are computed once.

`python -m training.encoder.reads --out DIR` goes on from what prepare wrote there.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from training.encoder.sentences import DIM as WIDTH
from training.encoder.space import DIM, NAME_DIMS, Space, text_rows
from training.encoder.texts import Texts
from training.encoder.words import Words, load_texts, load_words

Floats = NDArray[np.float32]

INNER = 4 * WIDTH
EPS = 1e-12  # BERT's
BATCH = 512
LEARNING_RATE, LAST_RATE = 2e-3, 1e-5
WARM_UP = 200


class TextHead(nn.Module):
    """What is trained: the inner part of BERT's last layer, its pooler, and the projection."""

    def __init__(self) -> None:
        """Begin with small weights, so that the sentence passes through."""
        super().__init__()
        self.inner = nn.Linear(WIDTH, INNER)
        self.outer = nn.Linear(INNER, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=EPS)
        self.pooler = nn.Linear(WIDTH, WIDTH)
        self.projection = nn.Linear(WIDTH, DIM, bias=False)
        nn.init.normal_(self.outer.weight, std=0.01)

    def forward(self, sentences: Tensor) -> Tensor:
        """Return (n, DIM) from (n, 384) sentence vectors of any length."""
        states = F.layer_norm(sentences, (WIDTH,), eps=EPS)
        states = self.norm(states + self.outer(F.gelu(self.inner(states))))
        rows: Tensor = self.projection(torch.tanh(self.pooler(states)))
        return rows


def text_targets(texts: Texts, words: Words, space: Space) -> Floats:
    """Return the (n, DIM) unit rows that the texts are to have."""
    named = texts.name_of >= 0
    names = np.zeros((len(texts.texts), NAME_DIMS), np.float32)
    names[named] = space.text_names(words.profiles)[texts.name_of[named]]
    looks = texts.looks.any(axis=1)
    known = np.where(looks, 1, np.where(named, words.known[texts.name_of], 0))
    return text_rows(names, known.astype(np.float32), texts.looks)


def train(out: Path, epochs: int, seed: int = 0, start_from: Path | None = None) -> TextHead:
    """Train the head on the texts that prepare wrote, in the space that looks.py fitted."""
    torch.manual_seed(seed)
    words, space = load_words(out), Space.load(out / "space.npz")
    texts, vectors = load_texts(out, words)
    sentences = torch.from_numpy(vectors)
    targets = torch.from_numpy(text_targets(texts, words, space))
    head = TextHead()
    if start_from:
        head.load_state_dict(torch.load(start_from, weights_only=True))
    optimizer = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=0.01)
    steps = epochs * (len(sentences) // BATCH)
    for step in range(steps):
        if step % (len(sentences) // BATCH) == 0:
            order = torch.randperm(len(sentences))
        places = order[(step * BATCH) % (len(order) - BATCH + 1) :][:BATCH]
        for group in optimizer.param_groups:
            group["lr"] = _rate(step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            rows = head(sentences[places])
        loss = 1 - F.cosine_similarity(rows.float(), targets[places]).mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        if step % 500 == 0:
            print(f"text step {step} of {steps}: {loss.item():.4f}", file=sys.stderr, flush=True)
    return head


def _rate(step: int, steps: int) -> float:
    """Return the learning rate: up in WARM_UP steps, then down along a cosine."""
    if step < WARM_UP:
        return LEARNING_RATE * (step + 1) / WARM_UP
    share = (step - WARM_UP) / max(1, steps - WARM_UP)
    return LAST_RATE + (LEARNING_RATE - LAST_RATE) * (1 + math.cos(math.pi * share)) / 2


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.encoder.reads", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--start-from", type=Path, metavar="FILE", help="a text_head.pt")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    started = time.monotonic()
    head = train(asked.out, asked.epochs, start_from=asked.start_from)
    torch.save(head.state_dict(), asked.out / "text_head.pt")
    print(f"texts: {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
