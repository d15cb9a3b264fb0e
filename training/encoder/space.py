"""The space that words and pictures share: what each stretch of a vector stands for.

| stretch | of a picture | of a text |
|---|---|---|
| names | its profile over ImageNet's kinds, projected | likewise |
| looks | scores of colors, tones, patterns and shapes | those that it speaks of |
| nothing | 0 | all of it, where the text means nothing to the model |

So a text that means nothing has a cosine of about 0 with every picture, and "red car" is the sum of
"red" and "car".
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from starter.drawing.colors import COLOR_NAMES, MODIFIERS
from starter.drawing.patterns import PATTERNS
from starter.drawing.shapes import SHAPES
from training.encoder.captions import Claim
from training.encoder.classes import unit

Floats = NDArray[np.float32]

NAME_DIMS = 324
TONES = MODIFIERS[1:]  # dark and light; the first is neither
LOOKS = (*COLOR_NAMES, *TONES, *PATTERNS, *SHAPES)
DIM = NAME_DIMS + len(LOOKS) + 1
NAMES = slice(0, NAME_DIMS)
LOOKS_AT = slice(NAME_DIMS, DIM - 1)
NOTHING_AT = DIM - 1
LOOKS_IN_BOTH = 0.8  # length of the looks beside a name of 1, in "red car"
TONE_BESIDE_COLOR = 0.5


class Space(NamedTuple):
    """How profiles over the kinds are brought to NAME_DIMS numbers."""

    basis: Floats  # (1000, NAME_DIMS), orthonormal
    picture_mean: Floats  # (1000,) of the profiles of pictures
    text_mean: Floats  # (1000,) of the profiles of words

    @classmethod
    def fitted(cls, pictures: Floats, texts: Floats) -> Space:
        """Return the space that keeps most of (n, 1000) picture and (m, 1000) text profiles."""
        means = pictures.mean(0), texts.mean(0)
        spread = np.zeros((pictures.shape[1],) * 2)
        for rows, mean in zip((pictures, texts), means, strict=True):
            covariance = np.cov(rows - mean, rowvar=False)
            spread += covariance / np.trace(covariance)
        _, axes = np.linalg.eigh(spread)
        return cls(axes[:, -NAME_DIMS:].astype(np.float32), *means)

    def picture_names(self, profiles: Floats) -> Floats:
        """Return (n, NAME_DIMS) unit rows."""
        return _projected(profiles - self.picture_mean, self.basis)

    def text_names(self, profiles: Floats) -> Floats:
        """Return (n, NAME_DIMS) unit rows."""
        return _projected(profiles - self.text_mean, self.basis)

    def save(self, path: Path) -> None:
        """Write it."""
        np.savez(path, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> Space:
        """Read it."""
        with np.load(path) as saved:
            return cls(*(saved[name] for name in cls._fields))


def _projected(rows: Floats, basis: Floats) -> Floats:
    projected: Floats = rows @ basis
    return unit(projected)


def looks_of(claim: Claim) -> Floats:
    """Return the (looks,) unit row of what a claim says; zeros if it says nothing."""
    row = np.zeros(len(LOOKS), np.float32)
    for name in claim.colors:
        row[LOOKS.index(name)] = 1
    if claim.modifier:
        row[LOOKS.index(claim.modifier)] = TONE_BESIDE_COLOR if claim.colors else 1
    if claim.pattern:
        row[LOOKS.index(claim.pattern)] = 1
    if claim.shape:
        row[len(LOOKS) - len(SHAPES) + SHAPES.index(claim.shape)] = 1
    scaled: Floats = row / max(float(np.linalg.norm(row)), 1e-6)
    return scaled


def text_rows(names: Floats, known: Floats, looks: Floats) -> Floats:
    """Return (n, DIM) unit rows from names (n, NAME_DIMS), 0 for none, and looks (n, looks).

    Args:
        names: unit rows, or zeros.
        known: (n,) how well each text is known, 0 to 1.
        looks: unit rows, or zeros.

    """
    rows: Floats = np.zeros((len(names), DIM), np.float32)
    rows[:, NAMES] = names
    rows[:, LOOKS_AT] = np.where(names.any(axis=1, keepdims=True), LOOKS_IN_BOTH, 1) * looks
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    rows *= known[:, None]
    rows[:, NOTHING_AT] = np.sqrt(np.maximum(0, 1 - np.square(rows).sum(axis=1)))
    return rows
