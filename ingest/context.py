"""What ingest works with: settings, catalog, index and models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ingest.catalog.ledger import Ledger
from ingest.imaging.decode import decode_photo
from ingest.imaging.sandbox import Decode
from ingest.segmentation.types import MaskParameters
from ingest.settings import IngestSettings
from search.index.base import SegmentIndex
from search.manifest import fingerprint
from search.models.encoder import Encoder

if TYPE_CHECKING:  # it imports torch, and a run without new photos needs no model
    from ingest.segmentation.sam2 import Segmenter


@dataclass
class IngestContext:
    """What ingest works with. Models are loaded when the first new photo needs them."""

    settings: IngestSettings
    open_ledger: Callable[[], Ledger]
    index: Callable[[], SegmentIndex]
    segmenter: Callable[[], Segmenter]
    encoder: Callable[[], Encoder]
    decode: Decode = decode_photo
    beside: tuple[IngestContext, ...] = ()  # for other devices, with models of their own

    @property
    def mask_parameters(self) -> MaskParameters:
        """The parameters of automatic mask generation."""
        return MaskParameters.from_settings(self.settings)

    def segmented_with(self) -> str:
        """Return the fingerprint of all that decides what a photo's segments are.

        What decides about vectors is in their name (`search.manifest`).
        """
        parameters = asdict(self.mask_parameters)
        del parameters["points_per_batch"]  # a matter of memory
        return fingerprint(
            self.segmenter().fingerprint,
            parameters,
            self.settings.mask_long_side,
        )
