"""Ingest on many machines: Ray carries photos to workers, this process keeps the ledger.

    files (here) -> decode (CPU workers) -> segment, embed, write (GPU workers) -> record (here)

The steps are those of `ingest.steps`. Pixels are passed between workers; a photo's record comes
back once its points are on the Qdrant server. A worker that dies is replaced and its photos are
processed again. A run that dies may leave photos on the server that the ledger does not know; the
next run finds them there. Ids derive from content, so writing a photo twice changes nothing.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ingest.catalog.file_facts import StatedFacts
from ingest.cluster.stderr import redirected_stderr
from ingest.context import IngestContext
from ingest.imaging.sandbox import Decode, DecodeLimits, DecodeWorkers
from ingest.pipeline import ProcessListing, link_known_photo, outcome_of_error
from ingest.run import Ingested, Run
from ingest.scanning.listing import Listing
from ingest.scanning.scan import NewFile, RescanPolicy
from ingest.steps import DecodedFile, embed_photo, segment_photo, stated_from_decoded, write_photo
from ingest.workers import finish_photos
from search.errors import PhotoError, SegsearchError, UsageError
from search.records import Photo, photo_id_from_digest

LOCAL_ADDRESS = "local"  # starts Ray on this machine for the duration of the run
FILES_PER_CHUNK = 20_000  # per Ray dataset, about 300 bytes each; workers idle between datasets
FILES_PER_TASK = 4  # lost and repeated when a worker dies
CONNECT_TIMEOUT_S = 5.0
TOKEN_ERROR = re.compile("unauthenticated|auth(entication)? ?token|token auth", re.IGNORECASE)
DECODERS_PER_GPU = 4  # decoding 12 megapixels takes some 0.3 s


@dataclass(frozen=True)
class WorkerResult:
    """A file's photo, which is on the server, or the error that prevented it."""

    file: NewFile
    outcome: Photo | PhotoError
    stated: StatedFacts | None = None  # the file's metadata; None with an error


Row = dict[str, Any]  # Ray's unit of data; these rows have one column, `photo`


class DecodeFiles:
    """Ray actor that decodes photos."""

    def __init__(self, limits: DecodeLimits, decode: Decode) -> None:
        self._workers = DecodeWorkers(limits, decode)  # they end with this process

    def __call__(self, row: Row) -> Row:
        """Turn a NewFile into a DecodedFile, or a WorkerResult with an error."""
        file: NewFile = row["photo"]
        decoded = self._workers.decode(file.key.path)
        if isinstance(decoded, PhotoError):
            return {"photo": WorkerResult(file, decoded)}
        photo_id = photo_id_from_digest(decoded.pixel_sha256)
        return {"photo": DecodedFile(file, decoded, photo_id, stated_from_decoded(decoded))}


class SegmentPhotos:
    """Ray actor that segments, embeds and writes photos; its models stay loaded."""

    def __init__(self, make_context: Callable[[], IngestContext], policy: RescanPolicy) -> None:
        self._context, self._policy = make_context(), policy

    def __call__(self, row: Row) -> Row:
        """Turn a DecodedFile into a WorkerResult; pass errors on."""
        decoded = row["photo"]
        return row if isinstance(decoded, WorkerResult) else {"photo": self._segmented(decoded)}

    def _segmented(self, decoded: DecodedFile) -> WorkerResult:
        index = self._context.index()
        known = next(iter(index.photos([decoded.photo_id])), None)
        if known is not None and self._is_finished(known):  # by a run that died before recording it
            return WorkerResult(decoded.file, known, decoded.stated)
        segmented = segment_photo(decoded, self._context)
        write_photo(segmented, embed_photo(segmented, self._context), index)
        return WorkerResult(decoded.file, segmented.photo, segmented.stated)

    def _is_finished(self, photo: Photo) -> bool:
        accepted = (None, photo.segmented_with)
        return photo.segmented_with is not None and self._policy.wanted_fingerprint in accepted


