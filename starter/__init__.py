"""Drawn pictures and a pair of small models for a machine with no model hub in reach.

scenes.py draws pictures with exact masks, sample_library.py a folder of photos from them, and
weights/ holds a segmenter and an encoder (weights/CARD.md says what they can and can't do, and
what they were made from).
"""

from pathlib import Path

__all__ = ["ENCODERS", "encoder_dir", "weights_dir"]


# The encoders that come along, by the names that libraries remember: the first knows colors,
# patterns and shapes alone, and stays for libraries that were made with it.
ENCODERS = {"starter-1": "encoder-1", "starter-2": "encoder"}


def encoder_dir(name: str) -> Path | None:
    """Return the folder of a bundled encoder; None for any other name."""
    return weights_dir() / ENCODERS[name] if name in ENCODERS else None


def weights_dir() -> Path:
    """Return the folder of the bundled weights: segmenter.pt, segmenter.yaml and encoder/."""
    return Path(__file__).parent / "weights"
