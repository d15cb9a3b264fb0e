"""The records of segsearch: frozen, and validated on construction.

Coordinates are pixels of the upright photo (EXIF orientation applied), x to the right and y down.
A box's format is part of its name.
"""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

NAMESPACE = uuid.UUID("5e95ea7c-4000-5000-8000-7365677365a7")  # never changes: ids derive from it

UNIT_TOLERANCE = 1e-3  # how far the length of a vector may be from 1
CANONICAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

RgbImage = NDArray[np.uint8]  # (h, w, 3)
MaskArray = NDArray[np.bool_]  # (h, w)
Vectors = NDArray[np.float32]  # (n, dim), rows of unit length
# Where the date of a photo comes from. file: its modification time; unknown: an old library.
DateSource = Literal["exif", "xmp", "png text", "file", "unknown"]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _checked_uuid(text: str) -> str:
    if CANONICAL.fullmatch(text):  # the fast path: a search reads thousands
        return text
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is not an id: ids are UUIDs") from error


Id = Annotated[str, AfterValidator(_checked_uuid), Field(json_schema_extra={"format": "uuid"})]


class Record(BaseModel):
    """A frozen model without unknown fields, NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Box(NamedTuple):
    """A box as SAM writes it: left, top, width, height, in pixels of the upright photo."""

    x: float
    y: float
    w: float
    h: float

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return self.x, self.y, self.x + self.w, self.y + self.h


class Place(Record):
    """A point on Earth, in degrees (WGS 84)."""

    lat: Annotated[float, Field(ge=-90, le=90)]
    lon: Annotated[float, Field(ge=-180, le=180)]


class Mask(Record):
    """A mask as COCO's compressed run-length encoding, at `size_wh` pixels."""

    size_wh: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    counts: Annotated[str, Field(min_length=1)]


class PhotoFacts(Record):
    """Metadata of a photo for filters; it can change without a new segmentation."""

    sort_at: datetime
    date_source: DateSource = "unknown"
    camera: str | None = None
    location: Place | None = None
    folders: tuple[str, ...] = ()  # "ROOT_ID/sub/folder", one entry per folder and its parents
    hidden: bool = False  # its file is gone, though its root folder exists

    @model_validator(mode="after")
    def _has_offset(self) -> PhotoFacts:
        if self.sort_at.tzinfo is None:
            raise ValueError("sort_at needs a UTC offset")
        return self

    @property
    def taken_at(self) -> datetime | None:
        """When the photo was taken; None if unknown."""
        return None if self.date_source == "file" else self.sort_at

    @property
    def local_at(self) -> datetime | None:
        """The same in local time of the photo, without an offset, for filters by day and month."""
        return self.taken_at and self.taken_at.replace(tzinfo=None)

    @property
    def year_month(self) -> str:
        """`YYYY-MM`, in the photo's own local time."""
        return f"{self.sort_at.year:04}-{self.sort_at.month:02}"  # %Y does not pad in every C


class Photo(Record):
    """A photo in the index."""

    photo_id: Id
    size_wh: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    facts: PhotoFacts
    segmented_with: str | None = None  # fingerprint; None: not segmented yet
    segment_count: Annotated[int, Field(ge=0)] = 0


class Segment(Record):
    """A mask of a photo, with SAM's own metadata."""

    segment_id: Id
    photo_id: Id
    bbox_xywh: Box
    area_px: Annotated[int, Field(gt=0)]
    area_fraction: Annotated[float, Field(gt=0, le=1)]
    predicted_iou: float
    stability_score: float
    point_xy: tuple[float, float]
    mask: Mask | None = None  # None unless requested


class Hit(Record):
    """A segment and its cosine similarity to the query, -1..1."""

    score: float
    segment: Segment


class PhotoHit(Record):
    """A whole photo and its cosine similarity to the query, -1..1."""

    score: float
    photo: Photo


class GeoCircle(Record):
    """Everything within `radius_m` meters of a place."""

    center: Place
    radius_m: Annotated[float, Field(gt=0)]


def moment_from_text(text: str) -> datetime:
    """Parse a year, month, day or moment; without a UTC offset it is local time of the photos.

    Raises:
        ValueError: another format.
    """
    if re.fullmatch(r"\d{4}(-\d\d)?", text):
        text = f"{text}-01" if "-" in text else f"{text}-01-01"
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a date such as 2024-05-31") from error


