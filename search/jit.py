"""Functions over arrays, compiled to machine code by numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

import numba

Function = TypeVar("Function")

# Sums may be taken in any order, so that they take eight numbers at once. NaN stays NaN.
_REORDERED = {"reassoc", "contract", "arcp", "nsz"}


def compiled(*, reordered: bool = False) -> Callable[[Function], Function]:
    """Compile a function: machine code is kept beside the file, other threads run meanwhile.

    Where neither that place nor the user's cache can be written to, each process compiles anew.

    Args:
        reordered: arithmetic may be taken in another order, which rounds differently; otherwise it
            is that of the source, operation for operation.
    """
    fastmath = _REORDERED if reordered else False
    jit = partial(numba.njit, nogil=True, fastmath=fastmath, error_model="numpy")

    def decorate(function: Function) -> Function:
        try:
            return cast(Function, jit(function, cache=True))
        except RuntimeError:  # no place to keep it
            return cast(Function, jit(function))

    return decorate
