"""The command that adds photos to a library: ingest."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand
from api.cli.options import settings_options
from api.settings import Settings
from search.errors import UsageError

if TYPE_CHECKING:
    from ingest.stats import IngestSummary

EXIT_FAILED = 1
EXIT_SKIPPED = 3
SHOWN_SKIPPED = 20  # the rest is in `segsearch status --skipped`


@click.command(cls=StrictCommand)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document.")
@click.option(
    "--progress",
    "shown",
    type=click.Choice(("bar", "json")),
    default="bar",
    show_default=True,
    help="json: one JSON document a line on stdout, for a program that reads it.",
)
@click.option(
    "--resegment", is_flag=True, help="Cut photos anew that were cut with other settings."
)
@click.option("--retry-skipped", is_flag=True, help="Look again at files that were skipped before.")
@click.option(
    "--reread",
    is_flag=True,
    help="Read files again that seem to be what they were; nothing is cut.",
)
@click.option(
    "--strict", is_flag=True, help="Exit code 3 also where all skipped files were known before."
)
@click.option("--watch", is_flag=True, help="Go on with what changes there, until Ctrl-C.")
@click.option(
    "--ray",
    "ray_address",
    metavar="ADDRESS",
    help="Cut and embed on a Ray cluster (`local`: Ray on this machine); needs --qdrant.",
)
@click.option(
    "--until-stdin-closes", is_flag=True, hidden=True, help="Stop when the parent process is gone."
)
@settings_options("library", "models", "masks", "ingest", "server")
def ingest(
    settings: Settings,
    paths: tuple[Path, ...],
    as_json: bool,
    shown: str,
    resegment: bool,
    retry_skipped: bool,
    reread: bool,
    strict: bool,
    watch: bool,
    ray_address: str | None,
    until_stdin_closes: bool,
) -> int:
    """Add the photos below PATHS to the library, and follow what moved, changed or vanished.

    Only new or changed photos cost time; a moved, copied or re-tagged file costs none. Stop it at
    any moment: the next run goes on where this one stopped. Exit code 3: files were skipped that no
    run told of before.
    """
    from api.cli.progress import IngestProgress, JsonProgress, print_line
    from api.library.library import Library
    from api.schemas.jobs import last_line
    from api.services.ingest import IngestOptions, ingest_photos

    if until_stdin_closes:
        from api.services.watch import end_with_parent

        end_with_parent()
    as_lines = shown == "json"
    if as_json and as_lines:
        raise UsageError("--json and --progress json both write to stdout: choose one")
    if watch and (as_json or as_lines):
        raise UsageError("--watch has no end that JSON could tell of: leave one of them out")
    if watch and ray_address:
        raise UsageError("--watch is for one machine, --ray for many: leave one of them out")
    options = IngestOptions(resegment, retry_skipped, reread, ray_address)
    make_progress = JsonProgress if as_lines else IngestProgress
    with Library(settings, command="ingest", create=True, other_segmenter=resegment) as library:
        summary = ingest_photos(
            library, paths, make_progress, options, partial(click.echo, err=True)
        )
        if as_lines:
            print_line(last_line(summary))
        elif as_json:
            click.echo(json.dumps(summary.model_dump(mode="json"), indent=2))
        else:
            _tell(summary)
        if watch and not summary.interrupted:
            from api.services.watch import watch_until_interrupted

            watch_until_interrupted(paths, library, _tell, summary, IngestProgress)
            return 0
    if summary.interrupted:
        return EXIT_FAILED
    is_news = summary.skipped if strict or retry_skipped else summary.skipped_new
    return EXIT_SKIPPED if is_news else 0


def _tell(summary: IngestSummary) -> None:
    for notice in summary.notices:
        click.echo(notice, err=True)
    new = [skipped for skipped in summary.skipped if skipped.is_new]
    for skipped in new[:SHOWN_SKIPPED]:
        click.echo(f"skipped {skipped.reason}", err=True)
    if more := len(summary.skipped) - len(new[:SHOWN_SKIPPED]):
        known = len(summary.skipped) - len(new)
        note = f" ({known} of them known from before)" if known else ""
        click.echo(f"and {more} more{note}: see `segsearch status --skipped`", err=True)
    if summary.interrupted:
        click.echo("stopped; run the same command again to go on", err=True)
    click.echo(
        f"{summary.photos_seen} photos seen: {summary.photos_ingested} ingested "
        f"({summary.segments} segments), {summary.photos_unchanged} unchanged, "
        f"{summary.photos_updated} moved or re-tagged, {summary.photos_vanished} vanished, "
        + (f"{summary.photos_excluded} left out, " if summary.photos_excluded else "")
        + f"{summary.photos_skipped} skipped; {summary.seconds:.1f} s"
    )
    if summary.slowest is not None:
        click.echo(_speeds(summary), err=True)


def _speeds(summary: IngestSummary) -> str:
    """Say how fast each stage was, and which one the others waited for."""
    each = ", ".join(
        f"{time.stage} {time.photos_per_s:.3g}" + (f" (by {time.workers})" * (time.workers > 1))
        for time in summary.stages
    )
    return f"photos/s that each stage could do: {each}; the others waited for: {summary.slowest}"
