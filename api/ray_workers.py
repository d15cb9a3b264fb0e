"""Ingest on a Ray cluster, as the command begins it: who may, and what each worker works with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec

from api.library import Library
from api.models import load_encoder, load_segmenter
from ingest.ledger import Ledger
from ingest.pipeline import Through
from ingest.workshop import Workshop
from search.crops import recipe_fingerprint
from search.errors import UsageError
from search.manifest import Manifest, ModelName, check_same_encoder, check_same_segmenter
from search.settings import Settings


def check_ray(address: str | None, library: Library) -> None:
    """Refuse a cluster at once where Ray is not installed, or the library is no server's.

    Raises:
        UsageError: it is so.
    """
    if address is None:
        return
    if library.settings.qdrant is None:
        raise UsageError(
            "with --ray many machines write, so the vectors must be on a Qdrant server: name it "
            "with --qdrant. `segsearch push` moves an embedded library there."
        )
    from ingest.on_ray import NOT_INSTALLED

    if find_spec("ray") is None:
        raise UsageError(NOT_INSTALLED)


@contextmanager
def through_workers(address: str | None, library: Library) -> Iterator[Through | None]:
    """Yield what brings in new files: a Ray cluster, or without an address None, this process.

    Raises:
        UsageError: there is no such cluster.
    """
    if address is None:
        yield None
        return
    from ingest.on_ray import ray_cluster, through_ray

    with ray_cluster(address) as cluster:
        make_workshop = partial(workshop_on_worker, library.settings, library.checked_manifest())
        yield through_ray(cluster, make_workshop, library.workshop())


def workshop_on_worker(settings: Settings, manifest: Manifest) -> Workshop:
    """Return what a worker works with; its models are loaded at once, and checked.

    Raises:
        ModelError: a model can't be had on this machine.
        MismatchError: the models here are others than those that the library was made with.
        StoreError: the server can't be reached from here.
    """
    from search.server_index import open_server_index

    segmenter, encoder = load_segmenter(settings), load_encoder(settings)
    recipe = settings.crop_recipe
    check_same_segmenter(manifest, ModelName(name="", fingerprint=segmenter.fingerprint))
    check_same_encoder(
        manifest,
        ModelName(name="", fingerprint=encoder.fingerprint),
        recipe,
        recipe_fingerprint(recipe),
    )
    index = open_server_index(
        settings, vector_name=manifest.vector_name, dim=manifest.dim, patient=True
    )
    return Workshop(settings, _no_ledger, lambda: index, lambda: segmenter, lambda: encoder)


def _no_ledger() -> Ledger:
    raise NotImplementedError("the ledger is kept where the command runs")
