"""Made-up photos and segments for the index tests, and what a search of them must find."""

from __future__ import annotations

import hashlib
import math
import operator
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import numpy as np

from search.index.base import SegmentIndex
from search.records import (
    NAMESPACE,
    Box,
    DateSource,
    GeoCircle,
    Mask,
    Photo,
    PhotoFacts,
    Place,
    SearchFilter,
    Segment,
    Vectors,
    folder_chain,
    photo_id_from_digest,
)

DIM = 16
VECTOR_NAME = "fusion_abcdef012345"
CAMERAS = ("Canon EOS R6", "Pixel 9", None)
FOLDERS = ("r1", "r1/2023", "r1/2023/beach", "r2/2023", "r1/2023x")
PLACES = ((48.14, 11.58), (48.40, 11.75), (-17.8, 179.95), (-17.8, -179.95), None)
SOURCES: tuple[DateSource, ...] = ("exif", "xmp", "png text", "file", "unknown")
START = datetime(2023, 1, 1, tzinfo=UTC)
EARTH_RADIUS_M = 6_371_000


@dataclass(frozen=True, eq=False)
class Sample:
    """A whole small library: photo i has the vector i, segment i too."""

    photos: list[Photo]
    photo_vectors: Vectors
    segments: list[Segment]
    segment_vectors: Vectors

    def __post_init__(self) -> None:
        assert len({s.segment_id for s in self.segments}) == len(self.segments)

    def photo_of(self, segment: Segment) -> Photo:
        return next(p for p in self.photos if p.photo_id == segment.photo_id)

    def of_photo(self, photo: Photo) -> tuple[list[Segment], Vectors]:
        rows = [i for i, s in enumerate(self.segments) if s.photo_id == photo.photo_id]
        return [self.segments[i] for i in rows], self.segment_vectors[rows]


def unit_vectors(seed: int, count: int, dim: int = DIM, clusters: int = 8) -> Vectors:
    """(count, dim) rows of unit length, in clusters as embeddings are."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(clusters, dim))
    rows = centers[rng.integers(clusters, size=count)] + 0.5 * rng.normal(size=(count, dim))
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / lengths, np.float32)


def make_facts(rng: np.random.Generator, *, hidden: bool = False) -> PhotoFacts:
    moment = START + timedelta(minutes=int(rng.integers(60 * 24 * 365)))
    place = PLACES[rng.integers(len(PLACES))]
    return PhotoFacts(
        date_source=SOURCES[moment.minute % len(SOURCES)],
        sort_at=moment.astimezone(timezone(timedelta(hours=int(rng.integers(-8, 10))))),
        camera=CAMERAS[rng.integers(len(CAMERAS))],
        location=Place(lat=place[0], lon=place[1]) if place else None,
        folders=folder_chain(FOLDERS[rng.integers(len(FOLDERS))]),
        hidden=hidden,
    )


def make_photo(name: str, facts: PhotoFacts, segment_count: int = 0) -> Photo:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Photo(
        photo_id=photo_id_from_digest(digest),
        size_wh=(640, 480),
        facts=facts,
        segmented_with="f00d",
        segment_count=segment_count,
    )


def make_segment(photo: Photo, name: str, rng: np.random.Generator) -> Segment:
    mask = Mask(size_wh=(64, 48), counts=f"{name}{'0' * int(rng.integers(1, 40))}")
    area_px = int(rng.integers(1, 640 * 480))
    x, y, w, h = (float(v) for v in rng.integers(1, 200, size=4))
    return Segment(
        segment_id=str(uuid.uuid5(NAMESPACE, f"{photo.photo_id}:{mask.counts}")),
        photo_id=photo.photo_id,
        bbox_xywh=Box(x, y, w, h),
        area_px=area_px,
        area_fraction=area_px / (640 * 480),
        predicted_iou=float(rng.uniform(0.5, 1.0)),
        stability_score=float(rng.uniform(0.8, 1.0)),
        point_xy=(x, y),
        mask=mask,
    )


def make_sample(seed: int = 0, photo_count: int = 60, segments_each: int = 10) -> Sample:
    """Every tenth photo is hidden."""
    rng = np.random.default_rng(seed)
    photos = [
        make_photo(f"{seed}/{n}", make_facts(rng, hidden=n % 10 == 9), segments_each)
        for n in range(photo_count)
    ]
    segments = [make_segment(p, f"{n}x", rng) for p in photos for n in range(segments_each)]
    return Sample(
        photos, unit_vectors(seed, len(photos)), segments, unit_vectors(seed + 1, len(segments))
    )


def fill(index: SegmentIndex, sample: Sample) -> None:
    for photo, vector in zip(sample.photos, sample.photo_vectors, strict=True):
        index.put_segments(photo, *sample.of_photo(photo))
        index.put_photo(photo, vector[None])


def iter_filters(seed: int, count: int, sample: Sample) -> Iterator[SearchFilter]:
    """Filters of one to four parts drawn by chance."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        names = rng.choice(MIXABLE_PARTS, size=rng.integers(1, 5), replace=False)
        parts: dict[str, object] = {}
        for name in names:
            parts |= FILTER_PARTS[name](rng, sample)
        yield SearchFilter.model_validate(parts)


def _dates(rng: np.random.Generator, _: Sample) -> dict[str, object]:
    start = START + timedelta(days=int(rng.integers(300)))
    zone = timezone(timedelta(hours=5, minutes=30))
    return {
        "taken_from": start.astimezone(zone),
        "taken_before": start + timedelta(days=int(rng.integers(1, 200)), microseconds=5),
    }


