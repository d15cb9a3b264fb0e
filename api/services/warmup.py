"""Warm-up: open the index, load the models and run them once; report readiness."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable

import anyio
import numpy as np

from api.library.library import Library
from api.schemas.library import ReadyOut
from search.errors import SegsearchError
from search.index.base import SegmentIndex

READY = "ready"
LOADING = "loading"
FAILED = "failed; the server's log says more"
POLL_S = 0.05
_logger = logging.getLogger(__name__)


class Readiness:
    """Loads index and models in a background thread and reports their state."""

    def __init__(self, library: Library, *, freeze_gc: bool = False) -> None:
        """Start nothing yet.

        Args:
            library: its index and models.
            freeze_gc: exclude loaded objects from garbage collection; for a server process.
        """
        self._library = library
        self._freeze_gc = freeze_gc
        self._index: SegmentIndex | None = None
        self._loads: dict[str, Callable[[], object]] = {
            "index": self._load_index,
            "segmenter": self._load_segmenter,
            "encoder": self._load_encoder,
        }
        self._parts = dict.fromkeys(self._loads, LOADING)
        self.load_s: dict[str, float] = {}  # by part, once it is ready
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Load the missing parts unless that is running; failed parts are tried again."""
        with self._lock:
            if self._all_ready() or self._is_loading():
                return
            self._thread = threading.Thread(target=self._load, name="warm-up", daemon=True)
            self._thread.start()

    def check(self) -> ReadyOut:
        """The state of each part; never waits for a model."""
        self.start()
        if self._parts["index"] == READY:
            self._parts["index"] = _outcome(self._ask_index)
        return ReadyOut(ready=self._all_ready(), parts=dict(self._parts))

    def ready_parts(self) -> dict[str, bool]:
        """Which parts are ready, without a check or a load."""
        return {part: state == READY for part, state in self._parts.items()}

    async def wait_until_loaded(self) -> None:
        """Wait while parts load, on the event loop: waiting requests hold no thread."""
        while self._is_loading():  # noqa: ASYNC110  (a thread loads; it has no event of the loop)
            await anyio.sleep(POLL_S)

    def _is_loading(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _all_ready(self) -> bool:
        return all(self.ready_parts().values())

    def _load(self) -> None:
        for part, load in self._loads.items():
            start = time.perf_counter()
            self._parts[part] = outcome = _outcome(load)
            if outcome == READY:
                self.load_s.setdefault(part, time.perf_counter() - start)
            else:
                _logger.error("the %s can't be loaded: %s", part, outcome)
        if self._freeze_gc and self._all_ready():
            # Half a million objects of torch and transformers are here to stay. A full collection
            # would look at each, and hold up every request for 250 ms.
            gc.collect()
            gc.freeze()

    def _load_index(self) -> None:
        self._index = self._library.index()
        self._ask_index()

    def _load_segmenter(self) -> None:
        self._library.encoded.warm_up()

    def _load_encoder(self) -> None:
        """Load the encoder and run it once: the first run is several times slower."""
        encoder = self._library.encoder()
        encoder.encode_texts(["warm-up"])
        encoder.encode_crops(np.zeros((1, encoder.input_px, encoder.input_px, 3), np.uint8))

    def _ask_index(self) -> None:
        """Query the store, which may have failed since it was opened."""
        assert self._index is not None  # _load_index ran before
        self._index.count("photos")


def _outcome(load: Callable[[], object]) -> str:
    """READY, or the reason of the failure."""
    try:
        load()
    except SegsearchError as error:
        return str(error)
    except Exception:
        _logger.exception("loading failed")
        return FAILED
    return READY


def without_reasons(ready: ReadyOut) -> ReadyOut:
    """A copy for clients without a key: reasons name files and hosts."""
    parts = {p: s if s in (READY, LOADING) else FAILED for p, s in ready.parts.items()}
    return ready.model_copy(update={"parts": parts})
