"""Export of segments as a COCO file or as crops."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from api.library.library import Library
from api.render.draw import Background, Lossless, crop, lossless_bytes
from api.render.photo_pixels import photo_pixels
from api.schemas.search import HitOut
from api.services.outputs import draft_folder, write_output
from ingest.catalog.ledger import sort_key
from ingest.catalog.records import PhotoRow
from ingest.imaging.decode import path_text, shown_path
from search.errors import PhotoError, StoreError
from search.masks.rle import coco_rle_from_mask, enlarged
from search.records import SearchFilter, Segment

PAGE_PHOTOS = 500
CATEGORY = {"id": 1, "name": "segment", "supercategory": "segment"}
MAX_STEM_CHARS = 60  # of a photo's file name in the names of its crops


@dataclass(frozen=True)
class PhotoSegments:
    """A photo with the segments to export, and their scores if they were searched for."""

    row: PhotoRow
    segments: Sequence[Segment]  # with masks
    scores: dict[str, float] = field(default_factory=dict)  # by segment id


def iter_filtered(library: Library, where: SearchFilter) -> Iterator[PhotoSegments]:
    """Yield the photos that match a filter, newest first, with their matching segments."""
    after = None
    while rows := library.ledger().photos(where, limit=PAGE_PHOTOS, after=after):
        for row in rows:
            segments = library.index().segments_of(row.photo.photo_id, with_masks=True)
            yield PhotoSegments(row, [segment for segment in segments if _matches(segment, where)])
        after = sort_key(rows[-1])


def iter_hits(library: Library, hits: Sequence[HitOut]) -> Iterator[PhotoSegments]:
    """Yield the photos of hits, best first, with the hit segments."""
    scores: dict[str, dict[str, float]] = {}
    for hit in hits:
        scores.setdefault(hit.photo_id, {})[hit.segment_id] = hit.score
    rows = library.ledger().paths(list(scores))
    for photo_id, scored in scores.items():
        segments = library.index().segments(list(scored), with_masks=True)
        if photo_id in rows:  # otherwise it was removed meanwhile
            yield PhotoSegments(rows[photo_id], segments, scored)


def _matches(segment: Segment, where: SearchFilter) -> bool:
    """Whether a segment matches the segment fields of a filter."""
    minimums = (
        (segment.area_fraction, where.min_area_fraction),
        (segment.predicted_iou, where.min_predicted_iou),
        (segment.stability_score, where.min_stability_score),
    )
    maximum = where.max_area_fraction
    return all(minimum is None or value >= minimum for value, minimum in minimums) and (
        maximum is None or segment.area_fraction <= maximum
    )


def iter_coco(found: Iterable[PhotoSegments]) -> Iterator[str]:
    """Yield a COCO document in pieces; only the `images` list is held in memory.

    Masks and boxes are at the photo's full size. `images` comes last; readers go by the keys.

    Raises:
        StoreError: a mask is damaged.
    """
    yield f'{{"info": {{"description": "segsearch"}},\n"categories": [{json.dumps(CATEGORY)}],\n'
    yield '"annotations": ['
    images: list[str] = []
    number = 0
    for image_id, each in enumerate(found, 1):
        images.append(json.dumps(_coco_image(image_id, each.row)))
        annotations = [
            json.dumps(_coco_annotation(own_number, image_id, each, segment))
            for own_number, segment in enumerate(each.segments, number + 1)
        ]
        if annotations:  # one piece per photo: each piece of a response costs a thread switch
            yield (",\n" if number else "\n") + ",\n".join(annotations)
            number += len(annotations)
    yield '],\n"images": [\n' + ",\n".join(images) + "]}\n"


def _coco_image(image_id: int, row: PhotoRow) -> dict[str, Any]:
    width, height = row.photo.size_wh
    return {
        "id": image_id,
        # Absolute: readers that join it to an image folder still find the file.
        "file_name": path_text(row.path) if row.path else "",
        "width": width,
        "height": height,
        "date_captured": row.photo.facts.sort_at.isoformat(),
        "date_source": row.photo.facts.date_source,
        "photo_id": row.photo.photo_id,
    }


def _coco_annotation(
    number: int, image_id: int, found: PhotoSegments, segment: Segment
) -> dict[str, Any]:
    """A COCO annotation; unlike SAM's, its box counts pixels."""
    assert segment.mask is not None  # loaded with masks
    with _errors_naming(segment):
        rle = coco_rle_from_mask(enlarged(segment.mask, found.row.photo.size_wh))
    score = found.scores.get(segment.segment_id)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": CATEGORY["id"],
        "segmentation": rle,
        "area": int(coco_mask.area(rle)),
        "bbox": coco_mask.toBbox(rle).tolist(),
        "iscrowd": 0,
        "segment_id": segment.segment_id,
        "predicted_iou": segment.predicted_iou,
        "stability_score": segment.stability_score,
        "point_xy": segment.point_xy,
        **({} if score is None else {"score": score}),
    }


@contextmanager
def _errors_naming(segment: Segment) -> Iterator[None]:
    """Name the segment whose mask is damaged."""
    try:
        yield
    except ValueError as error:
        raise StoreError(
            f"the mask of segment {segment.segment_id} is damaged: {error}. After `segsearch "
            "verify --repair` the next ingest segments its photo again."
        ) from error


@dataclass
class ExportSummary:
    """Counts of an export, and the photos that were skipped."""

    photos: int = 0
    segments: int = 0
    skipped: list[str] = field(default_factory=list)  # one reason per photo

    def counted(self, found: Iterable[PhotoSegments]) -> Iterator[PhotoSegments]:
        """Count photos and segments as they pass through."""
        for each in found:
            self.photos += 1
            self.segments += len(each.segments)
            yield each


def write_coco(found: Iterable[PhotoSegments], path: Path) -> ExportSummary:
    """Write a complete COCO file or none.

    Raises:
        OSError: it can't be written.
        StoreError: a mask is damaged.
    """
    summary = ExportSummary()
    write_output(path, (piece.encode() for piece in iter_coco(summary.counted(found))))
    return summary


def write_crops(
    library: Library,
    found: Iterable[PhotoSegments],
    folder: Path,
    background: Background,
    image_format: Lossless,
) -> ExportSummary:
    """Write the crop of each segment, all or none; photos that can't be decoded are skipped.

    Raises:
        OSError: a crop can't be written.
        StoreError: a mask is damaged.
    """
    with draft_folder(folder) as draft:
        return _write_crops(library, found, draft, background, image_format)


def _write_crops(
    library: Library,
    found: Iterable[PhotoSegments],
    folder: Path,
    background: Background,
    image_format: Lossless,
) -> ExportSummary:
    summary = ExportSummary()
    for each in found:
        if not each.segments:
            continue
        try:
            rgb = photo_pixels(library, each.row)
        except PhotoError as error:
            summary.skipped.append(str(error))
            continue
        summary.photos += 1
        for segment in each.segments:
            with _errors_naming(segment):
                pixels = crop(rgb, segment, background)
            path = folder / crop_name(each.row, segment, image_format)
            path.write_bytes(lossless_bytes(pixels, image_format))
            summary.segments += 1
    return summary


def crop_name(row: PhotoRow, segment: Segment, image_format: Lossless) -> str:
    """File name, first part of the photo's id, and segment id: IMG_1.3f1b9a2c.ID.png."""
    stem = re.sub(r"[^\w-]+", "_", shown_path(row.path.stem) if row.path else "photo")[
        :MAX_STEM_CHARS
    ]
    return f"{stem}.{row.photo.photo_id[:8]}.{segment.segment_id}.{image_format}"
