"""Limit on how many photos `watch` may hide when files vanish."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ingest.catalog.records import Root

ONE_IN = 5  # at most one in five photos of a root within the window,
MIN_PHOTOS = 10  # or this many, whichever is more
WINDOW_S = 600.0  # a folder being moved to another disk vanishes file by file


@dataclass
class DeletionGuard:
    """Limits how many photos of a root are hidden within `WINDOW_S`."""

    now: Callable[[], float] = time.monotonic
    _hidden: list[tuple[float, str, int]] = field(default_factory=list)  # time, root id, photos

    def may_hide(self, root: Root, photos: int) -> int:
        """Return how many of a root's currently visible photos may be hidden now."""
        since = self.now() - WINDOW_S
        self._hidden = [each for each in self._hidden if each[0] > since]
        before = sum(count for _, root_id, count in self._hidden if root_id == root.root_id)
        return max(0, max(MIN_PHOTOS, (photos + before) // ONE_IN) - before)

    def note(self, root: Root, hidden: int) -> None:
        """Count hidden photos of a root."""
        self._hidden.append((self.now(), root.root_id, hidden))
