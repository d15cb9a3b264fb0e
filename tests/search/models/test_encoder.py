"""Words and crops -> unit vectors: our encoder against transformers' own processor and model."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizerFast,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from search.errors import ModelError, UsageError
from search.models.crops import Rgb, View, views
from search.models.encoder import (
    CPU_BATCH,
    TEMPLATES,
    ClipEncoder,
    Encoder,
    encode_query,
    encode_segments,
    unit_rows,
)
from search.records import Box, RgbImage, Vectors
from search.settings import Precision
from search.threads import shared_map, using_workers
from starter import weights_dir

STARTER = weights_dir() / "encoder-1"  # a CLIPModel


def load(folder: Path, precision: Precision = "float32", batch: int = 8) -> ClipEncoder:
    return ClipEncoder.load(str(folder), device="cpu", precision=precision, batch=batch)


def noise(count: int, size_px: int) -> RgbImage:
    shape = (count, size_px, size_px, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def unit(output: Any) -> Vectors:
    features = getattr(output, "pooler_output", output)
    return np.asarray((features / features.norm(dim=1, keepdim=True)).numpy())


def copy_of_starter(tmp_path: Path) -> Path:
    folder = tmp_path / "encoder"
    shutil.copytree(STARTER, folder, copy_function=shutil.copyfile)
    return folder


@pytest.fixture(scope="module")
def starter() -> ClipEncoder:
    return load(STARTER)


@pytest.fixture(scope="module")
def transformers_clip() -> tuple[Any, Any]:
    model = CLIPModel.from_pretrained(STARTER, dtype=torch.float32).eval()
    return model, CLIPProcessor.from_pretrained(STARTER)


class MeanColor:
    """An encoder whose vector is the crop's mean colour, and a text's first three letters."""

    name = fingerprint = "mean color"
    dim, input_px = 3, 4
    mean_rgb: Rgb = (128, 128, 128)

    def encode_crops(self, crops: Sequence[RgbImage] | RgbImage) -> Vectors:
        means = np.array([crop.mean(axis=(0, 1)) for crop in crops], dtype=np.float32)
        return unit_rows(means.reshape(-1, 3))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        letters = [[ord(letter) for letter in text[:3]] for text in texts]
        return unit_rows(np.array(letters, dtype=np.float32).reshape(-1, 3))


def test_crops_are_encoded_as_transformers_encodes_them(
    starter: ClipEncoder, transformers_clip: tuple[Any, Any]
) -> None:
    model, processor = transformers_clip
    crops = noise(20, starter.input_px)
    with torch.inference_mode():
        inputs = processor(images=list(crops), return_tensors="pt")
        theirs = unit(model.get_image_features(**inputs))
    assert np.allclose(starter.encode_crops(crops), theirs, atol=1e-5)
    assert np.allclose(starter.encode_crops(list(crops)), theirs, atol=1e-5)


def test_texts_are_encoded_as_transformers_encodes_them(
    starter: ClipEncoder, transformers_clip: tuple[Any, Any]
) -> None:
    model, processor = transformers_clip
    texts = ["red", "a photo of a blue mug on a table", "x", "green and white stripes"] * 5
    with torch.inference_mode():
        inputs = processor(text=texts, padding=True, truncation=True, return_tensors="pt")
        theirs = unit(model.get_text_features(**inputs))
    assert np.allclose(starter.encode_texts(texts), theirs, atol=1e-5)


def test_the_image_processor_does_not_resize_views(
    starter: ClipEncoder, transformers_clip: tuple[Any, Any]
) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    box = Box(20, 30, 95, 95)  # 96 pixels: the starter's own size
    size_px = starter.input_px
    (ours,) = views(photo, None, box, "tight", size_px=size_px, fill_rgb=starter.mean_rgb)
    theirs = transformers_clip[1](images=photo[30:126, 20:116], return_tensors="pt")
    again = transformers_clip[1](images=ours.rgb, return_tensors="pt")
    assert torch.equal(theirs["pixel_values"], again["pixel_values"])


def test_nothing_to_encode_gives_no_rows(starter: ClipEncoder) -> None:
    assert starter.encode_crops([]).shape == (0, starter.dim)
    assert starter.encode_texts([]).shape == (0, starter.dim)
    assert encode_segments(starter, []).shape == (0, starter.dim)


def test_vectors_do_not_depend_on_the_batch(starter: ClipEncoder) -> None:
    crops = noise(7, starter.input_px)
    single = np.concatenate([starter.encode_crops(crops[i : i + 1]) for i in range(7)])
    assert np.allclose(load(STARTER, batch=3).encode_crops(crops), single, atol=1e-5)


def test_threads_that_share_crops_change_no_vector(
    starter: ClipEncoder,
) -> None:
    crops = noise(3 * CPU_BATCH + 1, starter.input_px)
    single = np.concatenate([starter.encode_crops(crops[i : i + 1]) for i in range(len(crops))])
    with (
        ThreadPoolExecutor(3, "", torch.set_num_threads, (1,)) as three,
        using_workers(three),
    ):
        assert np.allclose(starter.encode_crops(crops), single, atol=1e-5)


def test_a_worker_thread_can_encode_crops_itself(starter: ClipEncoder) -> None:
    crops = noise(2 * CPU_BATCH, starter.input_px)
    (found,) = shared_map(starter.encode_crops, [crops])
    assert np.allclose(found, starter.encode_crops(crops), atol=1e-5)


def test_crops_of_another_size_are_refused(starter: ClipEncoder) -> None:
    with pytest.raises(ValueError, match="96 px"):
        starter.encode_crops(noise(2, 50))


def test_a_long_text_is_truncated_without_a_warning(
    starter: ClipEncoder, capfd: pytest.CaptureFixture[str]
) -> None:
    long = "a red mug and " * 500
    assert np.allclose(starter.encode_texts([long]), starter.encode_texts([long[:1000]]))
    assert capfd.readouterr() == ("", "")


def test_color_words_rank_colors(starter: ClipEncoder) -> None:
    mask = np.zeros((90, 120), bool)
    mask[30:60, 40:90] = True
    colors = {"red": (215, 30, 35), "blue": (35, 60, 210), "green": (40, 160, 50)}
    segments = []
    for rgb in colors.values():
        photo = np.where(mask[..., None], np.array(rgb, np.uint8), np.uint8(90))
        box = Box(40, 30, 49, 29)
        fill, size_px = starter.mean_rgb, starter.input_px
        segments.append(views(photo, mask, box, "masked", size_px=size_px, fill_rgb=fill))
    vectors = encode_segments(starter, segments)  # (3, dim)
    for i, word in enumerate(colors):
        assert int(np.argmax(encode_query(starter, word) @ vectors.T)) == i


def test_loading_and_encoding_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    encoder = load(STARTER)
    encoder.encode_crops(noise(1, encoder.input_px))
    assert capfd.readouterr() == ("", "")


def test_importing_the_encoder_loads_no_torch() -> None:
    code = (
        "import sys, search.models.encoder; "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("precision", "cosine"), [("float16", 0.9999), ("bfloat16", 0.99)])
def test_reduced_precision_stays_close_to_float32(
    starter: ClipEncoder, precision: Precision, cosine: float
) -> None:
    crops = noise(4, starter.input_px)
    reduced = load(STARTER, precision=precision).encode_crops(crops)
    assert reduced.dtype == np.float32
    assert (np.sum(reduced * starter.encode_crops(crops), axis=1) > cosine).all()


def test_weights_that_overflow_float16_continue_in_bfloat16(
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected, encoder = load(STARTER, precision="bfloat16"), load(STARTER, precision="float16")
    for each in (expected, encoder):
        each.model.text_projection.weight.data *= 1e5
    with torch.inference_mode():
        assert torch.isfinite(encoder.model.text_projection.weight).all()
    np.testing.assert_allclose(
        encoder.encode_texts(["red"]), expected.encode_texts(["red"]), atol=0.02
    )
    assert "exceed the range of float16" in caplog.text
    caplog.clear()
    encoder.encode_texts(["blue"])
    assert not caplog.text


def test_a_text_query_is_the_mean_over_templates() -> None:
    encoder: Encoder = MeanColor()
    phrasings = encoder.encode_texts([template.format("red mug") for template in TEMPLATES])
    expected = phrasings.mean(axis=0) / np.linalg.norm(phrasings.mean(axis=0))
    assert np.allclose(encode_query(encoder, " red \n mug "), expected[None], atol=1e-6)


def test_query_vectors_are_cached_and_read_only(starter: ClipEncoder) -> None:
    red, blue = ([template.format(mug) for template in TEMPLATES] for mug in ("red mug", "cup"))
    kept = starter.encode_texts(red)
    assert starter.encode_texts(list(red)) is kept
    assert not np.allclose(starter.encode_texts(blue), kept)
    assert np.allclose(starter.encode_texts(red[:2]), kept[:2], atol=1e-5)  # not kept, and the same
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 0


@pytest.mark.parametrize("text", ["", "  \n\t"])
def test_an_empty_query_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="empty"):
        encode_query(MeanColor(), text)


def test_a_query_with_braces_is_taken_literally(starter: ClipEncoder) -> None:
    assert encode_query(starter, "{0} {x}").shape == (1, starter.dim)


def test_views_are_a_normalized_weighted_sum() -> None:
    red, blue = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    red[..., 0], blue[..., 2] = 200, 100
    segments = [[View(0.55, red), View(0.45, blue)], [View(1.0, blue)]]
    length = np.hypot(0.55, 0.45)
    expected = [[0.55 / length, 0, 0.45 / length], [0, 0, 1]]
    assert np.allclose(encode_segments(MeanColor(), segments), expected, atol=1e-6)


def test_a_vector_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ModelError, match="not finite"):
        unit_rows(np.array([[np.nan, 1.0]], dtype=np.float32))


def test_the_fingerprint_is_of_the_contents(tmp_path: Path, starter: ClipEncoder) -> None:
    folder = copy_of_starter(tmp_path)
    assert load(folder, precision="bfloat16", batch=3).fingerprint == starter.fingerprint
    (folder / "README.md").write_text("not a part of the model")
    assert load(folder).fingerprint == starter.fingerprint
    config = folder / "processor_config.json"
    config.write_text(config.read_text().replace("0.48145466", "0.5"))
    assert load(folder).fingerprint != starter.fingerprint


def test_a_full_size_clip_is_saved_and_loaded(tmp_path: Path) -> None:
    config = CLIPConfig()  # openai/clip-vit-base-patch32: 151 million parameters
    config.text_config.eos_token_id, config.text_config.pad_token_id = 1, 1  # the tokenizer's
    model = CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    CLIPImageProcessor().save_pretrained(tmp_path)
    CLIPTokenizerFast.from_pretrained(STARTER).save_pretrained(tmp_path)
    encoder = load(tmp_path)
    crops = noise(2, 224)
    assert (encoder.dim, encoder.input_px, encoder.mean_rgb) == (512, 224, (123, 117, 104))
    with torch.inference_mode():
        inputs = CLIPImageProcessor()(images=list(crops), return_tensors="pt")
        theirs = unit(model.get_image_features(**inputs))
    assert np.allclose(encoder.encode_crops(crops), theirs, atol=1e-5)


def word_tokenizer(max_tokens: int) -> PreTrainedTokenizerFast:
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "red": 2, "a": 3, "photo": 4, "of": 5}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_max_length=max_tokens,
    )


SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def test_a_siglip_pads_its_texts_to_full_length(tmp_path: Path) -> None:
    config = SiglipConfig(
        text_config={**SMALL, "vocab_size": 10, "max_position_embeddings": 16},
        vision_config={**SMALL, "image_size": 32, "patch_size": 8},
    )
    model = SiglipModel(config).eval()
    pixels = SiglipImageProcessor(size={"height": 32, "width": 32})
    tokenizer = word_tokenizer(16)
    for part in (model, pixels, tokenizer):
        part.save_pretrained(tmp_path)
    encoder = load(tmp_path)
    assert (encoder.dim, encoder.input_px, encoder.mean_rgb) == (32, 32, (128, 128, 128))
    assert encoder.normalization is not None
    crops = noise(5, 32)
    padded = tokenizer(["a red photo"], padding="max_length", max_length=16, return_tensors="pt")
    with torch.inference_mode():
        inputs = pixels(images=list(crops), return_tensors="pt")
        pictures = unit(model.get_image_features(**inputs))
        text = unit(model.get_text_features(padded["input_ids"], padded["attention_mask"]))
    assert np.allclose(encoder.encode_crops(crops), pictures, atol=1e-5)
    assert np.allclose(encoder.encode_texts(["a red photo"]), text, atol=1e-5)


def test_a_patch_model_uses_its_own_image_processor(tmp_path: Path) -> None:
    config = Siglip2Config(
        text_config={**SMALL, "vocab_size": 10, "max_position_embeddings": 16},
        vision_config={**SMALL, "num_patches": 16, "patch_size": 8},
    )
    model = Siglip2Model(config).eval()
    pixels = Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    for part in (model, pixels, word_tokenizer(16)):
        part.save_pretrained(tmp_path)
    encoder = load(tmp_path)
    assert (encoder.input_px, encoder.normalization) == (32, None)
    crops = noise(5, 32)
    with torch.inference_mode():
        inputs = pixels(images=list(crops), return_tensors="pt")
        theirs = unit(model.get_image_features(**inputs))
    assert np.allclose(encoder.encode_crops(crops), theirs, atol=1e-5)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no folder .*nowhere"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "processor_config.json", "tokenizer.json"]
)
def test_a_folder_without_a_needed_file_is_refused(tmp_path: Path, name: str) -> None:
    folder = copy_of_starter(tmp_path)
    (folder / name).unlink()
    lacks = "preprocessor_config.json" if name == "processor_config.json" else name
    with pytest.raises(ModelError, match=f"it has no {lacks}"):
        load(folder)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "processor_config.json", "tokenizer.json"]
)
def test_a_damaged_file_raises_a_model_error(tmp_path: Path, name: str) -> None:
    folder = copy_of_starter(tmp_path)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"can't be loaded .*damaged"):
        load(folder)


def test_weights_that_lack_tensors_are_not_filled_with_random_numbers(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = copy_of_starter(tmp_path) / "model.safetensors"
    tensors = load_file(weights)
    del tensors["visual_projection.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors, among them visual_projection\.weight"):
        load(weights.parent)


def test_a_model_without_a_text_encoder_is_refused(tmp_path: Path) -> None:
    folder = copy_of_starter(tmp_path)
    config = CLIPVisionConfig(**SMALL, image_size=32, patch_size=8)
    CLIPVisionModel(config).save_pretrained(folder)
    with pytest.raises(ModelError, match="get_text_features and get_image_features are needed"):
        load(folder)
