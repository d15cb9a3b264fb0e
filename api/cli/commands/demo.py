"""The command that tries segsearch on a generated library: demo."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand
from api.cli.commands.serve import url_of
from api.cli.options import read_settings
from api.schemas.search import ExampleIn, SearchRequest
from api.services.outputs import write_output
from search.errors import UsageError

if TYPE_CHECKING:
    from api.library.library import Library


DEMO_SEARCHES = ("red", "green circle", "blue", "yellow", "striped")


@click.command(cls=StrictCommand)
@click.argument("folder", type=click.Path(path_type=Path), default=Path("segsearch-demo"))
@click.option(
    "--photos",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="Number of photos to draw.",
)
def demo(folder: Path, photos: int) -> None:
    """Draw sample photos into FOLDER, ingest them with the starter models, and search them.

    Needs no network: the starter models are bundled. They know colors, some patterns and
    shapes, and common names of things.
    """
    from api.cli.progress import IngestProgress
    from api.library.library import Library
    from api.render.contact_sheet import sheet_bytes
    from api.services.ingest import ingest_photos
    from api.services.search import search_through_owner
    from starter.sample_library import draw_sample_library

    _check_demo_folder(folder)
    click.echo(f"drawing {photos} photos into {folder / 'photos'}", err=True)
    draw_sample_library(folder / "photos", photos=photos)
    settings = read_settings({"library": folder / "library", "models": "starter"})
    with Library(settings, command="demo", create=True) as library:
        summary = ingest_photos(library, [folder / "photos"], IngestProgress)
        click.echo(
            f"{summary.photos_ingested} photos ingested, {library.ledger().counts()['segments']} "
            f"segments in {summary.seconds:.0f} s\n"
        )
        for text in DEMO_SEARCHES:
            request = SearchRequest(positive=(ExampleIn(text=text),), limit=12)
            response = search_through_owner(library, request)
            sheet = folder / f"{text.replace(' ', '-')}.png"
            write_output(sheet, [sheet_bytes(library, response, sheet.suffix)])
            best = response.hits[0] if response.hits else None
            where = f"best: {best.score:.2f} {best.path}" if best else "nothing found"
            click.echo(f'"{text}"  {len(response.hits)} hits, {where}, sheet: {sheet}')
        click.echo(_next_steps(library))


def _check_demo_folder(folder: Path) -> None:
    """Refuse a folder with other files than an earlier demo, since files are replaced there.

    Raises:
        UsageError: it has other files, or is not a folder.
    """
    if not os.path.lexists(folder) or (folder / "library").is_dir():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise UsageError(f"{folder} exists already and holds no demo: name a new folder")


def _next_steps(library: Library) -> str:
    settings = library.settings
    name = f"--library {shlex.quote(str(settings.library))}"
    command = "segsearch" if shutil.which("segsearch") else sys.argv[0]  # not on PATH after `make`
    opened = url_of(settings.host, settings.port) if settings.port else "the address that it prints"
    return (
        "\nGo on with:\n"
        f'  {command} search "orange" {name} --sheet orange.png\n'
        f"  {command} status {name}\n"
        f"  {command} serve {name}  # then open {opened} in a browser\n"
        "With your own photos (downloads SAM 2 and CLIP once):\n"
        f"  {command} ingest ~/Pictures"
    )
