"""Vectors of segments and photos: crops, then the encoder."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from search.models.crops import View, photo_view, views
from search.models.encoder import Encoder, encode_segments
from search.records import Box, Mask, RgbImage, Vectors
from search.settings import CropRecipe
from search.threads import shared_map


def segment_vectors(
    encoder: Encoder, rgb: RgbImage, masks: Sequence[tuple[Mask, Box]], recipe: CropRecipe
) -> Vectors:
    """(n, dim) vectors of segments of one photo (h, w, 3); no segments give (0, dim)."""
    photo = Image.fromarray(rgb)  # once: cropping from an array would copy it for each segment

    def views_of(segment: tuple[Mask, Box]) -> list[View]:
        return views(photo, *segment, recipe, size_px=encoder.input_px, fill_rgb=encoder.mean_rgb)

    return encode_segments(encoder, shared_map(views_of, masks))


def photo_vector(encoder: Encoder, rgb: RgbImage) -> Vectors:
    """(1, dim) vector of a whole photo (h, w, 3)."""
    view = photo_view(rgb, size_px=encoder.input_px, fill_rgb=encoder.mean_rgb)
    return encoder.encode_crops([view])
