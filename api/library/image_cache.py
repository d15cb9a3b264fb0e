"""A disk cache of rendered images in the library folder; it can be deleted at any time."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import diskcache

FOLDER = "pictures"
DIGEST_BYTES = 16  # before each image, to detect damage
_logger = logging.getLogger(__name__)


class BytesOnly(diskcache.Disk):  # type: ignore[misc]  # diskcache comes without types
    """Storage of bytes that never unpickles and never leaves its folder."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:  # noqa: ANN401
        """Read a value; pickles are refused."""
        if mode == diskcache.core.MODE_PICKLE:
            raise OSError("a pickle is in the image cache")
        self._check_name(filename)
        return super().fetch(mode, filename, value, read)

    def remove(self, file_path: str) -> None:
        """Delete a file of the cache."""
        self._check_name(file_path)
        super().remove(file_path)

    def _check_name(self, name: str | None) -> None:
        """Refuse a file name outside of the folder of the cache."""
        folder = Path(self._directory).resolve()
        if name is not None and not (folder / name).resolve().is_relative_to(folder):
            raise OSError(f"its database names a file outside of it, {name!r}")


class ImageCache:
    """An LRU cache of images, limited by bytes."""

    def __init__(self, library: Path, max_bytes: int) -> None:
        """Open nothing yet; the folder is created for the first image.

        Args:
            library: the library folder.
            max_bytes: approximate limit; 0: no cache.
        """
        self._folder = library / FOLDER
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._cache: Any = None

    def get(self, name: str, photo_id: str, make: Callable[[], bytes]) -> bytes:
        """The image of this name; `make` renders it if it is not cached.

        Errors of the cache are only logged.
        """
        if not self._max_bytes:
            return make()
        found = _whole(self._try(lambda cache: cache.get(name)))
        if found is not None:
            return found
        made = make()
        self._try(lambda cache: cache.set(name, _digest(made) + made, tag=photo_id))
        return made

    def forget(self, photo_ids: Iterable[str]) -> None:
        """Delete all images of photos."""
        if self._folder.exists():
            for photo_id in photo_ids:
                self._try(partial(_evict, photo_id))

    def size_bytes(self) -> int:
        """Bytes in the cache, by its own count."""
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


def _digest(picture: bytes) -> bytes:
    return hashlib.blake2b(picture, digest_size=DIGEST_BYTES).digest()


def _whole(kept: object) -> bytes | None:
    """The cached image; None if it is missing or damaged."""
    if not isinstance(kept, bytes):
        return None
    digest, picture = kept[:DIGEST_BYTES], kept[DIGEST_BYTES:]
    return picture if digest == _digest(picture) else None


def _evict(photo_id: str, cache: Any) -> None:  # noqa: ANN401
    cache.evict(photo_id)
