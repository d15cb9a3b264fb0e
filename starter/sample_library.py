"""A folder of drawn photos that reads like a person's: albums, dates, cameras, places.

Half of the shots show things with a clear answer to a search ("green circle", "red boat"), and
four of those things appear in several photos, so that a search by example can find its twin.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from starter.drawing.canvas import Style
from starter.drawing.colors import SAMPLE_COLORS
from starter.drawing.photo_file import Camera, Capture, save_photo
from starter.scenes import PlacedThing, Scene, Theme, draw_scene, subtree_mask
from starter.things import Thing

NORRVIK = Camera("Norrvik", "N2 Mark III")
HALCYON = Camera("Halcyon Optics", "Compact 40")
POMELO = Camera("Pomelo", "Phone 7", utc_offset="+02:00")

SIZES_WH = ((1200, 800), (1024, 768), (800, 1200), (1200, 800), (1280, 720), (900, 900))
SUFFIXES = {3: ".png", 7: ".webp", 10: ".heic", 15: ".webp", 19: ".png", 22: ".heic"}
ORIENTATIONS = {1: 6, 5: 8, 9: 3, 13: 6, 17: 8, 21: 3}  # by position, JPEG only
CYCLE = 24  # after so many photos the formats and orientations repeat
DEGRADATION = 0.12  # photos to look at: little noise, hardly any blur


class ThingBox(NamedTuple):
    """Where in which photo a thing is seen, in pixels of the upright photo."""

    path: Path
    box_xywh: tuple[int, int, int, int]


@dataclass(frozen=True)
class SampleLibrary:
    """The photos written, and where the things are that a search should find.

    `answers` maps words to what they describe; each of `twins` is one thing in two photos or more.
    """

    paths: list[Path]
    answers: dict[str, list[ThingBox]] = field(default_factory=dict)
    twins: list[list[ThingBox]] = field(default_factory=list)


@dataclass(frozen=True)
class Album:
    """A day out: the folder, when and with what it was photographed, and what it looks like."""

    folder: str
    starts_at: datetime
    camera: Camera
    backdrop: str
    moods: tuple[str, ...]
    layouts: tuple[str, ...]
    latitude_longitude: tuple[float, float] | None = None


@dataclass(frozen=True)
class Shot:
    """One photo to be: its album and who is in it, by the words of THINGS."""

    album: str
    things: tuple[tuple[str, tuple[float, float], float], ...] = ()  # words, center, radius
    mood: str | None = None


ALBUMS = {
    album.folder: album
    for album in (
        Album("2022/garden", datetime(2022, 5, 14, 10, 5), HALCYON, "meadow",
              ("natural", "pastel"), ("few", "flock", "clusters")),
        Album("2022/autumn walk", datetime(2022, 10, 23, 14, 40), POMELO, "landscape",
              ("earthy", "natural"), ("few", "many", "row"), (47.5622, 13.6493)),
        Album("2023/harbour", datetime(2023, 6, 17, 9, 12), NORRVIK, "seaside",
              ("natural", "vivid"), ("few", "row", "many"), (54.3233, 10.1394)),
        Album("2023/mountains", datetime(2023, 9, 9, 17, 31), POMELO, "landscape",
              ("dusk", "natural"), ("few", "many", "clusters"), (46.5547, 7.9792)),
        Album("2024/market", datetime(2024, 4, 6, 11, 20), NORRVIK, "table",
              ("vivid", "earthy"), ("many", "row", "few")),
        Album("2024/kite day", datetime(2024, 8, 25, 15, 3), HALCYON, "seaside",
              ("pastel", "vivid"), ("few", "flock", "row"), (55.0083, 8.4369)),
    )
}  # fmt: skip


def _style(pattern: str, color: str, second: str = "white", *, shading: str = "round") -> Style:
    """Return a style in two named colors; its seed is that of the words, the same every time."""
    seed = sum(ord(letter) * 31**place for place, letter in enumerate(pattern + color + second))
    return Style(pattern, SAMPLE_COLORS[color], SAMPLE_COLORS[second], seed % 2**31, shading)


def _thing(kind: str, *styles: Style) -> Thing:
    return Thing(kind, styles, seed=len(kind))


THINGS = {
    "red boat": _thing("boat", _style("plain", "red"), _style("striped", "red"),
                       _style("plain", "white"), _style("plain", "brown")),
    "blue dotted cup": _thing("cup", _style("dotted", "blue"), _style("plain", "blue"),
                              _style("plain", "white")),
    "purple striped balloon": _thing("balloon", _style("striped", "purple", "yellow"),
                                     _style("plain", "purple"), _style("plain", "brown"),
                                     _style("plain", "beige")),
    "green circle": _thing("circle", _style("plain", "green")),
    "orange circle": _thing("circle", _style("plain", "orange")),
    "red circle": _thing("circle", _style("plain", "red")),
    "red striped circle": _thing("circle", _style("striped", "red")),
    "yellow star": _thing("star", _style("plain", "yellow", shading="sloped")),
    "blue square": _thing("square", _style("plain", "blue", shading="sloped")),
    "teal ring": _thing("ring", _style("plain", "teal")),
    "pink flower": _thing("flower", _style("gradient", "pink"), _style("plain", "yellow")),
    "blue flower": _thing("flower", _style("gradient", "blue", "teal"), _style("plain", "yellow")),
    "red mushroom": _thing("mushroom", _style("plain", "red"), _style("plain", "beige"),
                           _style("plain", "white", shading="flat")),
    "green tree": _thing("tree", _style("mottled", "green", "yellow"), _style("streaked", "brown",
                                                                             "black")),
    "orange tree": _thing("tree", _style("mottled", "orange", "yellow"), _style("streaked", "brown",
                                                                               "black")),
    "house": _thing("house", _style("plain", "beige", shading="sloped"),
                    _style("streaked", "red", "brown", shading="sloped"), _style("plain", "brown"),
                    _style("plain", "teal", shading="flat")),
    "blue kite": _thing("kite", _style("plain", "blue", shading="sloped"), _style("plain", "white"),
                        _style("plain", "red")),
    "yellow checked kite": _thing("kite", _style("checked", "yellow", "red", shading="sloped"),
                                  _style("plain", "black"), _style("plain", "yellow")),
    "black checked square": _thing("square", _style("checked", "black", shading="flat")),
    "bowl of fruit": _thing("bowl", _style("striped", "teal"), _style("plain", "red"),
                            _style("plain", "orange"), _style("plain", "green")),
    "purple butterfly": _thing("butterfly", _style("dotted", "purple"), _style("plain", "pink"),
                               _style("plain", "black")),
}  # fmt: skip
TWINS = ("red boat", "blue dotted cup", "purple striped balloon", "blue kite")

SHOTS = (
    Shot("2023/harbour", (("red boat", (0.3, 0.52), 0.3), ("teal ring", (0.78, 0.8), 0.12))),
    Shot("2023/harbour", (("red boat", (0.68, 0.5), 0.24),
                          ("red striped circle", (0.27, 0.84), 0.13))),
    Shot("2024/market", (("blue dotted cup", (0.28, 0.55), 0.24),
                         ("bowl of fruit", (0.7, 0.66), 0.26)), mood="earthy"),
    Shot("2024/market", (("green circle", (0.24, 0.66), 0.15), ("orange circle", (0.5, 0.72), 0.13),
                         ("red circle", (0.74, 0.64), 0.14)), mood="pastel"),
    Shot("2023/mountains", (("purple striped balloon", (0.32, 0.36), 0.27),
                            ("green tree", (0.8, 0.72), 0.17)), mood="natural"),
    Shot("2023/mountains", (("purple striped balloon", (0.7, 0.3), 0.2),
                            ("house", (0.3, 0.72), 0.2)), mood="dusk"),
    Shot("2022/garden", (("pink flower", (0.3, 0.35), 0.2), ("blue flower", (0.62, 0.66), 0.22),
                         ("purple butterfly", (0.76, 0.26), 0.15))),
    Shot("2024/kite day", (("blue kite", (0.3, 0.3), 0.24),
                           ("yellow checked kite", (0.7, 0.26), 0.22)), mood="pastel"),
    Shot("2024/kite day", (("red boat", (0.5, 0.55), 0.26), ("blue kite", (0.24, 0.2), 0.18)),
         mood="vivid"),
    Shot("2022/autumn walk", (("orange tree", (0.28, 0.58), 0.28),
                              ("red mushroom", (0.68, 0.76), 0.16))),
    Shot("2022/garden", (("black checked square", (0.34, 0.56), 0.26),
                         ("blue dotted cup", (0.7, 0.5), 0.2)), mood="pastel"),
    Shot("2024/market", (("blue square", (0.3, 0.6), 0.18), ("yellow star", (0.66, 0.6), 0.2)),
         mood="earthy"),
)  # fmt: skip


def draw_sample_library(folder: Path, *, photos: int = 24, seed: int = 0) -> SampleLibrary:
    """Write so many photos below the folder; the first dozen are the ones with clear answers.

    The same seed writes the same photos; another one changes what surrounds the things.
    """
    paths: list[Path] = []
    sightings: dict[str, list[ThingBox]] = {}
    for number, shot in enumerate(islice(_iter_shots(), photos)):
        rng = np.random.default_rng([seed, number])
        path, capture = _plan(shot, folder, number, rng)
        scene = _draw(shot, number, rng)
        save_photo(scene.image, capture, path)
        paths.append(path)
        for words, box_xywh in _seen(shot, scene):
            sightings.setdefault(words, []).append(ThingBox(path, box_xywh))
    twins = [sightings[words] for words in TWINS if len(sightings.get(words, [])) > 1]
    return SampleLibrary(sorted(paths), sightings, twins)


def _iter_shots() -> Iterator[Shot]:
    """Yield the shots with a cast, then free ones, album after album, without end."""
    yield from SHOTS
    folders = list(ALBUMS)
    for number in count():
        yield Shot(folders[number % len(folders)])


def _plan(shot: Shot, folder: Path, number: int, rng: np.random.Generator) -> tuple[Path, Capture]:
    """Return where a photo goes and what its EXIF says."""
    album = ALBUMS[shot.album]
    suffix = SUFFIXES.get(number % CYCLE, ".jpg")
    orientation = ORIENTATIONS.get(number % CYCLE, 1) if suffix == ".jpg" else 1
    taken_at = album.starts_at + timedelta(minutes=7 * number, seconds=int(rng.integers(60)))
    where = album.latitude_longitude
    if where is not None:
        north, east = (degrees + rng.normal(0, 0.004) for degrees in where)
        where = (float(north), float(east))
    path = folder / album.folder / f"{_file_stem(album, taken_at, number)}{suffix}"
    return path, Capture(taken_at, album.camera, orientation, where)


def _file_stem(album: Album, taken_at: datetime, number: int) -> str:
    """Return a name as the camera would give it."""
    if album.camera is POMELO:
        return f"{taken_at:%Y%m%d_%H%M%S}"
    return f"DSC{2040 + number:05}" if album.camera is NORRVIK else f"HCO_{310 + number:04}"


def _draw(shot: Shot, number: int, rng: np.random.Generator) -> Scene:
    """Draw the scene of a shot; one with a cast has nobody else in it."""
    album = ALBUMS[shot.album]
    mood = shot.mood or album.moods[int(rng.integers(len(album.moods)))]
    layout = album.layouts[int(rng.integers(len(album.layouts)))]
    theme = Theme(album.backdrop, "bare" if shot.things else layout, mood, DEGRADATION)
    placed = [PlacedThing(THINGS[words], center, radius) for words, center, radius in shot.things]
    size_wh = SIZES_WH[number % len(SIZES_WH)]
    return draw_scene(int(rng.integers(2**31)), size_wh, theme=theme, placed=placed)


def _seen(shot: Shot, scene: Scene) -> Sequence[tuple[str, tuple[int, int, int, int]]]:
    """Return the words and the visible box of each thing of the cast."""
    return [
        (words, _box_xywh(subtree_mask(scene, node)))
        for (words, _, _), node in zip(shot.things, scene.placed_nodes, strict=True)
        if node is not None
    ]


def _box_xywh(mask_hw: np.typing.NDArray[np.bool]) -> tuple[int, int, int, int]:
    """Return the tight box of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask_hw.any(axis=1)), np.flatnonzero(mask_hw.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top
