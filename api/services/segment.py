"""Prompts on a photo become candidate masks."""

from __future__ import annotations

from api.library.library import Library
from api.library.models import load_segmenter
from api.schemas.prompts import CandidateOut, PromptIn, SegmentRequest, SegmentResponse
from api.services.prompts import prompt_from_request
from api.services.search import picture
from api.settings import Settings
from ingest.imaging.decode import pixel_sha256
from ingest.segmentation.sam2 import EncodedPhoto
from ingest.segmentation.types import MaskParameters, SegmentedMask, with_pixels
from search.errors import UsageError
from search.masks.rle import coco_rle_from_mask
from search.records import RgbImage, photo_id_from_digest


def segment(library: Library, request: SegmentRequest) -> SegmentResponse:
    """Cut what a prompt means out of a photo of the library, or out of a picture that was sent.

    A photo is decoded and encoded once; further clicks on it cost one pass of the mask decoder.

    Raises:
        UnknownIdError: there is no such photo.
        PhotoError: its file is out of reach, or the picture can't be decoded.
        UsageError: the prompt lies outside the picture.
        NoMaskError: nothing there answers the prompt.
    """
    if request.photo_id is None:
        rgb = picture(library, None, request.image_base64)
        return segment_picture(library, rgb, request.prompt, request.candidates)
    stored = library.ledger().photo(request.photo_id).photo
    prompt_from_request(request.prompt).checked(stored.size_wh)  # before the photo is encoded
    photo_id = stored.photo_id
    photo = library.encoded.get(photo_id, lambda: picture(library, photo_id, None))
    return _response(photo, request.prompt, request.candidates)


def segment_picture(
    library: Library, rgb: RgbImage, prompt: PromptIn, candidates: int
) -> SegmentResponse:
    """Cut what a prompt means out of a picture, (h, w, 3).

    Raises:
        UsageError: the prompt is empty, or lies outside the picture.
        NoMaskError: nothing there answers the prompt.
    """
    if prompt.is_empty:
        raise UsageError("say what is meant: give at least one point, a box or a mask")
    prompt_from_request(prompt).checked((rgb.shape[1], rgb.shape[0]))
    photo_id = photo_id_from_digest(pixel_sha256(rgb))
    return _response(library.encoded.get(photo_id, lambda: rgb), prompt, candidates)


def _response(photo: EncodedPhoto, prompt: PromptIn, candidates: int) -> SegmentResponse:
    cut = photo.masks(prompt_from_request(prompt), candidates=candidates)[:candidates]
    found = tuple(_candidate_out(each) for each in with_pixels(cut))
    return SegmentResponse(size_wh=photo.size_wh, candidates=found)


def _candidate_out(cut: SegmentedMask) -> CandidateOut:
    return CandidateOut(
        segmentation=coco_rle_from_mask(cut.mask),
        bbox_xywh=cut.bbox_xywh,
        area_px=cut.area_px,
        predicted_iou=cut.predicted_iou,
        stability_score=cut.stability_score,
    )


def segment_without_library(
    rgb: RgbImage, prompt: PromptIn, settings: Settings, candidates: int
) -> list[SegmentedMask]:
    """Return every mask of a picture (h, w, 3), or the candidates for a prompt, best first.

    Raises:
        UsageError: the prompt lies outside the picture.
        NoMaskError: nothing there answers the prompt.
        ModelError: the segmenter can't be had.
    """
    if prompt.is_empty:
        return load_segmenter(settings).automatic(rgb, MaskParameters.from_settings(settings))
    # looked at first: a mistake should not have to wait until the model is loaded
    meant = prompt_from_request(prompt).checked((rgb.shape[1], rgb.shape[0]))
    return with_pixels(load_segmenter(settings).encode(rgb).masks(meant, candidates=candidates))
