"""Commands for moved photos and servers: move-root, move-server."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.command import StrictCommand
from api.cli.options import settings_options
from api.settings import Settings
from search.errors import UsageError

MAY_DIFFER = ("qdrant", "collection_prefix")  # settings that may differ from the manifest


@click.command("move-root", cls=StrictCommand)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@settings_options("library", "server")
def move_root(settings: Settings, old: Path, new: Path) -> None:
    """Record that the ingested folder OLD is now at NEW, for example a disk mounted elsewhere.

    No photo is read. (`ingest NEW` detects the move too, but reads each file once.)
    """
    from api.library.library import Library
    from api.services.maintenance import relocation
    from ingest.imaging.decode import shown_path

    if not new.is_dir():
        raise UsageError(f"{new} is not a folder; name the one where the photos are now")
    with Library(settings, command="move-root") as library, library.only_writer():
        path, files = relocation.move_root(library, old, new)
    click.echo(f"{files} files are looked for below {shown_path(path)} from now on")


@click.command("move-server", cls=StrictCommand)
@settings_options("library", "server")
def move_server(settings: Settings) -> None:
    """Record that the library's Qdrant server is now at --qdrant URL.

    The server must have this library's collections. If they were renamed, --collection-prefix
    gives their new names. To copy a library to a server, use `push`.
    """
    from api.library.library import Library
    from api.services.maintenance import relocation

    if settings.qdrant is None:
        raise UsageError("name the server: --qdrant http://localhost:6333")
    with (
        Library(settings, command="move-server", differing=MAY_DIFFER) as library,
        library.only_writer(),
    ):
        url = relocation.move_server(library)
    click.echo(f"the library uses {url} from now on")
