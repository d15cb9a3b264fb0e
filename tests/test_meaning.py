"""Does it find what was meant? The starter models on drawn photos, and on real ones."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.fakes import Quiet
from support.real_data import real_data
from support.sample import Sample

from api.library.library import Library
from api.render.photo_pixels import photo_pixels
from api.schemas.prompts import Point, PromptIn
from api.services.prompts import prompt_from_request
from api.settings import Settings
from ingest.imaging.decode import decode_photo
from ingest.pipeline import ingest
from search.masks.rle import array_from_mask, box_iou, resized
from search.query import Query, SegmentExample, TextExample
from search.records import Box, Hit, SearchFilter, Segment
from starter.sample_library import ThingBox

# Where the names of colours lie on the colour circle, in degrees; each as wide as its name is used.
HUES = {
    "red": lambda hue: hue <= 20 or hue >= 335,
    "green": lambda hue: 70 <= hue <= 165,
    "blue": lambda hue: 185 <= hue <= 255,
    "yellow": lambda hue: 36 <= hue <= 68,
}
LEAST_SATURATION = 0.15  # greyer than this is of no colour
FOUND_IOU = 0.4  # of boxes: the starter segmenter's outlines are soft
MAX_PIXELS = 10**8
# Things of one plain colour that the starter models tell apart with room to spare (they come at
# place 0 or 1 of 571 segments).
CLEAR = ("green circle", "orange circle", "red circle", "blue square", "yellow star")
VIVID = ("green circle", "red circle", "blue square", "yellow star")


def opened(folder: Path) -> Iterator[Library]:
    with Library(Settings(library=folder), command="test") as library:
        yield library


@pytest.fixture(scope="module")
def library(sample: Sample) -> Iterator[Library]:
    yield from opened(sample.library)


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Twenty photos of COCO."""
    folder = tmp_path_factory.mktemp("coco")
    photos = sorted(real_data("coco", "images").glob("*.jpg"))[:20]
    # half the usual grid: a quarter of the time, and segments enough
    settings = Settings(library=folder / "library", models="starter", points_per_side=8)
    with Library(settings, command="test", create=True) as library:
        assert ingest(photos, library.ingest_context(), Quiet()).photos_ingested == 20
        yield library


def hits(library: Library, text: str, limit: int) -> list[Hit]:
    query = Query([TextExample(text)], limit=limit, with_masks=True)
    return library.finder().search(query).hits


def mean_color(library: Library, hit: Hit) -> tuple[float, float]:
    """Hue in degrees and saturation of the mean over a hit's mask, in the photo's own pixels."""
    rgb = photo_pixels(library, library.ledger().photo(hit.segment.photo_id))
    assert hit.segment.mask is not None
    inside = resized(array_from_mask(hit.segment.mask), (rgb.shape[1], rgb.shape[0]))
    hue, saturation, _ = colorsys.rgb_to_hsv(*(rgb[inside].mean(axis=0) / 255))
    return 360 * hue, saturation


def of_color(library: Library, color: str, limit: int = 10) -> int:
    """How many of the first hits for a colour's name are of that colour."""
    fits: Callable[[float], bool] = HUES[color]
    colors = [mean_color(library, hit) for hit in hits(library, color, limit)]
    return sum(fits(hue) and saturation >= LEAST_SATURATION for hue, saturation in colors)


@pytest.mark.parametrize("color", HUES)
def test_the_name_of_a_color_finds_segments_of_that_color(library: Library, color: str) -> None:
    assert of_color(library, color) >= 7  # things of two colors count by their mean


@pytest.mark.slow
@pytest.mark.parametrize("color", ["red", "green", "blue"])
def test_so_it_does_in_real_photos(coco: Library, color: str) -> None:
    assert of_color(coco, color) >= 7


