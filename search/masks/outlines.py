"""Outlines of segments: what says which of a photo overlap, kept since results ask again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.masks.rle import runs_from_mask
from search.records import Box, Mask, Segment

KEPT_BYTES = 100_000_000  # 30,000 segments of COCO photos
Ends = NDArray[np.int64]  # where each run ends, the first of background; the last ends the mask


class Outline(NamedTuple):
    """What of a segment says whether it overlaps another one of its photo."""

    bbox_xywh: Box
    area_px: int
    ends: Ends | None  # None: the mask is damaged


class Outlines:
    """Outlines of segments by id; an id names one mask for ever, so they stay true."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: dict[str, Outline] = {}
        self._bytes = 0
        self._lock = Lock()

    def of(
        self, segment_ids: Sequence[str], read: Callable[[Sequence[str]], Sequence[Segment]]
    ) -> dict[str, Outline]:
        """Return outlines by id; read segments with their masks where none is kept.

        Those of segments that `read` does not find are left out.
        """
        with self._lock:
            known = {each: self._kept[each] for each in segment_ids if each in self._kept}
        missing = [each for each in segment_ids if each not in known]
        found = read(missing) if missing else []
        new = {segment.segment_id: outline(segment) for segment in found}
        self._keep(new)
        return known | new

    def _keep(self, new: Mapping[str, Outline]) -> None:
        """Keep outlines instead of the oldest ones; a damaged mask may be mended, and is not."""
        with self._lock:
            for segment_id, each in new.items():
                if each.ends is not None and segment_id not in self._kept:
                    self._kept[segment_id] = each
                    self._bytes += each.ends.nbytes
            while self._bytes > self._most_bytes:
                oldest = self._kept.pop(next(iter(self._kept)))
                self._bytes -= 0 if oldest.ends is None else oldest.ends.nbytes


def outline(segment: Segment) -> Outline:
    """Return a segment's outline; it needs its mask."""
    ends = None if segment.mask is None else ends_of_runs(segment.mask)
    return Outline(segment.bbox_xywh, segment.area_px, ends)


def ends_of_runs(mask: Mask) -> Ends | None:
    """Return where a mask's runs end; None if it is damaged."""
    try:
        return np.cumsum(runs_from_mask(mask))
    except ValueError:
        return None
