"""The steps for one photo: segment it, embed its segments, write them to the index.

Plain functions over records, called by threads of one process and by Ray workers alike:
`segment_photo`, `embed_photo`, `write_photo`; and for a photo as a whole `whole_photo`,
`whole_view`.
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


def whole_photo(uncut: DecodedFile) -> Photo:
    """Return the record of a photo that is not cut yet."""
    return Photo(
        photo_id=uncut.photo_id,
        size_wh=uncut.decoded.size_wh,
        facts=uncut.stated.facts.model_copy(update={"folders": uncut.file.key.folders}),
    )


def whole_view(uncut: DecodedFile, context: IngestContext) -> RgbImage:
    """Return what the encoder sees of a whole photo, (input_px, input_px, 3)."""
    encoder = context.encoder()
    return photo_view(uncut.decoded.rgb, size_px=encoder.input_px, fill_rgb=encoder.mean_rgb)


def segment_photo(uncut: DecodedFile, context: IngestContext) -> SegmentedPhoto:
    """Segment a decoded photo."""
    cut = context.segmenter().automatic(uncut.decoded.rgb, context.mask_parameters)
    segmented_with, long_side = context.segmented_with(), context.settings.mask_long_side
    segments = segments_from_masks(uncut.photo_id, segmented_with, cut, long_side)
    done = {"segmented_with": segmented_with, "segment_count": len(segments)}
    photo = whole_photo(uncut).model_copy(update=done)
    return SegmentedPhoto(uncut.file, uncut.decoded, photo, segments, uncut.stated)


def segments_from_masks(
    photo_id: str, segmented_with: str, cut: Sequence[SegmentedMask], mask_long_side: int
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


def embed_photo(cut: SegmentedPhoto, context: IngestContext) -> PhotoVectors:
    """Return the vectors of a photo and its segments."""
    encoder, rgb = context.encoder(), cut.decoded.rgb
    masks = [(s.mask, s.bbox_xywh) for s in cut.segments if s.mask is not None]
    return PhotoVectors(
        segments=segment_vectors(encoder, rgb, masks, context.settings.crop_recipe),
        whole=photo_vector(encoder, rgb),
    )


def write_photo(cut: SegmentedPhoto, vectors: PhotoVectors, index: SegmentIndex) -> None:
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
