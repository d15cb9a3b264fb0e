"""Ingest on many machines: Ray carries photos to workers, this process keeps the ledger.

    files (here) -> decode (CPU workers) -> cut, embed, write (GPU workers) -> note (here)

The steps are the pipeline's own. Pixels go from worker to worker; what comes back is a photo's
record, once its points are with the Qdrant server. A worker that dies is replaced and its photos
are done again; a run that dies leaves photos with the server that the ledger does not know, and
the next one finds them there. Ids derive from content, so writing twice is harmless.
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
from ingest.cluster.stderr import own_stderr
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

HERE = "local"  # the address that starts Ray on this machine, for as long as the run takes
FILES_AT_ONCE = 20_000  # given to Ray together; each is some 300 bytes, and workers idle in between
FILES_A_TASK = 4  # what a worker that dies leaves to be done again
ANSWERS_WITHIN_S = 5.0
ASKS_FOR_TOKEN = re.compile("unauthenticated|auth(entication)? ?token|token auth", re.IGNORECASE)
DECODERS_A_GPU = 4  # decoding 12 megapixels takes some 0.3 s


@dataclass(frozen=True)
class Written:
    """What became of a file: a photo that is with the server, or why there is none."""

    file: NewFile
    outcome: Photo | PhotoError
    stated: StatedFacts | None = None  # what the file says of the photo


Row = dict[str, Any]  # Ray moves rows; ours have one column, `photo`


class DecodeFiles:
    """A worker that decodes."""

    def __init__(self, limits: DecodeLimits, decode: Decode) -> None:
        self._workers = DecodeWorkers(limits, decode)  # they end with this process

    def __call__(self, row: Row) -> Row:
        """Turn a NewFile into an DecodedFile, or a Written with an error."""
        file: NewFile = row["photo"]
        decoded = self._workers.decode(file.key.path)
        if isinstance(decoded, PhotoError):
            return {"photo": Written(file, decoded)}
        photo_id = photo_id_from_digest(decoded.pixel_sha256)
        return {"photo": DecodedFile(file, decoded, photo_id, stated_from_decoded(decoded))}


class SegmentPhotos:
    """A worker that cuts, embeds and writes; its models stay loaded."""

    def __init__(self, make_context: Callable[[], IngestContext], again: RescanPolicy) -> None:
        self._context, self._again = make_context(), again

    def __call__(self, row: Row) -> Row:
        """Turn an DecodedFile into a Written."""
        uncut = row["photo"]
        return row if isinstance(uncut, Written) else {"photo": self._written(uncut)}

    def _written(self, uncut: DecodedFile) -> Written:
        index = self._context.index()
        known = next(iter(index.photos([uncut.photo_id])), None)
        if known is not None and self._is_finished(known):
            return Written(uncut.file, known, uncut.stated)  # by a run that did not come to note it
        cut = segment_photo(uncut, self._context)
        write_photo(cut, embed_photo(cut, self._context), index)
        return Written(uncut.file, cut.photo, cut.stated)

    def _is_finished(self, photo: Photo) -> bool:
        wanted = (None, photo.segmented_with)
        return photo.segmented_with is not None and self._again.segmented_otherwise_than in wanted


@dataclass(frozen=True)
class Cluster:
    """Ray, with so many processors and GPUs."""

    cpus: int
    gpus: int

    @property
    def decoders(self) -> int:
        """As many as keep the cutters busy, at least one."""
        if self.gpus:
            return max(1, min(DECODERS_A_GPU * self.gpus, self.cpus - self.gpus))
        return max(1, self.cpus // 3)

    @property
    def cutters(self) -> int:
        """One for each GPU; without one, the processors that do not decode."""
        return self.gpus or self.cpus - self.decoders


@contextmanager
def ray_cluster(address: str) -> Iterator[Cluster]:
    """Connect to a Ray cluster, or with `local` start one here; one that this process has is used.

    Raises:
        UsageError: Ray is not installed, is not there, asks for a token, or has too few processors.
    """
    ray = imported_ray()
    if ray.is_initialized():
        yield _cluster(ray, address)
        return
    with own_stderr() as said:  # Ray's processes tell of each retry; their logs have it too
        _connect(ray, address, said)
        try:
            yield _cluster(ray, address)
        finally:
            ray.shutdown()


def _cluster(ray: Any, address: str) -> Cluster:  # noqa: ANN401  (ray has no types here)
    """Return what there is to work with.

    Raises:
        UsageError: it is too little.
    """
    found = ray.cluster_resources()
    cluster = Cluster(int(found.get("CPU", 0)), int(found.get("GPU", 0)))
    if cluster.cpus < 2:
        raise UsageError(
            f"the Ray cluster at {address!r} has {cluster.cpus} CPU, and two are needed: one to "
            "decode, one to cut. Give it more: `ray start --num-cpus 2`"
        )
    return cluster


def imported_ray() -> Any:  # noqa: ANN401
    """Return the module ray.

    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers of each use
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "ingest on several machines needs Ray: pip install 'segsearch[ray]', here and on each "
            "of them"
        ) from error
    return ray


