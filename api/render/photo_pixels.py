"""Decoded pixels: of a photo of the library, or of a picture that a client sent."""

from __future__ import annotations

import base64

from api.library.library import Library
from api.tracing import stage
from ingest.catalog.records import PhotoRow
from ingest.imaging.decode import decode_bytes, decode_pixels, shown_path
from search.errors import PhotoError
from search.records import RgbImage

BASE64_PIECE = 1 << 20  # 4 ms; a multiple of the four characters that stand for three bytes


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
