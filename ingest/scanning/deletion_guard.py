"""How many photos a watch may hide when files vanish while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ingest.catalog.records import Root

LARGE_PART = 5  # a fifth of a root's photos is more than a person deletes in a while,
FEW = 10  # unless there are few
WINDOW_S = 600.0  # a folder that is moved to another disk vanishes file by file


@dataclass
class DeletionGuard:
    """Limits how many photos vanish within a while."""

    now: Callable[[], float] = time.monotonic
    _hidden: list[tuple[float, str, int]] = field(default_factory=list)  # when, of which root

    def may_hide(self, root: Root, photos: int) -> int:
        """Return how many of the photos that a root shows may be hidden now."""
        since = self.now() - WINDOW_S
        self._hidden = [each for each in self._hidden if each[0] > since]
        before = sum(count for _, root_id, count in self._hidden if root_id == root.root_id)
        return max(0, max(FEW, (photos + before) // LARGE_PART) - before)

    def note(self, root: Root, hidden: int) -> None:
        """Note that photos of a root were hidden."""
        self._hidden.append((self.now(), root.root_id, hidden))
