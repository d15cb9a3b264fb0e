"""An encoder that sees the mean color of a crop and knows three names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.models.crops import Rgb
from search.models.encoder import unit_rows
from search.records import RgbImage, Vectors

COLORS: dict[str, Rgb] = {"rose": (250, 10, 10), "leaf": (10, 250, 10), "sea": (10, 10, 250)}


class ByMeanColor:
    """Crops are their mean color, words that of what they name; other words are none of these."""

    name, fingerprint, dim, input_px = "mean color", "0", 4, 8
    mean_rgb: Rgb = (0, 0, 0)

    def encode_crops(self, crops: Sequence[RgbImage] | RgbImage) -> Vectors:
        means = [[*crop.reshape(-1, 3).mean(axis=0), 0] for crop in crops]
        return unit_rows(np.array(means, np.float32))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return unit_rows(np.array([self._meant(text) for text in texts], np.float32))

    def _meant(self, text: str) -> tuple[int, ...]:
        found = [color for word, color in COLORS.items() if word in text]
        return (*found[0], 0) if found else (0, 0, 0, 1)
