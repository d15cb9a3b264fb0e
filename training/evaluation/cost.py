"""Processor time from file to searchable: one pair of models against another, in alternation."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from api.library.library import Library
from api.library.models import STARTER
from api.settings import Settings
from ingest.pipeline import ingest
from ingest.segmentation.sam2 import Sam2Segmenter
from ingest.segmentation.types import MaskParameters
from ingest.stats import Tally
from search.models.encoder import Encoder
from training.evaluation.measures import Figure

ROUNDS = 3


class Pair(NamedTuple):
    """A segmenter, an encoder, and which masks to keep."""

    segmenter: Sam2Segmenter
    encoder: Encoder
    parameters: MaskParameters


class Quiet:
    """No progress."""

    def start(self, photos: int) -> None:
        """Say nothing."""

    def show(self, tally: Tally) -> None:
        """Say nothing."""


def cpu_ratio(pair: Pair, earlier: Pair, photos: Sequence[Path]) -> Figure:
    """Return the median of ROUNDS ratios, and their standard error.

    Each round makes a library of the photos with one pair, then with the other; a first photo
    before that leaves compiling and warming up out.
    """
    for each in (pair, earlier):
        ingest_cpu_s(each, photos[:1])
    ratios = [ingest_cpu_s(pair, photos) / ingest_cpu_s(earlier, photos) for _ in range(ROUNDS)]
    error = float(np.std(ratios, ddof=1) / np.sqrt(ROUNDS))
    return Figure(float(np.median(ratios)), error, len(photos))


def ingest_cpu_s(pair: Pair, photos: Sequence[Path]) -> float:
    """Return the seconds of processor time that a library of photos took, decoders included."""
    with tempfile.TemporaryDirectory(prefix="segsearch-cost-") as folder:
        settings = Settings(library=folder, models=STARTER, **vars(pair.parameters))
        before = sum(os.times()[:4])
        with Library(
            settings,
            command="bench",
            create=True,
            segmenter=pair.segmenter,
            encoder=pair.encoder,
        ) as library:
            ingest(list(photos), library.ingest_context(), Quiet())
        return sum(os.times()[:4]) - before
