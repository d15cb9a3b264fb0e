"""Searches as flags: what `search` and `export` are asked for becomes a request."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from api.cli.options import (
    Command,
    moment_from_text,
    near_from_text,
    sentence_from_validation,
    weighed,
)
from api.schemas.parsing import box_from_text, point_from_text
from api.schemas.prompts import PromptIn
from api.schemas.search import ExampleIn, SearchRequest
from api.settings import Settings
from search.errors import UsageError
from search.records import GeoCircle, Place, SearchFilter

if TYPE_CHECKING:
    from api.library.library import Library

# The fields of requests and filters, as the flags that a person gave them with.
FLAGS = {
    "text": "TEXT",
    "segment_id": "--segment",
    "photo_id": "--photo",
    "photo_ids": "--in-photo",
    "taken_from": "--from",
    "taken_before": "--before",
    "lat": "--near",
    "lon": "--near",
    "radius_m": "--near",
    "min_area_fraction": "--min-area",
    "max_area_fraction": "--max-area",
    "min_predicted_iou": "--min-iou",
    "min_stability_score": "--min-stability",
    "weight": "the weight of an example",
    "limit": "--limit",
    "cursor": "--cursor",
    "min_score": "--min-score",
    "diversity": "--diversity",
}


FILTER_OPTIONS = (
    click.option(
        "--folder", type=click.Path(path_type=Path), help="Only photos below this folder."
    ),
    click.option(
        "--from",
        "taken_from",
        metavar="DATE",
        help="Only photos taken then or later, by their own clocks; 2024-05-31, or a moment with "
        "a UTC offset.",
    ),
    click.option("--before", "taken_before", metavar="DATE", help="Only photos taken before."),
    click.option(
        "--undated", is_flag=True, help="Only photos of which nothing says when they were taken."
    ),
    click.option("--camera", metavar="NAME", help="Only photos of this camera."),
    click.option("--near", metavar="LAT,LON,RADIUS_M", help="Only photos taken near this place."),
    click.option(
        "--in-photo", "in_photos", multiple=True, metavar="ID", help="Only in this photo."
    ),
    click.option("--min-area", type=float, help="Smallest part of the photo, 0..1."),
    click.option("--max-area", type=float, help="Largest part of the photo, 0..1."),
    click.option("--min-iou", type=float, help="Lowest predicted IoU of the mask."),
    click.option("--min-stability", type=float, help="Lowest stability score of the mask."),
)


def filter_options(command: Command) -> Command:
    """Give a command a flag for each part of a filter; `filter_from_flags` reads them."""
    for option in reversed(FILTER_OPTIONS):
        command = option(command)
    return command


def pictures_of_flags(given: Mapping[str, Any]) -> list[Path]:
    """Return the files that `--image` and `--not-image` name, without their weights."""
    named = (given["image"], given["not_image"])
    return [Path(_file_and_weight(name)[0]) for name in named if name]


def request_from_flags(library: Library, given: Mapping[str, Any]) -> SearchRequest:
    """Return the search that a person asked for by the flags of `search`.

    Raises:
        UsageError: it makes no sense, or a picture can't be read.
        PhotoError: a file is no picture, or too large.
    """
    try:
        return SearchRequest(
            text=None,
            positive=tuple(_positive(given, library.settings)),
            negative=tuple(_negative(given, library.settings)),
            filter=filter_from_flags(library, given),
            group_by_photo=given["group"],
            limit=given["limit"],
            cursor=given["cursor"],
            min_score=given["min_score"],
            distinct=given["distinct"],
            diversity=given["diversity"],
            with_masks=given["masks"],
        )
    except ValidationError as error:
        raise UsageError(sentence_from_validation(error.errors(), FLAGS)) from error


def _positive(given: Mapping[str, Any], limits: Settings) -> list[ExampleIn]:
    words = [given["text"]] if given["text"] is not None else []
    found = [_weighed("text", each) for each in [*words, *given["also"]]]
    found += [_weighed("segment_id", each) for each in given["segments"]]
    found += [_weighed("photo_id", each) for each in given["photos"]]
    prompt = PromptIn(
        points=tuple(point_from_text(text) for text in given["points"]),
        box_xywh=box_from_text(given["box"]) if given["box"] else None,
    )
    if given["image"]:
        found.append(_picture("--image", given["image"], prompt, limits))
    elif not prompt.is_empty:
        raise UsageError("--point and --box say what is meant in a picture: give --image too")
    if not found:
        raise UsageError("what to look for? Give words, --segment, --photo or --image")
    return found


def _negative(given: Mapping[str, Any], limits: Settings) -> list[ExampleIn]:
    found = [_weighed("text", each) for each in given["unlike"]]
    found += [_weighed("segment_id", each) for each in given["not_segments"]]
    if given["not_image"]:
        found.append(_picture("--not-image", given["not_image"], PromptIn(), limits))
    return found


def _weighed(kind: str, text: str) -> ExampleIn:
    what, weight = weighed(text)
    return ExampleIn.model_validate({kind: what, "weight": weight})


def _picture(flag: str, text: str, prompt: PromptIn, limits: Settings) -> ExampleIn:
    """Return a picture as an example; it is looked at here, before any model is loaded for it."""
    from api.services.prompts import prompt_from_request
    from ingest.imaging.decode import decode_photo

    name, weight = _file_and_weight(text)
    try:
        sent = base64.b64encode(Path(name).read_bytes()).decode()
    except OSError as error:
        raise UsageError(f"{flag} {name}: {error.strerror or error}") from error
    rgb = decode_photo(
        Path(name), max_pixels=limits.max_upload_pixels, max_bytes=limits.max_upload_bytes
    ).rgb
    if not prompt.is_empty:
        prompt_from_request(prompt).checked((rgb.shape[1], rgb.shape[0]))
    return ExampleIn(image_base64=sent, prompt=prompt, weight=weight)


def _file_and_weight(text: str) -> tuple[str, float]:
    """Split `FILE*WEIGHT`; a file whose own name ends like that is taken whole."""
    is_file = os.path.exists(text)  # noqa: PTH110  (Path.exists raises if the name is too long)
    return (text, 1.0) if is_file else weighed(text)


def filter_from_flags(library: Library, given: Mapping[str, Any]) -> SearchFilter:
    """Return the filter that a person gave by `filter_options`."""
    near = near_from_text(given["near"]) if given["near"] else None
    circle = GeoCircle(center=Place(lat=near[0], lon=near[1]), radius_m=near[2]) if near else None
    return SearchFilter(
        photo_ids=given["in_photos"] or None,
        folder=_folder(library, given["folder"]) if given["folder"] else None,
        taken_from=moment_from_text(given["taken_from"]) if given["taken_from"] else None,
        taken_before=moment_from_text(given["taken_before"]) if given["taken_before"] else None,
        undated=True if given["undated"] else None,
        camera=given["camera"],
        near=circle,
        min_area_fraction=given["min_area"],
        max_area_fraction=given["max_area"],
        min_predicted_iou=given["min_iou"],
        min_stability_score=given["min_stability"],
    )


def _folder(library: Library, folder: Path) -> str:
    """Return a folder as filters name it."""
    from ingest.catalog.ledger import folder_key

    key = folder_key(library.ledger(), folder)
    if key is None:
        raise UsageError(
            f"{folder} is in none of the library's folders; `segsearch status` lists them"
        )
    return key
