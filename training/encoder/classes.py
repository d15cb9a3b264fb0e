"""What the 1,000 ImageNet kinds are, and how a text is spread over them.

A text's profile is its likeness to each kind's definition, through MiniLM; a picture's profile is
what the classifier says. Their cosine ranks pictures by any words at all: "puppy" finds what the
classifier calls one of a hundred breeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.encoder.sentences import SentenceModel

Floats = NDArray[np.float32]

CLASSES = 1000
# Of the softmax over likenesses. Of 10, 14, 20 and 28: mAP .44, .45, .43, .42 for Lite0 at 160 px,
# .47, .46, .46, .44 for Lite2 at 260 px.
SHARPNESS = 14.0
# Likeness to the nearest definition: nonsense has .23 to .31, kinds of things at least .37.
UNKNOWN_BELOW, KNOWN_FROM = 0.28, 0.38


def definitions() -> list[str]:
    """Return name and definition of each kind, as timm has them from WordNet."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return [info.index_to_description(kind, detailed=True) for kind in range(CLASSES)]


def names() -> list[list[str]]:
    """Return the names of each kind, most of them several."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return [info.index_to_description(kind).split(", ") for kind in range(CLASSES)]


def text_profiles(texts: Floats, kinds: Floats) -> Floats:
    """Return (n, 1000) rows of unit length from (n, d) texts and (1000, d) definitions."""
    return unit(np.exp(SHARPNESS * (texts @ kinds.T)))


def familiarity(texts: Floats, kinds: Floats) -> Floats:
    """Return (n,): 0 for what resembles no definition, 1 for what does."""
    nearest = (texts @ kinds.T).max(axis=1)
    share: Floats = np.clip((nearest - UNKNOWN_BELOW) / (KNOWN_FROM - UNKNOWN_BELOW), 0, 1)
    return share


def picture_profiles(logits: Floats) -> Floats:
    """Return (n, 1000) rows of unit length from a classifier's logits: these, less their mean.

    So a linear map of the trunk's features gives them as they are. Roots of the probabilities rank
    no better: mAP .42 to .47 for the 4th to the 20th, against .47, with Lite0 at 160 px.
    """
    return unit(logits - logits.mean(axis=1, keepdims=True))


def definition_vectors(model: SentenceModel) -> Floats:
    """Return the (1000, 384) vectors of the definitions."""
    return model.embed(definitions())


def unit(rows: Floats) -> Floats:
    """Return rows of unit length."""
    scaled: Floats = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return scaled


def mixed_views(context: Floats, masked: Floats, weights: Sequence[float]) -> Floats:
    """Return the unit vectors of segments from those of their two views."""
    return unit(weights[0] * context + weights[1] * masked)
