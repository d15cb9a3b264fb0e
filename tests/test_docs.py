"""The documentation matches the code: commands, routes, settings, modules, links, decisions.

`python tests/test_docs.py` rewrites the generated parts: the tables of docs/settings.md, the tree
and the rooms of docs/architecture.md.
"""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
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
DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "decisions").iterdir())
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
IN_TREE = ("search", "ingest", "api", "starter", "training", "bench")
MAX_IMAGE_BYTES = 300_000
MAX_README_LINES = 150
DECISION_SECTIONS = ["Context", "Decision", "Consequences"]
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


def code_tree() -> str:
    """Return the tree of docs/architecture.md: each module with its docstring's first line."""
    lines = [line for name in IN_TREE for line in iter_tree_lines(ROOT / name, depth=0)]
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(["```", *(f"{name:{width}}{words}".rstrip() for name, words in lines), "```"])


def iter_tree_lines(folder: Path, *, depth: int) -> Iterator[tuple[str, str]]:
    """Yield (indented name, first line of the docstring): a package, its modules, its packages."""
    init = folder / "__init__.py"
    yield f"{'  ' * depth}{folder.name}/", first_docstring_line(init) if init.exists() else ""
    for path in sorted(folder.glob("*.py")):
        if path != init:
            yield f"{'  ' * (depth + 1)}{path.name}", first_docstring_line(path)
    for below in sorted(path for path in folder.iterdir() if any(path.glob("*.py"))):
        yield from iter_tree_lines(below, depth=depth + 1)


def first_docstring_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, f"{path} has no docstring"
    return docstring.splitlines()[0]


def room_layers() -> dict[str, list[str]]:
    """Return each package's layers, as the contracts of import-linter order them."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    contracts = tools["importlinter"]["contracts"]
    return {package: each["layers"] for each in contracts for package in each.get("containers", ())}


def room_diagram(package: str) -> str:
    """Return the part of the mermaid diagram that shows one package."""
    nodes = [
        f'{package}_{place}["{layer.replace(" | ", ", ")}"]'
        for place, layer in enumerate(room_layers()[package])
    ]
    chain = " --> ".join(nodes)
    return f"    subgraph {package}\n        direction TB\n        {chain}\n    end"


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rewrite_generated_parts() -> None:
    """Update the tables of docs/settings.md, and the tree and rooms of docs/architecture.md."""
    settings, architecture = DOCS / "settings.md", DOCS / "architecture.md"
    text = settings.read_text()
    for group, title in GROUP_TITLES.items():
        text = replaced(rf"^## {title}\n(?:\|[^\n]*\n)*", settings_table(group) + "\n", text)
    settings.write_text(text)
    text = replaced(r"^```\nsearch/.*?^```", code_tree(), architecture.read_text())
    for package in room_layers():
        text = replaced(rf"^ +subgraph {package}\n.*?^    end", room_diagram(package), text)
    architecture.write_text(text)


def replaced(pattern: str, new: str, text: str) -> str:
    """Return `text` with `new`, taken literally, in place of what the pattern matches."""
    return re.sub(pattern, lambda _: new, text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("group", get_args(Group))
def test_every_setting_is_described(group: Group) -> None:
    assert settings_table(group) in (DOCS / "settings.md").read_text(), (
        "docs/settings.md is behind: run `python tests/test_docs.py`"
    )


def test_the_architecture_page_lists_every_module_with_its_docstring() -> None:
    assert code_tree() in (DOCS / "architecture.md").read_text(), (
        "docs/architecture.md is behind: run `python tests/test_docs.py`"
    )


@pytest.mark.parametrize("package", room_layers())
def test_the_architecture_diagram_shows_the_import_contracts(package: str) -> None:
    assert room_diagram(package) in (DOCS / "architecture.md").read_text(), (
        "docs/architecture.md is behind: run `python tests/test_docs.py`"
    )


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_decisions_follow_the_template(page: Path) -> None:
    title, *sections = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    assert title.startswith(f"{int(page.name[:4])}. ")
    assert sections == DECISION_SECTIONS


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


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


def test_the_commands_page_shows_every_command() -> None:
    shown = {words[0] for words in commands_of(DOCS / "commands.md")}
    assert set(cli.commands) <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text()):
        if path.startswith("https://"):
            continue
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors_of(target), f"{path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_modules_that_are_named_exist(page: Path) -> None:
    folders = "|".join([*IN_TREE, "tests"])
    for path in re.findall(rf"\b(?:{folders})/[\w/]+\.py\b", page.read_text()):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_make_targets_that_are_named_are_there(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    quoted = re.findall(r"`make ([a-z-]+)", page.read_text())
    shown = [found[1] for line in code_lines(page) if (found := re.match(r"make ([a-z-]+)", line))]
    for target in [*quoted, *shown]:
        bench = ROOT / "bench" / f"{target.removeprefix('bench-')}.py"
        assert f"\n{target}:" in makefile or bench.exists(), target


def test_the_api_page_names_every_route(tmp_path: Path) -> None:
    with make_library(tmp_path / "library") as library:
        routes = set(create_app(library).openapi()["paths"])
    page = (DOCS / "api.md").read_text()
    assert set(re.findall(r"`(?:GET|POST|DELETE) (/[\w/{}.]*)", page)) == routes


def test_pictures_are_small_and_shown() -> None:
    pages = "".join(page.read_text() for page in PAGES)
    for path in (DOCS / "images").iterdir():
        assert path.stat().st_size < MAX_IMAGE_BYTES, path
        assert f"images/{path.name}" in pages, path


if __name__ == "__main__":
    rewrite_generated_parts()
