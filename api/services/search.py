"""A search as a person puts it: requests become queries, hits get paths."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict

from api.library.library import Library
from api.schemas.all import (
    CoverageOut,
    ExampleIn,
    GroupOut,
    HitOut,
    PhotoOut,
    PromptIn,
    SearchOptions,
    SearchRequest,
    SearchResponse,
    SegmentOut,
    WholePhotoOut,
)
from api.services.prompts import cut_under_prompt, segment_in_box, segment_of_cut
from api.tracing import stage
from ingest.catalog.records import PhotoRow
from ingest.imaging.decode import decode_bytes, decode_pixels, path_text, pixel_sha256, shown_path
from search.errors import PhotoError, UsageError
from search.masks.rle import coco_rle_from_mask
from search.query import (
    Example,
    PhotoExample,
    PictureExample,
    Query,
    SegmentExample,
    TextExample,
)
from search.records import Hit, PhotoHit, RgbImage, Segment, photo_id_from_digest

BASE64_PIECE = 1 << 20  # 4 ms; a multiple of the four characters that stand for three bytes


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
    coverage = library.ledger().coverage()
    query = _query(examples, options, with_uncut=coverage is not None)
    said = CoverageOut(**asdict(coverage)) if coverage else None
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
        return SearchResponse(
            hits=(),
            groups=groups,
            cursor=page.cursor,
            uncut=_uncut_out(library, page.uncut),
            coverage=said,
        )
    flat = finder.search(query)
    return SearchResponse(
        hits=tuple(hits_out(library, flat.hits)),
        cursor=flat.cursor,
        uncut=_uncut_out(library, flat.uncut),
        coverage=said,
    )


def examples_from_request(library: Library, request: SearchRequest) -> list[Example]:
    """Return what a request looks for: pictures are decoded, prompts become masks."""
    examples: list[Example] = []
    if request.text is not None:
        examples.append(TextExample(request.text))
    signed = [(each, each.weight) for each in request.positive]
    signed += [(each, -each.weight) for each in request.negative]
    pictures, most = list[RgbImage](), library.settings.max_upload_pixels
    for each, weight in signed:
        example = _example(library, each, weight)
        examples.append(example)
        if isinstance(example, PictureExample):
            pictures.append(example.rgb)
        if len(pictures) > 1 and sum(rgb.shape[0] * rgb.shape[1] for rgb in pictures) > most:
            raise UsageError(
                f"the pictures of a search have more than {most:,} pixels together "
                "(max_upload_pixels): send fewer or smaller ones"
            )
    return examples


def _query(examples: Sequence[Example], options: SearchOptions, *, with_uncut: bool) -> Query:
    return Query(
        examples=examples,
        where=options.filter,
        limit=options.limit,
        cursor=options.cursor,
        min_score=options.min_score,
        distinct=options.distinct,
        diversity=options.diversity,
        with_masks=options.with_masks,
        with_uncut=with_uncut,
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
    stored = library.index().segments_of(photo_id, with_masks=True)
    same = segment_in_box(stored, prompt)
    if same is not None:  # without the segmenter
        return SegmentExample(same.segment_id, weight)
    cut = cut_under_prompt(library.encoded.get(photo_id, lambda: rgb), prompt)
    same = segment_of_cut(stored, cut)
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
        sent = bytes_from_base64(image_base64 or "")
    except ValueError as error:
        raise UsageError(f"image_base64 is not base64: {error}") from error
    return decode_upload(library, sent, "the picture that was sent")


def bytes_from_base64(text: str) -> bytes:
    """Decode base64 piece by piece, so that other threads get their turn in between.

    Raises:
        ValueError: it is not base64.
    """
    pieces = (text[at : at + BASE64_PIECE] for at in range(0, len(text), BASE64_PIECE))
    return b"".join(base64.b64decode(piece, validate=True) for piece in pieces)


def photo_pixels(library: Library, row: PhotoRow, at_least_px: int | None = None) -> RgbImage:
    """Return the upright pixels of a photo of the library, to be shown.

    Args:
        library: whose limits hold.
        row: the photo.
        at_least_px: this long side will do: it may come smaller than the photo, and sooner.

    Raises:
        PhotoError: its file is out of reach or can't be decoded.
    """
    if row.path is None:
        raise PhotoError(
            f"no file of photo {row.photo.photo_id} is in reach. Put it back and run "
            "`segsearch ingest`, or forget it with `segsearch remove --missing`."
        )
    settings = library.settings
    with stage("picture"):
        decoded = decode_pixels(
            row.path,
            max_pixels=settings.max_pixels,
            max_bytes=settings.max_bytes,
            at_least_px=at_least_px,
        )
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
    with stage("picture"):
        return decode_bytes(
            sent,
            max_pixels=settings.max_upload_pixels,
            max_bytes=settings.max_upload_bytes,
            name=name,
        ).rgb


def hits_out(library: Library, hits: Sequence[Hit]) -> list[HitOut]:
    """Give hits the paths of their photos."""
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


def _uncut_out(library: Library, hits: Sequence[PhotoHit]) -> tuple[WholePhotoOut, ...]:
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
    """Return a photo as it is shown."""
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
    """Return a segment as it is shown."""
    return SegmentOut(
        **segment.model_dump(exclude={"mask", "bbox_xywh"}),
        bbox_xywh=segment.bbox_xywh,
        mask=coco_rle_from_mask(segment.mask) if segment.mask else None,
    )
