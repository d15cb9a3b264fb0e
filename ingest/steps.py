"""The processing steps of one photo, called by the threads of one process and by Ray workers.

`segment_photo`, `embed_photo`, `write_photo`; for the coarse pass `whole_photo`, `whole_view`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ingest.catalog.file_facts import StatedFacts
from ingest.context import IngestContext
from ingest.imaging.decode import DecodedPhoto
from ingest.scanning.scan import NewFile
from ingest.segmentation.types import SegmentedMask
from search.index.base import SegmentIndex
from search.masks.rle import fitted_size
from search.models.crops import photo_view
from search.models.embedding import photo_vector, segment_vectors
from search.records import (
    Mask,
    Photo,
    PhotoFacts,
    RgbImage,
    Segment,
    Vectors,
    segment_id_from_origin,
)


@dataclass(frozen=True, eq=False)
class DecodedFile:
    """A photo on its way from the decoder to the segmenter."""

    file: NewFile
    decoded: DecodedPhoto
    photo_id: str
    stated: StatedFacts


@dataclass(frozen=True, eq=False)
class SegmentedPhoto:
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


def whole_photo(photo: DecodedFile) -> Photo:
    """Build the record of a photo that is not segmented yet."""
    return Photo(
        photo_id=photo.photo_id,
        size_wh=photo.decoded.size_wh,
        facts=photo.stated.facts.model_copy(update={"folders": photo.file.key.folders}),
    )


def whole_view(photo: DecodedFile, context: IngestContext) -> RgbImage:
    """Preprocess a whole photo for the encoder: (input_px, input_px, 3)."""
    encoder = context.encoder()
    return photo_view(photo.decoded.rgb, size_px=encoder.input_px, fill_rgb=encoder.mean_rgb)


def segment_photo(photo: DecodedFile, context: IngestContext) -> SegmentedPhoto:
    """Segment a decoded photo; return it with its segments."""
    masks = context.segmenter().automatic(photo.decoded.rgb, context.mask_parameters)
    segmented_with, long_side = context.segmented_with(), context.settings.mask_long_side
    segments = segments_from_masks(photo.photo_id, segmented_with, masks, long_side)
    finished = {"segmented_with": segmented_with, "segment_count": len(segments)}
    record = whole_photo(photo).model_copy(update=finished)
    return SegmentedPhoto(photo.file, photo.decoded, record, segments, photo.stated)


def segments_from_masks(
    photo_id: str, segmented_with: str, masks: Sequence[SegmentedMask], mask_long_side: int
) -> list[Segment]:
    """Turn masks into segments; masks that are equal at `mask_long_side` px become one."""
    segments: dict[Mask, Segment] = {}
    for found in masks:
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
    """Downsample a mask so that its long side is at most `long_side` px; never enlarge it."""
    size_wh = fitted_size(mask.size_wh, long_side)
    if size_wh == mask.size_wh:
        return mask
    from ingest.segmentation.downsampling import downsampled  # imports numba, which is slow

    return downsampled(mask, size_wh)


def embed_photo(photo: SegmentedPhoto, context: IngestContext) -> PhotoVectors:
    """Embed a photo and its segments."""
    encoder, rgb = context.encoder(), photo.decoded.rgb
    masks = [(s.mask, s.bbox_xywh) for s in photo.segments if s.mask is not None]
    return PhotoVectors(
        segments=segment_vectors(encoder, rgb, masks, context.settings.crop_recipe),
        whole=photo_vector(encoder, rgb),
    )


def write_photo(photo: SegmentedPhoto, vectors: PhotoVectors, index: SegmentIndex) -> None:
    """Write a photo's segments, delete those of an earlier run, then write the photo itself."""
    index.put_segments(photo.photo, photo.segments, vectors.segments)
    gone = index.segment_ids_of(photo.photo.photo_id) - {s.segment_id for s in photo.segments}
    if gone:
        index.delete_segments(sorted(gone))
    index.put_photo(photo.photo, vectors.whole)


def stated_from_decoded(decoded: DecodedPhoto) -> StatedFacts:
    """Collect the metadata of a decoded file, without its folder."""
    return StatedFacts(
        facts=PhotoFacts(
            sort_at=decoded.sort_at,
            date_source=decoded.date_source,
            camera=decoded.camera,
            location=decoded.location,
        )
    )
