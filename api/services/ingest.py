"""Ingest photos into a library, on this machine or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from api.library.library import Library
from api.services.ray_workers import check_ray, process_on_ray
from ingest.pipeline import ingest
from ingest.stats import IngestSummary, Progress

MakeProgress = Callable[[], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class IngestOptions:
    """Options of an ingest.

    Attributes:
        resegment: segment photos again that were segmented with other settings.
        retry_skipped: try skipped files again.
        reread: read unchanged files again.
        ray_address: of the Ray cluster that segments and embeds; None: this process.
    """

    resegment: bool = False
    retry_skipped: bool = False
    reread: bool = False
    ray_address: str | None = None


def ingest_photos(
    library: Library,
    paths: Sequence[Path],
    make_progress: MakeProgress,
    options: IngestOptions = IngestOptions(),
    notify: Callable[[str], None] = lambda text: None,
) -> IngestSummary:
    """Bring a library up to date with the photos below these paths.

    Args:
        library: opened with `create`.
        paths: folders and files.
        make_progress: opens the progress display.
        options: what to do besides adding new photos.
        notify: receives messages about changed segmentation settings.

    Raises:
        OwnedError: another command is adding or removing photos.
        UsageError: a path neither exists nor is known, or Ray can't be used.
        SegsearchError: a model or the store failed; finished photos stay.
    """
    if options.ray_address:
        check_ray(library)
    with library.only_writer():
        library.check_store()
        if options.resegment:
            library.adopt_segmenter()
        for change in library.adopt_masks():
            notify(f"photos are segmented with {change} from now on")
        with process_on_ray(options.ray_address, library) as process, make_progress() as progress:
            summary = ingest(
                paths,
                library.ingest_context(),
                progress,
                resegment=options.resegment,
                retry_skipped=options.retry_skipped,
                reread=options.reread,
                process=process,
            )
        library.note_payloads()
    return summary
