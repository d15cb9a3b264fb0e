"""What a client or the operator of the server can do about an error of `search` or `ingest`."""

from __future__ import annotations

from search.errors import Remedy, SegsearchError

REMEDIES: dict[Remedy, str] = {
    "check_qdrant": "Check the URL of the Qdrant server in the settings of this server.",
    "check_qdrant_access": "Check the URL and API key of the Qdrant server, and its log.",
    "full_precision": "Start the server with precision float32.",
    "lower_write_batch": "Lower write_batch, or raise the request limit of Qdrant or its proxy.",
    "move_index_away": "Restore the library from a backup, or segment its photos again.",
    "newer_version": "Start the server with a newer segsearch.",
    "other_collection_prefix": "Set another collection_prefix for this library.",
    "other_device": "Start the server with device auto or cpu.",
    "other_encoder": "Start the server with another encoder.",
    "other_library": "Start the server with the models that made the library.",
    "other_segmenter": "Start the server with another segmenter.",
    "qdrant_url": "Give the server a URL like http://localhost:6333.",
    "reembed": "Run `segsearch reembed` on the server: it adds missing vectors.",
    "restore_manifest": "Restore the manifest from a backup.",
    "share_index": "Stop the other process.",
    "use_library_setting": "Start the server with the library's own settings.",
    "verify": "Verify and repair the library on the server.",
}


def advice_on(error: SegsearchError) -> str | None:
    """What to do about an error; None if the message is enough."""
    return REMEDIES[error.remedy] if error.remedy else None
