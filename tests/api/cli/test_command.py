"""Whatever a command or a route is given is used or refused: nothing is dropped in silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from support.commands import Commands
from support.fakes import add_photos, make_library
from support.servers.api_samples import SAMPLE, Served, assert_problem, served_sample

from api.cli.command import StrictCommand
from api.cli.main import cli
from api.cli.options import split_weight
from search.errors import UsageError


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A library with one photo, photos/flat.png."""
    with make_library(tmp_path / "library") as library:
        add_photos(library, tmp_path / "photos", {"flat.png": SAMPLE["flat.png"]})
    return tmp_path / "library"


def test_every_command_is_strict() -> None:
    assert all(isinstance(command, StrictCommand) for command in cli.commands.values())


@pytest.mark.parametrize(
    ("args", "flag"),
    [
        (("segment", "photos/flat.png", "--box", "1,2,3,4", "--box", "5,6,7,8"), "--box"),
        (("search", "red", "--limit", 2, "--limit", 3), "--limit"),
        (("search", "red", "--camera", "one", "--camera=two"), "--camera"),
        (("status", "--library", "a", "--library", "b"), "--library"),
        (("ingest", "photos", "--use-m2m", "--no-use-m2m"), "--use-m2m"),
    ],
)
def test_a_repeated_single_value_is_refused(
    run: Commands, args: tuple[object, ...], flag: str
) -> None:
    said = run.refused(*args)
    assert flag in said
    assert "only once" in said


def test_multiple_values_may_be_repeated(run: Commands, library: Path) -> None:
    said = run.refused("segment", "none.png", "--point", "1,1", "--point", "2,2,0")
    assert "there is no file" in said


@pytest.mark.parametrize(
    ("args", "flag"),
    [
        (("export", "all.json", "--limit", 2), "--limit"),
        (("export", "crops", "--format", "crops", "--limit", 2), "--limit"),
        (("export", "all.json", "--background", "white"), "--background"),
        (("export", "all.json", "--picture", "webp"), "--picture"),
        (("search", "red", "--masks"), "--masks"),
        (("segment", "photos/flat.png", "--candidates", 1), "--candidates"),
        (("segment", "photos/flat.png", "--point", "9,9", "--points-per-side", 4), "--points-per"),
        (("segment", "photos/flat.png", "--point", "9,9", "--effort", "quick"), "--effort"),
        (("segment", "photos/flat.png", "--encoder", "x"), "--encoder"),
        (("reembed", "--list", "--partial"), "--partial"),
        (("reembed", "--rollback", "--encoder", "x"), "--encoder"),
        (("reembed", "--drop", "x", "--json"), "--json"),
        (("ingest", "photos", "--shard-number", 3), "--shard-number"),
        (("search", "red", "--grpc"), "--grpc"),
    ],
)
def test_options_without_effect_are_refused(
    run: Commands, library: Path, tmp_path: Path, args: tuple[object, ...], flag: str
) -> None:
    before = sorted(tmp_path.iterdir())
    said = run.refused(*args, "--library", library)
    assert flag in said
    assert "no effect here" in said
    assert sorted(tmp_path.iterdir()) == before


def test_unused_settings_in_the_environment_are_accepted(
    run: Commands, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGSEARCH_SHARD_NUMBER", "3")
    assert run("show", photo_id(library), "--library", library).err == ""


def photo_id(library: Path) -> str:
    from contextlib import closing

    from ingest.catalog.ledger import Ledger
    from search.records import SearchFilter

    with closing(Ledger(library)) as ledger:
        return ledger.photos(SearchFilter(), limit=1)[0].photo.photo_id


@pytest.mark.parametrize(
    ("text", "what", "weight"),
    [
        ("red", "red", 1.0),
        ("red*0.5", "red", 0.5),
        ("red *2", "red", 2.0),
        ("red*1e-1", "red", 0.1),
        ("five*star hotel", "five*star hotel", 1.0),
        ("a*b*3", "a*b", 3.0),
    ],
)
def test_the_weight_follows_the_last_star(text: str, what: str, weight: float) -> None:
    assert split_weight(text) == (what, weight)


@pytest.mark.parametrize(
    "text", ["red*-1", "red*0", "red*0,5", "red*.", "red*", "red* ", "red*1e999", "*2", "red*2x"]
)
def test_an_invalid_weight_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a weight is a number above 0"):
        split_weight(text)


def test_unknown_environment_variables_are_reported(
    run: Commands, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGSEARCH_LIBRAY", "x")
    monkeypatch.setenv("SEGSEARCH_TEST_SOMETHING", "1")
    ran = run("status", "--library", library)
    (line,) = ran.err.splitlines()
    assert "SEGSEARCH_LIBRAY" in line
    assert "did you mean SEGSEARCH_LIBRARY?" in line


def test_invalid_utf_8_is_refused() -> None:
    @click.command(cls=StrictCommand)
    @click.argument("words")
    @click.option("--name")
    @click.option("--file", type=click.Path())
    def command(**_: Any) -> None:
        """Take whatever is given."""

    command.main(["red", "--file", "\udcff.png"], standalone_mode=False)
    for args in (["\udcff"], ["red", "--name", "\udcff"]):
        with pytest.raises(click.UsageError, match="not valid UTF-8"):
            command.main(args, standalone_mode=False)


# over HTTP


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_sample(tmp_path_factory.mktemp("strict")) as sample:
        yield sample


def test_unknown_query_parameters_are_refused_by_every_route(served: Served) -> None:
    paths = served.http.get("/openapi.json").json()["paths"]
    photo = served.photos["flat.png"]
    ids = {"photo_id": photo, "segment_id": served.block("red")["segment_id"], "job_id": "x"}
    asked = 0
    for path, methods in paths.items():
        if "get" in methods:
            answer = served.http.get(path.format(**ids), params={"colour": "red"})
            assert_problem(answer, 422, "colour")
            asked += 1
    assert asked > 10


def test_a_repeated_query_parameter_is_refused(served: Served) -> None:
    answer = served.http.get("/v1/photos?limit=1&limit=2")
    assert_problem(answer, 422, "limit", "more than once")
    assert served.http.get("/v1/photos?limit=1").status_code == 200
