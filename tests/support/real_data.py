"""Where the real pictures are that some tests use; they are not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BESIDE_THE_PROJECT = Path(__file__).resolve().parents[3] / "shared" / "data"


def real_data(*parts: str) -> Path:
    """Return a path in the folder of real pictures; skips the test, saying so, if it is absent."""
    path = Path(os.environ.get("SEGSEARCH_TEST_DATA", BESIDE_THE_PROJECT)).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no real pictures at {path}; set SEGSEARCH_TEST_DATA to their folder")
    return path
