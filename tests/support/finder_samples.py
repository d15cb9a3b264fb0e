"""An encoder whose answers can be told beforehand, and how hits are compared with brute force."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from search.finder import Finder
from search.index.edge import EdgeIndex
from search.models.encoder import unit_rows
from search.query import (
    Query,
)
from search.records import RgbImage, SearchFilter, Vectors
from support.index_samples import (
    DIM,
    VECTOR_NAME,
    Sample,
    fill,
    unit_vectors,
)

WORDS = ("mug", "boat", "stripes", "kite")
EVERYWHERE = SearchFilter()
CLOSE = 2e-6  # scores in float32, summed in another order


@dataclass(frozen=True)
class TableEncoder:
    """Words have a fixed vector each; a crop's vector is a fixed mix of its colours."""

    words: dict[str, Vectors]
    name: str = "table"
    fingerprint: str = "7ab1e"
    dim: int = DIM
    input_px: int = 8
    mean_rgb: tuple[int, int, int] = (128, 128, 128)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Whatever else a phrasing says, the word in it decides."""
        known = [next(v for word, v in self.words.items() if word in text) for text in texts]
        return np.array(known, np.float32).reshape(-1, self.dim)

    def encode_crops(self, crops: Sequence[RgbImage] | RgbImage) -> Vectors:
        colors = np.array([np.asarray(crop).mean(axis=(0, 1)) / 255 for crop in crops])
        mix = np.random.default_rng(9).normal(size=(3, self.dim))
        return unit_rows((colors.reshape(-1, 3) @ mix + 0.1).astype(np.float32))


def table_encoder() -> TableEncoder:
    return TableEncoder(dict(zip(WORDS, unit_vectors(77, len(WORDS)), strict=True)))


@contextmanager
def opened(folder: Path, sample: Sample) -> Iterator[EdgeIndex]:
    """An embedded index that holds a sample."""
    index = EdgeIndex.open(folder, vector_name=VECTOR_NAME, dim=DIM, create=True)
    fill(index, sample)
    yield index
    index.close()


def assert_hits(found: Sequence[tuple[str, float]], wanted: Sequence[tuple[str, float]]) -> None:
    """The same segments with the same scores, in the same order but for equal scores."""
    assert [score for _, score in found] == pytest.approx([s for _, s in wanted], abs=CLOSE)
    assert len({segment_id for segment_id, _ in found}) == len(found)
    for (segment_id, _), (wanted_id, score) in zip(found, wanted, strict=True):
        ties = {each for each, other in wanted if abs(other - score) <= 2 * CLOSE}
        assert segment_id == wanted_id or segment_id in ties


def hits_of(finder: Finder, query: Query) -> list[tuple[str, float]]:
    return [(hit.segment.segment_id, hit.score) for hit in finder.search(query).hits]
