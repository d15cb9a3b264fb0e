"""A search as a person puts it: requests become queries, clicks become masks, hits get paths."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING

from api.library import Library
from api.schemas import (
    ExampleIn,
    GroupOut,
    HitOut,
    PhotoOut,
    PromptIn,
    SearchOptions,
    SearchRequest,
    SearchResponse,
    SegmentOut,
)
from ingest.cutting import CutMask, Prompt
from ingest.ledger import PhotoRow
from ingest.photos import decode_bytes, decode_photo, pixel_sha256, shown_path
from search.errors import PhotoError, UsageError
from search.masks import (
    array_from_mask,
    box_iou,
    coco_rle_from_mask,
    iou,
    mask_from_array,
    resized,
)
from search.query import (
    Example,
    PhotoExample,
    PictureExample,
    Query,
    SegmentExample,
    TextExample,
)
from search.records import Box, Hit, Mask, RgbImage, Segment, photo_id_from_digest

if TYPE_CHECKING:
    from ingest.segmenter import EncodedPhoto

# A cut this like a stored segment is that segment.
SAME_MASK_IOU = 0.8
# A segmenter that answers a box with masks whose own boxes overlap it less than this has missed:
# then the box itself is meant.
BOX_MISSED_IOU = 0.5


def search(library: Library, request: SearchRequest) -> SearchResponse:
    """Answer a search.

    Raises:
        UsageError, UnknownIdError: the request makes no sense in this library.
        PhotoError: a picture in it can't be decoded.
    """
    return answer(library, examples_from_request(library, request), request)


def answer(library: Library, examples: Sequence[Example], options: SearchOptions) -> SearchResponse:
    """Search for examples.

    Raises:
        UsageError, UnknownIdError: the examples or options make no sense in this library.
    """
    query = _query(examples, options)
    finder = library.finder()
    if options.group_by_photo:
        page = finder.search_grouped(query)
        hits = hits_out(library, [hit for group in page.groups for hit in group.hits])
        by_photo: dict[str, list[HitOut]] = {}
        for hit in hits:
            by_photo.setdefault(hit.photo_id, []).append(hit)
        groups = tuple(
            GroupOut(photo_id=photo_id, path=found[0].path, hits=tuple(found))
            for photo_id, found in by_photo.items()
        )
        return SearchResponse(hits=(), groups=groups, cursor=page.cursor)
    flat = finder.search(query)
    return SearchResponse(hits=tuple(hits_out(library, flat.hits)), cursor=flat.cursor)


def examples_from_request(library: Library, request: SearchRequest) -> list[Example]:
    """Return what a request looks for: pictures are decoded, prompts become masks."""
    examples: list[Example] = []
    if request.text is not None:
        examples.append(TextExample(request.text))
    examples += [_example(library, each, each.weight) for each in request.positive]
    examples += [_example(library, each, -each.weight) for each in request.negative]
    return examples


def _query(examples: Sequence[Example], options: SearchOptions) -> Query:
    return Query(
        examples=examples,
        where=options.filter,
        limit=options.limit,
        cursor=options.cursor,
        min_score=options.min_score,
        diversity=options.diversity,
        with_masks=options.with_masks,
    )


def _example(library: Library, example: ExampleIn, weight: float) -> Example:
    if example.text is not None:
        return TextExample(example.text, weight)
    if example.segment_id is not None:
        return SegmentExample(example.segment_id, weight)
    if example.photo_id is not None and example.prompt.is_empty:
        return PhotoExample(example.photo_id, weight)
    rgb = picture(library, example.photo_id, example.image_base64)
    return picture_example(library, rgb, example.prompt, weight, example.photo_id)


def picture_example(
    library: Library,
    rgb: RgbImage,
    prompt: PromptIn,
    weight: float = 1.0,
    photo_id: str | None = None,
) -> Example:
    """Return the whole picture (h, w, 3) or the segment under a prompt as an example.

    What is a segment of the library already becomes that segment.

    Raises:
        UsageError: nothing is under the prompt, or it lies outside the picture.
    """
    if prompt.is_empty:
        return PictureExample(rgb, weight=weight)
    photo_id = photo_id or photo_id_from_digest(pixel_sha256(rgb))
    cut = cut_under_prompt(library.encoded.get(photo_id, lambda: rgb), prompt)
    stored = library.index().segments_of(photo_id, with_masks=True)
    same = stored_segment(stored, cut, prompt.box_xywh)
    if same is not None:
        return SegmentExample(same.segment_id, weight)
    return PictureExample(rgb, cut.mask, cut.bbox_xywh, weight)


def picture(library: Library, photo_id: str | None, image_base64: str | None) -> RgbImage:
    """Return the upright pixels of a photo of the library, or of a picture that was sent.

    Raises:
        UnknownIdError: there is no such photo.
        PhotoError: its file is out of reach, or the picture can't be decoded.
    """
    if photo_id is not None:
        return photo_pixels(library, library.ledger().photo(photo_id))
    try:
        sent = base64.b64decode(image_base64 or "", validate=True)
    except binascii.Error as error:
        raise UsageError(f"image_base64 is not base64: {error}") from error
    return decode_upload(library, sent, "the picture that was sent")


def photo_pixels(library: Library, row: PhotoRow) -> RgbImage:
    """Return the upright pixels of a photo of the library.

    Raises:
        PhotoError: its file is out of reach or can't be decoded.
    """
    if row.path is None:
        raise PhotoError(
            f"no file of photo {row.photo.photo_id} is in reach. Put it back and run "
            "`segsearch ingest`, or forget it with `segsearch remove --missing`."
        )
    settings = library.settings
    decoded = decode_photo(row.path, max_pixels=settings.max_pixels, max_bytes=settings.max_bytes)
    if decoded.size_wh != row.photo.size_wh:
        raise PhotoError(
            f"{shown_path(row.path)} has changed since it was ingested. Run `segsearch ingest`."
        )
    return decoded.rgb


def decode_upload(library: Library, sent: bytes, name: str) -> RgbImage:
    """Decode a picture that a client sent.

    Raises:
        PhotoError: it is too large or no picture.
    """
    settings = library.settings
    return decode_bytes(
        sent,
        max_pixels=settings.max_upload_pixels,
        max_bytes=settings.max_upload_bytes,
        name=name,
    ).rgb


def prompt_from_request(prompt: PromptIn) -> Prompt:
    """Turn a prompt as it is sent into the segmenter's."""
    return Prompt(
        points_xy=tuple((point.x, point.y) for point in prompt.points),
        labels=tuple(point.label for point in prompt.points),
        box_xywh=prompt.box_xywh,
        mask=prompt.mask,
    )


