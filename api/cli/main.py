"""The command `segsearch`.

Results go to stdout, progress and messages to stderr. Exit code 0: success, 1: failure, 2: usage
error, 3: success, but files were skipped (with ingest: that no earlier run reported).
"""

from __future__ import annotations

import logging
import os
import sys

import click

from api.cli.command import warn_about_unknown_variables
from api.cli.commands.demo import demo
from api.cli.commands.export import export
from api.cli.commands.ingest import ingest
from api.cli.commands.library import optimize, show, status
from api.cli.commands.move import move_root, move_server
from api.cli.commands.push import push
from api.cli.commands.rebuild import rebuild
from api.cli.commands.reembed import reembed
from api.cli.commands.remove import remove
from api.cli.commands.search import search
from api.cli.commands.segment import segment
from api.cli.commands.serve import serve
from api.cli.commands.verify import verify
from api.cli.exits import escape_unencodable_output, exit_code_of, flush_output


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="segsearch", message="segsearch %(version)s")
@click.option("-v", "--verbose", is_flag=True, help="Log more to stderr.")
def cli(verbose: bool) -> None:
    """Search a photo library by segment: by text, by example, by a click.

    Start with `segsearch demo`, or with your own photos: `segsearch ingest PHOTOS`.

    Every setting is also an environment variable (SEGSEARCH_LIBRARY, SEGSEARCH_DEVICE, ...) and a
    key of a settings file (docs/settings.md).
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.ERROR,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


COMMANDS = (
    ingest,
    search,
    segment,
    serve,
    status,
    show,
    export,
    remove,
    move_root,
    move_server,
    verify,
    rebuild,
    optimize,
    reembed,
    push,
    demo,
)
for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Run the command line; user errors end with a message, never with a traceback."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # otherwise it warns after a fork
    escape_unencodable_output()
    try:
        warn_about_unknown_variables()
        code = cli.main(prog_name="segsearch", standalone_mode=False)
        flush_output()
    except (Exception, KeyboardInterrupt) as error:
        code = exit_code_of(error)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":  # the server starts ingests with `python -m api.cli.main`
    main()
