"""What is done to one photo: cut it, embed its segments, write them.

Plain functions over records, so that whoever drives them (threads of one process, many machines)
does the same: `cut_photo`, `embed_photo`, `write_photo`; and for a photo as a whole `whole_photo`,
`whole_view`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ingest.catalog.file_facts import StatedFacts
from ingest.catalog.ledger import Ledger
from ingest.imaging.decode import DecodedPhoto, decode_photo
from ingest.imaging.sandbox import Decode
from ingest.scanning.scan import NewFile
from ingest.segmentation.types import CutMask, MaskParameters
from ingest.settings import IngestSettings
from search.index.base import SegmentIndex
from search.manifest import fingerprint
from search.masks.rle import fitted_size
from search.models.crops import photo_view
from search.models.embedding import photo_vector, segment_vectors
from search.models.encoder import Encoder
from search.records import (
    Mask,
    Photo,
    PhotoFacts,
    RgbImage,
    Segment,
    Vectors,
    segment_id_from_origin,
)

if TYPE_CHECKING:  # it imports torch, and a run without new photos needs no model
    from ingest.segmentation.sam2 import Segmenter


@dataclass
class Workshop:
    """Everything that ingest works with. Models are made when the first new photo needs them."""

    settings: IngestSettings
    open_ledger: Callable[[], Ledger]
    index: Callable[[], SegmentIndex]
    segmenter: Callable[[], Segmenter]
    encoder: Callable[[], Encoder]
    decode: Decode = decode_photo
    beside: tuple[Workshop, ...] = ()  # on other devices, with models of their own

    @property
    def mask_parameters(self) -> MaskParameters:
        """How photos are cut."""
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


@dataclass(frozen=True, eq=False)
class UncutPhoto:
    """A photo on its way from the decoder to the segmenter."""

    file: NewFile
    decoded: DecodedPhoto
    photo_id: str
    stated: StatedFacts


@dataclass(frozen=True, eq=False)
class CutPhoto:
    """A photo on its way from the segmenter to the index."""

    file: NewFile
    decoded: DecodedPhoto
    photo: Photo
    segments: list[Segment]
    stated: StatedFacts


@dataclass(frozen=True, eq=False)
class PhotoVectors:
    """The vectors of a photo: (n, dim) of its segments, (1, dim) of the whole."""

    segments: Vectors
    whole: Vectors


def whole_photo(uncut: UncutPhoto) -> Photo:
    """Return the record of a photo that is not cut yet."""
    return Photo(
        photo_id=uncut.photo_id,
        size_wh=uncut.decoded.size_wh,
        facts=uncut.stated.facts.model_copy(update={"folders": uncut.file.key.folders}),
    )


def whole_view(uncut: UncutPhoto, workshop: Workshop) -> RgbImage:
    """Return what the encoder sees of a whole photo, (input_px, input_px, 3)."""
    encoder = workshop.encoder()
    return photo_view(uncut.decoded.rgb, size_px=encoder.input_px, fill_rgb=encoder.mean_rgb)


def cut_photo(uncut: UncutPhoto, workshop: Workshop) -> CutPhoto:
    """Segment a decoded photo."""
    cut = workshop.segmenter().automatic(uncut.decoded.rgb, workshop.mask_parameters)
    segmented_with, long_side = workshop.segmented_with(), workshop.settings.mask_long_side
    segments = segments_from_cut(uncut.photo_id, segmented_with, cut, long_side)
    done = {"segmented_with": segmented_with, "segment_count": len(segments)}
    photo = whole_photo(uncut).model_copy(update=done)
    return CutPhoto(uncut.file, uncut.decoded, photo, segments, uncut.stated)


def segments_from_cut(
    photo_id: str, segmented_with: str, cut: Sequence[CutMask], mask_long_side: int
) -> list[Segment]:
    """Turn masks into segments, each mask once, stored at `mask_long_side` px at most."""
    segments: dict[Mask, Segment] = {}
    for found in cut:
        mask = stored_mask(found.mask, mask_long_side)
        if mask in segments:
            continue
        segments[mask] = Segment(
            segment_id=segment_id_from_origin(photo_id, segmented_with, found.origin),
            photo_id=photo_id,
            bbox_xywh=found.bbox_xywh,
            area_px=found.area_px,
            area_fraction=found.area_fraction,
            predicted_iou=found.predicted_iou,
            stability_score=found.stability_score,
            point_xy=found.point_xy or (found.bbox_xywh.x, found.bbox_xywh.y),
            mask=mask,
        )
    return list(segments.values())


def stored_mask(mask: Mask, long_side: int) -> Mask:
    """Return a mask at the size that it is stored at."""
    size_wh = fitted_size(mask.size_wh, long_side)
    if size_wh == mask.size_wh:
        return mask
    from ingest.segmentation.downsampling import (
        shrunk,  # it imports numba, and a run without new photos needs none
    )

    return shrunk(mask, size_wh)


def embed_photo(cut: CutPhoto, workshop: Workshop) -> PhotoVectors:
    """Return the vectors of a photo and its segments."""
    encoder, rgb = workshop.encoder(), cut.decoded.rgb
    masks = [(s.mask, s.bbox_xywh) for s in cut.segments if s.mask is not None]
    return PhotoVectors(
        segments=segment_vectors(encoder, rgb, masks, workshop.settings.crop_recipe),
        whole=photo_vector(encoder, rgb),
    )


def write_photo(cut: CutPhoto, vectors: PhotoVectors, index: SegmentIndex) -> None:
    """Write a photo and its segments, the photo after its segments.

    Segments of an earlier run that are no longer among the photo's are deleted in between.
    """
    index.put_segments(cut.photo, cut.segments, vectors.segments)
    gone = index.segment_ids_of(cut.photo.photo_id) - {s.segment_id for s in cut.segments}
    if gone:
        index.delete_segments(sorted(gone))
    index.put_photo(cut.photo, vectors.whole)


def stated_from_decoded(decoded: DecodedPhoto) -> StatedFacts:
    """Return what a photo's file says of it (not where it lies)."""
    return StatedFacts(
        facts=PhotoFacts(
            sort_at=decoded.sort_at,
            date_source=decoded.date_source,
            camera=decoded.camera,
            location=decoded.location,
        )
    )
