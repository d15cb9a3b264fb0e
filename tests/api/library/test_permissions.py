"""A library is private; what a person asks for has the permissions that they are used to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import Commands
from support.scripts.two_encoders import run  # noqa: F401  (a fixture)

from api.library import permissions
from api.library.permissions import mode_of_output

LIBRARY = Path("library")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")


@pytest.fixture(autouse=True)
def usual_umask(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = os.umask(0o022)
    monkeypatch.setattr(permissions, "_umask_of_user", None)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_library_is_readable_by_its_user_only(run: Commands) -> None:  # noqa: F811
    run("ingest", "photos")
    run("search", "red")
    assert mode(LIBRARY) == 0o700
    for path in LIBRARY.rglob("*"):
        assert mode(path) & 0o077 == 0, path


def test_a_library_readable_by_a_group_stays_so(run: Commands) -> None:  # noqa: F811
    run("ingest", "photos")
    LIBRARY.chmod(0o750)
    run("ingest", "photos", "--min-area-fraction", "0.02", "--resegment")
    assert mode(LIBRARY) == 0o750
    assert mode(LIBRARY / "segsearch.json") == 0o640


def test_output_files_follow_the_umask(run: Commands) -> None:  # noqa: F811
    run("ingest", "photos")
    run("search", "red", "--sheet", "red.png")
    run("export", "all.json")
    assert [mode(Path(name)) for name in ("red.png", "all.json")] == [0o644, 0o644]
    os.umask(0o077)
    assert mode_of_output() == 0o644
