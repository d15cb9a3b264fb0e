"""SegmentIndex: what every vector index of a library can do.

An index has two collections: `photos` (a vector of each whole photo, with its metadata) and
`segments` (a vector of each segment, its mask, and the photo metadata that filters need). What goes
in and comes out are the records of `search.records`; no engine's own types leave its file.

`EdgeIndex` (embedded) and `QdrantIndex` (a server) implement it on top of `PointIndex`;
`api.library.index.remote_index.RemoteIndex` forwards it to the process that has the embedded one
open.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Literal

from search.records import (
    Hit,
    Photo,
    PhotoFacts,
    PhotoHit,
    SearchFilter,
    Segment,
    Vectors,
)

Collection = Literal["photos", "segments"]
RankedSegment = tuple[str, str, float]  # segment id, photo id, score


class SegmentIndex(ABC):
    """Stores photos and segments and finds the nearest ones. All writes are idempotent."""

    @abstractmethod
    def put_segments(self, photo: Photo, segments: Sequence[Segment], vectors: Vectors) -> None:
        """Upsert segments of a photo, each with its mask, and their (n, dim) unit vectors."""

    @abstractmethod
    def put_photo(self, photo: Photo, vector: Vectors) -> None:
        """Upsert a photo and its (1, dim) unit vector."""

    @abstractmethod
    def delete_segments(self, segment_ids: Sequence[str]) -> None:
        """Delete segments; unknown ids are ignored."""

    @abstractmethod
    def delete_photo(self, photo_id: str) -> None:
        """Delete a photo with all its segments; an unknown id is ignored."""

    @abstractmethod
    def update_facts(self, photo_id: str, facts: PhotoFacts) -> None:
        """Replace a photo's metadata, on the photo and on all its segments."""

    @abstractmethod
    def photos(self, photo_ids: Sequence[str]) -> list[Photo]:
        """Photos by id, in the order given; unknown ids are left out."""

    @abstractmethod
    def segments(self, segment_ids: Sequence[str], *, with_masks: bool = False) -> list[Segment]:
        """Segments by id, in the order given; unknown ids are left out."""

    @abstractmethod
    def segments_of(self, photo_id: str, *, with_masks: bool = False) -> list[Segment]:
        """All segments of a photo, largest first."""

    @abstractmethod
    def segment_ids_of(self, photo_id: str) -> set[str]:
        """Ids of all segments of a photo."""

    @abstractmethod
    def segment_vectors(self, segment_ids: Sequence[str]) -> Vectors:
        """(n, dim) vectors of segments, in the order given.

        Raises:
            UnknownIdError: a segment does not exist or has no vector of this name yet.
        """

    @abstractmethod
    def photo_vectors(self, photo_ids: Sequence[str]) -> Vectors:
        """(n, dim) vectors of whole photos, in the order given.

        Raises:
            UnknownIdError: a photo does not exist or has no vector of this name yet.
        """

    @abstractmethod
    def sample_vectors(self, limit: int) -> Vectors:
        """(n, dim) vectors of up to `limit` segments: the first by id.

        Ids are hashes, so this is as good as a random sample, and the same one every time. An empty
        library gives (0, dim).
        """

    @abstractmethod
    def nearest_segments(
        self,
        vector: Vectors,
        where: SearchFilter,
        *,
        limit: int,
        offset: int = 0,
        min_score: float | None = None,
        with_masks: bool = False,
    ) -> list[Hit]:
        """Segments most similar to the (1, dim) vector, best first."""

    @abstractmethod
    def ranked_segments(
        self,
        vector: Vectors,
        where: SearchFilter,
        *,
        limit: int,
        offset: int = 0,
        min_score: float | None = None,
    ) -> list[RankedSegment]:
        """Ids and scores of `nearest_segments`, in a fraction of the time."""

    @abstractmethod
    def nearest_photos(
        self,
        vector: Vectors,
        where: SearchFilter,
        *,
        limit: int,
        offset: int = 0,
        min_score: float | None = None,
        unsegmented: bool = False,
    ) -> list[PhotoHit]:
        """Whole photos most similar to the (1, dim) vector, best first.

        With `unsegmented` only photos that have no segments yet.
        """

    @abstractmethod
    def count(self, collection: Collection, where: SearchFilter | None = None) -> int:
        """Exact number of points; without a filter hidden photos count, too."""

    @abstractmethod
    def iter_photos(self) -> Iterator[Photo]:
        """All photos ordered by id, hidden ones included."""

    @abstractmethod
    def iter_ids(self, collection: Collection) -> Iterator[tuple[str, str]]:
        """(point id, photo id) of all points; the photo id is "" where the payload has none."""

    @abstractmethod
    def iter_segments(self, *, with_masks: bool = False) -> Iterator[Segment]:
        """All segments ordered by id, those of hidden photos included."""

    @abstractmethod
    def with_vectors(self, vector_name: str, dim: int) -> SegmentIndex:
        """The same points with another named vector, which is created if it does not exist.

        The two share the connection: closing one closes both.

        Raises:
            MismatchError: the vector of that name has another length.
        """

    @abstractmethod
    def put_vectors(self, collection: Collection, ids: Sequence[str], vectors: Vectors) -> None:
        """Set (n, dim) unit vectors of existing points; payloads and other vectors stay."""

    @abstractmethod
    def iter_without_vectors(self, collection: Collection) -> Iterator[str]:
        """Ids of photos with a point in this collection that lacks the vector, each once.

        The vectors may be written while this is read.
        """

    @abstractmethod
    def count_vectors(self, collection: Collection) -> int:
        """Number of points that have the vector."""

    @abstractmethod
    def drop_vectors(self, vector_name: str) -> None:
        """Delete another named vector from all points; an unknown name is ignored.

        Raises:
            UsageError: it is the vector in use.
        """

    @abstractmethod
    def create_payload_indexes(self) -> None:
        """Index the payload keys that filters use, where that is still missing."""

    @abstractmethod
    def optimize(self) -> bool:
        """Build the HNSW graph where it pays; True if anything was done. Slow."""

    @abstractmethod
    def flush(self) -> None:
        """Put everything written so far on disk."""

    @abstractmethod
    def close(self) -> None:
        """Flush and release the store; closing twice is no error."""
