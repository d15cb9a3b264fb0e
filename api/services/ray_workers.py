"""Ingest on a Ray cluster, as the command begins it: who may, and what each worker works with."""

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
def on_workers(address: str | None, library: Library) -> Iterator[ProcessListing | None]:
    """Yield what brings in new files: a Ray cluster, or without an address None, this process.

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


def check_may_use_ray(library: Library) -> None:
    """Refuse what can't be done by a Ray cluster, before anything is asked or loaded.

    Raises:
        UsageError: the library keeps its vectors in its folder, or Ray is not installed.
    """
    if library.settings.qdrant is None:
        raise UsageError(
            "with --ray many machines write, so the vectors must be on a Qdrant server: name it "
            "with --qdrant. `segsearch push` moves an embedded library there."
        )
    from ingest.cluster.ray import imported_ray

    imported_ray()


def context_on_worker(settings: Settings, manifest: Manifest) -> IngestContext:
    """Return what a worker works with; its models are loaded at once, and checked.

    Raises:
        ModelError: a model can't be had on this machine.
        MismatchError: the models here are others than those that the library was made with.
        StoreError: the server can't be reached from here.
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
    raise NotImplementedError("the ledger is kept where the command runs")
