"""Verify a library. A child process reads an embedded index: damaged files can crash it."""

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

# Lines of the child process: the photo that it reads now, or the outcome.
READING, CHECKED = "reading ", "checked "
MAX_CRASHES = 20  # after each, the index is opened again


def verify_library(
    library: Library,
    show: Callable[[Iterable[PhotoCheck]], Iterable[PhotoCheck]],
    *,
    mend: bool = False,
    delete_orphans: bool = False,
) -> tuple[Health, Repair | None]:
    """Check that a library is complete and consistent; repair it if asked.

    Args:
        library: locked for writing.
        show: wraps the checks in a progress bar.
        mend: repair what can be repaired.
        delete_orphans: delete photos that are not in the ledger, even if they are many.
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
    """Print the checks of all photos after an id, in the format of `checks_in_process`."""
    index, ledger = library.index(), library.ledger()
    ids = (row.photo.photo_id for row in ledger.iter_photos())
    checks = check_photos(ledger, index, after=after)
    for photo_id in ids:
        if photo_id > after:
            click.echo(f"{READING}{photo_id}")
            sys.stdout.flush()  # reading may crash this process
            click.echo(f"{CHECKED}{next(checks).model_dump_json()}")


def checks_in_process(library: Library) -> Iterator[PhotoCheck]:
    """Check the photos of an embedded library; one that crashes the child process is broken.

    Raises:
        CrashingIndexError: opening the index crashes, or reading it does so too often.
        StoreError: the index can't be opened.
    """
    after = ""
    for _ in range(MAX_CRASHES):
        reading = ""
        process = _start(library.settings, after)
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(READING):
                    reading = line.removeprefix(READING).strip()
                elif line.startswith(CHECKED):
                    yield PhotoCheck.model_validate_json(line.removeprefix(CHECKED))
                    after, reading = reading, ""
        code = process.returncode
        if code == 0:
            return
        if code > 0:  # a regular error, which this process raises too when it opens the index
            library.index()
        if not reading:
            raise crashing(library.folder / "index", code)
        problem = f"reading it from the index ends the process ({ending(code)})"
        yield broken_photo(library.ledger().photo(reading), problem)
        after = reading
    raise CrashingIndexError(f"reading it crashed {MAX_CRASHES} times")


def _start(settings: Settings, after: str) -> subprocess.Popen[str]:
    folder = Path(settings.library).expanduser().absolute()
    command = ("verify", "--library", str(folder), "--checks-after", after)
    return subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "api.cli.main",
            *command,
        ],  # -P: not from the current directory
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def unreadable(error: StoreError, photos: int) -> Health:
    """The health of a library whose index can't be read at all."""
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
