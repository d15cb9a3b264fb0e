"""Pictures that take long to make, kept in the library folder; they can be deleted at any time."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import diskcache

FOLDER = "pictures"
_logger = logging.getLogger(__name__)


class BytesOnly(diskcache.Disk):  # type: ignore[misc]  # diskcache comes without types
    """Keeps bytes, and never unpickles what someone may have put there."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:  # noqa: ANN401
        """Return what is kept; a pickle is no picture."""
        if mode == diskcache.core.MODE_PICKLE:
            raise OSError("a pickle is kept among the pictures")
        return super().fetch(mode, filename, value, read)


class KeptPictures:
    """The pictures that were asked for last, up to so many bytes of them."""

    def __init__(self, library: Path, max_bytes: int) -> None:
        """Remember where pictures are kept; the folder is made for the first of them.

        Args:
            library: the library folder.
            max_bytes: those not asked for longest go, so that no more is kept (about); 0: none is.
        """
        self._folder = library / FOLDER
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._cache: Any = None

    def get(self, name: str, photo_id: str, make: Callable[[], bytes]) -> bytes:
        """Return the picture of this name, made now if it is not kept.

        What goes wrong with keeping it is logged and hurts nobody.
        """
        if not self._max_bytes:
            return make()
        found = self._try(lambda cache: cache.get(name))
        if isinstance(found, bytes):
            return found
        made = make()
        self._try(lambda cache: cache.set(name, made, tag=photo_id))
        return made

    def forget(self, photo_ids: Iterable[str]) -> None:
        """Delete every picture of these photos."""
        if self._folder.exists():
            for photo_id in photo_ids:
                self._try(partial(_evict, photo_id))

    def size_bytes(self) -> int:
        """Return how much is kept, by the cache's own count."""
        return int(self._try(lambda cache: cache.volume()) or 0)

    def close(self) -> None:
        """Close what this thread opened."""
        with self._lock:
            if self._cache is not None:
                self._cache.close()
                self._cache = None

    def _try(self, use: Callable[[Any], Any]) -> Any:  # noqa: ANN401
        try:
            return use(self._opened())
        except (OSError, sqlite3.Error, diskcache.Timeout) as error:
            _logger.warning("%s can't be used: %s; it can be deleted", self._folder, error)
            return None

    def _opened(self) -> Any:  # noqa: ANN401
        with self._lock:
            if self._cache is None:
                self._cache = diskcache.Cache(
                    self._folder,
                    disk=BytesOnly,
                    size_limit=self._max_bytes,
                    eviction_policy="least-recently-used",
                    tag_index=True,
                )
            return self._cache


def _evict(photo_id: str, cache: Any) -> None:  # noqa: ANN401
    cache.evict(photo_id)
