"""The words that the text side learns, and the texts about them, with MiniLM's vectors."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.encoder.classes import definition_vectors, familiarity, text_profiles
from training.encoder.sentences import SentenceModel
from training.encoder.texts import Texts, draw_texts, looks_alone, own_looks, phrases, wider_names
from training.encoder.vocabulary import kept_tokens, rows_of, smaller_tokenizer, whole_words

Floats = NDArray[np.float32]

DEPICTABLE_FROM = 0.7  # of familiarity: what can be red or striped
KEPT_FREQUENT = 4000  # words that stay in the vocabulary because many texts hold them
PEOPLE = (
    *("person", "persons", "people", "human", "humans", "man", "men", "woman", "women", "boy"),
    *("boys", "girl", "girls", "child", "children", "kid", "kids", "guy", "lady", "adult", "face"),
)
KEPT_FROM = 0.6  # of familiarity: or because pictures show them


class Words(NamedTuple):
    """Names of anything, with their likeness to ImageNet's kinds."""

    words: list[str]
    profiles: Floats  # (n, 1000)
    known: Floats  # (n,) 0 to 1


def known_words(model: SentenceModel) -> Words:
    """Return the vocabulary's words and the definitions' phrases, with what they resemble."""
    found = {*whole_words(), *phrases(), *wider_names(), *own_looks()}
    words = sorted(found - looks_alone().keys())
    vectors, kinds = model.embed(words), definition_vectors(model)
    likeness = text_profiles(vectors, kinds), familiarity(vectors, kinds)
    return _with_people(Words(words, *likeness))


def _with_people(words: Words) -> Words:
    """Return the words with those for people as near to the kinds as "person" is.

    Definitions speak of people by their trades, so MiniLM finds none that is like "man".
    """
    place = words.words.index("person")
    people = np.isin(words.words, PEOPLE)
    profiles = np.where(people[:, None], words.profiles[place], words.profiles)
    return Words(words.words, profiles, np.where(people, np.float32(1), words.known))


def wanted_words(words: Words) -> set[str]:
    """Return what the smaller vocabulary keeps."""
    frequent = set(whole_words()[:KEPT_FREQUENT])
    defined = {part for phrase in phrases() for part in phrase.split()}
    spoken = {part for word in (*looks_alone(), *own_looks()) for part in word.split()}
    known = zip(words.words, words.known, strict=True)
    near = {word for word, familiar in known if familiar >= KEPT_FROM}
    return frequent | defined | spoken | near


def write_texts(out: Path, seed: int = 0) -> None:
    """Write the words, the smaller tokenizer, the texts and their sentence vectors."""
    model = SentenceModel()
    words = known_words(model)
    np.savez(out / "words.npz", **words._asdict())
    tokens = kept_tokens(wanted_words(words))
    (out / "vocabulary.txt").write_text("\n".join(tokens) + "\n")
    texts = draw_texts(words.words, words.known >= DEPICTABLE_FROM, seed)
    model.use_vocabulary(rows_of(tokens), smaller_tokenizer(tokens, out / "tokenizer"))
    np.savez(
        out / "texts.npz",
        texts=np.array(texts.texts),
        name_of=texts.name_of,
        looks=texts.looks,
        sentences=model.embed(texts.texts).astype(np.float16),
    )


def load_words(out: Path) -> Words:
    """Return what write_texts wrote."""
    with np.load(out / "words.npz") as saved:
        return Words(saved["words"].tolist(), saved["profiles"], saved["known"])


def load_texts(out: Path, words: Words) -> tuple[Texts, Floats]:
    """Return the texts and their sentence vectors."""
    with np.load(out / "texts.npz") as saved:
        texts = Texts(saved["texts"].tolist(), saved["name_of"], saved["looks"], words.words)
        return texts, saved["sentences"].astype(np.float32)
