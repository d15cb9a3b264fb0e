"""The command that rebuilds a lost ledger: rebuild."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand
from api.cli.exits import EXIT_FAILED
from api.cli.options import settings_options
from api.cli.output import echo_first, echo_json
from api.settings import Settings

if TYPE_CHECKING:
    from ingest.maintenance.rebuild import Rebuilt

MAX_SHOWN = 20  # files; --json has all


@click.command(cls=StrictCommand)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@settings_options("library", "ingest", "server")
def rebuild(settings: Settings, paths: tuple[Path, ...], as_json: bool) -> int:
    """Rebuild a lost ledger from the index and the photos below PATHS.

    Files are decoded and hashed to identify their photos; nothing is segmented. Photos without a
    file are hidden until an ingest finds one.
    """
    from api.cli.progress import IngestProgress
    from api.library.library import Library
    from api.services.maintenance.rebuild import rebuild_ledger

    with Library(settings, command="rebuild") as library, library.only_writer():
        rebuilt = rebuild_ledger(library, paths, IngestProgress)
    if as_json:
        echo_json(rebuilt.model_dump(mode="json"))
    else:
        _print_summary(rebuilt)
    return 0 if rebuilt.photos_with_file and not rebuilt.interrupted else EXIT_FAILED


def _print_summary(rebuilt: Rebuilt) -> None:
    from ingest.imaging.decode import shown_path

    unknown = [f"not in the index: {shown_path(path)}" for path in rebuilt.files_unknown]
    echo_first(unknown, MAX_SHOWN, ": see --json")
    if rebuilt.interrupted:
        click.echo("stopped; run the same command again to resume", err=True)
        return
    if not rebuilt.photos_with_file:
        click.echo(
            "no file below these paths shows a photo of the index: nothing was changed. Name the "
            "folders that were ingested",
            err=True,
        )
        return
    click.echo(
        f"the ledger holds {rebuilt.photos} photos with {rebuilt.segments} segments again; files "
        f"were found for {rebuilt.photos_with_file}; {rebuilt.seconds:.1f} s"
    )
    if rebuilt.photos_with_file < rebuilt.photos:
        click.echo("`segsearch ingest` finds the files of the other photos", err=True)
    if rebuilt.files_unknown:
        click.echo("`segsearch ingest` adds the files that are not in the index", err=True)
