"""The command that makes a library's vectors anew, by another encoder or crop recipe: reembed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand, refuse_unused
from api.cli.options import names_of_group, settings_options
from api.settings import Settings
from search.errors import UsageError

if TYPE_CHECKING:
    from api.library.library import Library
    from api.services.maintenance.vectors import MadeVectors

EXIT_FAILED = 1
EXIT_SKIPPED = 3
SHOWN = 20  # photos left out; --json has all
# What may differ from the library's: masks stay, so that a segmenter that is named is not used.
OTHERS = ("encoder", "crop_recipe", "segmenter")


@click.command(cls=StrictCommand)
@click.option("--partial", is_flag=True, help="Use the new vectors although photos lack them.")
@click.option("--use", "name", help="Use vectors that were made before; --list names them.")
@click.option("--rollback", is_flag=True, help="Use the vectors that were in use before.")
@click.option("--drop", help="Delete vectors that are not in use, by name.")
@click.option("--list", "listed", is_flag=True, help="List the vectors that the library keeps.")
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
    """Make vectors by another encoder or crop recipe, from the stored masks and the photos' files.

    \b
    segsearch reembed --encoder google/siglip2-base-patch16-224
    segsearch reembed --models starter --crop-recipe tight
    segsearch reembed --rollback

    Searches go on with the vectors in use until the photos have the new ones; then those are used.
    A single photo that can't be reached (or one in a hundred) does not hold them back.
    The old ones are kept, to go back to, until --drop deletes them. Stop it at any moment: the next
    run goes on. Exit code 3: photos were left out; if they were many, the vectors in use are still
    the old ones, unless --partial is given.
    """  # noqa: D301  (click wants the backspace itself before lines that are not to be joined)
    from api.cli.bar import bar
    from api.library.library import Library
    from api.services.maintenance.vectors import drop_vectors, make_vectors

    if sum(map(bool, (name, rollback, drop, listed))) > 1:
        raise UsageError("--use, --rollback, --drop and --list exclude each other")
    if name or rollback or drop or listed:
        makes = ("models", *OTHERS, "device", "precision", *names_of_group("ingest"))
        refuse_unused(makes, "no vectors are made with --use, --rollback, --drop and --list")
    if drop or listed:
        refuse_unused(["partial"], "vectors are used with --use and --rollback")
    if name or rollback or drop:
        refuse_unused(["as_json"], "what is done is said in one line")
    with Library(settings, command="reembed", differing=OTHERS) as library:
        if listed:
            return _list(library, as_json=as_json)
        with library.only_writer():
            if drop:
                click.echo(f"{drop_vectors(library, drop)} is deleted")
                return 0
            if name or rollback:
                return _use(library, name, partial=partial)
            made = make_vectors(library, bar("reembed"), partial=partial)
    if as_json:
        said = made.model_dump(include={"vectors", "in_use", "complete"})
        click.echo(json.dumps({**said, **made.run.model_dump()}, indent=2))
    else:
        _tell(made)
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

    kept = vectors_of(library)
    used = library.manifest.vector_name if library.manifest else None
    known = [
        {"vectors": name, "in_use": name == used, **made.model_dump()}
        for name, made in kept.items()
    ]
    if as_json:
        click.echo(json.dumps(known, indent=2))
        return 0
    for name, made in kept.items():
        note = "  in use" if name == used else ""
        click.echo(f"{name}  {made.encoder.name}, crops: {made.crop_recipe}{note}")
    return 0


def _tell(made: MadeVectors) -> None:
    done, name = made.run, made.vectors
    for left in done.left_out[:SHOWN]:
        click.echo(f"left out {left.reason}", err=True)
    if len(done.left_out) > SHOWN:
        click.echo(f"and {len(done.left_out) - SHOWN} more: see --json", err=True)
    click.echo(
        f"{done.photos} photos ({done.segments} segments) got vectors {name}, "
        f"{len(done.left_out)} left out; {done.seconds:.1f} s"
    )
    if done.interrupted:
        click.echo("stopped; run the same command again to go on", err=True)
    elif not made.in_use:
        click.echo(
            "they are not in use: bring the files back or forget the photos (`segsearch remove`) "
            "and run it again, or say --partial: searches then leave these photos out",
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