def photos_that_show(kind: str) -> set[str]:
    """Names of COCO's photos with a thing of that kind."""
    truths = json.loads(real_data("coco", "truth.json").read_text())["images"]
    return {
        name
        for name, truth in truths.items()
        if any(segment["category"] == kind for segment in truth.get("segments") or ())
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["giraffe", "zebra", "airplane"])
def test_the_name_of_a_thing_finds_it_in_real_photos(coco: Library, kind: str) -> None:
    paths = [coco.ledger().photo(hit.segment.photo_id).path for hit in hits(coco, kind, 3)]
    right = [path is not None and path.name in photos_that_show(kind) for path in paths]
    assert right[0]
    assert sum(right) >= 2


@pytest.mark.slow
def test_a_word_that_means_nothing_does_not_look_like_an_answer(coco: Library) -> None:
    names = [hits(coco, kind, 1)[0].score for kind in ("giraffe", "zebra", "airplane", "red")]
    nonsense = [hits(coco, word, 1)[0].score for word in ("xyzzy", "blorp", "qwfpgj")]
    assert max(nonsense) < min(names)


def photo_id_of(library: Library, sighting: ThingBox) -> str:
    rows = library.ledger().photos(SearchFilter(), limit=1000)
    return next(row.photo.photo_id for row in rows if row.path == sighting.path.resolve())


def shows(library: Library, hit: Hit, sighting: ThingBox) -> bool:
    return (
        hit.segment.photo_id == photo_id_of(library, sighting)
        and box_iou(hit.segment.bbox_xywh, Box(*sighting.box_xywh)) >= FOUND_IOU
    )


@pytest.mark.parametrize("words", CLEAR)
def test_words_find_the_thing_that_they_describe(
    library: Library, sample: Sample, words: str
) -> None:
    (sighting,) = sample.drawn.answers[words]
    assert any(shows(library, hit, sighting) for hit in hits(library, words, 10))


def test_less_of_a_color_is_found_when_it_is_unwanted(library: Library) -> None:
    def found(color: str, *examples: TextExample) -> int:
        hits = library.finder().search(Query(examples, limit=40, with_masks=True)).hits
        return sum(HUES[color](mean_color(library, hit)[0]) for hit in hits)

    circle = TextExample("circle")
    among_circles = sum(found(color, circle) for color in HUES)
    unwanted = sum(found(color, circle, TextExample(color, -1)) for color in HUES)
    assert unwanted < among_circles / 2


def segment_at(library: Library, sighting: ThingBox) -> Segment:
    """The segment that is most like a thing's box."""
    segments = library.index().segments_of(photo_id_of(library, sighting))
    return max(segments, key=lambda s: box_iou(s.bbox_xywh, Box(*sighting.box_xywh)))


def test_a_thing_finds_its_twin_in_another_photo(library: Library, sample: Sample) -> None:
    places = []
    for twins in sample.drawn.twins:
        for thing in twins:
            example = SegmentExample(segment_at(library, thing).segment_id)
            groups = library.finder().search_grouped(Query([example], limit=12)).groups
            others = [g.photo_id for g in groups if g.photo_id != photo_id_of(library, thing)]
            places += [
                others.index(photo_id_of(library, twin)) for twin in twins if twin is not thing
            ]
    assert len(places) >= 8
    assert max(places) <= 4  # of eleven other photos
    assert np.mean(places) <= 1.5  # 5 by chance


@pytest.mark.parametrize("words", VIVID)
def test_one_of_the_candidates_of_a_click_is_the_thing_under_it(
    library: Library, sample: Sample, words: str
) -> None:
    (sighting,) = sample.drawn.answers[words]
    x, y, w, h = sighting.box_xywh
    rgb = decode_photo(sighting.path, max_pixels=MAX_PIXELS, max_bytes=MAX_PIXELS).rgb
    click = prompt_from_request(PromptIn(points=(Point(x=x + w / 2, y=y + h / 2),)))
    masks = library.segmenter().encode(rgb).masks(click)
    best = max(masks, key=lambda mask: box_iou(mask.bbox_xywh, Box(*sighting.box_xywh)))
    assert box_iou(best.bbox_xywh, Box(*sighting.box_xywh)) >= 0.8
    hue, _, _ = colorsys.rgb_to_hsv(*(rgb[array_from_mask(best.mask)].mean(axis=0) / 255))
    assert HUES[words.split()[0]](360 * hue)
