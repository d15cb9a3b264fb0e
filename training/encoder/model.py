"""The starter encoder: a small CLIPModel of transformers with a tokenizer of whole words."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    PreTrainedTokenizerFast,
)

from search.models.crops import Rgb
from search.models.preprocessing import mean_rgb
from training.encoder.captions import known_words

START, END, UNKNOWN, PAD = "<start>", "<end>", "<unknown>", "<pad>"  # CLIPModel must not end by 2
MAX_WORDS = 24
HEAD_DIM = 32
# Shares of noise and of the identity in products of attention matrices, as trained models have them
# (Trockman and Kolter 2023, arXiv:2305.09828).
LIKENESS, PASSING = 0.7, -0.4
POSITION_STRENGTH = 0.3  # of the waves that tell patches' places; patches themselves are about 1
LONGEST_WAVE = 10_000


@dataclass(frozen=True)
class EncoderShape:
    """The sizes of an encoder."""

    crop_px: int = 96
    patch_px: int = 8
    width: int = 160
    layers: int = 4
    text_width: int = 128
    text_layers: int = 2
    dim: int = 128


def new_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer that knows the words of captions and takes all others for one.

    Case, accents and whatever is no letter are left out.
    """
    specials = (START, END, UNKNOWN, PAD)
    vocabulary = {word: i for i, word in enumerate((*specials, *known_words()))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\p{L}+"), "removed", invert=True)
    ends = [(START, vocabulary[START]), (END, vocabulary[END])]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        pad_token=PAD,
        model_max_length=MAX_WORDS,
    )


def new_processor(shape: EncoderShape) -> CLIPProcessor:
    """Return the processor: crops come at the right size, so it only normalizes."""
    side = shape.crop_px
    pixels = CLIPImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    return CLIPProcessor(pixels, new_tokenizer())


def fill_rgb(processor: CLIPProcessor) -> Rgb:
    """Return the color that the product fills masked views with."""
    return mean_rgb(processor.image_processor)


def new_encoder(shape: EncoderShape, tokenizer: PreTrainedTokenizerFast) -> CLIPModel:
    """Return an untrained encoder.

    Attention is written out: its backward pass takes half the time of torch's fused one on a CPU.
    """
    config = CLIPConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": shape.text_width,
            "intermediate_size": 4 * shape.text_width,
            "num_hidden_layers": shape.text_layers,
            "num_attention_heads": shape.text_width // HEAD_DIM,
            "max_position_embeddings": MAX_WORDS,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "projection_dim": shape.dim,
        },
        vision_config={
            "hidden_size": shape.width,
            "intermediate_size": 4 * shape.width,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.width // HEAD_DIM,
            "image_size": shape.crop_px,
            "patch_size": shape.patch_px,
            "projection_dim": shape.dim,
        },
        projection_dim=shape.dim,
    )
    model = CLIPModel._from_config(config, attn_implementation="eager")
    _begin_as_if_trained(model, shape)
    return model


def save_encoder(model: CLIPModel, processor: CLIPProcessor, folder: Path) -> None:
    """Write model, tokenizer and processor for from_pretrained; the weights in half precision."""
    half = CLIPModel(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)
    processor.save_pretrained(folder)


@torch.no_grad()
def _begin_as_if_trained(model: CLIPModel, shape: EncoderShape) -> None:
    """Attend to places and looks like their own: it learns sooner (step 50 for 75)."""
    vision = model.vision_model
    places = vision.embeddings.position_embedding.weight  # the first is the class token's
    places[1:] = POSITION_STRENGTH * _waves(shape.crop_px // shape.patch_px, shape.width)
    for layer in vision.encoder.layers:
        attention = layer.self_attn
        for start in range(0, shape.width, HEAD_DIM):
            head = slice(start, start + HEAD_DIM)
            query, key = _factors(shape.width, LIKENESS)
            attention.q_proj.weight[head] = query[:HEAD_DIM]
            attention.k_proj.weight[head] = key[:HEAD_DIM]
        out, value = _factors(shape.width, PASSING)
        attention.out_proj.weight.copy_(out.T)
        attention.v_proj.weight.copy_(value)


def _factors(width: int, identity: float) -> tuple[Tensor, Tensor]:
    """Return a and b, (width, width), strongest rows first: a.T @ b is noise and an identity."""
    noise = abs(identity) * torch.randn(width, width) / width**0.5
    left, strengths, right = torch.linalg.svd(noise + identity * torch.eye(width))
    roots = strengths.sqrt()[:, None]
    return roots * left.T, roots * right


def _waves(side: int, width: int) -> Tensor:
    """Return (side * side, width): sines and cosines of each place's column and row."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    lengths = LONGEST_WAVE ** (torch.arange(width // 4) / (width // 4))
    turns = [place.reshape(-1, 1) / lengths for place in (columns, rows)]
    return torch.cat([wave(turn) for turn in turns for wave in (torch.sin, torch.cos)], dim=1)
