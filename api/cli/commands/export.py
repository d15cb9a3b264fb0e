"""The command that exports segments: export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from api.cli.command import StrictCommand, refuse_unused
from api.cli.exits import EXIT_SKIPPED
from api.cli.options import force_option, sentence_from_validation, settings_options
from api.cli.output import echo_json
from api.cli.search_flags import FLAGS, filter_from_flags, filter_options
from api.schemas.search import ExampleIn, SearchRequest
from api.services.outputs import check_output_folder, check_outputs
from api.services.search import search_through_owner
from api.settings import Settings
from search.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.library.library import Library
    from api.render.draw import Background, Lossless
    from api.services.export import ExportSummary, PhotoSegments

BACKGROUNDS = ("keep", "transparent", "white", "black", "blur")


@click.command(cls=StrictCommand)
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(("coco", "crops")),
    default="coco",
    show_default=True,
    help="coco: OUT is a JSON file; crops: OUT is a folder of images.",
)
@click.option("--query", metavar="TEXT", help="Only the hits of a search for this text.")
@click.option("--segment", metavar="ID", help="Only the hits of a search for this segment.")
@click.option("--limit", type=int, default=100, show_default=True, help="Maximum number of hits.")
@filter_options
@click.option(
    "--background",
    type=click.Choice(BACKGROUNDS),
    default="keep",
    show_default=True,
    help="Of crops: pixels outside the segment.",
)
@click.option(
    "--picture",
    type=click.Choice(("png", "webp")),
    default="png",
    show_default=True,
    help="Of crops: file format (both are lossless).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@force_option
@settings_options("library", "models", "server")
def export(
    settings: Settings,
    out: Path,
    form: str,
    as_json: bool,
    background: Background,
    picture: Lossless,
    force: bool,
    **given: Any,  # noqa: ANN401
) -> int:
    """Export segments to OUT: as a COCO file with RLE masks, or as one image each.

    \b
    segsearch export segments.json
    segsearch export red.json --query "red mug" --limit 50
    segsearch export crops --format crops --folder ~/Pictures/2024 --min-area 0.01

    Without --query or --segment, all segments that match the filters are exported.
    """  # noqa: D301  (click needs the backspace character)
    from api.library.library import Library
    from api.services.export import write_coco, write_crops

    if given["query"] is None and given["segment"] is None:
        refuse_unused(
            ["limit"], "it goes with --query or --segment; otherwise all segments are exported"
        )
    if form == "coco":
        refuse_unused(["background", "picture"], "they go with --format crops")
        check_outputs([out], (".json",), library=settings.library, force=force)
    else:
        check_output_folder(out, library=settings.library, force=force)
    with Library(settings, command="export") as library:
        found = _found(library, given)
        if form == "coco":
            summary = write_coco(found, out)
        else:
            summary = write_crops(library, found, out, background, picture)
    _print_summary(summary, out, as_json=as_json)
    return EXIT_SKIPPED if summary.skipped else 0


def _found(library: Library, given: dict[str, Any]) -> Iterator[PhotoSegments]:
    """Find the segments to export: a search runs at once, filters are applied lazily."""
    from api.services.export import iter_filtered, iter_hits

    try:
        where = filter_from_flags(library, given)
        if given["query"] is None and given["segment"] is None:
            return iter_filtered(library, where)
        examples = [ExampleIn(segment_id=given["segment"])] if given["segment"] else []
        request = SearchRequest(
            text=given["query"], positive=tuple(examples), filter=where, limit=given["limit"]
        )
    except ValidationError as error:
        raise UsageError(
            sentence_from_validation(error.errors(), {**FLAGS, "text": "--query"})
        ) from error
    return iter_hits(library, search_through_owner(library, request).hits)


def _print_summary(summary: ExportSummary, out: Path, *, as_json: bool) -> None:
    for reason in summary.skipped:
        click.echo(f"skipped {reason}", err=True)
    if as_json:
        counts = {"photos": summary.photos, "segments": summary.segments}
        echo_json({**counts, "out": str(out), "skipped": summary.skipped})
    else:
        click.echo(f"{summary.segments} segments of {summary.photos} photos written to {out}")
