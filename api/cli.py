"""The command `segsearch`.

Results go to stdout, progress and messages to stderr. Exit code 0: done, 1: failed, 2: wrong
usage, 3: done, but some files were skipped (of ingest: that no run told of before).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys

import click

from api.commands_export import export
from api.commands_library import ingest, move_root, optimize, show, status
from api.commands_push import push
from api.commands_recovery import move_server, rebuild
from api.commands_reembed import reembed
from api.commands_remove import remove
from api.commands_search import search
from api.commands_segment import segment
from api.commands_serve import demo, serve
from api.commands_verify import verify
from search.errors import SegsearchError, UsageError

EXIT_FAILED = 1
EXIT_USAGE = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="segsearch", message="segsearch %(version)s")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
def cli(verbose: bool) -> None:
    """Search a photo library by segment: by words, by example, by a click.

    Begin with `segsearch demo`, or with your own photos: `segsearch ingest PHOTOS`.

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
    """Run the command; a person's mistake ends in a sentence, never in a traceback."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else it warns when we fork
    try:
        code = cli.main(prog_name="segsearch", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("segsearch: stopped", err=True)
        code = EXIT_FAILED
    except click.ClickException as error:
        error.show()
        code = EXIT_USAGE
    except SegsearchError as error:
        click.echo(f"segsearch: {error}", err=True)
        code = EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED
    except sqlite3.Error as error:  # the ledger's disk is full, or it may not be written
        click.echo(f"segsearch: the ledger can't be used: {error}", err=True)
        code = EXIT_FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"segsearch: {where}{error.strerror or error}", err=True)
        code = EXIT_FAILED
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":  # how a server starts an ingest: `python -m api.cli`
    main()
