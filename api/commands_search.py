"""The command that searches a library."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from api.options import (
    Command,
    moment_from_text,
    near_from_text,
    sentence_from_validation,
    settings_options,
    weighed,
)
from api.outputs import check_outputs, force_option, write_output
from api.schemas import CoverageOut, ExampleIn, HitOut, PromptIn, SearchRequest, SearchResponse
from api.written import box_from_text, point_from_text
from search.errors import PhotoError, UsageError
from search.records import GeoCircle, Place, SearchFilter
from search.settings import Settings

if TYPE_CHECKING:
    from api.library import Library

# What --json says of a hit; --masks adds `mask`.
HIT_KEYS = (
    *("segment_id", "photo_id", "path", "score"),
    *("bbox_xywh", "area_px", "predicted_iou", "stability_score"),
)
SHEET_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
# The fields of requests and filters, as the flags that a person gave them with.
FLAGS = {
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
    click.option("--from", "taken_from", metavar="DATE", help="Only photos taken then or later."),
    click.option("--before", "taken_before", metavar="DATE", help="Only photos taken before."),
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


@click.command()
@click.argument("text", required=False)
@click.option("--and", "also", multiple=True, metavar="TEXT", help="More words it should match.")
@click.option("--not", "unlike", multiple=True, metavar="TEXT", help="Words it should not match.")
@click.option("--segment", "segments", multiple=True, metavar="ID", help="Like this segment.")
@click.option("--not-segment", "not_segments", multiple=True, metavar="ID", help="Unlike it.")
@click.option("--photo", "photos", multiple=True, metavar="ID", help="Like this whole photo.")
@click.option("--image", metavar="FILE", help="Like this picture, or what is meant in it:")
@click.option(
    "--point", "points", multiple=True, metavar="X,Y[,0]", help="a point in --image (0: not this)"
)
@click.option("--box", metavar="X,Y,W,H", help="a box in --image.")
@click.option("--not-image", metavar="FILE", help="Unlike this picture.")
@filter_options
@click.option("--limit", type=int, default=20, show_default=True, help="How many.")
@click.option("--cursor", help="Go on where the last page ended.")
@click.option(
    "--min-score", type=float, help="Lowest score (cosine; words score lower than pictures)."
)
@click.option(
    "--diversity",
    type=float,
    default=0.0,
    help="0: the most similar; to 1: more unlike each other.",
)
@click.option(
    "--distinct", is_flag=True, help="No segment that overlaps a better one of the same photo."
)
@click.option("--group", is_flag=True, help="Group hits by photo.")
@click.option("--masks", is_flag=True, help="With --json: the masks too, as COCO RLE.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--sheet", type=click.Path(path_type=Path), metavar="OUT.png", help="Draw the hits on a sheet."
)
@force_option
@settings_options("library", "models", "server")
def search(
    settings: Settings,
    as_json: bool,
    sheet: Path | None,
    force: bool,
    **given: Any,  # noqa: ANN401
) -> None:
    """Find segments: by words, by a segment, by a picture, by any mix.

    \b
    segsearch search "red mug"
    segsearch search --segment ID --not "red"
    segsearch search --image mug.jpg --box 40,60,200,180
    segsearch search "striped*0.5" --segment ID

    Any example may end in *WEIGHT.
    """  # noqa: D301  (click wants the backspace itself before lines that are not to be joined)
    from api.library import Library

    if sheet is not None:
        pictures = [Path(_file_and_weight(name)[0]) for name in _pictures(given)]
        check_outputs(
            [sheet], SHEET_SUFFIXES, library=settings.library, inputs=pictures, force=force
        )
    elif force:
        raise UsageError("--force lets --sheet replace a file: give --sheet too")
    with Library(settings, command="search") as library:
        request = _request(library, given)
        try:
            response = answer(library, request)
        except PhotoError:
            _blame_file(library, given)
            raise
        if sheet is not None:
            from api.sheet import sheet_bytes

            write_output(sheet, [sheet_bytes(library, response, sheet.suffix)])
    if as_json:
        click.echo(json.dumps(document_from_response(response), indent=2))
    else:
        _print_hits(response)


def _pictures(given: dict[str, Any]) -> list[str]:
    """Return the pictures that were named, with their weights."""
    return [name for name in (given["image"], given["not_image"]) if name]


def _blame_file(library: Library, given: dict[str, Any]) -> None:
    """Raise what is wrong with a picture under the name of its file: who answers knows only bytes.

    Raises:
        PhotoError: one of the files is no picture, or too large.
    """
    from ingest.photos import decode_photo

    limits = library.settings
    for name in _pictures(given):
        path = Path(_file_and_weight(name)[0])
        decode_photo(path, max_pixels=limits.max_upload_pixels, max_bytes=limits.max_upload_bytes)


def document_from_response(response: SearchResponse) -> dict[str, Any]:
    """Return what --json prints: hits, with --group groups instead, and the next page's cursor.

    While not all photos are cut: also those that were found uncut, and how many there are.
    """
    partly = {}
    if response.coverage is not None:
        partly = response.model_dump(mode="json", include={"uncut", "coverage"})
    if response.groups is None:
        hits = [_shown_hit(hit) for hit in response.hits]
        return {"hits": hits, "cursor": response.cursor, **partly}
    groups = [
        {
            "photo_id": group.photo_id,
            "path": group.path,
            "hits": [_shown_hit(h) for h in group.hits],
        }
        for group in response.groups
    ]
    return {"hits": [], "groups": groups, "cursor": response.cursor, **partly}


def _shown_hit(hit: HitOut) -> dict[str, Any]:
    keys = HIT_KEYS if hit.mask is None else (*HIT_KEYS, "mask")
    said = hit.model_dump(mode="json")
    return {key: said[key] for key in keys}


def answer(library: Library, request: SearchRequest) -> SearchResponse:
    """Search here, or let the process answer that serves the library: its models are warm."""
    from api.owner import ask_owner, served_owner
    from api.searching import search as search_here

    owner = None if library.settings.qdrant else served_owner(library.folder)
    if owner is None:
        return search_here(library, request)
    sent = request.model_dump(mode="json")
    return SearchResponse.model_validate_json(ask_owner(owner, "/v1/search", sent))


def _request(library: Library, given: dict[str, Any]) -> SearchRequest:
    try:
        return SearchRequest(
            text=None,
            positive=tuple(_positive(given)),
            negative=tuple(_negative(given)),
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


def _positive(given: dict[str, Any]) -> list[ExampleIn]:
    words = [given["text"]] if given["text"] is not None else []
    found = [_weighed("text", each) for each in [*words, *given["also"]]]
    found += [_weighed("segment_id", each) for each in given["segments"]]
    found += [_weighed("photo_id", each) for each in given["photos"]]
    prompt = PromptIn(
        points=tuple(point_from_text(text) for text in given["points"]),
        box_xywh=box_from_text(given["box"]) if given["box"] else None,
    )
    if given["image"]:
        found.append(_picture(given["image"], prompt))
    elif not prompt.is_empty:
        raise UsageError("--point and --box say what is meant in a picture: give --image too")
    if not found:
        raise UsageError("what to look for? Give words, --segment, --photo or --image")
    return found


def _negative(given: dict[str, Any]) -> list[ExampleIn]:
    found = [_weighed("text", each) for each in given["unlike"]]
    found += [_weighed("segment_id", each) for each in given["not_segments"]]
    if given["not_image"]:
        found.append(_picture(given["not_image"], PromptIn()))
    return found


def _weighed(kind: str, text: str) -> ExampleIn:
    what, weight = weighed(text)
    return ExampleIn.model_validate({kind: what, "weight": weight})


def _picture(text: str, prompt: PromptIn) -> ExampleIn:
    name, weight = _file_and_weight(text)
    try:
        sent = base64.b64encode(Path(name).read_bytes()).decode()
    except OSError as error:
        raise UsageError(f"--image {name}: {error.strerror or error}") from error
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
        camera=given["camera"],
        near=circle,
        min_area_fraction=given["min_area"],
        max_area_fraction=given["max_area"],
        min_predicted_iou=given["min_iou"],
        min_stability_score=given["min_stability"],
    )


def _folder(library: Library, folder: Path) -> str:
    """Return a folder as filters name it."""
    from ingest.ledger import folder_key

    key = folder_key(library.ledger(), folder)
    if key is None:
        raise UsageError(
            f"{folder} is in none of the library's folders; `segsearch status` lists them"
        )
    return key


def _print_hits(response: SearchResponse) -> None:
    if response.groups is not None:
        for group in response.groups:
            click.echo(f"{group.path or '(no file in reach)'}  photo {group.photo_id}")
            for hit in group.hits:
                click.echo(f"  {_line(hit, with_path=False)}")
    for hit in response.hits:
        click.echo(_line(hit, with_path=True))
    for photo in response.uncut:
        path = photo.path or "(no file in reach)"
        click.echo(f"{photo.score:.3f}  {path}  photo {photo.photo_id}")
    if not (response.hits or response.groups or response.uncut):
        click.echo("nothing found", err=True)
    if response.coverage is not None:
        click.echo(_coverage_line(response.coverage), err=True)
    if response.cursor:
        click.echo(f"more: --cursor {response.cursor}", err=True)


def _coverage_line(coverage: CoverageOut) -> str:
    """Say that not everything was searched, and what was."""
    said = (
        f"not all is searched yet: {coverage.photos_segmented} of {coverage.photos} photos are "
        "cut into segments, the others are found as whole photos"
    )
    waiting = f"; {coverage.files_waiting} files are still to be looked at"
    return said + (waiting if coverage.files_waiting else "")


def _line(hit: HitOut, *, with_path: bool) -> str:
    box = ",".join(f"{edge:g}" for edge in hit.bbox_xywh)
    path = f"  {hit.path or '(no file in reach)'}" if with_path else ""
    return f"{hit.score:.3f}{path}  {box}  {hit.segment_id}"
