"""A search as a person puts it: requests become queries, hits get paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from api.library.index.ownership import served_owner
from api.library.index.remote_index import ask_owner
from api.library.library import Library
from api.render.photo_pixels import bytes_from_base64, decode_upload, photo_pixels
from api.schemas.prompts import PromptIn
from api.schemas.search import (
    CoverageOut,
    ExampleIn,
    GroupOut,
    HitOut,
    SearchOptions,
    SearchRequest,
    SearchResponse,
)
from api.services.prompts import cut_under_prompt, segment_in_box, segment_of_cut
from api.services.responses import hits_out, uncut_out
from ingest.imaging.decode import pixel_sha256
from search.errors import UsageError
from search.query import (
    Example,
    PhotoExample,
    PictureExample,
    Query,
    SegmentExample,
    TextExample,
)
from search.records import RgbImage, photo_id_from_digest


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
            uncut=uncut_out(library, page.uncut),
            coverage=said,
        )
    flat = finder.search(query)
    return SearchResponse(
        hits=tuple(hits_out(library, flat.hits)),
        cursor=flat.cursor,
        uncut=uncut_out(library, flat.uncut),
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


def search_through_owner(library: Library, request: SearchRequest) -> SearchResponse:
    """Search here, or let the process answer that serves the library: its models are loaded.

    Raises:
        UsageError, UnknownIdError: the request makes no sense in this library.
        PhotoError: a picture in it can't be decoded.
    """
    owner = None if library.settings.qdrant else served_owner(library.folder)
    if owner is None:
        return search(library, request)
    sent = request.model_dump(mode="json")
    return SearchResponse.model_validate_json(ask_owner(owner, "/v1/search", sent))
