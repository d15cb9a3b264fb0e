"""Fakes, samples and servers that tests share."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    *(f"support.{path.stem}" for path in Path(__file__).parent.glob("[a-z]*.py"))
)
