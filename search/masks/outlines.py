"""Outlines of segments for overlap tests, cached between searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import NamedTuple

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from search.masks.rle import runs_from_mask
from search.records import Box, Mask, Segment

CACHE_BYTES = 100_000_000  # 30,000 segments of COCO photos
Ends = NDArray[np.int64]  # where each run ends, the first of background; the last ends the mask


class Outline(NamedTuple):
    """Box, area and RLE run ends of a segment, for overlap tests."""

    bbox_xywh: Box
    area_px: int
    ends: Ends | None  # None: the mask is damaged


class Outlines:
    """An LRU cache of outlines by segment id; an id never gets another mask."""

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._cache: LRUCache[str, Outline] = LRUCache(max_bytes, getsizeof=_size_bytes)
        self._lock = Lock()

    def of(
        self, segment_ids: Sequence[str], read: Callable[[Sequence[str]], Sequence[Segment]]
    ) -> dict[str, Outline]:
        """Outlines by segment id; `read` loads segments, with masks, that are not cached.

        Segments that `read` does not find are left out. Damaged masks are not cached, as they may
        be repaired.
        """
        with self._lock:
            known = {each: self._cache[each] for each in segment_ids if each in self._cache}
        missing = [each for each in segment_ids if each not in known]
        found = read(missing) if missing else []
        new = {segment.segment_id: outline(segment) for segment in found}
        with self._lock, suppress(ValueError):  # one is larger than the cache
            self._cache.update({key: each for key, each in new.items() if each.ends is not None})
        return known | new


def _size_bytes(outline: Outline) -> int:
    return 0 if outline.ends is None else outline.ends.nbytes


def outline(segment: Segment) -> Outline:
    """The outline of a segment that has its mask."""
    ends = None if segment.mask is None else ends_of_runs(segment.mask)
    return Outline(segment.bbox_xywh, segment.area_px, ends)


def ends_of_runs(mask: Mask) -> Ends | None:
    """Where the runs of a mask end; None if it is damaged."""
    try:
        return np.cumsum(runs_from_mask(mask))
    except ValueError:
        return None
