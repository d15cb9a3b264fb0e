"""The command that removes photos from a library: remove."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand
from api.cli.exits import EXIT_FAILED
from api.cli.options import parse_id, settings_options
from api.cli.output import echo_first, echo_json
from api.settings import Settings
from search.errors import UsageError

if TYPE_CHECKING:
    from api.services.maintenance.removal import RemovalPlan
    from ingest.catalog.ledger import Ledger
    from ingest.maintenance.removal import Missing

MAX_SHOWN = 10  # files of photos to remove


@click.command(cls=StrictCommand)
@click.argument("photo_ids", nargs=-1, metavar="[PHOTO_ID]...")
@click.option("--missing", is_flag=True, help="Forget all photos whose files are gone.")
@click.option(
    "--root",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Forget an ingested folder (`status` lists them) or one in it, existing or not.",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
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

    If its file still exists, the next ingest adds a photo again. Photos on a disk that is not
    mounted are not missing. --missing and --root list the photos and ask for confirmation.
    """
    from api.library.library import Library
    from api.services.maintenance.removal import plan_removal, remove_planned

    if not photo_ids and not missing and not roots:
        raise UsageError("name photo ids to forget, or use --missing or --root")
    with Library(settings, command="remove") as library:
        plan = plan_removal(library, map(parse_id, photo_ids), roots, missing=missing)
        if plan.missing is not None and plan.missing.kept:
            click.echo(_kept(plan.missing), err=True)
        if (plan.unnamed or roots) and not yes and not _confirm(plan, library.ledger()):
            click.echo("nothing was forgotten", err=True)
            return EXIT_FAILED
        removed = remove_planned(library, plan)
    if as_json:
        echo_json(removed.model_dump(mode="json"))
    else:
        click.echo(f"{len(removed.photos_removed)} photos forgotten")
    return 0


def _kept(missing: Missing) -> str:
    return (
        f"{len(missing.kept)} more photos are hidden and kept: they are on a disk that is not "
        "mounted, or their files are back (`segsearch ingest` shows them again)"
    )


def _confirm(plan: RemovalPlan, ledger: Ledger) -> bool:
    """List the photos of a plan and ask for confirmation."""
    from ingest.imaging.decode import shown_path

    echo_first([_file_of(photo_id, ledger) for photo_id in sorted(plan.unnamed)], MAX_SHOWN)
    folders = "".join(f", and the folder {shown_path(folder)}" for folder in plan.folders)
    question = (
        f"forget {len(plan.unnamed)} photos with all their segments{folders}? To add them again "
        "they must be segmented again"
    )
    try:
        return click.confirm(question, err=True)
    except click.Abort as error:
        raise UsageError(
            "nothing was forgotten, since nobody answered; --yes skips the question"
        ) from error


def _file_of(photo_id: str, ledger: Ledger) -> str:
    from ingest.imaging.decode import shown_path

    row = ledger.photo(photo_id)
    files = [row.path] if row.path else [key.path for key in ledger.vanished_files(photo_id)]
    return shown_path(files[0]) if files else f"photo {photo_id}"
