"""Commands about what is in a library: ingest, status, show, move-root, optimize."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.command import StrictCommand
from api.cli.options import checked_id, settings_options
from search.errors import UnknownIdError, UsageError
from search.settings import Settings

if TYPE_CHECKING:
    from api.library.library import Library
    from api.schemas.all import LibraryOut
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
) -> int:
    """Add the photos below PATHS to the library, and follow what moved, changed or vanished.

    Only new or changed photos cost time; a moved, copied or re-tagged file costs none. Stop it at
    any moment: the next run goes on where this one stopped. Exit code 3: files were skipped that no
    run told of before.
    """
    from api.cli.progress import IngestProgress, JsonProgress, last_line, print_line
    from api.library.library import Library
    from api.services.ray_workers import check_may_use_ray, through_workers
    from ingest.pipeline import ingest as run

    as_lines = shown == "json"
    if as_json and as_lines:
        raise UsageError("--json and --progress json both write to stdout: choose one")
    if watch and (as_json or as_lines):
        raise UsageError("--watch has no end that JSON could tell of: leave one of them out")
    if watch and ray_address:
        raise UsageError("--watch is for one machine, --ray for many: leave one of them out")
    with Library(settings, command="ingest", create=True, other_segmenter=resegment) as library:
        if ray_address:
            check_may_use_ray(library)
        with library.only_writer():
            library.check_store()
            if resegment:
                library.adopt_segmenter()
            for change in library.adopt_masks():
                click.echo(f"photos are segmented with {change} from now on", err=True)
            with (
                through_workers(ray_address, library) as through,
                JsonProgress() if as_lines else IngestProgress() as progress,
            ):
                summary = run(
                    paths,
                    library.workshop(),
                    progress,
                    resegment=resegment,
                    retry_skipped=retry_skipped,
                    reread=reread,
                    through=through,
                )
            library.note_payloads()
        if as_lines:
            print_line(last_line(summary))
        elif as_json:
            click.echo(json.dumps(summary.model_dump(mode="json"), indent=2))
        else:
            _tell(summary)
        if watch and not summary.interrupted:
            from api.services.watch import watch_until_interrupted

            watch_until_interrupted(paths, library, _tell, summary)
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


@click.command(cls=StrictCommand)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--skipped", is_flag=True, help="List the files that could not be used, and why.")
@settings_options("library")
def status(settings: Settings, as_json: bool, skipped: bool) -> None:
    """Say what the library holds, what made it, and what was skipped."""
    from api.library.library import Library
    from api.services.status import library_out, server_version, skipped_files
    from ingest.imaging.decode import shown_path

    with Library(settings, command="status") as library:
        overview = library_out(library)
        version = server_version(library)
        bad = skipped_files(library) if skipped else []
    if as_json:
        listed = {"skipped": [s.model_dump(mode="json") for s in bad]} if skipped else {}
        about = {**overview.model_dump(mode="json"), "server_version": version}
        click.echo(json.dumps({**about, **listed}, indent=2))
        return
    click.echo(f"library    {shown_path(overview.library)}")
    note = " (starter models: they know colors and shapes, not object names)"
    click.echo(
        f"models     {overview.segmenter}, {overview.encoder}, crops: {overview.crop_recipe}"
        + (note if overview.starter_models else "")
    )
    click.echo(f"vectors    {overview.engine}")
    if version is not None:
        click.echo(f"server     {version}")
    click.echo(f"photos     {overview.photos} ({_hidden(overview)})")
    if overview.photos_segmented < overview.photos or overview.files_waiting:
        click.echo(
            f"covered    {overview.photos_segmented} of {overview.photos} photos are cut, the "
            f"others found as a whole; {overview.files_waiting} files not looked at yet"
        )
    click.echo(f"segments   {overview.segments}")
    click.echo(
        f"files      {overview.files} present, {overview.files_vanished} vanished, "
        f"{overview.files_skipped} skipped"
    )
    if overview.files_unread:
        counted = ", ".join(f"{extension} {files}" for extension, files in overview.unread.items())
        click.echo(
            f"unread     {overview.files_unread} files in formats that are not read: {counted}"
        )
    for root in overview.roots:
        absent = "" if root.present else "  (absent)"
        click.echo(f"root       {root.root_id}  {shown_path(root.path)}{absent}")
    for each in bad:
        click.echo(
            f"skipped    {each.noted_at:%Y-%m-%d %H:%M} UTC  {shown_path(each.path)}: {each.reason}"
        )


def _hidden(overview: LibraryOut) -> str:
    missing = overview.photos_hidden - overview.photos_excluded
    left_out = f", {overview.photos_excluded} hidden: left out" if overview.photos_excluded else ""
    return f"{missing} hidden: file missing{left_out}"


@click.command(cls=StrictCommand)
@click.argument("record_id", metavar="ID")
@settings_options("library", "server")
def show(settings: Settings, record_id: str) -> None:
    """Print a photo (with its segments) or a segment (with its mask) as JSON, by its id."""
    from api.library.library import Library

    checked = checked_id(record_id)
    with Library(settings, command="show") as library:
        click.echo(json.dumps(_record(library, checked), indent=2))


def _record(library: Library, record_id: str) -> dict[str, Any]:
    from api.services.search import photo_out, segment_out

    try:
        photo = photo_out(library.ledger().photo(record_id))
    except UnknownIdError:
        found = library.index().segments([record_id], with_masks=True)
        if not found:
            raise UnknownIdError(
                f"there is no photo or segment {record_id} in this library"
            ) from None
        return {"segment": segment_out(found[0]).model_dump(mode="json")}
    segments = library.index().segments_of(photo.photo_id)
    return {
        "photo": photo.model_dump(mode="json"),
        "segments": [segment_out(s).model_dump(mode="json", exclude={"mask"}) for s in segments],
    }


@click.command("move-root", cls=StrictCommand)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@settings_options("library", "server")
def move_root(settings: Settings, old: Path, new: Path) -> None:
    """Say that the folder OLD, which was ingested, is found at NEW now: a disk mounted elsewhere.

    No photo is read for it. (Without it `ingest NEW` finds out by itself, reading each file once.)
    """
    from api.library.library import Library
    from ingest.catalog.index_sync import tell_index
    from ingest.imaging.decode import shown_path

    if not new.is_dir():
        raise UsageError(f"{new} is not a folder; name the one where the photos are now")
    with Library(settings, command="move-root") as library, library.only_writer():
        ledger = library.ledger()
        root = ledger.move_root(Path(os.path.realpath(old)), Path(os.path.realpath(new)))
        tell_index(ledger, library.index)
        files = sum(1 for _ in ledger.known_below(root, b""))
    click.echo(f"{files} files are looked for below {shown_path(root.path)} from now on")


@click.command(cls=StrictCommand)
@settings_options("library", "server")
def optimize(settings: Settings) -> None:
    """Build the nearest-neighbor graph of a large embedded library.

    It pays above some 20,000 segments; below, nothing is done: an exact scan is as fast. Not while
    the library is served. It takes about a minute of processor time for 100,000 segments, and
    while it works as much room on the disk as the library has. A Qdrant server builds its graph by
    itself.
    """
    from api.library.library import Library

    with Library(settings, command="optimize") as library, library.only_writer():
        index, _ = library.own_index()  # refused while another process serves it
        built = index.optimize()
    click.echo("the graph is built" if built else "nothing to do: an exact scan is as fast")
