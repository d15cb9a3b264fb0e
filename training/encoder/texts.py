"""Texts to learn from, and what each is to be: names, looks, both together, and nonsense.

What a name means is MiniLM's likeness to the kinds' definitions; a sentence around it changes
nothing.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.models.encoder import TEMPLATES
from starter.drawing.chance import pick
from starter.drawing.colors import COLOR_NAMES, MODIFIERS
from starter.drawing.patterns import PATTERNS
from starter.drawing.shapes import SHAPES
from training.encoder.captions import (
    COLOR_WORDS,
    FRAMES,
    MODIFIER_WORDS,
    PATTERN_WORDS,
    SHAPE_WORDS,
    SYLLABLES,
    Claim,
    caption,
)
from training.encoder.classes import definitions, names
from training.encoder.space import LOOKS, looks_of

Floats = NDArray[np.float32]

FRAMES_A_NAME = 1  # beside the bare name
CAPTIONS, BOTH, NONSENSE = 12_000, 24_000, 8_000
CLEAR_FRAMES = {frame: 3.0 if frame in TEMPLATES else weight for frame, weight in FRAMES.items()}
# Words for looks that name things too: an orange is a fruit, and orange.
THINGS_TOO = frozenset(
    (
        *("ball", "cherry", "chestnut", "chocolate", "coffee", "cream", "disc", "disk", "donut"),
        *("doughnut", "emerald", "hoop", "lemon", "marble", "mint", "moon", "orange", "rose"),
        *("ruby", "sand", "sapphire", "sickle"),
    )
)
FUNCTION_WORDS = frozenset(
    (
        *("a", "an", "the", "of", "or", "and", "in", "on", "at", "to", "for", "with", "from", "by"),
        *("as", "used", "having", "that", "which", "its", "is", "are", "it", "usually", "often"),
        *("very", "large", "small", "any", "various", "several", "native"),
    )
)


class Texts(NamedTuple):
    """n texts; a text has a name, looks, both, or neither: then it means nothing."""

    texts: list[str]
    name_of: NDArray[np.int64]  # (n,) which name, -1 for none
    looks: Floats  # (n, looks) unit rows, or zeros
    names: list[str]


def draw_texts(words: Sequence[str], depictable: NDArray[np.bool_], seed: int) -> Texts:
    """Return texts about words and phrases.

    Args:
        words: names of anything.
        depictable: (n,) which of them can be red or striped.
        seed: of everything drawn.

    """
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, int, Floats]] = []
    nothing = np.zeros(len(LOOKS), np.float32)
    own = own_looks()
    for place, word in enumerate(words):
        looks = own.get(word, nothing)
        rows.append((word, place, looks))
        rows += [(pick(rng, CLEAR_FRAMES).format(word), place, looks) for _ in range(FRAMES_A_NAME)]
    for word, looks in looks_alone().items():
        rows += [(frame.format(word), -1, looks) for frame in (*TEMPLATES, *TEMPLATES, *FRAMES)]
    for _ in range(CAPTIONS):
        claim = draw_claim(rng)
        rows.append((caption(rng, claim), -1, looks_of(claim)))
    things = np.flatnonzero(depictable)
    for _ in range(BOTH):
        place = int(rng.choice(things))
        claim, said = _adjectives(rng)
        text = pick(rng, CLEAR_FRAMES).format(f"{said} {words[place]}")
        rows.append((text, place, looks_of(claim)))
    for _ in range(NONSENSE):
        rows.append((pick(rng, CLEAR_FRAMES).format(nonsense(rng)), -1, nothing))
    texts, name_of, looks_rows = zip(*rows, strict=True)
    return Texts(list(texts), np.array(name_of), np.stack(looks_rows), list(words))


def phrases() -> list[str]:
    """Return the kinds' names and the words, pairs and triples that their definitions hold."""
    found = {name.lower() for kind in names() for name in kind}
    for text in definitions():
        for part in re.split(r"[^a-z \-]+", text.lower().partition(":")[2]):
            tokens = part.split()
            for length in (1, 2, 3):
                for start in range(len(tokens) - length + 1):
                    piece = tokens[start : start + length]
                    if not FUNCTION_WORDS & {piece[0], piece[-1]}:
                        found.add(" ".join(piece))
    return sorted(found)


