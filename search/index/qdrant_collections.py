"""The two collections of a library on a Qdrant server: creating them, and whose they are."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from qdrant_client import models

from search.errors import (
    ForeignIndexError,
    MismatchError,
    MissingIndexError,
    StoreError,
    StoreUnreachableError,
)
from search.index.base import FIELDS, Collection
from search.index.claim import LibraryClaim
from search.index.qdrant_connection import QdrantConnection
from search.settings import Settings

LIBRARY_KEY = "segsearch_library_id"  # in a collection's metadata
ADOPTION_SAMPLE = 200  # photos looked at in collections that don't say whose they are
INT8_QUANTILE = 0.99  # from Qdrant's documentation: outliers must not stretch the 256 steps

_SCHEMA = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "float": models.PayloadSchemaType.FLOAT,
    "datetime": models.PayloadSchemaType.DATETIME,
    "geo": models.PayloadSchemaType.GEO,
}
_logger = logging.getLogger(__name__)


def check_server(settings: Settings, claim: LibraryClaim) -> None:
    """Ask what answers at `settings.qdrant`, and whether collections there are another library's.

    Raises:
        StoreUnreachableError: no answer.
        StoreError: no Qdrant server answers, it refuses, or it is too old.
        ForeignIndexError: the collections belong to another library.
    """
    with closing(QdrantConnection.to_server(settings)) as connection:
        ServerCollections(connection, settings, vector_name="", dim=0).check_claim(claim)


class ServerCollections:
    """The collections `PREFIX_photos` and `PREFIX_segments`, with vectors of one name."""

    def __init__(
        self, connection: QdrantConnection, settings: Settings, vector_name: str, dim: int
    ) -> None:
        self._connection, self._client = connection, connection.client
        self._settings = settings
        self.vector_name, self.dim = vector_name, dim

    def name(self, collection: Collection) -> str:
        """Return what a collection is called on the server."""
        return f"{self._settings.collection_prefix}_{collection}"

    def open(self, claim: LibraryClaim | None, *, create: bool, add: bool) -> None:
        """Check that both collections are there, belong to the library and keep these vectors.

        Args:
            claim: the library; None: whose they are is not asked.
            create: create collections that are missing.
            add: add these vectors where the collections have others only.

        Raises:
            MissingIndexError: a collection is missing and is not to be created.
            ForeignIndexError: they belong to another library.
            MismatchError: they keep vectors of another name or length.
            StoreError: the server refuses or does not answer.
        """
        there = [each for each in FIELDS if self._exists(each)]
        if claim is not None:
            self.check_claim(claim)
        missing = [self.name(each) for each in FIELDS if each not in there]
        if missing and not create:
            raise MissingIndexError(
                f"there is no collection {' and no '.join(missing)} at {self._connection.address}",
            )
        for collection in FIELDS:
            if collection not in there:
                self._connection.read(self._create, self.name(collection), claim)
            if add:
                self.add_vectors(collection)
            else:
                self._check_vectors(collection)
        if create or add:
            self.add_fields()

    def add_fields(self) -> None:
        """Index the payload keys that filters use and that are not indexed yet."""
        with warnings.catch_warnings():
            # A client in memory, as tests use it, keeps no payload indexes and warns of it.
            warnings.filterwarnings("ignore", "Payload indexes have no effect in the local Qdrant")
            for collection, fields in FIELDS.items():
                known = self.info(collection).payload_schema
                for field in fields:
                    if field.key not in known:
                        self._connection.write(
                            self._client.create_payload_index,
                            self.name(collection),
                            field.key,
                            _SCHEMA[field.kind],
                        )

    def info(self, collection: Collection) -> models.CollectionInfo:
        """Return what the server says of a collection."""
        return self._connection.read(self._client.get_collection, self.name(collection))

    def sizes(self, collection: Collection) -> dict[str, int]:
        """Return the numbers of each vector, by its name; one without a name is left out."""
        kept = self.info(collection).config.params.vectors
        return {name: each.size for name, each in kept.items()} if isinstance(kept, dict) else {}

    def add_vectors(self, collection: Collection) -> None:
        """Add vectors of this name and length to a collection that has others only.

        Raises:
            MismatchError: vectors of that name have another length.
            StoreError: the server is too old for it.
        """
        name = self.name(collection)
        if self.vector_name not in self.sizes(collection):
            dense = models.DenseVectorConfig(size=self.dim, distance=models.Distance.COSINE)
            config = models.DenseVectorNameConfig(dense=dense)  # quantized as the collection is
            try:
                self._connection.write(
                    self._client.create_vector_name, name, self.vector_name, config
                )
            except StoreUnreachableError:
                raise
            except StoreError as error:
                raise StoreError(f"{error} Vectors beside others need Qdrant 1.18.") from error
            if self._settings.vectors_on_disk:  # it can't be said when they are added
                kept = {self.vector_name: models.VectorParamsDiff(on_disk=True)}
                self._connection.read(self._client.update_collection, name, vectors_config=kept)
        self._check_vectors(collection)

    def _exists(self, collection: Collection) -> bool:
        return bool(self._connection.read(self._client.collection_exists, self.name(collection)))

    def _create(self, name: str, claim: LibraryClaim | None) -> None:
        metadata = {LIBRARY_KEY: claim.library_id} if claim else None
        parameters = _collection_parameters(self._settings, self.vector_name, self.dim)
        try:
            self._client.create_collection(name, metadata=metadata, **parameters)
        except Exception:
            if not self._client.collection_exists(name):  # another process may have been faster
                raise

    def _check_vectors(self, collection: Collection) -> None:
        sizes = self.sizes(collection)
        if sizes.get(self.vector_name) != self.dim:
            raise MismatchError(
                f"the collection {self.name(collection)} at {self._connection.address} keeps "
                f"vectors {sizes}, not {self.vector_name!r} of {self.dim} numbers. Use the models "
                "and the crop recipe that made it, or choose another --collection-prefix."
            )

    def check_claim(self, claim: LibraryClaim) -> None:
        """Adopt collections that don't say whose they are and hold photos of the library.

        Raises:
            ForeignIndexError: they belong to another library.
        """
        there = [each for each in FIELDS if self._exists(each)]
        owners = {each: (self.info(each).config.metadata or {}).get(LIBRARY_KEY) for each in there}
        named = {owner for owner in owners.values() if owner is not None}
        if named - {claim.library_id}:
            raise self._foreign("they belong to another library")
        if unnamed := [each for each, owner in owners.items() if owner is None]:
            if not named and "photos" in there:
                self._check_photos(claim)
            self._adopt(claim, unnamed)

    def _check_photos(self, claim: LibraryClaim) -> None:
        """Compare photos of collections that were made before they could say whose they are."""
        found, _ = self._connection.read(
            self._client.scroll,
            self.name("photos"),
            limit=ADOPTION_SAMPLE,
            with_payload=False,
        )
        known = claim.count_known([str(point.id) for point in found])
        if 2 * known < len(found):
            raise self._foreign(
                f"this library knows {known} of {len(found)} photos looked at in them"
            )

    def _adopt(self, claim: LibraryClaim, collections: Sequence[Collection]) -> None:
        for collection in collections:
            try:
                self._connection.read(
                    self._client.update_collection,
                    self.name(collection),
                    metadata={LIBRARY_KEY: claim.library_id},
                )
            except StoreError as error:  # a key that may only read, say: the next command does it
                _logger.info("the id of the library could not be noted: %s", error)

    def _foreign(self, why: str) -> ForeignIndexError:
        return ForeignIndexError(
            f"the collections {self.name('photos')} and {self.name('segments')} at "
            f"{self._connection.address} are not this library's: {why}. Name others for this "
            "library, with --collection-prefix."
        )


def _collection_parameters(settings: Settings, vector_name: str, dim: int) -> dict[str, Any]:
    params = models.VectorParams(
        size=dim, distance=models.Distance.COSINE, on_disk=settings.vectors_on_disk
    )
    return {
        "vectors_config": {vector_name: params},
        "shard_number": settings.shard_number,
        "replication_factor": settings.replication_factor,
        "quantization_config": _quantization(settings),
        "on_disk_payload": True,  # masks are most of it; what filters need is indexed in memory
    }


def _quantization(settings: Settings) -> models.QuantizationConfig | None:
    if settings.quantization == "int8":
        int8 = models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=INT8_QUANTILE, always_ram=True
        )
        return models.ScalarQuantization(scalar=int8)
    if settings.quantization == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    return None
