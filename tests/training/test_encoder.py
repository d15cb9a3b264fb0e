"""Training of the starter encoder: what its captions say, its batches, checkpoints and export."""

from __future__ import annotations

import dataclasses
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from search.models.encoder import ClipEncoder, encode_query
from starter import weights_dir
from starter.drawing.colors import COLOR_NAMES
from starter.drawing.patterns import PATTERNS
from starter.drawing.shapes import SHAPES
from training.encoder.captions import (
    COLOR_WORDS,
    FAILS,
    HOLDS,
    MODIFIER_WORDS,
    PATTERN_WORDS,
    SHAPE_WORDS,
    UNKNOWN,
    Claim,
    Facts,
    caption,
    claimed_shares,
    draw_claim,
    judge,
    known_words,
    strange_word,
)
from training.encoder.check import FIRST_CHECK_SEED, check_encoder, draw_held_out
from training.encoder.crops import (
    FIRST_SCENE_SEED,
    Batch,
    BatchPlan,
    Cutout,
    cutouts,
    iter_batches,
    read_facts,
    show,
)
from training.encoder.model import EncoderShape, new_tokenizer
from training.encoder.train import Recipe, Trainer, caption_loss, export, main, train
from training.evaluation.held_out import HELD_OUT_SEEDS

CPU = torch.device("cpu")
TINY = EncoderShape(
    crop_px=24, patch_px=12, width=32, layers=1, text_width=32, text_layers=1, dim=16
)
PLAN = BatchPlan(batch_size=12, scenes_per_step=1, window_scenes=2, crop_px=24)
RECIPE = Recipe(TINY, PLAN, steps=4, workers=0)

KNOWN = frozenset(known_words())
# What each phrase means: (color, modifier), pattern or shape, as ("color", "red") and so on.
MEANINGS: dict[str, set[tuple[str, str]]] = {}
for phrase, (color, modifier) in COLOR_WORDS.items():
    MEANINGS[phrase] = {("color", color)} | ({("modifier", modifier)} if modifier else set())
for modifier, phrases in MODIFIER_WORDS.items():
    MEANINGS |= {phrase: {("modifier", modifier)} for phrase in phrases}
for kind, table in (("pattern", PATTERN_WORDS), ("shape", SHAPE_WORDS)):
    for name, (adjectives, nouns) in table.items():
        MEANINGS |= {phrase: {(kind, name)} for phrase in (name, *adjectives, *nouns)}


def facts_of(color: str, *, modifier: str = "", pattern: str | None = None) -> Facts:
    """A segment of one color."""
    shares = np.array([float(name == color) for name in COLOR_NAMES], dtype=np.float32)
    return Facts(shares, color, modifier, pattern, None)


def facts_of_shares(**shares: float) -> Facts:
    """A segment of several colors."""
    row = np.array([shares.get(name, 0.0) for name in COLOR_NAMES], dtype=np.float32)
    return Facts(row, COLOR_NAMES[int(row.argmax())], "", None, None)


def random_facts(rng: np.random.Generator) -> Facts:
    """Two colors, a modifier, a pattern and a shape, each perhaps unknown."""
    shares = np.zeros(len(COLOR_NAMES), dtype=np.float32)
    first, second = rng.choice(len(COLOR_NAMES), 2, replace=False)
    shares[second] = rng.choice([0.0, 0.2, 0.4])
    shares[first] = 1 - shares[second]
    return Facts(
        shares,
        COLOR_NAMES[first],
        str(rng.choice(["", "dark", "light"])),
        str(rng.choice(PATTERNS)) if rng.random() < 0.8 else None,
        str(rng.choice(SHAPES)) if rng.random() < 0.8 else None,
    )


def said_in(text: str) -> set[tuple[str, str]]:
    """What a caption says, read from its words: the longest known phrase first."""
    words, said = text.replace("-", " ").replace(".", " ").split(), set()
    while words:
        length = next(
            (n for n in (3, 2, 1) if len(words) >= n and " ".join(words[:n]) in MEANINGS), 0
        )
        said |= MEANINGS[" ".join(words[:length])] if length else set()
        words = words[max(1, length) :]
    return said


def untouched(rng: np.random.Generator, claim: Claim) -> str:
    """A caption without made-up words, which may tear "navy blue" apart."""
    return next(
        text
        for text in iter(lambda: caption(rng, claim), "")
        if all(word.strip(".") in KNOWN for word in text.replace("-", " ").split())
    )


