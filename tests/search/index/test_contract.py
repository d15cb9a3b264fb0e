"""The contract of SegmentIndex on the embedded engine, a Qdrant client in memory and a server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient
from support.index_contract import *  # noqa: F403
from support.index_contract import Maker
from support.index_samples import DIM, VECTOR_NAME

from search.index.base import SegmentIndex
from search.index.edge import EdgeIndex
from search.index.qdrant import QdrantIndex, open_qdrant_index
from search.settings import SearchSettings

TEST_URL = os.environ.get("SEGSEARCH_TEST_QDRANT_URL")
ENGINES = ["edge", "memory", *(["server"] if TEST_URL else [])]
# A client in memory scans everything and says that it has no use for a graph's parameters.
pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")


def _edge_maker(folder: Path) -> Maker:
    return lambda: EdgeIndex.open(
        folder / uuid.uuid4().hex, vector_name=VECTOR_NAME, dim=DIM, create=True
    )


def _memory_maker() -> Maker:
    return lambda: QdrantIndex.open(
        QdrantClient(":memory:"), SearchSettings(write_batch=7), vector_name=VECTOR_NAME, dim=DIM
    )


def _server_index(url: str, prefix: str) -> SegmentIndex:
    settings = SearchSettings(qdrant=url, collection_prefix=prefix, write_batch=7)
    return open_qdrant_index(settings, vector_name=VECTOR_NAME, dim=DIM, create=True)


def _remove_collections(url: str, prefix: str) -> None:
    client = QdrantClient(url=url, check_compatibility=False)
    for found in client.get_collections().collections:
        if found.name.startswith(prefix):
            client.delete_collection(found.name)
    client.close()


@pytest.fixture(scope="module", params=ENGINES)
def make_index(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Maker]:
    """A function that makes an empty index."""
    if request.param == "edge":
        yield _edge_maker(tmp_path_factory.mktemp("edge"))
    elif request.param == "memory":
        yield _memory_maker()
    else:
        assert TEST_URL
        prefix = f"segsearch_test_{uuid.uuid4().hex}"
        yield lambda: _server_index(TEST_URL, f"{prefix}_{uuid.uuid4().hex[:8]}")
        _remove_collections(TEST_URL, prefix)


@pytest.mark.skipif(not TEST_URL, reason="SEGSEARCH_TEST_QDRANT_URL names no Qdrant server")
def test_the_contract_is_checked_on_a_real_server_too() -> None:
    assert "server" in ENGINES
