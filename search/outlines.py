"""Outlines of segments: what says which of a photo overlap, kept since results ask again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.masks import runs_from_mask
from search.records import Box, Mask, Segment

KEPT = 20_000  # outlines; those of COCO photos take some 60 MB
Ends = NDArray[np.int64]  # where each run ends, the first of background; the last ends the mask


class Outline(NamedTuple):
    """What of a segment says whether it overlaps another one of its photo."""

    bbox_xywh: Box
    area_px: int
    ends: Ends | None  # None: the mask is damaged


class Outlines:
    """Outlines of segments by id; an id names one mask for ever, so they stay true."""

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._kept: dict[str, Outline] = {}
        self._lock = Lock()

    def of(
        self, segment_ids: Sequence[str], read: Callable[[Sequence[str]], Sequence[Segment]]
    ) -> dict[str, Outline]:
        """Return outlines by id; read segments with their masks where none is kept.

        Those of segments that `read` does not find, since they were deleted, are left out.
        """
        with self._lock:
            known = {each: self._kept[each] for each in segment_ids if each in self._kept}
        missing = [each for each in segment_ids if each not in known]
        found = read(missing) if missing else []
        new = {segment.segment_id: outline(segment) for segment in found}
        with self._lock:
            self._kept |= new
            for oldest in list(self._kept)[: -self._most]:
                del self._kept[oldest]
        return known | new


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