def _days(rng: np.random.Generator, _: Sample) -> dict[str, object]:
    start = START.replace(tzinfo=None, hour=0) + timedelta(days=int(rng.integers(300)))
    return {"taken_from": start, "taken_before": start + timedelta(days=int(rng.integers(1, 200)))}


def _circle(rng: np.random.Generator, _: Sample) -> dict[str, object]:
    place = PLACES[rng.integers(len(PLACES) - 1)]
    assert place is not None
    lat, lon = place
    # 10 km holds one place, 100 km its neighbor too, across the date line as well.
    radius_m = float(rng.choice([10_000, 100_000]))
    return {"near": GeoCircle(center=Place(lat=lat, lon=lon), radius_m=radius_m)}


FILTER_PARTS: dict[str, Callable[[np.random.Generator, Sample], dict[str, object]]] = {
    "photo_ids": lambda rng, sample: {
        "photo_ids": tuple(sample.photos[i].photo_id for i in rng.integers(60, size=20))
    },
    "folder": lambda rng, _: {"folder": str(rng.choice(["r1", "r1/2023", "r2", "r1/2023/beach"]))},
    "dates": _dates,
    "taken_from": lambda rng, sample: {"taken_from": sample.photos[0].facts.sort_at},
    "taken_before": lambda rng, sample: {"taken_before": sample.photos[0].facts.sort_at},
    "days": _days,
    "a day and a moment": lambda rng, sample: {
        "taken_from": datetime(2023, 3, 1),
        "taken_before": sample.photos[0].facts.sort_at + timedelta(days=100),
    },
    "undated": lambda rng, _: {"undated": bool(rng.integers(2))},
    "camera": lambda rng, _: {"camera": str(rng.choice(["Canon EOS R6", "Pixel 9"]))},
    "near": _circle,
    "area": lambda rng, _: {
        "min_area_fraction": 0.2,
        "max_area_fraction": float(rng.uniform(0.3, 1)),
    },
    "predicted_iou": lambda rng, _: {"min_predicted_iou": float(rng.uniform(0.5, 0.9))},
    "stability_score": lambda rng, _: {"min_stability_score": float(rng.uniform(0.8, 0.95))},
}
MIXABLE_PARTS = sorted(FILTER_PARTS.keys() - {"taken_from", "taken_before"})  # dates: both
PHOTO_PARTS = {"photo_ids", "folder", "dates", "taken_from", "taken_before", "camera", "near"}
PHOTO_PARTS |= {"days", "a day and a moment", "undated"}


def photo_passes(photo: Photo, where: SearchFilter) -> bool:
    facts = photo.facts
    return (
        not facts.hidden
        and (where.photo_ids is None or photo.photo_id in where.photo_ids)
        and (where.folder is None or where.folder in facts.folders)
        and (where.camera is None or where.camera == facts.camera)
        and (where.taken_from is None or _taken(facts, where.taken_from, operator.ge))
        and (where.taken_before is None or _taken(facts, where.taken_before, operator.lt))
        and (where.undated is None or where.undated == (facts.taken_at is None))
        and (where.near is None or _within(where.near, facts.location))
    )


def _taken(facts: PhotoFacts, end: datetime, compare: Callable[[datetime, datetime], bool]) -> bool:
    at = facts.taken_at if end.tzinfo else facts.local_at
    return at is not None and compare(at, end)


def segment_passes(segment: Segment, photo: Photo, where: SearchFilter) -> bool:
    return (
        photo_passes(photo, where)
        and segment.area_fraction >= (where.min_area_fraction or 0)
        and segment.area_fraction <= (where.max_area_fraction or 1)
        and segment.predicted_iou >= (where.min_predicted_iou or -math.inf)
        and segment.stability_score >= (where.min_stability_score or -math.inf)
    )


def _within(circle: GeoCircle, place: Place | None) -> bool:
    return place is not None and distance_m(circle.center, place) <= circle.radius_m


def distance_m(a: Place, b: Place) -> float:
    """Great-circle distance (haversine)."""
    lat_a, lat_b = math.radians(a.lat), math.radians(b.lat)
    half_lat, half_lon = (lat_b - lat_a) / 2, math.radians(b.lon - a.lon) / 2
    h = math.sin(half_lat) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(math.sqrt(h))


def ranked_segments(
    sample: Sample, vector: Vectors, where: SearchFilter
) -> list[tuple[str, float]]:
    """All segments that pass, best first, with their scores: by brute force."""
    photos = {photo.photo_id: photo for photo in sample.photos}
    scores = sample.segment_vectors @ vector[0]
    passing = [
        (segment.segment_id, float(score))
        for segment, score in zip(sample.segments, scores, strict=True)
        if segment_passes(segment, photos[segment.photo_id], where)
    ]
    return sorted(passing, key=lambda pair: -pair[1])


def ranked_photos(sample: Sample, vector: Vectors, where: SearchFilter) -> list[tuple[str, float]]:
    """All photos that pass, best first, with their scores: by brute force."""
    scores = sample.photo_vectors @ vector[0]
    passing = [
        (photo.photo_id, float(score))
        for photo, score in zip(sample.photos, scores, strict=True)
        if photo_passes(photo, where)
    ]
    return sorted(passing, key=lambda pair: -pair[1])


def assert_same_segments(found: Iterable[Segment], wanted: Iterable[Segment]) -> None:
    """Equal but for the last bit of a number: Edge keeps payloads as JSON and reads them fast."""
    assert [_rounded(segment) for segment in found] == [_rounded(segment) for segment in wanted]


def _rounded(segment: Segment) -> Segment:
    numbers = ("area_fraction", "predicted_iou", "stability_score")
    return segment.model_copy(update={key: round(getattr(segment, key), 12) for key in numbers})
