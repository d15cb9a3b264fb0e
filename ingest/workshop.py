"""What is done to one photo: cut it, embed its segments, write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ingest.cutting import CutMask, MaskParameters
from ingest.decode_worker import Decode
from ingest.ledger import Ledger
from ingest.photos import DecodedPhoto, decode_photo
from ingest.scan import NewFile
from search.crops import recipe_fingerprint
from search.embedding import photo_vector, segment_vectors
from search.encoder import Encoder
from search.index import SegmentIndex
from search.manifest import fingerprint
from search.masks import array_from_mask, fitted_size, mask_from_array, resized
from search.records import (
    Mask,
    Photo,
    PhotoFacts,
    Segment,
    segment_id_from_mask,
)
from search.settings import Settings

if TYPE_CHECKING:  # it imports torch, and a run without new photos needs no model
    from ingest.segmenter import Segmenter


@dataclass
class Workshop:
    """Everything that ingest works with. Models are made when the first new photo needs them."""

    settings: Settings
    open_ledger: Callable[[], Ledger]
    index: Callable[[], SegmentIndex]
    segmenter: Callable[[], Segmenter]
    encoder: Callable[[], Encoder]
    decode: Decode = decode_photo

    @property
    def mask_parameters(self) -> MaskParameters:
        """How photos are cut."""
        return MaskParameters.from_settings(self.settings)

    def segmented_with(self) -> str:
        """Return the fingerprint of all that decides what a photo's segments and vectors are."""
        parameters = asdict(self.mask_parameters)
        del parameters["points_per_batch"]  # a matter of memory
        return fingerprint(
            self.segmenter().fingerprint,
            parameters,
            self.settings.mask_long_side,
            self.encoder().fingerprint,
            recipe_fingerprint(self.settings.crop_recipe),
        )


@dataclass(frozen=True, eq=False)
class CutPhoto:
    """A photo on its way from the segmenter to the index."""

    file: NewFile
    decoded: DecodedPhoto
    photo: Photo
    segments: list[Segment]


def cut_photo(
    file: NewFile, decoded: DecodedPhoto, photo_id: str, facts: PhotoFacts, workshop: Workshop
) -> CutPhoto:
    """Segment a decoded photo."""
    cut = workshop.segmenter().automatic(decoded.rgb, workshop.mask_parameters)
    segments = segments_from_cut(photo_id, cut, workshop.settings.mask_long_side)
    photo = Photo(
        photo_id=photo_id,
        size_wh=decoded.size_wh,
        facts=facts.model_copy(update={"folders": file.key.folders, "hidden": False}),
        segmented_with=workshop.segmented_with(),
        segment_count=len(segments),
    )
    return CutPhoto(file, decoded, photo, segments)


def segments_from_cut(photo_id: str, cut: Sequence[CutMask], mask_long_side: int) -> list[Segment]:
    """Turn masks into segments, each mask once, stored at `mask_long_side` px at most."""
    segments: dict[str, Segment] = {}
    for found in cut:
        mask = stored_mask(found.mask, mask_long_side)
        segment_id = segment_id_from_mask(photo_id, mask)
        if segment_id in segments:
            continue
        segments[segment_id] = Segment(
            segment_id=segment_id,
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
    return mask_from_array(resized(array_from_mask(mask), size_wh))


def write_photo(cut: CutPhoto, workshop: Workshop) -> None:
    """Embed a photo and its segments and write them, the photo after its segments.

    Segments of an earlier run that are no longer among the photo's are deleted in between.
    """
    index, encoder = workshop.index(), workshop.encoder()
    masks = [(s.mask, s.bbox_xywh) for s in cut.segments if s.mask is not None]
    recipe = workshop.settings.crop_recipe
    vectors = segment_vectors(encoder, cut.decoded.rgb, masks, recipe)
    index.put_segments(cut.photo, cut.segments, vectors)
    gone = index.segment_ids_of(cut.photo.photo_id) - {s.segment_id for s in cut.segments}
    if gone:
        index.delete_segments(sorted(gone))
    index.put_photo(cut.photo, photo_vector(encoder, cut.decoded.rgb))


def facts_from_decoded(decoded: DecodedPhoto) -> PhotoFacts:
    """Return what filters need of a photo, from what its file says (not where it lies)."""
    return PhotoFacts(sort_at=decoded.taken_at, camera=decoded.camera, location=decoded.location)
