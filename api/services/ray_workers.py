"""Ingest on a Ray cluster: the requirements, and the context of each worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from api.library.library import Library
from api.library.models import load_encoder, load_segmenter
from api.settings import Settings
from ingest.catalog.ledger import Ledger
from ingest.context import IngestContext
from ingest.pipeline import ProcessListing
from search.errors import UsageError
from search.manifest import Manifest, ModelName, check_same_encoder, check_same_segmenter
from search.models.crops import recipe_fingerprint


@contextmanager
def process_on_ray(address: str | None, library: Library) -> Iterator[ProcessListing | None]:
    """Yield what processes new files: a Ray cluster, or None (this process) without an address.

    Raises:
        UsageError: there is no such cluster.
    """
    if address is None:
        yield None
        return
    from ingest.cluster.ray import on_ray_cluster, ray_cluster

    with ray_cluster(address) as cluster:
        make_context = partial(context_on_worker, library.settings, library.checked_manifest())
        yield on_ray_cluster(cluster, make_context, library.ingest_context())


def check_ray(library: Library) -> None:
    """Check that a Ray cluster can ingest into this library, before anything is loaded.

    Raises:
        UsageError: the library is embedded, or Ray is not installed.
    """
    if library.settings.qdrant is None:
        raise UsageError(
            "with --ray many machines write, so the library needs a Qdrant server: name it "
            "with --qdrant. `segsearch push` moves an embedded library there."
        )
    from ingest.cluster.ray import imported_ray

    imported_ray()


def context_on_worker(settings: Settings, manifest: Manifest) -> IngestContext:
    """Create the context of a worker; loads and checks its models.

    Raises:
        ModelError: a model can't be loaded on this machine.
        MismatchError: the models here differ from those of the library.
        StoreError: the Qdrant server can't be reached from here.
    """
    from search.index.qdrant import open_qdrant_index

    segmenter, encoder = load_segmenter(settings), load_encoder(settings)
    recipe = settings.crop_recipe
    check_same_segmenter(manifest, ModelName(name="", fingerprint=segmenter.fingerprint))
    check_same_encoder(
        manifest,
        ModelName(name="", fingerprint=encoder.fingerprint),
        recipe,
        recipe_fingerprint(recipe),
    )
    index = open_qdrant_index(
        settings, vector_name=manifest.vector_name, dim=manifest.dim, patient=True
    )
    return IngestContext(settings, _no_ledger, lambda: index, lambda: segmenter, lambda: encoder)


def _no_ledger() -> Ledger:
    raise NotImplementedError("the ledger is on the machine that runs the command")
