"""A small library behind a server that asks for keys."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from api.http.app import create_app
from api.http.auth.keys import Access, Keyring
from api.library.library import Library
from search.records import RgbImage, SearchFilter
from support.copies import copied
from support.fakes import ColorPhoto, ColorSegmenter, add_photos, make_library
from support.servers.api_samples import SAMPLE
from support.servers.served import serving

FULL_KEY = "full-key-of-the-tests"
READ_KEY = "read-key-of-the-tests"
KEYRING = Keyring().with_key(FULL_KEY, Access.FULL).with_key(READ_KEY, Access.READ)
WAIT_S = 60.0  # for what comes at once, on a machine that has much else to do


@dataclass
class GatedSegmenter(ColorSegmenter):
    """A segmenter that encodes a photo only once it is let."""

    let: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def encode(self, rgb: RgbImage) -> ColorPhoto:
        self.arrived.release()
        assert self.let.wait(WAIT_S)
        return super().encode(rgb)


@dataclass
class Site:
    """An application that is served, and a client without any key."""

    app: FastAPI
    library: Library
    http: httpx.Client
    photos: dict[str, str]  # ids by file name

    def ask(self, method: str, path: str, key: str | None = None, **how: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return self.http.request(method, path, headers=headers | how.pop("headers", {}), **how)

    def click(self, name: str = "flat.png") -> httpx.Response:
        prompt = {"points": [{"x": 12, "y": 22}]}
        return self.ask(
            "POST", "/v1/segment", json={"photo_id": self.photos[name], "prompt": prompt}
        )


def lay_in(folder: Path) -> Path:
    """Ingest the sample, to be served again and again."""
    with make_library(folder / "library") as library:
        add_photos(library, folder / "photos", SAMPLE)
    return folder


@contextmanager
def site(
    stock: Path,
    folder: Path,
    keyring: Keyring | None = None,
    segmenter: ColorSegmenter | None = None,
    **settings: Any,
) -> Iterator[Site]:
    """Serve a copy of the stock while the block runs."""
    own = copied(stock / "library", folder / "library")
    with make_library(own, cutter=segmenter, **settings) as library:
        rows = library.ledger().photos(SearchFilter(), limit=10)
        photos = {row.below: row.photo.photo_id for row in rows if row.below}
        app = create_app(library, keyring=keyring)
        with (
            serving(app) as address,
            httpx.Client(base_url=address, trust_env=False, timeout=WAIT_S) as http,
        ):
            yield Site(app, library, http, photos)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Look again and again, for WAIT_S at most."""
    until = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)
