"""What can be said of a segment: words for colors, patterns and shapes, and sentences around them.

A claim is what a caption says, facts are what is true. Captions are only ever made from claims
that hold. Size is no word: crops are all scaled alike, so nothing of it is left to see.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.models.encoder import TEMPLATES
from starter.drawing.chance import pick
from starter.drawing.colors import COLOR_NAMES

HINTED_SHARE = 0.12  # of a segment: a color with less of it counts as not there

# One word for a color, or a color with its modifier: (color, modifier).
COLOR_WORDS: dict[str, tuple[str, str]] = {
    **{name: (name, "") for name in COLOR_NAMES},
    **dict.fromkeys(("crimson", "scarlet", "ruby", "cherry", "reddish"), ("red", "")),
    **dict.fromkeys(("maroon", "burgundy", "wine red"), ("red", "dark")),
    **dict.fromkeys(("tangerine", "orangey"), ("orange", "")),
    **dict.fromkeys(("golden", "gold", "lemon", "mustard", "yellowish"), ("yellow", "")),
    **dict.fromkeys(("emerald", "greenish", "leaf green"), ("green", "")),
    **dict.fromkeys(("forest green", "bottle green"), ("green", "dark")),
    **dict.fromkeys(("mint", "mint green"), ("green", "light")),
    **dict.fromkeys(("turquoise", "cyan", "aqua"), ("teal", "")),
    **dict.fromkeys(("azure", "cobalt", "sapphire", "bluish"), ("blue", "")),
    **dict.fromkeys(("navy", "navy blue", "midnight blue"), ("blue", "dark")),
    **dict.fromkeys(("sky blue", "baby blue"), ("blue", "light")),
    **dict.fromkeys(("violet", "indigo", "purplish"), ("purple", "")),
    **dict.fromkeys(("lavender", "lilac"), ("purple", "light")),
    **dict.fromkeys(("magenta", "fuchsia", "rose", "pinkish"), ("pink", "")),
    **dict.fromkeys(("chestnut", "brownish", "wood brown"), ("brown", "")),
    **dict.fromkeys(("chocolate", "coffee"), ("brown", "dark")),
    **dict.fromkeys(("tan", "cream", "sand", "sandy"), ("beige", "")),
    **dict.fromkeys(("snow white", "whitish"), ("white", "")),
    **dict.fromkeys(("grey", "greyish", "grayish"), ("gray", "")),
    **dict.fromkeys(("charcoal", "slate"), ("gray", "dark")),
    **dict.fromkeys(("silver", "silvery"), ("gray", "light")),
    **dict.fromkeys(("jet black", "ebony", "blackish"), ("black", "")),
}
MODIFIER_WORDS = {"dark": ("dark", "dark", "deep"), "light": ("light", "light", "pale", "pastel")}
# First the adjectives, then nouns to go after "with".
PATTERN_WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "plain": (("plain", "solid", "uniform", "unpatterned", "single colored"), ()),
    "gradient": (("gradient", "shaded", "fading", "graded", "ombre"), ("a gradient", "shading")),
    "striped": (("striped", "stripy", "stripey", "stripe", "banded"), ("stripes", "bands")),
    "checked": (("checked", "checkered", "chequered", "checkerboard", "chessboard"), ("checks",)),
    "dotted": (("dotted", "spotted", "polka dot", "polka dotted"), ("dots", "spots", "polka dots")),
    "mottled": (("mottled", "cloudy", "marbled", "marble"), ("clouds",)),
    "patchy": (("patchy", "blotchy", "camouflage", "blotched"), ("patches", "blotches")),
    "speckled": (("speckled", "flecked", "grainy", "noisy", "freckled"), ("speckles", "specks")),
    "grid": (("grid", "gridded", "latticed", "lattice", "plaid"), ("a grid", "grid lines")),
    "wavy": (("wavy", "zigzag", "rippled", "wave"), ("waves", "ripples", "wavy lines")),
    "streaked": (("streaked", "streaky", "wood grain", "brushed"), ("streaks", "wood grain")),
}
# First the adjectives, then the nouns.
SHAPE_WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "circle": (("round", "circular", "ball shaped"), ("circle", "disc", "disk", "ball", "circles")),
    "ellipse": (("oval", "elliptical", "egg shaped"), ("ellipse", "oval", "ellipses", "ovals")),
    "square": (("square",), ("square", "squares")),
    "rectangle": (("rectangular", "oblong"), ("rectangle", "bar", "oblong", "rectangles")),
    "triangle": (("triangular", "triangle shaped"), ("triangle", "triangles")),
    "polygon": (("polygonal", "angular"), ("polygon", "polygons", "many sided shape")),
    "star": (("star shaped", "starry", "spiky"), ("star", "stars", "star")),
    "blob": (("irregular", "blobby", "blob shaped"), ("blob", "blobs", "irregular shape")),
    "curve": (("curved", "curvy"), ("curve", "curved line", "bent line", "curves")),
    "ring": (("ring shaped", "donut shaped"), ("ring", "hoop", "donut", "doughnut", "rings")),
    "crescent": (("crescent shaped", "moon shaped"), ("crescent", "moon", "crescents", "sickle")),
    "cross": (("cross shaped", "plus shaped"), ("cross", "plus", "plus sign", "crosses")),
}
NOUNS = ("thing", "object", "shape", "region", "area", "item", "part", "piece", "surface", "one")
# "" stands alone; the others go around what is said.
FRAMES = {
    **dict.fromkeys(TEMPLATES, 1.0),
    "{}": 4.0,
    "a {}": 2.0,
    "the {}": 0.7,
    "an image of a {}": 0.4,
    "a picture of {}": 0.4,
    "{} in a picture": 0.4,
    "{} in the photo": 0.4,
    "a crop of a {}": 0.3,
    "find a {}": 0.4,
    "show me {}": 0.4,
    "show me all {}": 0.3,
    "where is the {}": 0.3,
    "something {}": 0.6,
    "i am looking for a {}": 0.3,
    "this is a {}": 0.3,
    "there is a {} here": 0.3,
    "my {}": 0.3,
    "some {}": 0.3,
}
STRANGE_WORD_SHARE = 0.25  # of captions hold words that nothing is known about
SYLLABLES = ("ba", "do", "ki", "lu", "mer", "nos", "pra", "qui", "sta", "ton", "vel", "xi", "zu")


@dataclass(frozen=True)
class Claim:
    """What a caption says of a segment; what is empty or None is not spoken of.

    A modifier belongs to the only color, or without a color to the segment as a whole.
    """

    colors: tuple[str, ...] = ()
    modifier: str = ""
    pattern: str | None = None
    shape: str | None = None


def caption(rng: np.random.Generator, claim: Claim) -> str:
    """Return one of many ways to say it, now and then with words that mean nothing."""
    words = pick(rng, FRAMES).format(_phrase(rng, claim)).split()
    if rng.random() < STRANGE_WORD_SHARE:
        for _ in range(rng.integers(1, 3)):
            words.insert(int(rng.integers(len(words) + 1)), strange_word(rng))
    return " ".join(words)


def strange_word(rng: np.random.Generator) -> str:
    """Return a made-up word."""
    return "".join(rng.choice(SYLLABLES, int(rng.integers(2, 4))).tolist())


def _phrase(rng: np.random.Generator, claim: Claim) -> str:
    """Return the claim's words: mostly color, pattern, shape, else in another order."""
    before, after = [], []
    if color := _color_phrase(rng, claim):
        before.append(color)
    if claim.pattern:
        adjectives, nouns = PATTERN_WORDS[claim.pattern]
        if nouns and rng.random() < 0.25:
            after.append("with " + _one(rng, nouns))
        else:
            before.append(_word(rng, claim.pattern, adjectives))
    noun = _one(rng, NOUNS) if rng.random() < 0.55 else ""
    if claim.shape:
        adjectives, nouns = SHAPE_WORDS[claim.shape]
        if rng.random() < 0.3:
            before.append(_one(rng, adjectives))
        else:
            noun = _word(rng, claim.shape, nouns)
    if len(before) > 1 and rng.random() < 0.3:
        before = [before[i] for i in rng.permutation(len(before))]
    if noun and before and rng.random() < 0.12:
        return f"{noun} that is {' and '.join(before)} {' '.join(after)}"
    return " ".join([*before, noun, *after])


def _color_phrase(rng: np.random.Generator, claim: Claim) -> str:
    if not claim.colors:
        return _one(rng, MODIFIER_WORDS[claim.modifier]) if claim.modifier else ""
    if len(claim.colors) > 1:
        words = [_word(rng, name, _color_words(name, "")) for name in claim.colors]
        return (" and " if rng.random() < 0.7 else " ").join(words)
    (name,) = claim.colors
    special = _color_words(name, claim.modifier)
    if not claim.modifier:
        said = _word(rng, name, special)
        return f"{said} colored" if rng.random() < 0.05 else said
    if special and rng.random() < 0.25:
        return _one(rng, special)
    plain = _word(rng, name, _color_words(name, ""))
    return f"{_one(rng, MODIFIER_WORDS[claim.modifier])} {plain}"


def _color_words(name: str, modifier: str) -> tuple[str, ...]:
    return tuple(word for word, meant in COLOR_WORDS.items() if meant == (name, modifier))


def _word(rng: np.random.Generator, name: str, others: Sequence[str]) -> str:
    """Return the name itself half of the time, else any of its synonyms."""
    return name if rng.random() < 0.5 else _one(rng, others)


def _one(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]