def _moment_from_json(value: object) -> object:
    """Parse a date; numbers are refused, as they might be years or seconds."""
    if isinstance(value, str):
        return moment_from_text(value)
    if isinstance(value, int | float):
        raise ValueError("a date is a text such as 2024-05-31")
    return value


Moment = Annotated[datetime, BeforeValidator(_moment_from_json)]


class SearchFilter(Record):
    """A filter for segments and photos; all given conditions must hold."""

    photo_ids: tuple[Id, ...] | None = None
    folder: str | None = None  # "ROOT_ID" or "ROOT_ID/sub/folder", subfolders included
    # Without a UTC offset: local time of the photo. With one: a moment. Undated photos never match.
    taken_from: Moment | None = None
    taken_before: Moment | None = None
    undated: bool | None = None  # True: only photos without a date; False: only others
    camera: str | None = None
    near: GeoCircle | None = None
    min_area_fraction: Fraction | None = None
    max_area_fraction: Fraction | None = None
    min_predicted_iou: float | None = None
    min_stability_score: float | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> SearchFilter:
        for name in ("folder", "camera"):
            text = getattr(self, name)
            if text is not None and not is_text(text):
                raise ValueError(f"{name} is not valid Unicode")
        start, end = self.taken_from, self.taken_before
        if start and end and (start.tzinfo is None) == (end.tzinfo is None) and start >= end:
            raise ValueError("taken_from must be earlier than taken_before")
        low, high = self.min_area_fraction, self.max_area_fraction
        if low is not None and high is not None and low > high:
            raise ValueError("min_area_fraction must not be larger than max_area_fraction")
        return self

    @property
    def is_about_segments(self) -> bool:
        """True if a condition applies to segments only, so no unsegmented photo can match."""
        return any(
            part is not None
            for part in (
                self.min_area_fraction,
                self.max_area_fraction,
                self.min_predicted_iou,
                self.min_stability_score,
            )
        )


def is_text(text: str) -> bool:
    """True if a text can be encoded in UTF-8, that is, has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def photo_id_from_digest(pixel_sha256: str) -> str:
    """Id of the photo whose upright pixels have this SHA-256 (hex)."""
    return str(uuid.uuid5(NAMESPACE, f"photo:{pixel_sha256}"))


class MaskOrigin(NamedTuple):
    """The prompt that a mask comes from: crop, point and index of the candidate.

    Unlike the pixels of the mask it does not depend on rounding.
    """

    crop_xyxy: tuple[int, int, int, int]  # in pixels of the photo
    point_xy: tuple[float, float]  # in pixels of the photo
    candidate: int  # index among the masks that the decoder gave for the point


def segment_id_from_origin(photo_id: str, segmented_with: str, origin: MaskOrigin) -> str:
    """Id of the segment that a prompt gave in a photo.

    Args:
        photo_id: the photo.
        segmented_with: fingerprint of the segmenter and the mask settings.
        origin: which crop, point and candidate; the point is rounded to 1/100 pixel.
    """
    crop = ",".join(map(str, origin.crop_xyxy))
    x, y = origin.point_xy
    prompt = f"{crop}:{x:.2f},{y:.2f}:{origin.candidate}"
    return str(uuid.uuid5(NAMESPACE, f"segment:{photo_id}:{segmented_with}:{prompt}"))


def checked_vectors(vectors: NDArray[Any], count: int) -> Vectors:
    """Validate vectors and convert them to (count, dim) float32.

    Raises:
        ValueError: another shape, a value that is not finite, or a row not of unit length.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[0] != count:
        raise ValueError(f"expected ({count}, dim) vectors, got {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("a vector holds a value that is not finite")
    lengths = np.linalg.norm(rows, axis=1)
    if count and np.abs(lengths - 1.0).max() > UNIT_TOLERANCE:
        worst = lengths[np.argmax(np.abs(lengths - 1.0))]
        raise ValueError(f"vectors must have unit length, got one of {worst:.4g}")
    return rows


def folder_chain(folder: str) -> tuple[str, ...]:
    """A folder and its parents, outermost first: a/b/c -> a, a/b, a/b/c."""
    parts = folder.split("/")
    return tuple("/".join(parts[: i + 1]) for i in range(len(parts)))
