"""The records that everything else speaks of: frozen, and checked when they are made.

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

NAMESPACE = uuid.UUID("5e95ea7c-4000-5000-8000-7365677365a7")  # fixed for ever: ids derive from it

UNIT_TOLERANCE = 1e-3  # a vector's length may be so far from 1
CANONICAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

RgbImage = NDArray[np.uint8]  # (h, w, 3)
MaskArray = NDArray[np.bool_]  # (h, w)
Vectors = NDArray[np.float32]  # (n, dim), rows of unit length
# Who says when a photo was taken. file: nobody, so it is the file's time; unknown: nobody knows.
DateSource = Literal["exif", "xmp", "png text", "file", "unknown"]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _checked_uuid(text: str) -> str:
    if CANONICAL.fullmatch(text):  # as all stored ones are, of which a search reads thousands
        return text
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is not an id: ids are UUIDs") from error


Id = Annotated[str, AfterValidator(_checked_uuid), Field(json_schema_extra={"format": "uuid"})]


class Record(BaseModel):
    """A frozen value that refuses unknown fields and values that are not finite."""

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
    """What a filter needs to know of a photo; it may change without segmenting anew."""

    sort_at: datetime
    date_source: DateSource = "unknown"
    camera: str | None = None
    location: Place | None = None
    folders: tuple[str, ...] = ()  # "ROOT_ID/sub/folder", one entry per folder and its parents
    hidden: bool = False  # its file is gone from a root that is present

    @model_validator(mode="after")
    def _has_offset(self) -> PhotoFacts:
        if self.sort_at.tzinfo is None:
            raise ValueError("sort_at needs a UTC offset")
        return self

    @property
    def taken_at(self) -> datetime | None:
        """When the photo was taken; None if nothing says so."""
        return None if self.date_source == "file" else self.sort_at

    @property
    def local_at(self) -> datetime | None:
        """The same by the photo's own clock, without an offset: what days and months are."""
        return self.taken_at and self.taken_at.replace(tzinfo=None)

    @property
    def year_month(self) -> str:
        """`YYYY-MM`, in the photo's own local time."""
        return f"{self.sort_at.year:04}-{self.sort_at.month:02}"  # %Y does not pad in every C


class Photo(Record):
    """A photo whose segments are in the library."""

    photo_id: Id
    size_wh: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    facts: PhotoFacts
    segmented_with: str | None = None  # fingerprint of models and recipe; None: not finished
    segment_count: Annotated[int, Field(ge=0)] = 0


class Segment(Record):
    """One mask of one photo, in SAM's own words."""

    segment_id: Id
    photo_id: Id
    bbox_xywh: Box
    area_px: Annotated[int, Field(gt=0)]
    area_fraction: Annotated[float, Field(gt=0, le=1)]
    predicted_iou: float
    stability_score: float
    point_xy: tuple[float, float]
    mask: Mask | None = None  # left out of search results unless asked for


class Hit(Record):
    """A segment that was found, and how similar it is (cosine, -1..1)."""

    score: float
    segment: Segment


class PhotoHit(Record):
    """A whole photo that was found, and how similar it is (cosine, -1..1)."""

    score: float
    photo: Photo


class GeoCircle(Record):
    """Everything within `radius_m` metres of a place."""

    center: Place
    radius_m: Annotated[float, Field(gt=0)]


def moment_from_text(text: str) -> datetime:
    """Read a year, month, day or moment; without a UTC offset it is the photos' own wall time.

    Raises:
        ValueError: it is something else.
    """
    if re.fullmatch(r"\d{4}(-\d\d)?", text):
        text = f"{text}-01" if "-" in text else f"{text}-01-01"
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a date such as 2024-05-31") from error


def _moment_from_json(value: object) -> object:
    """Read a date as text; a number, which might be a year or seconds, is none."""
    if isinstance(value, str):
        return moment_from_text(value)
    if isinstance(value, int | float):
        raise ValueError("a date is a text such as 2024-05-31")
    return value


Moment = Annotated[datetime, BeforeValidator(_moment_from_json)]


class SearchFilter(Record):
    """Which segments count. Every part that is given must hold."""

    photo_ids: tuple[Id, ...] | None = None
    folder: str | None = None  # "ROOT_ID" or "ROOT_ID/sub/folder"; what lies below counts too
    # Without a UTC offset: by the photo's own clock, as days and months are. With one: moments.
    # Undated photos are within no span.
    taken_from: Moment | None = None
    taken_before: Moment | None = None
    undated: bool | None = None  # only photos of which nothing says when they were taken; or others
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
                raise ValueError(f"{name} holds what is no Unicode text")
        start, end = self.taken_from, self.taken_before
        if start and end and (start.tzinfo is None) == (end.tzinfo is None) and start >= end:
            raise ValueError("taken_from must be earlier than taken_before")
        low, high = self.min_area_fraction, self.max_area_fraction
        if low is not None and high is not None and low > high:
            raise ValueError("min_area_fraction must not be larger than max_area_fraction")
        return self

    @property
    def is_about_segments(self) -> bool:
        """Say whether a part of it can't be answered for a photo that is not cut yet."""
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
    """Say whether a text can be stored: one with half a surrogate pair can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def photo_id_from_digest(pixel_sha256: str) -> str:
    """Return the id of the photo whose upright pixels have this SHA-256 (hex)."""
    return str(uuid.uuid5(NAMESPACE, f"photo:{pixel_sha256}"))


class MaskOrigin(NamedTuple):
    """The question that a mask answers: which crop, which point and which of its candidates.

    Unlike the mask's pixels it does not depend on how a processor rounds.
    """

    crop_xyxy: tuple[int, int, int, int]  # in pixels of the photo
    point_xy: tuple[float, float]  # in pixels of the photo
    candidate: int  # 0: the first mask that the decoder gave for the point


def segment_id_from_origin(photo_id: str, segmented_with: str, origin: MaskOrigin) -> str:
    """Return the id of the segment that this question gave in this photo.

    Args:
        photo_id: the photo.
        segmented_with: fingerprint of the segmenter and of all settings that change masks.
        origin: which crop, point and candidate; the point counts to 1/100 pixel.
    """
    crop = ",".join(map(str, origin.crop_xyxy))
    x, y = origin.point_xy
    asked = f"{crop}:{x:.2f},{y:.2f}:{origin.candidate}"
    return str(uuid.uuid5(NAMESPACE, f"segment:{photo_id}:{segmented_with}:{asked}"))


def checked_vectors(vectors: NDArray[Any], count: int) -> Vectors:
    """Return `vectors` as (count, dim) float32.

    Raises:
        ValueError: another shape, a value that is not finite, or a row that is not of unit length.
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
    """Return a folder and all its parents, outermost first: a/b/c -> a, a/b, a/b/c."""
    parts = folder.split("/")
    return tuple("/".join(parts[: i + 1]) for i in range(len(parts)))
