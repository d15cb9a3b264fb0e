"""Commands about a library as a whole: status, show, optimize."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from api.cli.command import StrictCommand
from api.cli.options import checked_id, settings_options
from api.settings import Settings
from search.errors import UnknownIdError

if TYPE_CHECKING:
    from api.library.library import Library
    from api.schemas.library import LibraryOut


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
    from api.services.responses import photo_out, segment_out

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
