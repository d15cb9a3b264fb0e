"""The library that an index must belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LibraryClaim:
    """The library that collections on a server must belong to."""

    library_id: str
    count_known: Callable[[Sequence[str]], int]  # how many of these photo ids its ledger has
