"""Convert the flags of `search` and `export` to requests and filters."""

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
    split_weight,
)
from api.schemas.parsing import box_from_text, point_from_text
from api.schemas.prompts import PromptIn
from api.schemas.search import ExampleIn, SearchRequest
from api.settings import Settings
from search.errors import UsageError
from search.records import GeoCircle, Place, SearchFilter

if TYPE_CHECKING:
    from api.library.library import Library

# The flags of the fields of requests and filters, for error messages.
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
        "--folder",
        type=click.Path(path_type=Path),
        help="Only photos in this folder and its subfolders.",
    ),
    click.option(
        "--from",
        "taken_from",
        metavar="DATE",
        help="Only photos taken at this time or later: 2024-05-31 in their local time, or a time "
        "with a UTC offset.",
    ),
    click.option(
        "--before", "taken_before", metavar="DATE", help="Only photos taken before this time."
    ),
    click.option("--undated", is_flag=True, help="Only photos without a known date."),
    click.option("--camera", metavar="NAME", help="Only photos of this camera."),
    click.option("--near", metavar="LAT,LON,RADIUS_M", help="Only photos taken near this place."),
    click.option(
        "--in-photo", "in_photos", multiple=True, metavar="ID", help="Only segments of this photo."
    ),
    click.option("--min-area", type=float, help="Minimum share of the photo's area, 0..1."),
    click.option("--max-area", type=float, help="Maximum share of the photo's area, 0..1."),
    click.option("--min-iou", type=float, help="Minimum predicted IoU of the mask."),
    click.option("--min-stability", type=float, help="Minimum stability score of the mask."),
)


def filter_options(command: Command) -> Command:
    """Add a flag for each field of a filter; `filter_from_flags` reads them."""
    for option in reversed(FILTER_OPTIONS):
        command = option(command)
    return command


def images_of_flags(given: Mapping[str, Any]) -> list[Path]:
    """The files of `--image` and `--not-image`, without weights."""
    values = (given["image"], given["not_image"])
    return [Path(_file_and_weight(value)[0]) for value in values if value]


def request_from_flags(library: Library, given: Mapping[str, Any]) -> SearchRequest:
    """Convert the flags of `search` to a request.

    Raises:
        UsageError: it is invalid, or an image can't be read.
        PhotoError: a file is not an image, or too large.
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
    texts = [given["text"]] if given["text"] is not None else []
    found = [_weighted("text", each) for each in [*texts, *given["also"]]]
    found += [_weighted("segment_id", each) for each in given["segments"]]
    found += [_weighted("photo_id", each) for each in given["photos"]]
    prompt = PromptIn(
        points=tuple(point_from_text(text) for text in given["points"]),
        box_xywh=box_from_text(given["box"]) if given["box"] else None,
    )
    if given["image"]:
        found.append(_image("--image", given["image"], prompt, limits))
    elif not prompt.is_empty:
        raise UsageError("--point and --box select a segment of --image: give --image too")
    if not found:
        raise UsageError("what to look for? Give a text, --segment, --photo or --image")
    return found


def _negative(given: Mapping[str, Any], limits: Settings) -> list[ExampleIn]:
    found = [_weighted("text", each) for each in given["unlike"]]
    found += [_weighted("segment_id", each) for each in given["not_segments"]]
    if given["not_image"]:
        found.append(_image("--not-image", given["not_image"], PromptIn(), limits))
    return found


def _weighted(kind: str, text: str) -> ExampleIn:
    value, weight = split_weight(text)
    return ExampleIn.model_validate({kind: value, "weight": weight})


def _image(flag: str, text: str, prompt: PromptIn, limits: Settings) -> ExampleIn:
    """An image file as an example; it is decoded here to fail before a model is loaded."""
    from api.services.prompts import prompt_from_request
    from ingest.imaging.decode import decode_photo

    name, weight = _file_and_weight(text)
    try:
        content = base64.b64encode(Path(name).read_bytes()).decode()
    except OSError as error:
        raise UsageError(f"{flag} {name}: {error.strerror or error}") from error
    rgb = decode_photo(
        Path(name), max_pixels=limits.max_upload_pixels, max_bytes=limits.max_upload_bytes
    ).rgb
    if not prompt.is_empty:
        prompt_from_request(prompt).checked((rgb.shape[1], rgb.shape[0]))
    return ExampleIn(image_base64=content, prompt=prompt, weight=weight)


def _file_and_weight(text: str) -> tuple[str, float]:
    """Split `FILE*WEIGHT`, unless a file with that whole name exists."""
    is_file = os.path.exists(text)  # noqa: PTH110  (Path.exists raises if the name is too long)
    return (text, 1.0) if is_file else split_weight(text)


def filter_from_flags(library: Library, given: Mapping[str, Any]) -> SearchFilter:
    """Convert the flags of `filter_options` to a filter."""
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
    """The key of a folder in filters."""
    from ingest.catalog.ledger import folder_key

    key = folder_key(library.ledger(), folder)
    if key is None:
        raise UsageError(
            f"{folder} is not in a folder of the library; `segsearch status` lists them"
        )
    return key