def same_batch(a: Batch, b: Batch) -> bool:
    return a.captions == b.captions and np.array_equal(a.crops, b.crops)


def test_no_phrase_means_two_things() -> None:
    phrases = [*COLOR_WORDS]
    for table in (PATTERN_WORDS, SHAPE_WORDS):
        for name, (adjectives, nouns) in table.items():
            phrases += {name, *adjectives, *nouns}
    assert sorted(phrases) == sorted(set(phrases))


def test_every_synonym_is_of_a_known_concept() -> None:
    assert {color for color, _ in COLOR_WORDS.values()} == set(COLOR_NAMES)
    assert {modifier for _, modifier in COLOR_WORDS.values()} <= {"", "dark", "light"}
    assert set(PATTERN_WORDS) == set(PATTERNS)
    assert set(SHAPE_WORDS) == set(SHAPES)


def test_all_that_a_caption_says_is_true() -> None:
    rng = np.random.default_rng(1)
    told = set()
    for _ in range(3000):
        facts = random_facts(rng)
        claim = draw_claim(rng, facts)
        true = {("color", c) for c in COLOR_NAMES if facts.shares[COLOR_NAMES.index(c)] >= 0.3}
        true |= {("modifier", facts.modifier), ("pattern", facts.pattern or "")}
        true |= {("shape", facts.shape or "")}
        said = said_in(untouched(rng, claim))
        assert said <= true, (said, true)
        assert said >= {("color", color) for color in claim.colors}
        told |= said
    every = {meaning for meanings in MEANINGS.values() for meaning in meanings}
    assert told == every  # nothing is left unsaid in so many captions


def test_what_is_drawn_to_be_said_holds() -> None:
    rng = np.random.default_rng(2)
    facts = [random_facts(rng) for _ in range(300)]
    verdicts = judge([draw_claim(rng, fact) for fact in facts], facts)
    assert (np.diag(verdicts) == HOLDS).all()


@pytest.mark.parametrize(
    ("claim", "facts", "verdict"),
    [
        (Claim(("red",)), facts_of("red"), HOLDS),
        (Claim(("red",)), facts_of("blue"), FAILS),
        (Claim(("red",)), facts_of_shares(blue=0.8, red=0.2), UNKNOWN),
        (Claim(("red", "blue")), facts_of_shares(blue=0.6, red=0.4), HOLDS),
        (Claim(("red", "blue")), facts_of_shares(blue=1.0), FAILS),
        (Claim(("red",), "dark"), facts_of("red", modifier="dark"), HOLDS),
        (Claim(("red",), "dark"), facts_of("red"), FAILS),
        (Claim(("red",), "dark"), facts_of_shares(blue=0.6, red=0.4), UNKNOWN),
        (Claim((), "dark"), facts_of("black"), HOLDS),
        (Claim((), "dark"), facts_of("white"), FAILS),
        (Claim(("red",), "", "striped"), facts_of("red", pattern="striped"), HOLDS),
        (Claim(("red",), "", "striped"), facts_of("red", pattern="dotted"), FAILS),
        (Claim(("red",), "", "striped"), facts_of("red"), UNKNOWN),
        (Claim(("red",), "", "striped"), facts_of("blue"), FAILS),
        (Claim((), "", None, "star"), facts_of("red"), UNKNOWN),
    ],
)
def test_a_claim_holds_fails_or_is_left_open(claim: Claim, facts: Facts, verdict: int) -> None:
    assert judge([claim], [facts]).tolist() == [[verdict]]


def test_the_tokenizer_knows_the_words_of_captions_and_takes_all_others_for_one() -> None:
    tokenizer = new_tokenizer()
    rng = np.random.default_rng(3)
    unknown = tokenizer.unk_token_id
    assert unknown not in tokenizer(" ".join(known_words()), truncation=False)["input_ids"]
    assert not {strange_word(rng) for _ in range(200)} & set(known_words())
    ids = tokenizer("RED, zebra-Striped Café 42")["input_ids"][1:-1]
    assert ids == [*tokenizer("red")["input_ids"][1:-1], unknown, *ids[2:3], unknown]
    assert ids[2] == tokenizer("striped")["input_ids"][1]


def test_batches_do_not_depend_on_where_training_began() -> None:
    from_start = list(islice(iter_batches(PLAN), 4))
    assert [batch.step for batch in from_start] == [0, 1, 2, 3]
    assert same_batch(from_start[2], next(iter_batches(PLAN, 2)))
    assert not same_batch(from_start[2], from_start[3])