def _connect(ray: Any, address: str, said: Callable[[], str]) -> None:  # noqa: ANN401
    """Connect to a cluster.

    Args:
        ray: the module.
        address: of the cluster.
        said: returns what Ray wrote to the terminal meanwhile: an exception rarely tells why.

    Raises:
        UsageError: none answers, or it does not let us in.
    """
    _check_listens(address)
    try:
        ray.init(address, log_to_driver=False, logging_level="CRITICAL")
    except Exception as error:  # plain ones among them
        raise UsageError(_refusal(address, " ".join(str(error).split()), said())) from error


def _check_listens(address: str) -> None:
    """Look whether anything listens at HOST:PORT: Ray itself tries for minutes.

    Raises:
        UsageError: nothing does.
    """
    found = re.fullmatch(r"\[?([^/\[\]]+)\]?:(\d{1,5})", address)
    if found is None:  # auto, local, ray://...
        return
    try:
        socket.create_connection((found[1], int(found[2])), timeout=ANSWERS_WITHIN_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise UsageError(_refusal(address, str(error))) from error


def _refusal(address: str, reason: str, said: str = "") -> str:
    """Return what is told of a cluster that can't be used."""
    if ASKS_FOR_TOKEN.search(f"{reason} {said}"):
        return (
            f"the Ray cluster at {address!r} asks for a token: set RAY_AUTH_MODE=token, and the "
            "token as RAY_AUTH_TOKEN or its file as RAY_AUTH_TOKEN_PATH (else ~/.ray/auth_token is "
            f"read); `ray get-auth-token` on the cluster's head prints it ({reason})"
        )
    return (
        f"no Ray cluster answers at {address!r} ({reason}). Start one with `ray start --head` and "
        f"name it (HOST:6379; auto on a machine of it), or say --ray {HERE}"
    )


def on_ray_cluster(
    cluster: Cluster, make_context: Callable[[], IngestContext], context: IngestContext
) -> ProcessListing:
    """Return what brings in the new files of a folder on a cluster.

    Args:
        cluster: where.
        make_context: called by each worker that cuts, on its machine; it travels there.
        context: the one of this process.
    """
    limits = DecodeLimits.from_settings(context.settings)

    def process(listing: Listing, run: Run) -> None:
        new_files = run.new_files(listing)
        decoding = (limits, context.decode)
        segmenting = (make_context, run.policy)
        while files := list(islice(new_files, FILES_AT_ONCE)):
            for written in _iter_written(files, cluster, decoding, segmenting):
                _note(written, listing, run)

    return process


def _iter_written(
    files: Sequence[NewFile],
    cluster: Cluster,
    decoding: tuple[DecodeLimits, Decode],
    cutting: tuple[Callable[[], IngestContext], RescanPolicy],
) -> Iterator[Written]:
    """Send files through the workers; yield what they made of each, in no order.

    Raises:
        SegsearchError: a model or the store failed on a worker, or Ray itself did.
    """
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its plans and advice are for engineers
    context.raise_original_map_exception = True
    rows = ray.data.from_items(
        [{"photo": file} for file in files], override_num_blocks=-(-len(files) // FILES_A_TASK)
    )
    decoded = rows.map(
        DecodeFiles,
        fn_constructor_args=decoding,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=cluster.decoders),
        num_cpus=1,
    )
    written = decoded.map(
        SegmentPhotos,
        fn_constructor_args=cutting,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=cluster.cutters),
        num_cpus=None if cluster.gpus else 1,
        num_gpus=1 if cluster.gpus else None,
    )
    try:
        for row in written.iter_rows():
            yield row["photo"]
    except ray.exceptions.RayError as error:
        raise _error_from_ray(error) from error


def _error_from_ray(error: BaseException) -> SegsearchError:
    """Return the error of ours that a worker met, if it was one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SegsearchError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return SegsearchError(
        f"the Ray cluster failed: {' '.join(str(error).split())}. All photos that were finished "
        "stay; run the same command again to go on."
    )


def _note(written: Written, listing: Listing, run: Run) -> None:
    """Record what became of a file; the index has the photo already."""
    file, photo = written.file, written.outcome
    if isinstance(photo, PhotoError):
        run.record(outcome_of_error(file, photo, run.ledger), listing)
        return
    stated = written.stated
    assert stated is not None  # it comes with every photo
    if not link_known_photo(file, photo.photo_id, stated, run):
        finish_photos([Ingested(file, photo, stated)], run.ledger, run)
