"""The command that makes a lost ledger anew: rebuild."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand
from api.cli.options import settings_options
from api.settings import Settings

if TYPE_CHECKING:
    from ingest.maintenance.rebuild import Rebuilt

EXIT_FAILED = 1
SHOWN = 20  # files; --json has all


@click.command(cls=StrictCommand)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@settings_options("library", "ingest", "server")
def rebuild(settings: Settings, paths: tuple[Path, ...], as_json: bool) -> int:
    """Make a lost ledger anew, from what the index holds and the photos below PATHS.

    Files are decoded and hashed to find out which photo they show; nothing is segmented. Photos
    that no file shows stay hidden until one does.
    """
    from api.cli.progress import IngestProgress
    from api.library.library import Library
    from ingest.maintenance.rebuild import rebuild as run

    with (
        Library(settings, command="rebuild") as library,
        library.only_writer(),
        library.rebuilding_ledger() as place,
        IngestProgress() as progress,
    ):
        rebuilt = run(paths, library.ingest_context(), progress)
        if not rebuilt.interrupted and rebuilt.photos_with_file:
            place()
    if as_json:
        click.echo(json.dumps(rebuilt.model_dump(mode="json"), indent=2))
    else:
        _tell(rebuilt)
    return 0 if rebuilt.photos_with_file and not rebuilt.interrupted else EXIT_FAILED


def _tell(rebuilt: Rebuilt) -> None:
    from ingest.imaging.decode import shown_path

    for path in rebuilt.files_unknown[:SHOWN]:
        click.echo(f"not in the index: {shown_path(path)}", err=True)
    if len(rebuilt.files_unknown) > SHOWN:
        click.echo(f"and {len(rebuilt.files_unknown) - SHOWN} more: see --json", err=True)
    if rebuilt.interrupted:
        click.echo("stopped; run the same command again to go on", err=True)
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
        click.echo("`segsearch ingest` finds the files of the others, where they are", err=True)
    if rebuilt.files_unknown:
        click.echo("`segsearch ingest` adds the files that are not in the index", err=True)
