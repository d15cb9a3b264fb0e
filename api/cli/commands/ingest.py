"""The command that adds photos to a library: ingest."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand
from api.cli.exits import EXIT_FAILED, EXIT_SKIPPED
from api.cli.options import settings_options
from api.cli.output import echo_json
from api.settings import Settings
from search.errors import UsageError

if TYPE_CHECKING:
    from ingest.stats import IngestSummary

MAX_SHOWN = 20  # skipped files; all are in `segsearch status --skipped`


@click.command(cls=StrictCommand)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document.")
@click.option(
    "--progress",
    "progress_format",
    type=click.Choice(("bar", "json")),
    default="bar",
    show_default=True,
    help="json: one JSON document per line on stdout, for programs.",
)
@click.option(
    "--resegment",
    is_flag=True,
    help="Segment photos again that were segmented with other settings.",
)
@click.option("--retry-skipped", is_flag=True, help="Try files again that were skipped before.")
@click.option(
    "--reread",
    is_flag=True,
    help="Read files again that seem unchanged; segments nothing.",
)
@click.option(
    "--strict", is_flag=True, help="Exit code 3 also if all skipped files were reported before."
)
@click.option("--watch", is_flag=True, help="Keep watching PATHS for changes, until Ctrl-C.")
@click.option(
    "--ray",
    "ray_address",
    metavar="ADDRESS",
    help="Segment and embed on a Ray cluster (`local`: on this machine); needs --qdrant.",
)
@click.option(
    "--until-stdin-closes",
    is_flag=True,
    hidden=True,
    help="Stop when the parent process has ended.",
)
@settings_options("library", "models", "masks", "ingest", "server")
def ingest(
    settings: Settings,
    paths: tuple[Path, ...],
    as_json: bool,
    progress_format: str,
    resegment: bool,
    retry_skipped: bool,
    reread: bool,
    strict: bool,
    watch: bool,
    ray_address: str | None,
    until_stdin_closes: bool,
) -> int:
    """Add the photos below PATHS to the library; update moved, changed and vanished ones.

    Only new or changed photos take time; moved, copied or re-tagged files take none. You can stop
    it at any time: the next run resumes. Exit code 3: files were skipped that no earlier run
    reported.
    """
    from api.cli.progress import IngestProgress, JsonProgress, print_line
    from api.library.library import Library
    from api.schemas.jobs import last_line
    from api.services.ingest import IngestOptions, ingest_photos

    if until_stdin_closes:
        from api.services.watch import end_with_parent

        end_with_parent()
    as_lines = progress_format == "json"
    if as_json and as_lines:
        raise UsageError("--json and --progress json both write to stdout: choose one")
    if watch and (as_json or as_lines):
        raise UsageError("--watch never ends, so it can't print JSON: leave one of them out")
    if watch and ray_address:
        raise UsageError("--watch can't run on a Ray cluster: leave out --watch or --ray")
    options = IngestOptions(resegment, retry_skipped, reread, ray_address)
    make_progress = JsonProgress if as_lines else IngestProgress
    with Library(settings, command="ingest", create=True, other_segmenter=resegment) as library:
        summary = ingest_photos(
            library, paths, make_progress, options, partial(click.echo, err=True)
        )
        if as_lines:
            print_line(last_line(summary))
        elif as_json:
            echo_json(summary.model_dump(mode="json"))
        else:
            _print_summary(summary)
        if watch and not summary.interrupted:
            from api.services.watch import watch_until_interrupted

            watch_until_interrupted(paths, library, _print_summary, summary, IngestProgress)
            return 0
    if summary.interrupted:
        return EXIT_FAILED
    skipped = summary.skipped if strict or retry_skipped else summary.skipped_new
    return EXIT_SKIPPED if skipped else 0


def _print_summary(summary: IngestSummary) -> None:
    for notice in summary.notices:
        click.echo(notice, err=True)
    new = [skipped for skipped in summary.skipped if skipped.is_new]
    for skipped in new[:MAX_SHOWN]:
        click.echo(f"skipped {skipped.reason}", err=True)
    if more := len(summary.skipped) - len(new[:MAX_SHOWN]):
        known = len(summary.skipped) - len(new)
        note = f" ({known} of them reported before)" if known else ""
        click.echo(f"and {more} more{note}: see `segsearch status --skipped`", err=True)
    if summary.interrupted:
        click.echo("stopped; run the same command again to resume", err=True)
    click.echo(
        f"{summary.photos_seen} photos seen: {summary.photos_ingested} ingested "
        f"({summary.segments} segments), {summary.photos_unchanged} unchanged, "
        f"{summary.photos_updated} moved or re-tagged, {summary.photos_vanished} vanished, "
        + (f"{summary.photos_excluded} excluded, " if summary.photos_excluded else "")
        + f"{summary.photos_skipped} skipped; {summary.seconds:.1f} s"
    )
    if summary.slowest is not None:
        click.echo(_stage_rates(summary), err=True)


def _stage_rates(summary: IngestSummary) -> str:
    """The rate of each stage, and the bottleneck."""
    each = ", ".join(
        f"{time.stage} {time.photos_per_s:.3g}" + (f" (by {time.workers})" * (time.workers > 1))
        for time in summary.stages
    )
    return f"photos/s that each stage could do: {each}; the others waited for: {summary.slowest}"
