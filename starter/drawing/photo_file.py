"""Writing photos like a camera: JPEG, PNG, WebP or HEIC, with EXIF, sometimes stored rotated."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

JPEG_QUALITY = 88
HEIC_QUALITY = 75

# Transposes of upright pixels that the EXIF orientation reverses.
STORED_BY_ORIENTATION = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True)
class Camera:
    """A fictional camera; `utc_offset` is None if it does not write one."""

    make: str
    model: str
    utc_offset: str | None = None


@dataclass(frozen=True)
class Capture:
    """A photo's EXIF data; orientation 1, 3, 6 or 8, location in degrees north and east."""

    taken_at: datetime
    camera: Camera
    orientation: int = 1
    latitude_longitude: tuple[float, float] | None = None


def save_photo(upright: NDArray[np.uint8], capture: Capture, path: Path) -> None:
    """Write (h, w, 3) upright pixels in the format of the suffix, dated as they were taken."""
    photo = Image.fromarray(upright)
    if capture.orientation != 1:
        photo = photo.transpose(STORED_BY_ORIENTATION[capture.orientation])
    exif = _exif(capture).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".heic":
        pillow_heif.from_pillow(photo).save(path, quality=HEIC_QUALITY, exif=exif)
    elif path.suffix.lower() == ".png":
        photo.save(path, exif=exif)
    else:
        photo.save(path, quality=JPEG_QUALITY, exif=exif)
    seconds = capture.taken_at.replace(tzinfo=UTC).timestamp()
    os.utime(path, (seconds, seconds))


def _exif(capture: Capture) -> Image.Exif:
    exif = Image.Exif()
    moment = f"{capture.taken_at:%Y:%m:%d %H:%M:%S}"
    exif[Base.Make] = capture.camera.make
    exif[Base.Model] = capture.camera.model
    exif[Base.DateTime] = moment
    if capture.orientation != 1:
        exif[Base.Orientation] = capture.orientation
    details = exif.get_ifd(IFD.Exif)
    details[Base.DateTimeOriginal] = moment
    if capture.camera.utc_offset:
        details[Base.OffsetTimeOriginal] = capture.camera.utc_offset
    if capture.latitude_longitude:
        exif.get_ifd(IFD.GPSInfo).update(_gps(*capture.latitude_longitude))
    return exif


def _gps(latitude: float, longitude: float) -> dict[int, str | tuple[float, float, float]]:
    return {
        GPS.GPSLatitudeRef: "N" if latitude >= 0 else "S",
        GPS.GPSLatitude: _degrees_minutes_seconds(abs(latitude)),
        GPS.GPSLongitudeRef: "E" if longitude >= 0 else "W",
        GPS.GPSLongitude: _degrees_minutes_seconds(abs(longitude)),
    }


def _degrees_minutes_seconds(degrees: float) -> tuple[float, float, float]:
    whole = Fraction(degrees).limit_denominator(360_000)
    minutes = whole % 1 * 60
    return float(int(whole)), float(int(minutes)), round(float(minutes % 1 * 60), 2)
