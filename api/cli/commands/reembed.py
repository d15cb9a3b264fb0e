"""The command that changes the encoder or crop recipe of a library: reembed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand, refuse_unused
from api.cli.exits import EXIT_FAILED, EXIT_SKIPPED
from api.cli.options import names_of_group, settings_options
from api.cli.output import echo_first, echo_json
from api.settings import Settings
from search.errors import UsageError

if TYPE_CHECKING:
    from api.library.library import Library
    from api.services.maintenance.vectors import MadeVectors

MAX_SHOWN = 20  # photos without the new vectors; --json has all
# Settings that may differ from the manifest; masks stay, so the segmenter is not used.
MAY_DIFFER = ("encoder", "crop_recipe", "segmenter")


@click.command(cls=StrictCommand)
@click.option("--partial", is_flag=True, help="Use the new vectors even if photos lack them.")
@click.option("--use", "name", help="Use an existing vector set, by name (see --list).")
@click.option("--rollback", is_flag=True, help="Use the previous vector set.")
@click.option("--drop", help="Delete a vector set that is not in use, by name.")
@click.option("--list", "listed", is_flag=True, help="List the vector sets of the library.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@settings_options("library", "models", "ingest", "server")
def reembed(
    settings: Settings,
    partial: bool,
    name: str | None,
    rollback: bool,
    drop: str | None,
    listed: bool,
    as_json: bool,
) -> int:
    """Compute vectors with another encoder or crop recipe, from the stored masks and the photos.

    \b
    segsearch reembed --encoder google/siglip2-base-patch16-224
    segsearch reembed --models starter --crop-recipe tight
    segsearch reembed --rollback

    Searches use the old vectors until the new ones are complete; a single unavailable photo (or one
    in a hundred) may lack them. The old vectors are kept for --rollback until --drop deletes them.
    You can stop it at any time: the next run resumes. Exit code 3: photos were left out; if they
    are many, the old vectors stay in use, unless --partial is given.
    """  # noqa: D301  (click needs the backspace character)
    from api.cli.bar import progress_bar
    from api.library.library import Library
    from api.services.maintenance.vectors import drop_vectors, make_vectors

    if sum(map(bool, (name, rollback, drop, listed))) > 1:
        raise UsageError("--use, --rollback, --drop and --list exclude each other")
    if name or rollback or drop or listed:
        makes = ("models", *MAY_DIFFER, "device", "precision", *names_of_group("ingest"))
        refuse_unused(makes, "no vectors are made with --use, --rollback, --drop and --list")
    if drop or listed:
        refuse_unused(["partial"], "vectors are used with --use and --rollback")
    if name or rollback or drop:
        refuse_unused(["as_json"], "these print a single line")
    with Library(settings, command="reembed", differing=MAY_DIFFER) as library:
        if listed:
            return _list(library, as_json=as_json)
        with library.only_writer():
            if drop:
                click.echo(f"{drop_vectors(library, drop)} is deleted")
                return 0
            if name or rollback:
                return _use(library, name, partial=partial)
            made = make_vectors(library, progress_bar("reembed"), partial=partial)
    if as_json:
        state = made.model_dump(include={"vectors", "in_use", "complete"})
        echo_json({**state, **made.run.model_dump()})
    else:
        _print_summary(made)
    if made.run.interrupted:
        return EXIT_FAILED
    return 0 if made.complete else EXIT_SKIPPED


def _use(library: Library, name: str | None, *, partial: bool) -> int:
    from api.services.maintenance.vectors import use_vectors

    assert library.manifest is not None
    before = library.manifest.vector_name
    made = use_vectors(library, name, partial=partial)
    click.echo(f"{made.vector_name} ({made.encoder.name}) is in use, was: {before}")
    return 0


def _list(library: Library, *, as_json: bool) -> int:
    from api.services.maintenance.vectors import vectors_of

    sets = vectors_of(library)
    used = library.manifest.vector_name if library.manifest else None
    listed = [
        {"vectors": name, "in_use": name == used, **made.model_dump()}
        for name, made in sets.items()
    ]
    if as_json:
        echo_json(listed)
        return 0
    for name, made in sets.items():
        note = "  in use" if name == used else ""
        click.echo(f"{name}  {made.encoder.name}, crops: {made.crop_recipe}{note}")
    return 0


def _print_summary(made: MadeVectors) -> None:
    done, name = made.run, made.vectors
    echo_first([f"left out {each.reason}" for each in done.left_out], MAX_SHOWN, ": see --json")
    click.echo(
        f"{done.photos} photos ({done.segments} segments) got vectors {name}, "
        f"{len(done.left_out)} left out; {done.seconds:.1f} s"
    )
    if done.interrupted:
        click.echo("stopped; run the same command again to resume", err=True)
    elif not made.in_use:
        click.echo(
            "they are not in use: restore the files or forget the photos (`segsearch remove`) and "
            "run it again, or use --partial: searches then leave these photos out",
            err=True,
        )
    elif done.left_out:
        click.echo(
            f"{name} is in use; searches leave these photos out until they have its vectors: run "
            "the same command again when their files are back",
            err=True,
        )
    elif not made.was_in_use:
        click.echo(f"{name} is in use; `segsearch reembed --rollback` goes back")
