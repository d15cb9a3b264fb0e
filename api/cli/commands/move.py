"""Commands for a library whose photos or server moved: move-root, move-server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand
from api.cli.options import settings_options
from api.settings import Settings
from search.errors import UsageError

if TYPE_CHECKING:
    pass

WHERE = ("qdrant", "collection_prefix")  # settings that may differ from the library's


@click.command("move-root", cls=StrictCommand)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@settings_options("library", "server")
def move_root(settings: Settings, old: Path, new: Path) -> None:
    """Say that the folder OLD, which was ingested, is found at NEW now: a disk mounted elsewhere.

    No photo is read for it. (Without it `ingest NEW` finds out by itself, reading each file once.)
    """
    from api.library.library import Library
    from ingest.imaging.decode import shown_path
    from ingest.index_sync import sync_index

    if not new.is_dir():
        raise UsageError(f"{new} is not a folder; name the one where the photos are now")
    with Library(settings, command="move-root") as library, library.only_writer():
        ledger = library.ledger()
        root = ledger.move_root(Path(os.path.realpath(old)), Path(os.path.realpath(new)))
        sync_index(ledger, library.index)
        files = sum(1 for _ in ledger.known_below(root, b""))
    click.echo(f"{files} files are looked for below {shown_path(root.path)} from now on")


@click.command("move-server", cls=StrictCommand)
@settings_options("library", "server")
def move_server(settings: Settings) -> None:
    """Say that the library's Qdrant server is found at --qdrant URL now.

    The collections there have to be this library's. --collection-prefix names them if they have
    other names than before. `push` copies a library that is not there yet.
    """
    from api.library.library import Library

    if settings.qdrant is None:
        raise UsageError("name the server: --qdrant http://localhost:6333")
    with (
        Library(settings, command="move-server", differing=WHERE) as library,
        library.only_writer(),
    ):
        if library.manifest is None or library.manifest.qdrant is None:
            raise UsageError(
                f"the vectors of {library.folder} are in its folder, not on a server. "
                "`segsearch push --switch` copies them to one."
            )
        address = library.adopt_server()
    click.echo(f"the library uses {address} from now on")
