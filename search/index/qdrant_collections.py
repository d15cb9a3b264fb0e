"""The two collections of a library on a Qdrant server: creation and ownership checks."""

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
from search.index.base import Collection
from search.index.claim import LibraryClaim
from search.index.payload import FIELDS
from search.index.qdrant_connection import QdrantConnection
from search.settings import SearchSettings

LIBRARY_KEY = "segsearch_library_id"  # in a collection's metadata
ADOPTION_SAMPLE = 200  # photos checked in collections without a library id
INT8_QUANTILE = 0.99  # from Qdrant's documentation: outliers must not widen the 256 steps

_SCHEMA = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "float": models.PayloadSchemaType.FLOAT,
    "datetime": models.PayloadSchemaType.DATETIME,
    "geo": models.PayloadSchemaType.GEO,
}
_logger = logging.getLogger(__name__)


def check_server(settings: SearchSettings, claim: LibraryClaim) -> None:
    """Check that a Qdrant server answers and that its collections are not another library's.

    Raises:
        StoreUnreachableError: no answer.
        StoreError: no Qdrant server answers, it refuses, or it is too old.
        ForeignIndexError: the collections belong to another library.
    """
    with closing(QdrantConnection.to_server(settings)) as connection:
        QdrantCollections(connection, settings, vector_name="", dim=0).check_claim(claim)


class QdrantCollections:
    """The collections `PREFIX_photos` and `PREFIX_segments`, with one named vector."""

    def __init__(
        self, connection: QdrantConnection, settings: SearchSettings, vector_name: str, dim: int
    ) -> None:
        self._connection, self._client = connection, connection.client
        self._settings = settings
        self.vector_name, self.dim = vector_name, dim

    def name(self, collection: Collection) -> str:
        """Name of a collection on the server."""
        return f"{self._settings.collection_prefix}_{collection}"

    def open(self, claim: LibraryClaim | None, *, create: bool, add: bool) -> None:
        """Check that both collections exist, belong to the library and have the named vector.

        Args:
            claim: the library; None: don't check to which one they belong.
            create: create missing collections.
            add: create the named vector if the collections have only others.

        Raises:
            MissingIndexError: a collection does not exist and `create` is false.
            ForeignIndexError: they belong to another library.
            MismatchError: the vectors have another name or length.
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
            self.create_payload_indexes()

    def create_payload_indexes(self) -> None:
        """Index the payload keys that filters use, where that is still missing."""
        with warnings.catch_warnings():
            # The in-memory client of tests has no payload indexes and warns of it.
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
        """Configuration and status of a collection."""
        return self._connection.read(self._client.get_collection, self.name(collection))

    def sizes(self, collection: Collection) -> dict[str, int]:
        """Length of each named vector; an unnamed one is left out."""
        kept = self.info(collection).config.params.vectors
        return {name: each.size for name, each in kept.items()} if isinstance(kept, dict) else {}

    def add_vectors(self, collection: Collection) -> None:
        """Create the named vector in a collection that does not have it.

        Raises:
            MismatchError: the vector of that name has another length.
            StoreError: the server is too old to add named vectors.
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
                f"the collection {self.name(collection)} at {self._connection.address} has the "
                f"vectors {sizes}, not {self.vector_name!r} of length {self.dim}: it was made with "
                "another encoder or crop recipe",
                remedy="other_collection_prefix",
            )

    def check_claim(self, claim: LibraryClaim) -> None:
        """Check the library id of the collections; without one, claim them by their photos.

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
        """Check that the library knows most photos of collections from before there were ids."""
        found, _ = self._connection.read(
            self._client.scroll,
            self.name("photos"),
            limit=ADOPTION_SAMPLE,
            with_payload=False,
        )
        known = claim.count_known([str(point.id) for point in found])
        if 2 * known < len(found):
            raise self._foreign(
                f"this library knows {known} of {len(found)} photos sampled from them"
            )

    def _adopt(self, claim: LibraryClaim, collections: Sequence[Collection]) -> None:
        for collection in collections:
            try:
                self._connection.read(
                    self._client.update_collection,
                    self.name(collection),
                    metadata={LIBRARY_KEY: claim.library_id},
                )
            except StoreError as error:  # a read-only key, say; the next command tries again
                _logger.info("the library id could not be written to the collections: %s", error)

    def _foreign(self, why: str) -> ForeignIndexError:
        return ForeignIndexError(
            f"the collections {self.name('photos')} and {self.name('segments')} at "
            f"{self._connection.address} are not this library's: {why}"
        )


def _collection_parameters(settings: SearchSettings, vector_name: str, dim: int) -> dict[str, Any]:
    params = models.VectorParams(
        size=dim, distance=models.Distance.COSINE, on_disk=settings.vectors_on_disk
    )
    return {
        "vectors_config": {vector_name: params},
        "shard_number": settings.shard_number,
        "replication_factor": settings.replication_factor,
        "quantization_config": _quantization(settings),
        "on_disk_payload": True,  # mostly masks; payload indexes are in memory
    }


def _quantization(settings: SearchSettings) -> models.QuantizationConfig | None:
    if settings.quantization == "int8":
        int8 = models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=INT8_QUANTILE, always_ram=True
        )
        return models.ScalarQuantization(scalar=int8)
    if settings.quantization == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    return None
