"""Convert records of the index and the ledger to response records."""

from __future__ import annotations

from collections.abc import Sequence

from api.library.library import Library
from api.schemas.photos import PhotoOut
from api.schemas.search import HitOut, WholePhotoOut
from api.schemas.segments import SegmentOut
from ingest.catalog.records import PhotoRow
from ingest.imaging.decode import path_text
from search.masks.rle import coco_rle_from_mask
from search.records import Hit, PhotoHit, Segment


def hits_out(library: Library, hits: Sequence[Hit]) -> list[HitOut]:
    """Convert hits, with the paths of their photos."""
    rows = library.ledger().paths([hit.segment.photo_id for hit in hits])
    return [_hit_out(hit, rows.get(hit.segment.photo_id)) for hit in hits]


def _hit_out(hit: Hit, row: PhotoRow | None) -> HitOut:
    segment = hit.segment
    return HitOut(
        path=_path_of(row),
        score=hit.score,
        **segment.model_dump(exclude={"mask", "bbox_xywh"}),
        bbox_xywh=segment.bbox_xywh,
        mask=coco_rle_from_mask(segment.mask) if segment.mask else None,
    )


def whole_photos_out(library: Library, hits: Sequence[PhotoHit]) -> tuple[WholePhotoOut, ...]:
    """Convert hits on whole photos, with their paths."""
    rows = library.ledger().paths([hit.photo.photo_id for hit in hits])
    return tuple(
        WholePhotoOut(
            photo_id=hit.photo.photo_id,
            path=_path_of(rows.get(hit.photo.photo_id)),
            score=hit.score,
            size_wh=hit.photo.size_wh,
        )
        for hit in hits
    )


def _path_of(row: PhotoRow | None) -> str | None:
    return path_text(row.path) if row and row.path else None


def photo_out(row: PhotoRow) -> PhotoOut:
    """Convert a photo."""
    photo = row.photo
    return PhotoOut(
        photo_id=photo.photo_id,
        path=_path_of(row),
        size_wh=photo.size_wh,
        sort_at=photo.facts.sort_at,
        taken_at=photo.facts.taken_at,
        date_source=photo.facts.date_source,
        camera=photo.facts.camera,
        location=photo.facts.location,
        hidden=photo.facts.hidden,
        segment_count=photo.segment_count,
        segmented=photo.segmented_with is not None,
    )


def segment_out(segment: Segment) -> SegmentOut:
    """Convert a segment."""
    return SegmentOut(
        **segment.model_dump(exclude={"mask", "bbox_xywh"}),
        bbox_xywh=segment.bbox_xywh,
        mask=coco_rle_from_mask(segment.mask) if segment.mask else None,
    )
