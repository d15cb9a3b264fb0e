"""The command that copies an embedded library to a Qdrant server: push."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand
from api.cli.exits import EXIT_FAILED
from api.cli.options import settings_options
from api.cli.output import echo_json
from api.settings import Settings
from search.errors import UsageError

if TYPE_CHECKING:
    from ingest.maintenance.push import Pushed

MAX_SHOWN = 20  # differences
MAY_DIFFER = ("qdrant", "collection_prefix")  # settings that may differ from the manifest


@click.command(cls=StrictCommand)
@click.option("--switch", is_flag=True, help="Use the server from then on.")
@click.option(
    "--prune", is_flag=True, help="Delete photos on the server that are not in the library."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@settings_options("library", "server")
def push(settings: Settings, switch: bool, prune: bool, as_json: bool) -> int:
    """Copy the photos, segments and active vectors of an embedded library to the server --qdrant.

    Photos that are on the server are not copied again: you can stop it at any time, the next run
    resumes. At the end, counts and a sample are compared. The library keeps using its own folder
    unless --switch is given.
    """
    from api.cli.bar import progress_bar
    from api.library.library import Library
    from api.services.maintenance.push import push_library

    if settings.qdrant is None:
        raise UsageError("name the server: --qdrant http://localhost:6333")
    with Library(settings, command="push", differing=MAY_DIFFER) as library, library.only_writer():
        pushed = push_library(library, progress_bar("push"), switch=switch, prune=prune)
    if as_json:
        echo_json(pushed.model_dump(mode="json"))
    else:
        _print_summary(pushed, settings, switch=switch)
    return EXIT_FAILED if pushed.interrupted or pushed.differences else 0


def _print_summary(pushed: Pushed, settings: Settings, *, switch: bool) -> None:
    for difference in pushed.differences[:MAX_SHOWN]:
        click.echo(difference, err=True)
    deleted = f", {pushed.photos_deleted} deleted there" if pushed.photos_deleted else ""
    click.echo(
        f"{pushed.photos} photos copied ({pushed.segments} segments), {pushed.photos_there} there "
        f"already{deleted}; {pushed.seconds:.1f} s"
    )
    if pushed.interrupted:
        click.echo("stopped; run the same command again to resume", err=True)
    elif pushed.differences:
        click.echo(
            "server and library differ. If the server has more: --prune deletes that, or choose "
            "another --collection-prefix. If it has less: check the library with `segsearch "
            "verify`.",
            err=True,
        )
    elif switch:
        click.echo(
            f"the library uses {settings.qdrant} now; its folder `index` is no longer needed. "
            "If the server asks for a key, keep it in SEGSEARCH_QDRANT_API_KEY."
        )
    else:
        click.echo(
            "the copy is complete; `segsearch push --switch` makes the library use the server"
        )
