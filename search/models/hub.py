"""Files from the model hub: the cache first, then the network, then one clear error.

HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE work as huggingface_hub documents them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from search.errors import HubError, ModelError, Remedy

# huggingface_hub retries a dead connection six times over 23 s and logs each attempt. To fail
# within 5 s, a probe goes first; each of its phases (DNS, connect, response) must fit into this.
PROBE_TIMEOUT_S = 3.0
GATEWAY_STATUSES = (502, 503, 504)  # from a proxy, not the hub


def hub_file(repo_id: str, filename: str, *, remedy: Remedy, revision: str | None = None) -> Path:
    """Path of one file of a hub repository, from the cache or downloaded.

    Args:
        repo_id: "owner/name" on the hub.
        filename: the file's path in the repository.
        remedy: what helps a user without a hub.
        revision: a branch, a reference or a commit; None: main.

    Raises:
        HubError: the hub can't be reached and the cache has no copy; within 5 seconds.
        ModelError: the hub has no such repository or file, or denies access to it.

    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    def cached() -> Path | None:  # hf_hub_download(local_files_only=True) does ask the network
        path = try_to_load_from_cache(repo_id, filename, revision=revision)
        return Path(path) if isinstance(path, str) else None

    def fetched() -> Path:
        return Path(hf_hub_download(repo_id, filename, revision=revision))

    with _translated(repo_id, remedy):
        return cached() or _from_network(fetched, repo_id, remedy)


def hub_snapshot(
    repo_id: str,
    *,
    allow_patterns: list[str],
    remedy: Remedy,
    revision: str | None = None,
    is_complete: Callable[[Path], bool] = Path.is_dir,
) -> Path:
    """Folder with files of a hub repository, from the cache or downloaded.

    Args:
        repo_id: "owner/name" on the hub.
        allow_patterns: which files, as shell patterns.
        remedy: what helps a user without a hub.
        revision: a branch, a reference or a commit; None: main.
        is_complete: whether a cached folder has all that is needed; other programs may have
            downloaded only a part of it.

    Raises:
        HubError: the hub can't be reached and the cache has no copy; within 5 seconds.
        ModelError: the hub has no such repository, or denies access to it.

    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def cached() -> Path | None:
        try:
            folder = snapshot_download(
                repo_id,
                revision=revision,
                allow_patterns=allow_patterns,
                local_files_only=True,
            )
        except LocalEntryNotFoundError:
            return None
        return Path(folder) if is_complete(Path(folder)) else None

    def fetched() -> Path:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=allow_patterns))

    with _translated(repo_id, remedy):
        return cached() or _from_network(fetched, repo_id, remedy)


def _from_network(fetched: Callable[[], Path], repo_id: str, remedy: Remedy) -> Path:
    """Download, if the hub can be reached."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise _unreachable(repo_id, "HF_HUB_OFFLINE is set", remedy)
    if reason := _why_unreachable(constants.ENDPOINT):
        raise _unreachable(repo_id, reason, remedy)
    return fetched()


def _why_unreachable(endpoint: str) -> str | None:
    """Why the hub can't be reached; None if it answers.

    Never raises. Runs in a thread, since a DNS lookup has no timeout.
    """
    reasons: list[str | None] = []
    asking = threading.Thread(target=lambda: reasons.append(_probe(endpoint)), daemon=True)
    asking.start()
    asking.join(PROBE_TIMEOUT_S + 0.5)
    return reasons[0] if reasons else f"no answer within {PROBE_TIMEOUT_S:g} s"


def _probe(endpoint: str) -> str | None:
    from huggingface_hub import get_session

    try:  # huggingface_hub's own client, with its proxies and certificates
        status = get_session().head(endpoint, timeout=PROBE_TIMEOUT_S).status_code
    except Exception as error:  # whatever the network stack raises is the reason
        return str(error) or type(error).__name__
    return f"status {status}" if status in GATEWAY_STATUSES else None


def _unreachable(repo_id: str, reason: str, remedy: Remedy) -> HubError:
    from huggingface_hub import constants

    return HubError(
        f"{repo_id} is not in the cache ({constants.HF_HUB_CACHE}), and the model hub "
        f"{constants.ENDPOINT} can't be reached: {reason}.",
        remedy=remedy,
    )


@contextmanager
def _translated(repo_id: str, remedy: Remedy) -> Iterator[None]:
    """Turn huggingface_hub's errors into ModelErrors, and silence its warnings."""
    from huggingface_hub import errors

    try:
        with quiet("huggingface_hub"):
            yield
    except errors.HFValidationError as error:
        message = f"{repo_id!r} is no name of a model on the hub"
        raise ModelError(message, remedy=remedy) from error
    except errors.GatedRepoError as error:
        raise ModelError(
            f"the hub gives {repo_id} only to those who accepted its terms: do so on its page, "
            f"then set HF_TOKEN to a token of that account.",
            remedy=remedy,
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"the hub has no such revision of {repo_id}", remedy=remedy) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"the hub has no model {repo_id}, or it is private: check the name, and HF_TOKEN if "
            f"it is yours.",
            remedy=remedy,
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        message = f"{repo_id} on the hub lacks a file: {error}"
        raise ModelError(message, remedy=remedy) from error
    except (OSError, errors.HTTPError) as error:
        if getattr(error, "errno", None) is not None:  # of the disk, not the network
            raise ModelError(f"{repo_id} can't be kept in the hub's cache: {error}") from error
        raise _unreachable(repo_id, _first_line(error), remedy) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


@contextmanager
def quiet(*logger_names: str) -> Iterator[None]:
    """Raise the level of these loggers to ERROR."""
    loggers = [logging.getLogger(name) for name in logger_names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
