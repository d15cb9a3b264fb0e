"""Functions on arrays, compiled by numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

import numba

Function = TypeVar("Function")

# Allows sums in any order, and thus SIMD. NaN stays NaN.
_REORDERED = {"reassoc", "contract", "arcp", "nsz"}


def compiled(*, reordered: bool = False) -> Callable[[Function], Function]:
    """Compile a function that releases the GIL; the machine code is cached next to its file.

    If neither that place nor the user's cache is writable, each process compiles again.

    Args:
        reordered: allow another order of operations, which rounds differently.
    """
    fastmath = _REORDERED if reordered else False
    jit = partial(numba.njit, nogil=True, fastmath=fastmath, error_model="numpy")

    def decorate(function: Function) -> Function:
        try:
            return cast(Function, jit(function, cache=True))
        except RuntimeError:  # no writable cache
            return cast(Function, jit(function))

    return decorate