def cut_under_prompt(photo: EncodedPhoto, prompt: PromptIn) -> CutMask:
    """Return the one mask that a prompt means.

    With a box, the candidate that fits it best; if none does, the box itself.
    """
    candidates = [cut for cut in photo.masks(prompt_from_request(prompt)) if cut.area_px > 0]
    box = prompt.box_xywh
    if box is None:
        if not candidates:
            raise UsageError("nothing could be cut out there; try another point, or a box")
        return candidates[0]
    best = max(candidates, key=lambda cut: box_iou(cut.bbox_xywh, box), default=None)
    if best is not None and box_iou(best.bbox_xywh, box) >= BOX_MISSED_IOU:
        return best
    return _box_cut(box, photo.size_wh)


def _box_cut(box: Box, size_wh: tuple[int, int]) -> CutMask:
    """Return the box itself as a mask, within the photo."""
    import numpy as np

    width, height = size_wh
    x0, y0, x1, y1 = (round(edge) for edge in box.xyxy)
    inside = np.zeros((height, width), np.bool_)
    inside[max(0, y0) : y1 + 1, max(0, x0) : x1 + 1] = True
    return CutMask(
        mask=mask_from_array(inside),
        bbox_xywh=box,
        area_px=max(1, int(inside.sum())),
        predicted_iou=0.0,
        stability_score=0.0,
        point_xy=None,
        crop_box_xywh=Box(0, 0, width, height),
    )


def stored_segment(stored: Sequence[Segment], cut: CutMask, box_xywh: Box | None) -> Segment | None:
    """Return the stored segment that a cut is, if it is one: by its box, else by its mask."""
    if box_xywh is not None:
        best = max(stored, key=lambda s: box_iou(s.bbox_xywh, box_xywh), default=None)
        if best is not None and box_iou(best.bbox_xywh, box_xywh) >= SAME_MASK_IOU:
            return best
    overlapping = [
        s for s in stored if s.mask and box_iou(s.bbox_xywh, cut.bbox_xywh) >= SAME_MASK_IOU / 2
    ]
    scored = [(_mask_iou(cut.mask, s.mask), s) for s in overlapping if s.mask]
    best_iou, same = max(scored, key=lambda pair: pair[0], default=(0.0, None))
    return same if best_iou >= SAME_MASK_IOU else None


def _mask_iou(full: Mask, stored: Mask) -> float:
    return iou(resized(array_from_mask(full), stored.size_wh), array_from_mask(stored))


def hits_out(library: Library, hits: Sequence[Hit]) -> list[HitOut]:
    """Give hits the paths of their photos."""
    rows = library.ledger().paths([hit.segment.photo_id for hit in hits])
    return [_hit_out(hit, rows.get(hit.segment.photo_id)) for hit in hits]


def _hit_out(hit: Hit, row: PhotoRow | None) -> HitOut:
    segment = hit.segment
    return HitOut(
        path=shown_path(row.path) if row and row.path else None,
        score=hit.score,
        **segment.model_dump(exclude={"mask", "bbox_xywh"}),
        bbox_xywh=segment.bbox_xywh,
        mask=coco_rle_from_mask(segment.mask) if segment.mask else None,
    )


def photo_out(row: PhotoRow) -> PhotoOut:
    """Return a photo as it is shown."""
    photo = row.photo
    return PhotoOut(
        photo_id=photo.photo_id,
        path=shown_path(row.path) if row.path else None,
        size_wh=photo.size_wh,
        sort_at=photo.facts.sort_at,
        camera=photo.facts.camera,
        location=photo.facts.location,
        hidden=photo.facts.hidden,
        segment_count=photo.segment_count,
    )


def segment_out(segment: Segment) -> SegmentOut:
    """Return a segment as it is shown."""
    return SegmentOut(
        **segment.model_dump(exclude={"mask", "bbox_xywh"}),
        bbox_xywh=segment.bbox_xywh,
        mask=coco_rle_from_mask(segment.mask) if segment.mask else None,
    )