def wider_names() -> list[str]:
    """Return the first name of each of ImageNet's 21,841 kinds: nouns of WordNet, as "giraffe"."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-22k")
    kinds = (info.index_to_description(kind) for kind in range(info.num_classes()))
    return sorted({kind.split(",")[0].lower() for kind in kinds})


def draw_claim(rng: np.random.Generator) -> Claim:
    """Return anything that may be said of looks, one to three kinds of it."""
    told = rng.random(3) < rng.choice([0.35, 0.6, 1.0])
    if not told.any():
        told[int(rng.integers(3))] = True
    colors: tuple[str, ...] = ()
    modifier = ""
    if told[0]:
        count = 2 if rng.random() < 0.25 else 1
        colors = tuple(rng.choice(COLOR_NAMES, count, replace=False).tolist())
        modifier = str(rng.choice(MODIFIERS)) if count == 1 and rng.random() < 0.5 else ""
        if modifier and rng.random() < 0.1:
            colors = ()
    pattern = str(rng.choice(PATTERNS)) if told[1] else None
    return Claim(colors, modifier, pattern, str(rng.choice(SHAPES)) if told[2] else None)


def own_looks() -> dict[str, Floats]:
    """Return the looks of words that name both a thing and how it looks."""
    return {word: looks for word, looks in _look_words().items() if word in THINGS_TOO}


def looks_alone() -> dict[str, Floats]:
    """Return the looks of words that name nothing else."""
    return {word: looks for word, looks in _look_words().items() if word not in THINGS_TOO}


def nonsense(rng: np.random.Generator) -> str:
    """Return one or two made-up words: of syllables, or of any letters."""
    return " ".join(_made_up(rng) for _ in range(int(rng.choice([1, 1, 1, 2]))))


def _made_up(rng: np.random.Generator) -> str:
    if rng.random() < 0.3:
        return "".join(rng.choice(SYLLABLES, int(rng.integers(2, 4))).tolist())
    letters = list(string.ascii_lowercase)
    if rng.random() < 0.5:
        return "".join(rng.choice(letters, int(rng.integers(3, 9))).tolist())
    vowels, others = "aeiouy", [letter for letter in letters if letter not in "aeiou"]
    pairs = int(rng.integers(2, 4))
    parts = [f"{rng.choice(others)}{rng.choice(list(vowels))}" for _ in range(pairs)]
    return "".join(parts) + str(rng.choice(others))


def _look_words() -> dict[str, Floats]:
    found = {word: looks_of(Claim((color,), tone)) for word, (color, tone) in COLOR_WORDS.items()}
    for tone, said in MODIFIER_WORDS.items():
        found |= {word: looks_of(Claim((), tone)) for word in said}
    for pattern, (adjectives, nouns) in PATTERN_WORDS.items():
        found |= {w: looks_of(Claim(pattern=pattern)) for w in (pattern, *adjectives, *nouns)}
    for shape, (adjectives, nouns) in SHAPE_WORDS.items():
        found |= {w: looks_of(Claim(shape=shape)) for w in (*adjectives, *nouns)}
    for shape in SHAPES:  # last: "square" is one
        found[shape] = looks_of(Claim(shape=shape))
    return found


def _adjectives(rng: np.random.Generator) -> tuple[Claim, str]:
    """Return colors or a pattern, and the words for it."""
    if rng.random() < 0.3:
        pattern = str(rng.choice(PATTERNS))
        return Claim(pattern=pattern), str(rng.choice((pattern, *PATTERN_WORDS[pattern][0])))
    if rng.random() < 0.25:
        one, other = rng.choice(COLOR_NAMES, 2, replace=False).tolist()
        return Claim((one, other)), f"{one} and {other}"
    if rng.random() < 0.5:
        color = str(rng.choice(COLOR_NAMES))
        return Claim((color,)), color
    word = str(rng.choice(list(COLOR_WORDS)))
    color, tone = COLOR_WORDS[word]
    return Claim((color,), tone), word
