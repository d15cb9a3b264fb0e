"""The command that checks and repairs a library: verify."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand
from api.cli.exits import EXIT_FAILED
from api.cli.options import settings_options
from api.cli.output import echo_json
from api.settings import Settings
from search.errors import UsageError

if TYPE_CHECKING:
    from ingest.maintenance.repair import Repair
    from ingest.maintenance.verify import Fault, Health, PhotoCheck

MAX_SHOWN = 20  # of each kind; --json has all


@click.command(cls=StrictCommand)
@click.option("--repair", "mend", is_flag=True, help="Repair what can be repaired.")
@click.option(
    "--delete-orphans",
    is_flag=True,
    help="With --repair: delete photos that are not in the ledger, even if they are many.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--checks-after", hidden=True)  # set by the child process that reads the index
@settings_options("library", "server")
def verify(
    settings: Settings, mend: bool, delete_orphans: bool, as_json: bool, checks_after: str | None
) -> int:
    """Check the library: photos, segments, masks, vectors, files.

    --repair deletes data without a photo and marks broken photos, which the next ingest segments
    again. Photo files are never touched. Exit code 1: problems remain.
    """
    from api.library.library import Library
    from api.services.maintenance.verify import print_checks, verify_library

    if checks_after is not None:
        with Library(settings, command="verify") as library:
            print_checks(library, checks_after)
        return 0
    if delete_orphans and not mend:
        raise UsageError("--delete-orphans goes with --repair")
    with Library(settings, command="verify") as library, library.only_writer():
        health, repair = verify_library(
            library, _with_bar, mend=mend, delete_orphans=delete_orphans
        )
    if as_json:
        repaired = {"repair": repair.model_dump()} if repair else {}
        echo_json({"is_whole": health.is_whole, **health.model_dump(), **repaired})
    else:
        _print_report(health, repair)
    remaining = repair.beyond_repair if repair else health.faults
    return EXIT_FAILED if remaining else 0


def _with_bar(photos: Iterable[PhotoCheck]) -> Iterable[PhotoCheck]:
    """Pass photos on; on a terminal, show their number."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    console = Console(stderr=True)
    counting = TextColumn("verify  {task.completed} photos")
    with Progress(counting, console=console, disable=not console.is_terminal) as progress:
        yield from progress.track(photos)


def _print_report(health: Health, repair: Repair | None) -> None:
    from ingest.imaging.decode import shown_path

    click.echo(f"{health.photos} photos, {health.segments} segments, {health.files} files checked")
    for fault in health.faults[:MAX_SHOWN]:
        click.echo(f"{fault.kind:<10} {_name(fault)}: {fault.problem}")
    for path in health.files_gone[:MAX_SHOWN]:
        click.echo(f"gone       {shown_path(path)}")
    more = sum(max(0, len(listed) - MAX_SHOWN) for listed in (health.faults, health.files_gone))
    if more:
        click.echo(f"and {more} more: --json lists all of them")
    for root in health.roots_absent:
        click.echo(f"absent     {shown_path(root)}: its files were not checked")
    if health.photos_unfinished or health.files_gone:
        click.echo(
            f"{health.photos_unfinished} photos are not finished, {len(health.files_gone)} files "
            "are gone: the next ingest handles them"
        )
    click.echo(_verdict(health) if repair is None else _repair_text(repair))


def _name(fault: Fault) -> str:
    from ingest.imaging.decode import shown_path

    if fault.photo_id is None:
        return "ledger.sqlite" if fault.kind == "ledger" else "the index"
    return shown_path(fault.path) if fault.path is not None else f"photo {fault.photo_id}"


def _verdict(health: Health) -> str:
    if health.is_whole:
        return "all is well"
    return f"{len(health.faults)} faults: `segsearch verify --repair` repairs what can be repaired"


def _repair_text(repair: Repair) -> str:
    done = (
        f"{repair.photos_again} photos marked for the next ingest, {repair.photos_told} synced to "
        f"the index, {repair.orphans_deleted} orphans deleted"
    )
    if not repair.beyond_repair:
        return done
    orphans = [fault for fault in repair.beyond_repair if fault.kind == "orphan"]
    if orphans:
        return (
            f"{done}; {len(orphans)} photos of the index are not in the ledger, which is many. If "
            "the ledger lost them, move it away and run `segsearch rebuild PHOTOS`; if they should "
            "go, add --delete-orphans"
        )
    return (
        f"{done}; {len(repair.beyond_repair)} can't be repaired: restore the file and ingest it, "
        "or forget the photo with `segsearch remove PHOTO_ID`"
    )
