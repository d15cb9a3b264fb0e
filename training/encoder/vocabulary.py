"""MiniLM's tokenizer without the words that pictures have little use for.

A word that is left out is read as its pieces, as BERT reads any word it doesn't know.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import BertTokenizerFast

from training.encoder.sentences import MAX_TOKENS, minilm_folder

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def whole_words() -> list[str]:
    """Return the words of MiniLM's vocabulary, the most frequent first: of letters, two or more."""
    words = [word for word in _vocabulary() if word.isascii() and word.isalpha() and len(word) > 1]
    return words


def kept_tokens(wanted: set[str]) -> list[str]:
    """Return the special tokens, all ASCII pieces and signs, and those words that are wanted."""
    pieces = [
        token
        for token in _vocabulary()
        if token.isascii()
        and not token.startswith("[")
        and (token.startswith("##") or len(token) == 1 or token in wanted)
    ]
    return [*SPECIAL, *pieces]


def rows_of(tokens: list[str]) -> NDArray[np.int64]:
    """Return where the tokens are in MiniLM's own table of embeddings."""
    places = {token: place for place, token in enumerate(_vocabulary())}
    return np.array([places[token] for token in tokens])


def smaller_tokenizer(tokens: list[str], folder: Path) -> BertTokenizerFast:
    """Write a tokenizer with these tokens alone into a folder, and return it."""
    parts: dict[str, Any] = json.loads((minilm_folder() / "tokenizer.json").read_text())
    parts["model"]["vocab"] = {token: place for place, token in enumerate(tokens)}
    for added in parts["added_tokens"]:
        added["id"] = tokens.index(added["content"])
    specials = parts["post_processor"]
    for name in ("sep", "cls"):
        if name in specials:  # BertProcessing
            specials[name][1] = tokens.index(specials[name][0])
    for name, special in specials.get("special_tokens", {}).items():  # TemplateProcessing
        special["ids"] = [tokens.index(name)]
    parts["truncation"] = parts["padding"] = None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(parts, ensure_ascii=False))
    return BertTokenizerFast(tokenizer_file=str(path), model_max_length=MAX_TOKENS)


def _vocabulary() -> list[str]:
    parts = json.loads((minilm_folder() / "tokenizer.json").read_text())
    places: dict[str, int] = parts["model"]["vocab"]
    return sorted(places, key=places.__getitem__)
