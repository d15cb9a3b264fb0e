"""What a user of the command line can do about an error of `search` or `ingest`."""

from __future__ import annotations

from search.errors import MismatchError, Remedy, SegsearchError

REMEDIES: dict[Remedy, str] = {
    "check_qdrant": "Check --qdrant: a sign-in page, a proxy or another program may be there.",
    "check_qdrant_access": "Check --qdrant, --qdrant-api-key and the server's log.",
    "full_precision": "With reduced precision, try --precision float32.",
    "lower_write_batch": "Raise its limit, or lower --write-batch.",
    "move_index_away": "Restore the library from a backup; or move that folder away and run "
    "`segsearch ingest`, which segments the photos again.",
    "newer_version": "Use the segsearch that made it, or start a new library with --library.",
    "other_collection_prefix": "Choose another --collection-prefix for this library.",
    "other_device": "Use --device auto or cpu.",
    "other_encoder": "Use `--models starter` (small bundled models), or name a local folder with "
    "`--encoder FOLDER`.",
    "other_library": "Use the models that made it, or choose another --library.",
    "other_segmenter": "Use `--models starter` (small bundled models), or name a downloaded "
    "checkpoint with `--segmenter FILE.pt`.",
    "qdrant_url": "Give a URL like --qdrant http://localhost:6333.",
    "reembed": "`segsearch reembed` changes the encoder and adds missing vectors.",
    "restore_manifest": "Restore it from a backup, or start a new library with --library.",
    "share_index": "Stop that process, or let it be `segsearch serve`: then other commands go "
    "through it.",
    "use_library_setting": "Leave its flag (and --models) out to use the library's own, or choose "
    "another --library.",
    "verify": "`segsearch verify --repair` repairs it.",
}
CHANGED_BY = {  # commands that change a setting of a library
    "segmenter": "ingest --resegment",
    "encoder": "reembed",
    "crop_recipe": "reembed",
    "qdrant": "push --switch",
}


def message_with_remedy(error: SegsearchError) -> str:
    """The message of an error, and what to do about it, as one line."""
    remedy = _remedy(error)
    if remedy is None:
        return str(error)
    message = str(error)
    return f"{message}{'' if message.endswith('.') else '.'} {remedy}"


def _remedy(error: SegsearchError) -> str | None:
    if isinstance(error, MismatchError) and error.setting is not None:
        return _remedy_for_setting(error.setting)
    return REMEDIES[error.remedy] if error.remedy else None


def _remedy_for_setting(setting: str) -> str:
    flag = setting.replace("_", "-")
    change = f", let `segsearch {CHANGED_BY[setting]}` change it" if setting in CHANGED_BY else ""
    return (
        f"Leave --{flag} (and --models) out to use the library's own{change}, or choose another "
        "--library."
    )
