"""Commands about a library as a whole: status, show, optimize."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand
from api.cli.options import parse_id, settings_options
from api.cli.output import echo_json
from api.settings import Settings

if TYPE_CHECKING:
    from api.schemas.library import LibraryOut


@click.command(cls=StrictCommand)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--skipped", is_flag=True, help="List the skipped files, and why.")
@settings_options("library")
def status(settings: Settings, as_json: bool, skipped: bool) -> None:
    """Show the contents of the library, its models, and skipped files."""
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
        echo_json({**about, **listed})
        return
    click.echo(f"library    {shown_path(overview.library)}")
    note = " (starter models: small, and they know far less than those of the hub)"
    click.echo(
        f"models     {overview.segmenter}, {overview.encoder}, crops: {overview.crop_recipe}"
        + (note if overview.starter_models else "")
    )
    if newer := overview.newer_segmenter:
        click.echo(
            f"           {newer} cuts photos better: `segsearch ingest PHOTOS --resegment` "
            "cuts them anew"
        )
    if newer := overview.newer_encoder:
        click.echo(
            f"           {newer} knows names of things: `segsearch reembed --encoder {newer}` "
            "makes vectors with it"
        )
    click.echo(f"vectors    {overview.engine}")
    if version is not None:
        click.echo(f"server     {version}")
    click.echo(f"photos     {overview.photos} ({_hidden(overview)})")
    if overview.photos_segmented < overview.photos or overview.files_waiting:
        click.echo(
            f"covered    {overview.photos_segmented} of {overview.photos} photos are segmented, "
            f"the others found as a whole; {overview.files_waiting} files not read yet"
        )
    click.echo(f"segments   {overview.segments}")
    click.echo(
        f"files      {overview.files} present, {overview.files_vanished} vanished, "
        f"{overview.files_skipped} skipped"
    )
    if overview.files_unread:
        counted = ", ".join(f"{extension} {files}" for extension, files in overview.unread.items())
        click.echo(f"unread     {overview.files_unread} files in unsupported formats: {counted}")
    for root in overview.roots:
        absent = "" if root.present else "  (absent)"
        click.echo(f"root       {root.root_id}  {shown_path(root.path)}{absent}")
    for each in bad:
        click.echo(
            f"skipped    {each.noted_at:%Y-%m-%d %H:%M} UTC  {shown_path(each.path)}: {each.reason}"
        )


def _hidden(overview: LibraryOut) -> str:
    missing = overview.photos_hidden - overview.photos_excluded
    excluded = f", {overview.photos_excluded} hidden: excluded" if overview.photos_excluded else ""
    return f"{missing} hidden: file missing{excluded}"


@click.command(cls=StrictCommand)
@click.argument("record_id", metavar="ID")
@settings_options("library", "server")
def show(settings: Settings, record_id: str) -> None:
    """Print a photo (with its segments) or a segment (with its mask) as JSON, by its id."""
    from api.library.library import Library
    from api.schemas.photos import PhotoOut
    from api.services.browse import photo_or_segment, segments_of_photo

    checked_id = parse_id(record_id)
    with Library(settings, command="show") as library:
        record = photo_or_segment(library, checked_id)
        if not isinstance(record, PhotoOut):
            echo_json({"segment": record.model_dump(mode="json")})
            return
        segments = segments_of_photo(library, record.photo_id).segments
    listed = [segment.model_dump(mode="json", exclude={"mask"}) for segment in segments]
    echo_json({"photo": record.model_dump(mode="json"), "segments": listed})


@click.command(cls=StrictCommand)
@settings_options("library", "server")
def optimize(settings: Settings) -> None:
    """Build the HNSW graph of a large embedded library.

    Useful above about 20,000 segments; below, nothing is done, since an exact scan is as fast. The
    library must not be served meanwhile. Needs about a minute of CPU time for 100,000 segments, and
    temporarily as much disk space as the library. A Qdrant server builds its graph by itself.
    """
    from api.library.library import Library

    with Library(settings, command="optimize") as library, library.only_writer():
        index, _ = library.own_index()  # fails while another process serves it
        built = index.optimize()
    click.echo("the graph is built" if built else "nothing to do: an exact scan is as fast")
