"""The command that searches a library: search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from api.cli.command import StrictCommand, refuse_unused
from api.cli.options import force_option, settings_options
from api.cli.output import echo_json
from api.cli.search_flags import filter_options, images_of_flags, request_from_flags
from api.schemas.search import CoverageOut, HitOut, SearchResponse
from api.services.outputs import check_outputs, write_output
from api.settings import Settings
from search.errors import UsageError

# The fields of a hit with --json; --masks adds `mask`.
HIT_KEYS = (
    *("segment_id", "photo_id", "path", "score"),
    *("bbox_xywh", "area_px", "predicted_iou", "stability_score"),
)
SHEET_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@click.command(cls=StrictCommand)
@click.argument("text", required=False)
@click.option("--and", "also", multiple=True, metavar="TEXT", help="More text to match.")
@click.option("--not", "unlike", multiple=True, metavar="TEXT", help="Text not to match.")
@click.option("--segment", "segments", multiple=True, metavar="ID", help="Similar to this segment.")
@click.option(
    "--not-segment",
    "not_segments",
    multiple=True,
    metavar="ID",
    help="Not similar to this segment.",
)
@click.option("--photo", "photos", multiple=True, metavar="ID", help="Similar to this whole photo.")
@click.option(
    "--image", type=click.Path(), metavar="FILE", help="Similar to this image, or to its segment:"
)
@click.option(
    "--point",
    "points",
    multiple=True,
    metavar="X,Y[,0]",
    help="at this point in --image (0: outside).",
)
@click.option("--box", metavar="X,Y,W,H", help="in this box of --image.")
@click.option("--not-image", type=click.Path(), metavar="FILE", help="Not similar to this image.")
@filter_options
@click.option("--limit", type=int, default=20, show_default=True, help="Maximum number of hits.")
@click.option("--cursor", help="Continue after the previous page.")
@click.option(
    "--min-score", type=float, help="Minimum score (cosine; text scores lower than images)."
)
@click.option(
    "--diversity",
    type=float,
    default=0.0,
    help="0: most similar hits; towards 1: more diverse hits.",
)
@click.option(
    "--distinct", is_flag=True, help="Omit segments that overlap a better one of the same photo."
)
@click.option("--group", is_flag=True, help="Group hits by photo.")
@click.option("--masks", is_flag=True, help="With --json: add masks, as COCO RLE.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    metavar="OUT.png",
    help="Draw a contact sheet of the hits.",
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
    """Find segments by text, segments, images, or any combination.

    \b
    segsearch search "red mug"
    segsearch search --segment ID --not "red"
    segsearch search --image mug.jpg --box 40,60,200,180
    segsearch search "striped*0.5" --segment ID

    Any example may end with *WEIGHT.
    """  # noqa: D301  (click needs the backspace character)
    from api.library.library import Library
    from api.services.search import search_through_owner

    if not as_json:
        refuse_unused(["masks"], "it goes with --json")
    if sheet is not None:
        check_outputs(
            [sheet],
            SHEET_SUFFIXES,
            library=settings.library,
            inputs=images_of_flags(given),
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
        echo_json(document_from_response(response))
    else:
        _print_hits(response)


def document_from_response(response: SearchResponse) -> dict[str, Any]:
    """The document of --json: hits, or groups with --group, and the next page's cursor.

    Until all photos are segmented, also the whole photos found and the coverage.
    """
    partial = {}
    if response.coverage is not None:
        partial = response.model_dump(mode="json", include={"uncut", "coverage"})
    if response.groups is None:
        hits = [_hit_fields(hit) for hit in response.hits]
        return {"hits": hits, "cursor": response.cursor, **partial}
    groups = [
        {
            "photo_id": group.photo_id,
            "path": group.path,
            "hits": [_hit_fields(h) for h in group.hits],
        }
        for group in response.groups
    ]
    return {"hits": [], "groups": groups, "cursor": response.cursor, **partial}


def _hit_fields(hit: HitOut) -> dict[str, Any]:
    keys = HIT_KEYS if hit.mask is None else (*HIT_KEYS, "mask")
    fields = hit.model_dump(mode="json")
    return {key: fields[key] for key in keys}


def _print_hits(response: SearchResponse) -> None:
    if response.groups is not None:
        for group in response.groups:
            click.echo(f"{_path_text(group.path)}  photo {group.photo_id}")
            for hit in group.hits:
                click.echo(f"  {_line(hit, with_path=False)}")
    for hit in response.hits:
        click.echo(_line(hit, with_path=True))
    for photo in response.uncut:
        click.echo(f"{photo.score:.3f}  {_path_text(photo.path)}  photo {photo.photo_id}")
    if not (response.hits or response.groups or response.uncut):
        click.echo("nothing found", err=True)
    if response.coverage is not None:
        click.echo(_coverage_line(response.coverage), err=True)
    if response.cursor:
        click.echo(f"more: --cursor {response.cursor}", err=True)


def _coverage_line(coverage: CoverageOut) -> str:
    """How much of the library was searched."""
    line = (
        f"not all is searched yet: {coverage.photos_segmented} of {coverage.photos} photos are "
        "segmented, the others are found as whole photos"
    )
    return line + (
        f"; {coverage.files_waiting} files are not read yet" if coverage.files_waiting else ""
    )


def _path_text(path: str | None) -> str:
    from ingest.imaging.decode import shown_path

    return shown_path(path) if path else "(no file in reach)"


def _line(hit: HitOut, *, with_path: bool) -> str:
    box = ",".join(f"{edge:g}" for edge in hit.bbox_xywh)
    path = f"  {_path_text(hit.path)}" if with_path else ""
    return f"{hit.score:.3f}{path}  {box}  {hit.segment_id}"
