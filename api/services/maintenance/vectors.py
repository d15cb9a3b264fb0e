"""The vector sets of a library: create, select and delete them."""

from __future__ import annotations

from api.library.library import Library
from ingest.maintenance.reembed import ReembedContext, Reembedded, Show, may_be_used, reembed
from search.errors import UsageError
from search.manifest import MadeWith, Manifest, ModelName
from search.models.crops import recipe_fingerprint
from search.records import Record


class MadeVectors(Record):
    """A vector set after the run that made it."""

    vectors: str  # its name
    in_use: bool
    was_in_use: bool
    complete: bool  # every photo has them
    run: Reembedded


def make_vectors(library: Library, show: Show, *, partial: bool = False) -> MadeVectors:
    """Make the vectors of the settings' encoder and crop recipe; use them once complete.

    Args:
        library: locked for writing.
        show: wraps the photos in a progress bar.
        partial: use them even if photos lack them.
    """
    library.check_store()
    made = _from_settings(library)
    _save(library, _manifest(library).with_others(made))
    index = library.index().with_vectors(made.vector_name, made.dim)
    run = reembed(
        ReembedContext(
            index, library.ledger(), library.encoder(), made.crop_recipe, library.settings
        ),
        show,
    )
    usable = not run.interrupted and may_be_used(index, library.ledger(), after_trying=True)
    was_in_use = made.vector_name == _manifest(library).vector_name
    if usable or (partial and not run.interrupted):
        _save(library, _manifest(library).with_active(made))
    return MadeVectors(
        vectors=made.vector_name,
        in_use=made.vector_name == _manifest(library).vector_name,
        was_in_use=was_in_use,
        complete=usable and not run.left_out,
        run=run,
    )


def use_vectors(library: Library, name: str | None, *, partial: bool = False) -> MadeWith:
    """Use an existing vector set; None: the one that was in use before.

    Raises:
        UsageError: there is no such set, or photos lack it and `partial` is not set.
    """
    manifest = _manifest(library)
    made = _named(manifest, name or manifest.before)
    index = library.index().with_vectors(made.vector_name, made.dim)
    if not partial and not may_be_used(index, library.ledger(), after_trying=False):
        raise UsageError(
            f"not all photos have the vectors {made.vector_name}: some were added later, or a run "
            f"was stopped. `segsearch reembed --encoder {made.encoder.name} --crop-recipe "
            f"{made.crop_recipe}` makes them; with --partial searches leave these photos out."
        )
    _save(library, manifest.with_active(made))
    return made


def drop_vectors(library: Library, name: str) -> str:
    """Delete a vector set that is not in use; return its name.

    Raises:
        UsageError: there is no such set, or it is in use.
    """
    manifest = _manifest(library)
    made = _named(manifest, name)
    library.index().drop_vectors(made.vector_name)
    library.index().flush()
    _save(library, manifest.without(made.vector_name))
    return made.vector_name


def vectors_of(library: Library) -> dict[str, MadeWith]:
    """All vector sets of the library, by name."""
    return _manifest(library).vectors()


def _manifest(library: Library) -> Manifest:
    assert library.manifest is not None  # opened without `create`
    return library.manifest


def _save(library: Library, manifest: Manifest) -> None:
    library.save_manifest(manifest)


def _from_settings(library: Library) -> MadeWith:
    encoder, settings = library.encoder(), library.settings
    return MadeWith(
        encoder=ModelName(name=settings.encoder or "", fingerprint=encoder.fingerprint),
        crop_recipe=settings.crop_recipe,
        crop_fingerprint=recipe_fingerprint(settings.crop_recipe),
        dim=encoder.dim,
    )


def _named(manifest: Manifest, name: str | None) -> MadeWith:
    if name is None:
        raise UsageError("there are no earlier vectors to go back to")
    known = manifest.vectors()
    if name not in known:
        raise UsageError(f"there are no vectors {name!r}; there are: {', '.join(known)}")
    return known[name]
