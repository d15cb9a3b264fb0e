"""Compiled functions, also where their machine code can't be kept."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from numba.core import caching

from search.jit import compiled


def total(values: Any) -> Any:
    found = 0.0
    for value in values:
        found += value
    return found


@pytest.mark.parametrize("reordered", [False, True])
def test_a_compiled_function_returns_the_same_as_python(reordered: bool) -> None:
    assert compiled(reordered=reordered)(total)(np.arange(9.0)) == 36


def test_functions_are_compiled_without_a_writable_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(total)
    assert compiled()(total)(np.arange(9.0)) == 36
