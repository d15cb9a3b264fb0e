"""README and docs say what is so: commands parse, files and routes exist, settings are all there.

`python tests/test_docs.py` prints the tables of docs/settings.md as they should be.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin

import click
import pytest
from pydantic.fields import FieldInfo
from support.fakes import make_library

from api.cli.main import cli
from api.http.app import create_app
from api.settings import Settings
from search.settings import Group

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
IN_TREE = ("search", "ingest", "api", "starter", "bench")
MAX_IMAGE_BYTES = 300_000
GROUP_TITLES: dict[Group, str] = {
    "library": "Library",
    "models": "Models",
    "masks": "Automatic masks",
    "ingest": "Ingest",
    "serve": "Serve",
    "server": "Qdrant server",
}


def code_lines(page: Path) -> Iterator[str]:
    """Yield the lines of a page's code blocks, continued ones joined, prompts removed."""
    for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            yield line.strip().removeprefix("$ ")


def commands_of(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of each `segsearch` that a page shows, in blocks and in the text."""
    quoted = re.findall(r"`(segsearch [^`]+)`", page.read_text())
    mentioned = [f"{text} --help" if text.count(" ") == 1 else text for text in quoted]
    for line in [*code_lines(page), *mentioned]:
        found = re.match(r"(?:\.venv/bin/)?segsearch (.+)", line)
        if found:
            yield shlex.split(found[1], comments=True)


def group_of(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return str(extra["group"])


def settings_table(group: Group) -> str:
    """Return what docs/settings.md says of the settings of one group."""
    rows = [
        f"| `{name}` | {shown_default(field)} | {field.description}{shown_choices(field)} |"
        for name, field in Settings.model_fields.items()
        if group_of(field) == group
    ]
    return "\n".join(
        [f"## {GROUP_TITLES[group]}", "| key | default | what |", "|---|---|---|", *rows]
    )


def shown_default(field: FieldInfo) -> str:
    if field.default is None:
        return ""
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    return f"{field.default:.4g}" if isinstance(field.default, float) else f"`{field.default}`"


def shown_choices(field: FieldInfo) -> str:
    if get_origin(field.annotation) is not Literal:
        return ""
    return " One of " + ", ".join(f"`{choice}`" for choice in get_args(field.annotation)) + "."


def tree_of_readme() -> dict[str, str]:
    """Return the paths of the README's tree and what is said of each; folders end in /."""
    (block,) = re.findall(r"^```\n(search/.*?)^```", README, re.MULTILINE | re.DOTALL)
    paths: dict[str, str] = {}
    folders: list[str] = []
    for line in block.splitlines():
        indent, name, words = re.fullmatch(r"( *)(\S+)\s*(.*)", line).groups()  # type: ignore[union-attr]
        del folders[len(indent) // 2 :]
        paths["".join(folders) + name] = words
        if name.endswith("/"):
            folders.append(name)
    return paths


@pytest.mark.parametrize("group", get_args(Group))
def test_every_setting_is_described(group: Group) -> None:
    assert settings_table(group) in (ROOT / "docs/settings.md").read_text(), (
        "docs/settings.md is behind: `python tests/test_docs.py` prints its tables"
    )


def test_the_tree_names_every_python_file_of_the_packages() -> None:
    there = {
        path.relative_to(ROOT).as_posix()
        for folder in IN_TREE
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    }
    named = {path for path in tree_of_readme() if path.endswith(".py")}
    assert named == there


def test_all_that_the_tree_names_is_there_and_has_a_line() -> None:
    for path, words in tree_of_readme().items():
        assert (ROOT / path).exists(), path
        assert words, path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_that_are_shown_can_be_given(page: Path) -> None:
    for name, *arguments in commands_of(page):
        if name.startswith("-"):
            continue
        assert name in cli.commands, f"there is no command {name}"
        context = click.Context(cli, info_name="segsearch")
        try:
            cli.commands[name].make_context(name, list(arguments), parent=context)
        except click.exceptions.Exit:
            continue  # --help


def test_the_readme_shows_every_command() -> None:
    shown = {words[0] for words in commands_of(ROOT / "README.md")}
    assert set(cli.commands) <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_make_targets_that_are_named_are_there(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    quoted = re.findall(r"`make ([a-z-]+)", page.read_text())
    shown = [found[1] for line in code_lines(page) if (found := re.match(r"make ([a-z-]+)", line))]
    for target in [*quoted, *shown]:
        bench = ROOT / "bench" / f"{target.removeprefix('bench-')}.py"
        assert f"\n{target}:" in makefile or bench.exists(), target


def test_routes_that_the_readme_names_are_there(tmp_path: Path) -> None:
    with make_library(tmp_path / "library") as library:
        routes = set(create_app(library).openapi()["paths"])
    named = set(re.findall(r"`(?:GET|POST|DELETE) (/[\w/{}.]*)", README))
    assert named <= routes
    assert routes <= named


def test_pictures_are_small() -> None:
    for path in (ROOT / "docs/images").iterdir():
        assert path.stat().st_size < MAX_IMAGE_BYTES, path
        assert f"docs/images/{path.name}" in README, path


if __name__ == "__main__":
    print(*map(settings_table, GROUP_TITLES), sep="\n\n")
