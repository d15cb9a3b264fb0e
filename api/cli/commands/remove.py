"""The command that forgets photos: remove."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand
from api.cli.options import checked_id, settings_options
from api.settings import Settings
from search.errors import UsageError

if TYPE_CHECKING:
    from ingest.catalog.ledger import Ledger
    from ingest.maintenance.removal import Missing

EXIT_FAILED = 1
SHOWN = 10  # files of photos that would go


@click.command(cls=StrictCommand)
@click.argument("photo_ids", nargs=-1, metavar="[PHOTO_ID]...")
@click.option("--missing", is_flag=True, help="Forget all photos whose files are gone.")
@click.option(
    "--root",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Forget a folder that was ingested (`status` lists them) or one in it, there or not.",
)
@click.option("--yes", is_flag=True, help="Do not ask, for scripts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@settings_options("library", "server")
def remove(
    settings: Settings,
    photo_ids: tuple[str, ...],
    missing: bool,
    roots: tuple[Path, ...],
    yes: bool,
    as_json: bool,
) -> int:
    """Forget photos and their segments. Files are never touched.

    A photo whose file is still there comes back with the next ingest. Photos on a disk that is not
    there now are not missing. --missing and --root say what would go, and ask.
    """
    from api.library.library import Library
    from api.services.maintenance.removal import forget
    from ingest.maintenance.removal import known_folder, missing_photos, only_below

    if not photo_ids and not missing and not roots:
        raise UsageError("name photo ids to forget, or use --missing or --root")
    with Library(settings, command="remove") as library:
        ledger = library.ledger()
        named = [ledger.photo(checked_id(photo_id)).photo.photo_id for photo_id in photo_ids]
        of_roots = {folder: only_below(folder, ledger) for folder in roots}
        gone = missing_photos(ledger) if missing else None
        if gone is not None and gone.kept:
            click.echo(_kept(gone), err=True)
        for_good = {photo_id for ids in of_roots.values() for photo_id in ids}
        for_good |= set(gone.photo_ids if gone else ())
        if (for_good or roots) and not yes and not _confirmed(for_good, roots, ledger):
            click.echo("nothing was forgotten", err=True)
            return EXIT_FAILED

        def chosen(ledger: Ledger) -> list[str]:
            ids = [*named, *(each for folder in roots for each in only_below(folder, ledger))]
            if missing:
                ids += [each for each in missing_photos(ledger).photo_ids if each in for_good]
            return ids

        folders = [known_folder(folder, ledger) for folder in roots]

        def forget_folders(ledger: Ledger) -> None:
            for root, below in folders:
                ledger.forget_below(root, below)

        removed = forget(library, chosen, forget_folders)
    if as_json:
        click.echo(json.dumps(removed.model_dump(mode="json"), indent=2))
    else:
        click.echo(f"{len(removed.photos_removed)} photos forgotten")
    return 0


def _kept(gone: Missing) -> str:
    return (
        f"{len(gone.kept)} more photos are hidden and kept: they were on a disk that is not there "
        "now, or their files are back (`segsearch ingest` shows them again)"
    )


def _confirmed(photo_ids: set[str], roots: tuple[Path, ...], ledger: Ledger) -> bool:
    """Say what would be forgotten, and ask."""
    from ingest.imaging.decode import shown_path

    for photo_id in sorted(photo_ids)[:SHOWN]:
        row = ledger.photo(photo_id)
        files = [row.path] if row.path else [key.path for key in ledger.vanished_files(photo_id)]
        click.echo(shown_path(files[0]) if files else f"photo {photo_id}", err=True)
    if len(photo_ids) > SHOWN:
        click.echo(f"and {len(photo_ids) - SHOWN} more", err=True)
    folders = "".join(f", and the folder {shown_path(folder)}" for folder in roots)
    question = (
        f"forget {len(photo_ids)} photos with all their segments{folders}? Bringing them back "
        "means cutting them again"
    )
    try:
        return click.confirm(question, err=True)
    except click.Abort as error:
        raise UsageError(
            "nothing was forgotten, since nobody answered; --yes does it without asking"
        ) from error
