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
    from ingest.maintenance.reembed import Reembedded
    from search.manifest import MadeWith, Manifest

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
    from api.library.library import Library

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
                return _drop(library, drop)
            if name or rollback:
                return _use(library, name, partial=partial)
            return _make(library, partial=partial, as_json=as_json)


def _make(library: Library, *, partial: bool, as_json: bool) -> int:
    """Make the vectors that the settings ask for, and use them once all are there."""
    from api.cli.bar import bar
    from ingest.maintenance.reembed import ReembedContext, may_be_used, reembed

    library.check_store()
    made = _asked_for(library)
    _save(library, _manifest(library).with_others(made))
    index = library.index().with_vectors(made.vector_name, made.dim)
    done = reembed(
        ReembedContext(
            index, library.ledger(), library.encoder(), made.crop_recipe, library.settings
        ),
        bar("reembed"),
    )
    usable = not done.interrupted and may_be_used(index, library.ledger(), after_trying=True)
    whole = usable and not done.left_out
    was_active = made.vector_name == _manifest(library).vector_name
    if usable or (partial and not done.interrupted):
        _save(library, _manifest(library).with_active(made))
    used = made.vector_name == _manifest(library).vector_name
    if as_json:
        said = {"vectors": made.vector_name, "in_use": used, "complete": whole}
        click.echo(json.dumps({**said, **done.model_dump()}, indent=2))
    else:
        _tell(done, made.vector_name, used=used, was_active=was_active)
    if done.interrupted:
        return EXIT_FAILED
    return 0 if whole else EXIT_SKIPPED


def _manifest(library: Library) -> Manifest:
    assert library.manifest is not None  # it is not created here
    return library.manifest


def _save(library: Library, manifest: Manifest) -> None:
    library.save_manifest(manifest)


def _asked_for(library: Library) -> MadeWith:
    from search.manifest import MadeWith, ModelName
    from search.models.crops import recipe_fingerprint

    encoder, settings = library.encoder(), library.settings
    return MadeWith(
        encoder=ModelName(name=settings.encoder or "", fingerprint=encoder.fingerprint),
        crop_recipe=settings.crop_recipe,
        crop_fingerprint=recipe_fingerprint(settings.crop_recipe),
        dim=encoder.dim,
    )


def _use(library: Library, name: str | None, *, partial: bool) -> int:
    """Use vectors that are there, those before if none are named."""
    from ingest.maintenance.reembed import may_be_used

    manifest = _manifest(library)
    made = _named(manifest, name or manifest.before)
    index = library.index().with_vectors(made.vector_name, made.dim)
    if not partial and not may_be_used(index, library.ledger(), after_trying=False):
        raise UsageError(
            f"not all photos have the vectors {made.vector_name}: some came in later, or a run was "
            f"stopped. `segsearch reembed --encoder {made.encoder.name} --crop-recipe "
            f"{made.crop_recipe}` makes them; with --partial searches leave these photos out."
        )
    _save(library, manifest.with_active(made))
    click.echo(f"{made.vector_name} ({made.encoder.name}) is in use, was: {manifest.vector_name}")
    return 0


def _drop(library: Library, name: str) -> int:
    manifest = _manifest(library)
    made = _named(manifest, name)
    library.index().drop_vectors(made.vector_name)
    library.index().flush()
    _save(library, manifest.without(made.vector_name))
    click.echo(f"{made.vector_name} is deleted")
    return 0


def _named(manifest: Manifest, name: str | None) -> MadeWith:
    if name is None:
        raise UsageError("there are no vectors to go back to: these are the first")
    known = manifest.vectors()
    if name not in known:
        raise UsageError(f"there are no vectors {name!r}; there are: {', '.join(known)}")
    return known[name]


def _list(library: Library, *, as_json: bool) -> int:
    manifest = _manifest(library)
    known = [
        {"vectors": name, "in_use": name == manifest.vector_name, **made.model_dump()}
        for name, made in manifest.vectors().items()
    ]
    if as_json:
        click.echo(json.dumps(known, indent=2))
        return 0
    for name, made in manifest.vectors().items():
        note = "  in use" if name == manifest.vector_name else ""
        click.echo(f"{name}  {made.encoder.name}, crops: {made.crop_recipe}{note}")
    return 0


def _tell(done: Reembedded, name: str, *, used: bool, was_active: bool) -> None:
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
    elif not used:
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
    elif not was_active:
        click.echo(f"{name} is in use; `segsearch reembed --rollback` goes back")
