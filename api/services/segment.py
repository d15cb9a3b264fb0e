"""Segmentation of a photo by a prompt, or as a whole."""

from __future__ import annotations

from api.library.library import Library
from api.library.models import load_segmenter
from api.schemas.prompts import CandidateOut, PromptIn, SegmentRequest, SegmentResponse
from api.services.prompts import prompt_from_request
from api.services.search import load_image
from api.settings import Settings
from ingest.imaging.decode import pixel_sha256
from ingest.segmentation.sam2 import EncodedPhoto
from ingest.segmentation.types import MaskParameters, SegmentedMask, with_pixels
from search.errors import UsageError
from search.masks.rle import coco_rle_from_mask
from search.records import RgbImage, photo_id_from_digest


def segment(library: Library, request: SegmentRequest) -> SegmentResponse:
    """Return candidate masks for a prompt on a photo of the library or on an uploaded image.

    A photo is decoded and encoded once; further prompts cost one pass of the mask decoder.

    Raises:
        UnknownIdError: there is no such photo.
        PhotoError: the photo's file is unavailable, or the image can't be decoded.
        UsageError: the prompt is outside the image.
        NoMaskError: there is no mask for the prompt.
    """
    if request.photo_id is None:
        rgb = load_image(library, None, request.image_base64)
        return segment_image(library, rgb, request.prompt, request.candidates)
    stored = library.ledger().photo(request.photo_id).photo
    prompt_from_request(request.prompt).checked(stored.size_wh)  # before the photo is encoded
    photo_id = stored.photo_id
    photo = library.encoded.get(photo_id, lambda: load_image(library, photo_id, None))
    return _response(photo, request.prompt, request.candidates)


def segment_image(
    library: Library, rgb: RgbImage, prompt: PromptIn, candidates: int
) -> SegmentResponse:
    """Return candidate masks for a prompt on an image (h, w, 3).

    Raises:
        UsageError: the prompt is empty or outside the image.
        NoMaskError: there is no mask for the prompt.
    """
    if prompt.is_empty:
        raise UsageError("the prompt is empty: give at least one point, a box or a mask")
    prompt_from_request(prompt).checked((rgb.shape[1], rgb.shape[0]))
    photo_id = photo_id_from_digest(pixel_sha256(rgb))
    return _response(library.encoded.get(photo_id, lambda: rgb), prompt, candidates)


def _response(photo: EncodedPhoto, prompt: PromptIn, candidates: int) -> SegmentResponse:
    masks = photo.masks(prompt_from_request(prompt), candidates=candidates)[:candidates]
    found = tuple(_candidate_out(mask) for mask in with_pixels(masks))
    return SegmentResponse(size_wh=photo.size_wh, candidates=found)


def _candidate_out(mask: SegmentedMask) -> CandidateOut:
    return CandidateOut(
        segmentation=coco_rle_from_mask(mask.mask),
        bbox_xywh=mask.bbox_xywh,
        area_px=mask.area_px,
        predicted_iou=mask.predicted_iou,
        stability_score=mask.stability_score,
    )


def segment_without_library(
    rgb: RgbImage, prompt: PromptIn, settings: Settings, candidates: int
) -> list[SegmentedMask]:
    """Return every mask of an image (h, w, 3), or the candidates for a prompt, best first.

    Raises:
        UsageError: the prompt is outside the image.
        NoMaskError: there is no mask for the prompt.
        ModelError: the segmenter can't be loaded.
    """
    if prompt.is_empty:
        return load_segmenter(settings).automatic(rgb, MaskParameters.from_settings(settings))
    # checked before the model is loaded, which takes seconds
    checked = prompt_from_request(prompt).checked((rgb.shape[1], rgb.shape[0]))
    return with_pixels(load_segmenter(settings).encode(rgb).masks(checked, candidates=candidates))
