"""The command that searches a library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.command import StrictCommand, refuse_unused
from api.cli.options import (
    force_option,
    settings_options,
)
from api.cli.search_flags import filter_options, pictures_of_flags, request_from_flags
from api.schemas.search import CoverageOut, HitOut, SearchResponse
from api.services.outputs import check_outputs, write_output
from api.settings import Settings
from search.errors import UsageError

if TYPE_CHECKING:
    pass

# What --json says of a hit; --masks adds `mask`.
HIT_KEYS = (
    *("segment_id", "photo_id", "path", "score"),
    *("bbox_xywh", "area_px", "predicted_iou", "stability_score"),
)
SHEET_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@click.command(cls=StrictCommand)
@click.argument("text", required=False)
@click.option("--and", "also", multiple=True, metavar="TEXT", help="More words it should match.")
@click.option("--not", "unlike", multiple=True, metavar="TEXT", help="Words it should not match.")
@click.option("--segment", "segments", multiple=True, metavar="ID", help="Like this segment.")
@click.option("--not-segment", "not_segments", multiple=True, metavar="ID", help="Unlike it.")
@click.option("--photo", "photos", multiple=True, metavar="ID", help="Like this whole photo.")
@click.option(
    "--image", type=click.Path(), metavar="FILE", help="Like this picture, or what is meant in it:"
)
@click.option(
    "--point", "points", multiple=True, metavar="X,Y[,0]", help="a point in --image (0: not this)"
)
@click.option("--box", metavar="X,Y,W,H", help="a box in --image.")
@click.option("--not-image", type=click.Path(), metavar="FILE", help="Unlike this picture.")
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
    from api.library.library import Library
    from api.services.search import search_through_owner

    if not as_json:
        refuse_unused(["masks"], "it goes with --json")
    if sheet is not None:
        check_outputs(
            [sheet],
            SHEET_SUFFIXES,
            library=settings.library,
            inputs=pictures_of_flags(given),
            force=force,
        )
    elif force:
        raise UsageError("--force lets --sheet replace a file: give --sheet too")
    with Library(settings, command="search") as library:
        request = request_from_flags(library, given)
        response = search_through_owner(library, request)
        if sheet is not None:
            from api.render.contact_sheet import sheet_bytes

            write_output(sheet, [sheet_bytes(library, response, sheet.suffix)])
    if as_json:
        click.echo(json.dumps(document_from_response(response), indent=2))
    else:
        _print_hits(response)


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


def _print_hits(response: SearchResponse) -> None:
    if response.groups is not None:
        for group in response.groups:
            click.echo(f"{_shown(group.path)}  photo {group.photo_id}")
            for hit in group.hits:
                click.echo(f"  {_line(hit, with_path=False)}")
    for hit in response.hits:
        click.echo(_line(hit, with_path=True))
    for photo in response.uncut:
        click.echo(f"{photo.score:.3f}  {_shown(photo.path)}  photo {photo.photo_id}")
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


def _shown(path: str | None) -> str:
    from ingest.imaging.decode import shown_path

    return shown_path(path) if path else "(no file in reach)"


def _line(hit: HitOut, *, with_path: bool) -> str:
    box = ",".join(f"{edge:g}" for edge in hit.bbox_xywh)
    path = f"  {_shown(hit.path)}" if with_path else ""
    return f"{hit.score:.3f}{path}  {box}  {hit.segment_id}"
