"""The command that copies an embedded library to a Qdrant server: push."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand
from api.cli.options import settings_options
from api.settings import Settings
from search.errors import UsageError

if TYPE_CHECKING:
    from ingest.maintenance.push import Pushed

EXIT_FAILED = 1
SHOWN = 20  # differences
WHERE = ("qdrant", "collection_prefix")  # settings that may differ from the library's


@click.command(cls=StrictCommand)
@click.option("--switch", is_flag=True, help="Let the library use the server from then on.")
@click.option(
    "--prune", is_flag=True, help="Delete photos on the server that the library does not know."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@settings_options("library", "server")
def push(settings: Settings, switch: bool, prune: bool, as_json: bool) -> int:
    """Copy the library's photos, segments and vectors to the Qdrant server that --qdrant names.

    What is there already is not copied again: stop it at any moment, the next run goes on. At the
    end numbers and a sample are compared. The library goes on using its own folder, unless
    --switch is given. Only the active vectors are copied.
    """
    from api.cli.bar import bar
    from api.library.library import Library
    from api.services.maintenance.push import push_library

    if settings.qdrant is None:
        raise UsageError("name the server: --qdrant http://localhost:6333")
    with Library(settings, command="push", differing=WHERE) as library, library.only_writer():
        pushed = push_library(library, bar("push"), switch=switch, prune=prune)
    if as_json:
        click.echo(json.dumps(pushed.model_dump(mode="json"), indent=2))
    else:
        _tell(pushed, settings, switch=switch)
    return EXIT_FAILED if pushed.interrupted or pushed.differences else 0


def _tell(pushed: Pushed, settings: Settings, *, switch: bool) -> None:
    for difference in pushed.differences[:SHOWN]:
        click.echo(difference, err=True)
    deleted = f", {pushed.photos_deleted} deleted there" if pushed.photos_deleted else ""
    click.echo(
        f"{pushed.photos} photos copied ({pushed.segments} segments), {pushed.photos_there} there "
        f"already{deleted}; {pushed.seconds:.1f} s"
    )
    if pushed.interrupted:
        click.echo("stopped; run the same command again to go on", err=True)
    elif pushed.differences:
        click.echo(
            "the server does not have what the library has. If it has more: --prune deletes that, "
            "and --collection-prefix names another place. If it has less: `segsearch verify` looks "
            "whether the library is whole.",
            err=True,
        )
    elif switch:
        click.echo(
            f"the library uses {settings.qdrant} now; its folder `index` is no longer needed. "
            "If the server asks for a key, keep it in SEGSEARCH_QDRANT_API_KEY."
        )
    else:
        click.echo("all is there; `segsearch push --switch` lets the library use the server")
