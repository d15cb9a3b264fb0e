"""The command that hands segments to other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from api.cli.command import StrictCommand, refuse_unused
from api.cli.options import force_option, sentence_from_validation, settings_options
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
    from api.services.export import Exported, Found

EXIT_SKIPPED = 3
BACKGROUNDS = ("keep", "transparent", "white", "black", "blur")


@click.command(cls=StrictCommand)
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(("coco", "crops")),
    default="coco",
    show_default=True,
    help="coco: OUT is a JSON file; crops: OUT is a folder of pictures.",
)
@click.option("--query", metavar="TEXT", help="Only what a search for these words finds.")
@click.option("--segment", metavar="ID", help="Only what a search for this segment finds.")
@click.option("--limit", type=int, default=100, show_default=True, help="So many hits of a search.")
@filter_options
@click.option(
    "--background",
    type=click.Choice(BACKGROUNDS),
    default="keep",
    show_default=True,
    help="Of crops: what is around the segment.",
)
@click.option(
    "--picture",
    type=click.Choice(("png", "webp")),
    default="png",
    show_default=True,
    help="Of crops: how they are written (both without loss).",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
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
    """Write segments to OUT: as a COCO file with masks as RLE, or as one picture each.

    \b
    segsearch export segments.json
    segsearch export red.json --query "red mug" --limit 50
    segsearch export crops --format crops --folder ~/Pictures/2024 --min-area 0.01

    Without --query or --segment all segments go out that the filters let through.
    """  # noqa: D301  (click wants the backspace itself before lines that are not to be joined)
    from api.library.library import Library
    from api.services.export import write_coco, write_crops

    if given["query"] is None and given["segment"] is None:
        refuse_unused(["limit"], "it goes with --query or --segment, else all segments are written")
    if form == "coco":
        refuse_unused(["background", "picture"], "they go with --format crops")
        check_outputs([out], (".json",), library=settings.library, force=force)
    else:
        check_output_folder(out, library=settings.library, force=force)
    with Library(settings, command="export") as library:
        found = _found(library, given)
        if form == "coco":
            exported = write_coco(found, out)
        else:
            exported = write_crops(library, found, out, background, picture)
    _tell(exported, out, as_json=as_json)
    return EXIT_SKIPPED if exported.skipped else 0


def _found(library: Library, given: dict[str, Any]) -> Iterator[Found]:
    """Return what is to be exported; a search is done at once, the rest on the way."""
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


def _tell(exported: Exported, out: Path, *, as_json: bool) -> None:
    for reason in exported.skipped:
        click.echo(f"skipped {reason}", err=True)
    if as_json:
        said = {"photos": exported.photos, "segments": exported.segments, "out": str(out)}
        click.echo(json.dumps({**said, "skipped": exported.skipped}, indent=2))
    else:
        click.echo(f"{exported.segments} segments of {exported.photos} photos written to {out}")
