"""Which library an index should belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LibraryClaim:
    """The library that collections on a server should belong to."""

    library_id: str
    count_known: Callable[[Sequence[str]], int]  # how many of these photos its ledger knows