def test_neither_training_nor_its_check_draws_a_scene_of_the_evaluation() -> None:
    steps = 1_000_000
    last = FIRST_SCENE_SEED + BatchPlan.scenes_per_step * steps + BatchPlan.window_scenes
    assert FIRST_SCENE_SEED < last < FIRST_CHECK_SEED < HELD_OUT_SEEDS.start - steps


def test_workers_take_turns() -> None:
    steps = [
        [batch.step for batch in islice(iter_batches(PLAN, 3, worker=w, workers=2), 2)]
        for w in (0, 1)
    ]
    assert steps == [[4, 6], [3, 5]]


def test_a_batch_tells_the_truth_about_its_views() -> None:
    batch = next(iter_batches(PLAN))
    assert batch.crops.shape == (12, 24, 24, 3)
    assert np.allclose(batch.color_shares.sum(axis=1), 1, atol=1e-5)
    assert (np.diag(batch.verdicts) == HOLDS).all()


def test_colors_are_read_from_the_pixels_that_are_shown() -> None:
    """Painted orange, shown in any color: the facts follow the pixels, shape and pattern stay."""
    image = np.full((60, 60, 3), (240, 130, 20), dtype=np.uint8)
    mask = np.zeros((60, 60), dtype=bool)
    mask[20:40, 20:40] = True
    cutout = Cutout(image, mask, "plain", "square")
    rng = np.random.default_rng(5)
    colors = set()
    for _ in range(40):
        crop, facts = show(rng, cutout, 48, (122, 116, 104))
        middle = read_facts(crop, np.pad(np.ones((8, 8), bool), 20), None, None)
        assert middle.shares[COLOR_NAMES.index(facts.color)] > 0 or facts.shares.max() < 0.8
        assert facts.pattern == "plain"
        assert facts.shape in ("square", None)
        colors.add(facts.color)
    assert len(colors) > 3


def test_a_pattern_that_can_not_be_seen_is_not_known() -> None:
    image = np.full((40, 40, 3), 90, dtype=np.uint8)
    mask = np.ones((40, 40), dtype=bool)
    assert read_facts(image, mask, "striped", None).pattern is None
    image[:, ::8] = 200
    assert read_facts(image, mask, "striped", None).pattern == "striped"


def test_cutouts_are_small_and_hold_their_segment() -> None:
    found = cutouts(1, 192)
    assert found
    for cutout in found:
        assert cutout.image.shape[:2] == cutout.mask.shape
        assert max(cutout.mask.shape) <= 128
        assert cutout.mask.any()


def test_pairs_of_which_nothing_is_known_do_not_count() -> None:
    verdicts = torch.tensor([[HOLDS, UNKNOWN], [FAILS, HOLDS]])
    scores = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    other = torch.tensor([[5.0, 50.0], [0.0, 5.0]])
    all_of_it = torch.ones(2, 2)
    before = caption_loss(scores, verdicts, all_of_it)
    assert torch.equal(before, caption_loss(other, verdicts, all_of_it))
    worse = torch.tensor([[5.0, 0.0], [50.0, 5.0]])
    assert caption_loss(worse, verdicts, all_of_it) > before + 10


def test_what_shows_more_of_the_color_is_to_come_first() -> None:
    verdicts = torch.full((1, 2), HOLDS)
    claimed = torch.tensor([[1.0, 0.4]])
    pure_first = caption_loss(torch.tensor([[5.0, 4.0]]), verdicts, claimed)
    assert pure_first < caption_loss(torch.tensor([[4.0, 5.0]]), verdicts, claimed) - 0.3


def test_the_share_of_claimed_colors_is_that_of_their_pixels() -> None:
    shares = np.zeros(len(COLOR_NAMES), np.float32)
    red, blue = COLOR_NAMES.index("red"), COLOR_NAMES.index("blue")
    shares[[red, blue]] = 0.7, 0.2
    facts = [Facts(shares, "red", "", "plain", "star")]
    claims = [Claim(("red",)), Claim(("red", "blue")), Claim((), "", "plain"), Claim(("green",))]
    assert np.allclose(claimed_shares(claims, facts)[:, 0], [0.7, 0.9, 1, 0])


