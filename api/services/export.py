"""Segments for other programs: as a COCO file, as pictures."""

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
from api.services.outputs import filling, write_output
from ingest.catalog.ledger import sort_key
from ingest.catalog.records import PhotoRow
from ingest.imaging.decode import path_text, shown_path
from search.errors import PhotoError, StoreError
from search.masks.rle import coco_rle_from_mask, enlarged
from search.records import SearchFilter, Segment

PHOTOS_A_PAGE = 500
CATEGORY = {"id": 1, "name": "segment", "supercategory": "segment"}
MAX_STEM = 60  # characters of a photo's name in the names of its crops


@dataclass(frozen=True)
class Found:
    """A photo, those of its segments that are to be exported, and their scores if searched for."""

    row: PhotoRow
    segments: Sequence[Segment]  # with masks
    scores: dict[str, float] = field(default_factory=dict)  # by segment id


def iter_filtered(library: Library, where: SearchFilter) -> Iterator[Found]:
    """Yield the photos that a filter lets through, newest first, each with such of its segments."""
    after = None
    while rows := library.ledger().photos(where, limit=PHOTOS_A_PAGE, after=after):
        for row in rows:
            segments = library.index().segments_of(row.photo.photo_id, with_masks=True)
            yield Found(row, [segment for segment in segments if _passes(segment, where)])
        after = sort_key(rows[-1])


def iter_hits(library: Library, hits: Sequence[HitOut]) -> Iterator[Found]:
    """Yield the photos of hits, that of the best one first, with the segments that were hit."""
    scores: dict[str, dict[str, float]] = {}
    for hit in hits:
        scores.setdefault(hit.photo_id, {})[hit.segment_id] = hit.score
    rows = library.ledger().paths(list(scores))
    for photo_id, scored in scores.items():
        segments = library.index().segments(list(scored), with_masks=True)
        if photo_id in rows:  # else it was forgotten meanwhile
            yield Found(rows[photo_id], segments, scored)


def _passes(segment: Segment, where: SearchFilter) -> bool:
    """Say whether a segment has what a filter asks of segments; it asks photos elsewhere."""
    at_least = (
        (segment.area_fraction, where.min_area_fraction),
        (segment.predicted_iou, where.min_predicted_iou),
        (segment.stability_score, where.min_stability_score),
    )
    largest = where.max_area_fraction
    return all(least is None or value >= least for value, least in at_least) and (
        largest is None or segment.area_fraction <= largest
    )


def iter_coco(found: Iterable[Found]) -> Iterator[str]:
    """Yield a COCO document piece by piece; only what is said of images is held meanwhile.

    Masks and boxes are at the photo's full size. Images come last: readers go by the keys.

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
        if annotations:  # a photo's at once: each piece of an answer costs a turn of a thread
            yield (",\n" if number else "\n") + ",\n".join(annotations)
            number += len(annotations)
    yield '],\n"images": [\n' + ",\n".join(images) + "]}\n"


def _coco_image(image_id: int, row: PhotoRow) -> dict[str, Any]:
    width, height = row.photo.size_wh
    return {
        "id": image_id,
        # Joined to any folder, an absolute path is itself: no reader needs to know the roots.
        "file_name": path_text(row.path) if row.path else "",
        "width": width,
        "height": height,
        "date_captured": row.photo.facts.sort_at.isoformat(),
        "date_source": row.photo.facts.date_source,
        "photo_id": row.photo.photo_id,
    }


def _coco_annotation(number: int, image_id: int, found: Found, segment: Segment) -> dict[str, Any]:
    """Return an annotation in COCO's terms: its box counts pixels, unlike SAM's."""
    assert segment.mask is not None  # it was asked for
    with _blamed_on(segment):
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
def _blamed_on(segment: Segment) -> Iterator[None]:
    """Say whose mask it was that could not be used."""
    try:
        yield
    except ValueError as error:
        raise StoreError(
            f"the mask of segment {segment.segment_id} can't be used: {error}. `segsearch verify "
            "--repair` has its photo cut anew by the next ingest."
        ) from error


@dataclass
class Exported:
    """What an export has written, and what it could not."""

    photos: int = 0
    segments: int = 0
    skipped: list[str] = field(default_factory=list)  # a sentence for each photo

    def counted(self, found: Iterable[Found]) -> Iterator[Found]:
        """Pass photos on, counting them."""
        for each in found:
            self.photos += 1
            self.segments += len(each.segments)
            yield each


def write_coco(found: Iterable[Found], path: Path) -> Exported:
    """Write a COCO file; if that is cut short, there is none.

    Raises:
        OSError: it can't be written.
        StoreError: a mask is damaged.
    """
    exported = Exported()
    write_output(path, (piece.encode() for piece in iter_coco(exported.counted(found))))
    return exported


def write_crops(
    library: Library,
    found: Iterable[Found],
    folder: Path,
    background: Background,
    form: Lossless,
) -> Exported:
    """Write the crop of each segment; a photo that can't be decoded is noted and passed over.

    If that is cut short, none is written.

    Raises:
        OSError: a crop can't be written.
        StoreError: a mask is damaged.
    """
    with filling(folder) as draft:
        return _write_crops(library, found, draft, background, form)


def _write_crops(
    library: Library,
    found: Iterable[Found],
    folder: Path,
    background: Background,
    form: Lossless,
) -> Exported:
    exported = Exported()
    for each in found:
        if not each.segments:
            continue
        try:
            rgb = photo_pixels(library, each.row)
        except PhotoError as error:
            exported.skipped.append(str(error))
            continue
        exported.photos += 1
        for segment in each.segments:
            with _blamed_on(segment):
                shown = crop(rgb, segment, background)
            path = folder / crop_name(each.row, segment, form)
            path.write_bytes(lossless_bytes(shown, form))
            exported.segments += 1
    return exported


def crop_name(row: PhotoRow, segment: Segment, form: Lossless) -> str:
    """Return the photo's name, the first part of its id and the segment's id: IMG_1.3f1b9a2c.ID."""
    stem = re.sub(r"[^\w-]+", "_", shown_path(row.path.stem) if row.path else "photo")[:MAX_STEM]
    return f"{stem}.{row.photo.photo_id[:8]}.{segment.segment_id}.{form}"
