"""Prompts on a photo become candidate masks."""

from __future__ import annotations

from api.library import Library
from api.meant import prompt_from_request
from api.schemas import CandidateOut, PromptIn, SegmentRequest, SegmentResponse
from api.searching import picture
from ingest.cutting import CutMask
from ingest.photos import pixel_sha256
from ingest.segmenter import EncodedPhoto
from search.errors import UsageError
from search.masks import coco_rle_from_mask
from search.records import RgbImage, photo_id_from_digest


def segment(library: Library, request: SegmentRequest) -> SegmentResponse:
    """Cut what a prompt means out of a photo of the library, or out of a picture that was sent.

    A photo is decoded and encoded once; further clicks on it cost one pass of the mask decoder.

    Raises:
        UnknownIdError: there is no such photo.
        PhotoError: its file is out of reach, or the picture can't be decoded.
        UsageError: the prompt lies outside the picture.
    """
    if request.photo_id is None:
        rgb = picture(library, None, request.image_base64)
        return segment_picture(library, rgb, request.prompt, request.candidates)
    photo_id = library.ledger().photo(request.photo_id).photo.photo_id
    photo = library.encoded.get(photo_id, lambda: picture(library, photo_id, None))
    return _response(photo, request.prompt, request.candidates)


def segment_picture(
    library: Library, rgb: RgbImage, prompt: PromptIn, candidates: int
) -> SegmentResponse:
    """Cut what a prompt means out of a picture, (h, w, 3).

    Raises:
        UsageError: the prompt is empty, or lies outside the picture.
    """
    if prompt.is_empty:
        raise UsageError("say what is meant: give at least one point, a box or a mask")
    photo_id = photo_id_from_digest(pixel_sha256(rgb))
    return _response(library.encoded.get(photo_id, lambda: rgb), prompt, candidates)


def _response(photo: EncodedPhoto, prompt: PromptIn, candidates: int) -> SegmentResponse:
    cut = photo.masks(prompt_from_request(prompt), candidates=candidates)[:candidates]
    found = tuple(_candidate_out(each) for each in cut if each.area_px > 0)
    return SegmentResponse(size_wh=photo.size_wh, candidates=found)


def _candidate_out(cut: CutMask) -> CandidateOut:
    return CandidateOut(
        segmentation=coco_rle_from_mask(cut.mask),
        bbox_xywh=cut.bbox_xywh,
        area_px=cut.area_px,
        predicted_iou=cut.predicted_iou,
        stability_score=cut.stability_score,
    )
