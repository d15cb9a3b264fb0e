"""Search: convert requests to queries, and hits to responses."""

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
from api.services.prompts import best_mask, segment_in_box, segment_of_mask
from api.services.responses import hits_out, whole_photos_out
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
    """Run a search request.

    Raises:
        UsageError, UnknownIdError: the request is invalid for this library.
        PhotoError: an image in it can't be decoded.
    """
    return search_examples(library, examples_from_request(library, request), request)


def search_examples(
    library: Library, examples: Sequence[Example], options: SearchOptions
) -> SearchResponse:
    """Search for examples.

    Raises:
        UsageError, UnknownIdError: the examples or options are invalid for this library.
    """
    coverage = library.ledger().coverage()
    query = _query(examples, options, with_uncut=coverage is not None)
    coverage_out = CoverageOut(**asdict(coverage)) if coverage else None
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
            uncut=whole_photos_out(library, page.uncut),
            coverage=coverage_out,
        )
    flat = finder.search(query)
    return SearchResponse(
        hits=tuple(hits_out(library, flat.hits)),
        cursor=flat.cursor,
        uncut=whole_photos_out(library, flat.uncut),
        coverage=coverage_out,
    )


def examples_from_request(library: Library, request: SearchRequest) -> list[Example]:
    """Convert the text and examples of a request: decodes images and resolves prompts.

    Raises:
        UsageError, UnknownIdError: an example is invalid for this library.
        PhotoError: an image can't be decoded.
    """
    examples: list[Example] = []
    if request.text is not None:
        examples.append(TextExample(request.text))
    signed = [(each, each.weight) for each in request.positive]
    signed += [(each, -each.weight) for each in request.negative]
    images, max_pixels = list[RgbImage](), library.settings.max_upload_pixels
    for each, weight in signed:
        example = _example(library, each, weight)
        examples.append(example)
        if isinstance(example, PictureExample):
            images.append(example.rgb)
        if len(images) > 1 and sum(rgb.shape[0] * rgb.shape[1] for rgb in images) > max_pixels:
            raise UsageError(
                f"the images of a search have more than {max_pixels:,} pixels together "
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
    rgb = load_image(library, example.photo_id, example.image_base64)
    return image_example(library, rgb, example.prompt, weight, example.photo_id)


def image_example(
    library: Library,
    rgb: RgbImage,
    prompt: PromptIn,
    weight: float = 1.0,
    photo_id: str | None = None,
) -> Example:
    """The whole image (h, w, 3), or its segment for a prompt, as an example.

    A mask that matches a stored segment becomes that segment.

    Raises:
        UsageError: there is no mask for the prompt, or it is outside the image.
    """
    if prompt.is_empty:
        return PictureExample(rgb, weight=weight)
    photo_id = photo_id or photo_id_from_digest(pixel_sha256(rgb))
    stored = library.index().segments_of(photo_id, with_masks=True)
    same = segment_in_box(stored, prompt)
    if same is not None:  # no need for the segmenter
        return SegmentExample(same.segment_id, weight)
    mask = best_mask(library.encoded.get(photo_id, lambda: rgb), prompt)
    same = segment_of_mask(stored, mask)
    if same is not None:
        return SegmentExample(same.segment_id, weight)
    return PictureExample(rgb, mask.mask, mask.bbox_xywh, weight)


def load_image(library: Library, photo_id: str | None, image_base64: str | None) -> RgbImage:
    """The upright pixels of a photo of the library, or of an uploaded image.

    Raises:
        UnknownIdError: there is no such photo.
        UsageError: image_base64 is malformed.
        PhotoError: the photo's file is unavailable, or the image can't be decoded.
    """
    if photo_id is not None:
        return photo_pixels(library, library.ledger().photo(photo_id))
    try:
        content = bytes_from_base64(image_base64 or "")
    except ValueError as error:
        raise UsageError(f"image_base64 is not base64: {error}") from error
    return decode_upload(library, content, "the uploaded image")


def search_through_owner(library: Library, request: SearchRequest) -> SearchResponse:
    """Search in the process that serves the library, whose models are loaded, or else here.

    Raises:
        UsageError, UnknownIdError: the request is invalid for this library.
        PhotoError: an image in it can't be decoded.
    """
    owner = None if library.settings.qdrant else served_owner(library.folder)
    if owner is None:
        return search(library, request)
    body = request.model_dump(mode="json")
    return SearchResponse.model_validate_json(ask_owner(owner, "/v1/search", body))
