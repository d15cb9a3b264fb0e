"""A finder over the `index` that a test module fills."""

from __future__ import annotations

import pytest
from support.finder_samples import TableEncoder, table_encoder

from search.finder import Finder
from search.index.edge import EdgeIndex


@pytest.fixture(scope="module")
def encoder() -> TableEncoder:
    return table_encoder()


@pytest.fixture(scope="module")
def finder(index: EdgeIndex, encoder: TableEncoder) -> Finder:
    return Finder(index, lambda: encoder)
