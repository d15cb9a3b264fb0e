"""A library that a serving process owns: its index over real HTTP keeps the whole contract."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.fakes import ColorEncoder, ColorSegmenter

# The contract's own tests and fixtures, run once more against the `make_index` below.
from support.index_contract import *  # noqa: F403
from support.index_contract import Maker
from support.index_samples import DIM
from support.servers.served import serving

from api.http.app import create_app
from api.library.index.ownership import OwnerInfo
from api.library.index.remote_index import RemoteIndex
from api.library.library import Library
from api.settings import Settings
from search.errors import OwnedError, StoreUnreachableError, UnknownIdError, UsageError
from search.index.base import SegmentIndex

NOWHERE = "00000000-0000-4000-8000-000000000000"


class ServedIndex(RemoteIndex):
    """The index of a new library that a server of its own has open; both close with it."""

    def __init__(self, folder: Path) -> None:
        self.closing = ExitStack()
        library = Library(
            Settings(library=folder),
            command="serve",
            create=True,
            segmenter=ColorSegmenter(),
            encoder=replace(ColorEncoder(), dim=DIM),
        )
        self.closing.enter_context(library)
        _, ownership = library.own_index()
        assert ownership is not None
        app = create_app(library, ownership=ownership)
        ownership.announce(self.closing.enter_context(serving(app)))
        super().__init__(ownership.info)

    def close(self) -> None:
        super().close()
        self.closing.close()


@pytest.fixture(scope="module")
def make_index(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """A function that makes an empty index, each behind a server of its own."""
    return lambda: ServedIndex(tmp_path_factory.mktemp("owned"))


@pytest.fixture
def info(full_index: SegmentIndex) -> OwnerInfo:
    assert isinstance(full_index, RemoteIndex)
    return full_index._owner


def test_an_error_of_the_owner_keeps_its_class(full_index: SegmentIndex) -> None:
    with pytest.raises(UnknownIdError, match=NOWHERE):
        full_index.segment_vectors([NOWHERE])


def test_vectors_are_transferred_unchanged(full_index: SegmentIndex) -> None:
    vectors = full_index.sample_vectors(5)
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, DIM)


def test_another_token_is_refused(info: OwnerInfo) -> None:
    wrong = RemoteIndex(info.model_copy(update={"token": "another"}))
    with pytest.raises(OwnedError, match="token"):
        wrong.count("photos")
    wrong.close()


def test_a_call_without_a_token_gets_401(info: OwnerInfo) -> None:
    answer = httpx.post(f"{info.address}/internal/index/count", json={}, trust_env=False)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_only_methods_of_the_index_can_be_called(info: OwnerInfo) -> None:
    headers = {"Authorization": f"Bearer {info.token}"}
    for method in ("close", "optimize", "__class__", "_upsert"):
        url = f"{info.address}/internal/index/{method}"
        answer = httpx.post(url, json={"dict": {}}, headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["error"]) == (422, UsageError.__name__)


def test_an_invalid_call_body_is_refused(info: OwnerInfo) -> None:
    headers = {"Authorization": f"Bearer {info.token}"}
    url = f"{info.address}/internal/index/count"
    answer = httpx.post(url, content=b"{", headers=headers, trust_env=False)
    assert answer.status_code == 422


def test_a_stopped_owner_is_a_store_unreachable_error(tmp_path: Path) -> None:
    served = ServedIndex(tmp_path)
    index = RemoteIndex(served._owner)
    assert index.count("photos") == 0
    served.close()
    with pytest.raises(StoreUnreachableError, match="does not answer"):
        index.count("photos")
    index.close()
