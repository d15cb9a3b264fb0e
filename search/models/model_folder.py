"""The files of an encoder: location, completeness and fingerprint."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from search.errors import ModelError
from search.models.hub import hub_snapshot

WEIGHTS, SHARDED = "model.safetensors", "model.safetensors.index.json"
PREPROCESSING = ("preprocessor_config.json", "processor_config.json")
TOKENIZERS = (
    *("tokenizer.json", "vocab.json", "vocab.txt"),
    *("spiece.model", "tokenizer.model", "sentencepiece.bpe.model"),
)
FILES = [
    *("config.json", WEIGHTS, SHARDED, "model-*-of-*.safetensors"),
    *(*PREPROCESSING, *TOKENIZERS, "merges.txt"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
]
# The main branch of the default encoder holds pickled weights only. This commit (refs/pr/66, by the
# hub's own conversion bot) adds the same as safetensors; transformers picks it too.
REVISIONS = {"openai/clip-vit-base-patch32": "c237dc49a33fc61debc9276459120b7eac67e7ef"}
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")  # owner/name@revision


def model_folder(name: str) -> Path:
    """Folder with all files of an encoder: a local one, or one in the hub's cache.

    Args:
        name: a folder, or a name on the hub as owner/name or owner/name@revision.

    Raises:
        HubError: the hub can't be reached and the cache has no copy.
        ModelError: there is no such folder or model, or a file is missing in it.

    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if not HUB_NAME.fullmatch(name) or folder.is_absolute() or name.startswith("."):
            raise ModelError(f"there is no folder {name}: check the path", remedy="other_encoder")
        folder = _from_hub(name)
    if missing := missing_part(folder):
        raise ModelError(
            f"{name} is no encoder that segsearch can load: it has no {missing}. Needed is a "
            "CLIP-like model as transformers' save_pretrained writes it (config.json, safetensors "
            "weights, tokenizer, preprocessor)",
            remedy="other_encoder",
        )
    return folder


def _from_hub(name: str) -> Path:
    repo_id, _, revision = name.partition("@")
    return hub_snapshot(
        repo_id,
        allow_patterns=FILES,
        revision=revision or REVISIONS.get(repo_id),
        is_complete=lambda folder: missing_part(folder) is None,
        remedy="other_encoder",
    )


def missing_part(folder: Path) -> str | None:
    """The first file that a folder lacks to be an encoder; None if it is complete."""
    if not (folder / "config.json").is_file():
        return "config.json"
    if not (folder / WEIGHTS).is_file():
        if not (folder / SHARDED).is_file():
            return f"{WEIGHTS} (weights in other formats are not loaded)"
        for shard in _shards(folder):
            if not (folder / shard).is_file():
                return shard
    if not any((folder / name).is_file() for name in PREPROCESSING):
        return PREPROCESSING[0]
    if not any((folder / name).is_file() for name in TOKENIZERS):
        return TOKENIZERS[0]
    return None


def _shards(folder: Path) -> list[str]:
    try:
        index = json.loads((folder / SHARDED).read_bytes())
        return sorted({str(name) for name in index["weight_map"].values()})
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{folder / SHARDED} is damaged: {error}. Download it again.") from error


def folder_fingerprint(folder: Path) -> str:
    """SHA-256 (hex) of the names and contents of an encoder's files."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in FILES for path in folder.glob(pattern)}):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.name}:{content}\n".encode())
    return digest.hexdigest()
