"""From pixels to the vectors that are stored and searched with: crops, then the encoder."""

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
    """Return the (n, dim) vectors of segments of one photo (h, w, 3); none gives (0, dim)."""
    photo = Image.fromarray(rgb)  # once: cutting from an array would copy it for each segment

    def seen(of: tuple[Mask, Box]) -> list[View]:
        return views(photo, *of, recipe, size_px=encoder.input_px, fill_rgb=encoder.mean_rgb)

    return encode_segments(encoder, shared_map(seen, masks))


def photo_vector(encoder: Encoder, rgb: RgbImage) -> Vectors:
    """Return the (1, dim) vector of a whole photo (h, w, 3)."""
    view = photo_view(rgb, size_px=encoder.input_px, fill_rgb=encoder.mean_rgb)
    return encoder.encode_crops([view])
