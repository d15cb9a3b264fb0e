"""Fakes, samples and servers that tests share."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent

pytest.register_assert_rewrite(
    *(
        "support." + path.relative_to(FOLDER).with_suffix("").as_posix().replace("/", ".")
        for path in FOLDER.rglob("[a-z]*.py")
    )
)
