"""Whether a library can answer by now: its index is open, its models are loaded."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from api.library import Library
from api.schemas import ReadyOut
from search.errors import SegsearchError

READY = "ready"
LOADING = "loading"
_logger = logging.getLogger(__name__)


class Readiness:
    """Loads what a library needs, in a thread of its own, and says how far that is."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._loads: dict[str, Callable[[], object]] = {
            "index": library.index,
            "segmenter": library.segmenter,
            "encoder": library.encoder,
        }
        self._parts = dict.fromkeys(self._loads, LOADING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Load what is not loaded, unless that is under way; what failed is tried again."""
        with self._lock:
            if self._all_ready() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._load, name="warm-up", daemon=True)
            self._thread.start()

    def now(self) -> ReadyOut:
        """Return what is ready and what is not, and why; never waits for a model."""
        self.begin()
        if self._parts["index"] == READY:
            self._check_index()
        return ReadyOut(ready=self._all_ready(), parts=dict(self._parts))

    def _all_ready(self) -> bool:
        return set(self._parts.values()) == {READY}

    def _load(self) -> None:
        for part, load in self._loads.items():
            self._parts[part] = _outcome(load)

    def _check_index(self) -> None:
        """Ask the store, which may have gone since it was opened."""
        self._parts["index"] = _outcome(lambda: self._library.index().count("photos"))


def _outcome(load: Callable[[], object]) -> str:
    """Return READY, or the reason why not."""
    try:
        load()
    except SegsearchError as error:
        return str(error)
    except Exception:
        _logger.exception("loading failed")
        return "failed in a way that nobody foresaw; the server's log says more"
    return READY
