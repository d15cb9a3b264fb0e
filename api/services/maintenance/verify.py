"""Verifying a library. An embedded index is read in a child process: damaged files can abort it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from api.library.index.index_probe import crashing, ending
from api.library.index.ownership import served_owner
from api.library.library import Library
from api.settings import Settings
from ingest.maintenance.repair import Repair, repair
from ingest.maintenance.verify import (
    Health,
    PhotoCheck,
    broken_photo,
    check_photos,
    index_fault,
    verify,
)
from search.errors import CrashingIndexError, StoreError

# A line of the process: which photo it looks at now, or what it found.
LOOKING, FOUND = "looking ", "found "
MOST_CRASHES = 20  # each costs the opening of the index


def verify_library(
    library: Library,
    show: Callable[[Iterable[PhotoCheck]], Iterable[PhotoCheck]],
    *,
    mend: bool = False,
    delete_orphans: bool = False,
) -> tuple[Health, Repair | None]:
    """Check that all of a library is there and whole; repair what can be, if asked.

    Args:
        library: held by its only writer.
        show: wraps the checks in a progress bar.
        mend: repair.
        delete_orphans: delete what the ledger does not know, however much it is.
    """
    ledger = library.ledger()
    in_process = library.settings.qdrant is None and served_owner(library.folder) is None
    found = checks_in_process(library) if in_process else None
    try:
        health = verify(ledger, library.index, found, show=show)
    except CrashingIndexError as error:
        return unreadable(error, ledger.count_finished()[0]), None
    if not mend:
        return health, None
    return health, repair(health, ledger, library.index(), delete_orphans=delete_orphans)


def print_checks(library: Library, after: str) -> None:
    """Print the checks of all photos after an id, as `checks_in_process` reads them."""
    index, ledger = library.index(), library.ledger()
    ids = (row.photo.photo_id for row in ledger.iter_photos())
    checks = check_photos(ledger, index, after=after)
    for photo_id in ids:
        if photo_id > after:
            click.echo(f"{LOOKING}{photo_id}")
            sys.stdout.flush()  # before it may end the process
            click.echo(f"{FOUND}{next(checks).model_dump_json()}")


def checks_in_process(library: Library) -> Iterator[PhotoCheck]:
    """Check the photos of an embedded library; a photo whose reading ends the process is broken.

    Raises:
        CrashingIndexError: opening the index ends the process, or reading it does too often.
        StoreError: the index can't be opened.
    """
    after = ""
    for _ in range(MOST_CRASHES):
        looking = ""
        process = _start(library.settings, after)
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(LOOKING):
                    looking = line.removeprefix(LOOKING).strip()
                elif line.startswith(FOUND):
                    yield PhotoCheck.model_validate_json(line.removeprefix(FOUND))
                    after, looking = looking, ""
        code = process.returncode
        if code == 0:
            return
        if code > 0:  # it said why; so does this process, when it opens the index
            library.index()
        if not looking:
            raise crashing(library.folder / "index", code)
        problem = f"reading it from the index ends the process ({ending(code)})"
        yield broken_photo(library.ledger().photo(looking), problem)
        after = looking
    raise CrashingIndexError(f"reading it ended the process {MOST_CRASHES} times")


def _start(settings: Settings, after: str) -> subprocess.Popen[str]:
    folder = Path(settings.library).expanduser().absolute()
    command = ("verify", "--library", str(folder), "--checks-after", after)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "api.cli.main", *command],  # -P: not what lies in this folder
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def unreadable(error: StoreError, photos: int) -> Health:
    """Return the health of a library whose index can't be read at all."""
    problem = (
        f"{error}. Restore the library from a backup, or move that folder away. All {photos} "
        "photos have to be ingested again"
    )
    return Health(
        photos=photos,
        segments=0,
        files=0,
        faults=(index_fault(problem),),
        photos_unfinished=0,
        files_gone=(),
        roots_absent=(),
    )