@dataclass(frozen=True)
class Cluster:
    """The resources of a Ray cluster."""

    cpus: int
    gpus: int

    @property
    def decoders(self) -> int:
        """Number of decoding actors: enough to keep the segmenters busy, at least one."""
        if self.gpus:
            return max(1, min(DECODERS_PER_GPU * self.gpus, self.cpus - self.gpus))
        return max(1, self.cpus // 3)

    @property
    def segmenters(self) -> int:
        """Number of segmenting actors: one per GPU; without GPUs, the CPUs that don't decode."""
        return self.gpus or self.cpus - self.decoders


@contextmanager
def ray_cluster(address: str) -> Iterator[Cluster]:
    """Connect to a Ray cluster, or start one here if the address is `local`.

    A connection that this process already has is reused and left open.

    Raises:
        UsageError: Ray is not installed or unreachable, requires a token, or has too few CPUs.
    """
    ray = imported_ray()
    if ray.is_initialized():
        yield _cluster(ray, address)
        return
    with redirected_stderr() as stderr_text:  # Ray prints every retry, which its logs have too
        _connect(ray, address, stderr_text)
        try:
            yield _cluster(ray, address)
        finally:
            ray.shutdown()


def _cluster(ray: Any, address: str) -> Cluster:  # noqa: ANN401  (ray has no types here)
    """Read the cluster's resources.

    Raises:
        UsageError: it has fewer than two CPUs.
    """
    found = ray.cluster_resources()
    cluster = Cluster(int(found.get("CPU", 0)), int(found.get("GPU", 0)))
    if cluster.cpus < 2:
        raise UsageError(
            f"the Ray cluster at {address!r} has {cluster.cpus} CPU, and two are needed: one to "
            "decode, one to segment. Give it more: `ray start --num-cpus 2`"
        )
    return cluster


def imported_ray() -> Any:  # noqa: ANN401
    """Import ray, with its usage reports switched off.

    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "ingest on several machines needs Ray: pip install 'segsearch[ray]', here and on each "
            "of them"
        ) from error
    return ray


def _connect(ray: Any, address: str, stderr_text: Callable[[], str]) -> None:  # noqa: ANN401
    """Connect to a cluster.

    Args:
        ray: the module.
        address: of the cluster.
        stderr_text: returns what Ray printed so far, since its exceptions rarely give the cause.

    Raises:
        UsageError: no cluster answers, or it refuses the connection.
    """
    _check_listens(address)
    try:
        ray.init(address, log_to_driver=False, logging_level="CRITICAL")
    except Exception as error:  # Ray raises ConnectionError, ValueError, RuntimeError, ...
        reason = " ".join(str(error).split())
        raise UsageError(_connection_error(address, reason, stderr_text())) from error


def _check_listens(address: str) -> None:
    """Check that something listens at HOST:PORT, since Ray itself retries for minutes.

    Raises:
        UsageError: nothing does.
    """
    found = re.fullmatch(r"\[?([^/\[\]]+)\]?:(\d{1,5})", address)
    if found is None:  # auto, local, ray://...
        return
    try:
        socket.create_connection((found[1], int(found[2])), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise UsageError(_connection_error(address, str(error))) from error


def _connection_error(address: str, reason: str, stderr_text: str = "") -> str:
    if TOKEN_ERROR.search(f"{reason} {stderr_text}"):
        return (
            f"the Ray cluster at {address!r} asks for a token: set RAY_AUTH_MODE=token, and the "
            "token as RAY_AUTH_TOKEN or its file as RAY_AUTH_TOKEN_PATH (else ~/.ray/auth_token is "
            f"read); `ray get-auth-token` on the cluster's head prints it ({reason})"
        )
    return (
        f"no Ray cluster answers at {address!r} ({reason}). Start one with `ray start --head` and "
        f"name it (HOST:6379; auto on a machine of it), or say --ray {LOCAL_ADDRESS}"
    )


def on_ray_cluster(
    cluster: Cluster, make_context: Callable[[], IngestContext], context: IngestContext
) -> ProcessListing:
    """Return a function that ingests the new files of a listing on a cluster.

    Args:
        cluster: the cluster's resources.
        make_context: pickled, sent to each segmenting actor and called there.
        context: of this process.
    """
    limits = DecodeLimits.from_settings(context.settings)

    def process(listing: Listing, run: Run) -> None:
        new_files = run.new_files(listing)
        decoding = (limits, context.decode)
        segmenting = (make_context, run.policy)
        while files := list(islice(new_files, FILES_PER_CHUNK)):
            for result in _iter_results(files, cluster, decoding, segmenting):
                _record(result, listing, run)

    return process


def _iter_results(
    files: Sequence[NewFile],
    cluster: Cluster,
    decoding: tuple[DecodeLimits, Decode],
    segmenting: tuple[Callable[[], IngestContext], RescanPolicy],
) -> Iterator[WorkerResult]:
    """Process files on the cluster; yield one result per file, in no particular order.

    Raises:
        SegsearchError: a model or the store failed on a worker, or Ray itself failed.
    """
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it logs execution plans as warnings
    context.raise_original_map_exception = True
    rows = ray.data.from_items(
        [{"photo": file} for file in files], override_num_blocks=-(-len(files) // FILES_PER_TASK)
    )
    decoded = rows.map(
        DecodeFiles,
        fn_constructor_args=decoding,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=cluster.decoders),
        num_cpus=1,
    )
    written = decoded.map(
        SegmentPhotos,
        fn_constructor_args=segmenting,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=cluster.segmenters),
        num_cpus=None if cluster.gpus else 1,
        num_gpus=1 if cluster.gpus else None,
    )
    try:
        for row in written.iter_rows():
            yield row["photo"]
    except ray.exceptions.RayError as error:
        raise _error_from_ray(error) from error


def _error_from_ray(error: BaseException) -> SegsearchError:
    """Find the SegsearchError that a worker raised; else wrap Ray's own error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SegsearchError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return SegsearchError(
        f"the Ray cluster failed: {' '.join(str(error).split())}. All finished photos are stored; "
        "run the same command again to continue."
    )


def _record(result: WorkerResult, listing: Listing, run: Run) -> None:
    """Record a file's outcome; the index has the photo already."""
    file, photo = result.file, result.outcome
    if isinstance(photo, PhotoError):
        run.record(outcome_of_error(file, photo, run.ledger), listing)
        return
    stated = result.stated
    if stated is None:
        raise ValueError(f"photo {photo.photo_id} came without metadata")
    if not link_known_photo(file, photo.photo_id, stated, run):
        finish_photos([Ingested(file, photo, stated)], run.ledger, run)