def test_training_can_begin_with_larger_patches_and_sees_the_same(tmp_path: Path) -> None:
    """Resampled weights answer as before: finer patches are only where training goes on."""
    trainer = train(RECIPE, tmp_path, device=CPU)
    export(trainer, tmp_path, {})
    finer_shape = dataclasses.replace(TINY, patch_px=TINY.patch_px // 2)
    finer = Trainer(Recipe(finer_shape, PLAN, workers=0), CPU)
    finer.begin_with(tmp_path / "encoder")
    rng = np.random.default_rng(0)
    colors = rng.uniform(-1, 1, (16, 3, 1, 1)).astype(np.float32)
    pixels = torch.from_numpy(np.broadcast_to(colors, (16, 3, 24, 24)).copy())
    with torch.no_grad():
        before = trainer.average.get_image_features(pixels).pooler_output
        after = finer.average.get_image_features(pixels).pooler_output
    likeness = torch.nn.functional.cosine_similarity(before - before.mean(0), after - after.mean(0))
    assert likeness.median() > 0.9
    words = finer.processor.tokenizer(["red"], return_tensors="pt")
    texts = [
        model.get_text_features(**words).pooler_output for model in (trainer.average, finer.average)
    ]
    assert torch.allclose(texts[0], texts[1], atol=2e-3)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = train(RECIPE, tmp_path / "whole", device=CPU)
    train(RECIPE, tmp_path / "parts", device=CPU, stop_after=2)
    parts = train(RECIPE, tmp_path / "parts", device=CPU)
    assert parts.progress.step == whole.progress.step == 4
    for ours, theirs in ((whole.model, parts.model), (whole.average, parts.average)):
        theirs_by_name = theirs.state_dict()
        for name, values in ours.state_dict().items():
            assert torch.equal(values, theirs_by_name[name]), name


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    train(RECIPE, tmp_path, device=CPU, stop_after=1)
    wider = Recipe(EncoderShape(crop_px=24, patch_px=12, width=64, layers=1), PLAN, workers=0)
    with pytest.raises(ValueError, match="another shape"):
        train(wider, tmp_path, device=CPU)


def test_it_learns(tmp_path: Path) -> None:
    trainer = train(RECIPE, tmp_path, device=CPU, stop_after=1)
    trainer.recipe = Recipe(TINY, PLAN, steps=10_000, workers=0)
    batch = next(iter_batches(PLAN))
    losses = [sum(trainer.step(batch).values()) for _ in range(50)]
    assert losses[-1] < 0.7 * losses[0]


def test_the_exported_encoder_loads_in_the_product(tmp_path: Path) -> None:
    trainer = train(RECIPE, tmp_path, device=CPU)
    held_out = draw_held_out(20, 24, PLAN.fill_rgb)
    figures = check_encoder(trainer.average, trainer.processor, held_out)
    export(trainer, tmp_path, figures)
    encoder = ClipEncoder.load(
        str(tmp_path / "encoder"), device="cpu", precision="float32", batch=8
    )
    assert (encoder.dim, encoder.input_px, encoder.normalization is None) == (16, 24, False)
    tokens = trainer.processor.tokenizer(["a red star", "blue"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        ours = trainer.average.get_text_features(**tokens).pooler_output
    ours = torch.nn.functional.normalize(ours).numpy()
    assert np.allclose(encoder.encode_texts(["a red star", "blue"]), ours, atol=0.01)
    record = json.loads((tmp_path / "encoder" / "training.json").read_text())
    assert (record["steps"], record["views"], record["held_out"]) == (4, 48, figures)


def test_unknown_words_do_not_throw_the_bundled_encoder_off() -> None:
    encoder = ClipEncoder.load(
        str(weights_dir() / "encoder"), device="cpu", precision="float32", batch=32
    )
    names = ["red", "blue", "striped", "star", "dark green circle"]
    plain = np.concatenate([encode_query(encoder, name) for name in names])
    odd = np.concatenate([encode_query(encoder, f"my {name} zonkel") for name in names])
    assert ((odd @ plain.T).argmax(axis=1) == np.arange(len(names))).all()
    assert (np.diag(odd @ plain.T) > 0.8).all()


def test_the_command_leaves_an_encoder_and_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.encoder.train.HELD_OUT_SEGMENTS", 12)
    options = f"--out {tmp_path} --steps 1 --batch-size 4 --workers 0 --device cpu"
    main([*options.split(), "--window-scenes", "1"])
    assert (tmp_path / "checkpoint.pt").exists()
    assert (tmp_path / "encoder" / "model.safetensors").exists()
