"""The dependencies of ingest: settings, catalog, index and models."""

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

if TYPE_CHECKING:  # it imports torch, which a run without new photos does not need
    from ingest.segmentation.sam2 import Segmenter

FLUSH_EVERY_S = 2.0


@dataclass
class IngestContext:
    """The dependencies of ingest; the callables load on first use.

    Attributes:
        settings: of the library.
        open_ledger: opens a connection; each thread needs its own.
        index: the segment index.
        segmenter: SAM 2 on one device.
        encoder: CLIP on the same device.
        decode: decodes one file, in a child process unless `decode_workers` is 0.
        other_devices: one context per further device, with its own models.
        flush_every_s: seconds between flushes; photos written since are repeated after a crash.
    """

    settings: IngestSettings
    open_ledger: Callable[[], Ledger]
    index: Callable[[], SegmentIndex]
    segmenter: Callable[[], Segmenter]
    encoder: Callable[[], Encoder]
    decode: Decode = decode_photo
    other_devices: tuple[IngestContext, ...] = ()
    flush_every_s: float = FLUSH_EVERY_S

    @property
    def mask_parameters(self) -> MaskParameters:
        """The parameters of automatic mask generation."""
        return MaskParameters.from_settings(self.settings)

    def segmented_with(self) -> str:
        """Fingerprint of everything that determines a photo's segments: weights and parameters.

        What determines the vectors is in the vectors' name (`search.manifest`).
        """
        parameters = asdict(self.mask_parameters)
        del parameters["points_per_batch"]  # changes memory use, not masks
        return fingerprint(
            self.segmenter().fingerprint,
            parameters,
            self.settings.mask_long_side,
        )
