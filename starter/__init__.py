"""Drawn pictures and a pair of small models for a machine with no model hub in reach.

scenes.py draws pictures with exact masks, sample_library.py a folder of photos from them, and
weights/ holds a segmenter and an encoder that were trained on such pictures alone
(weights/CARD.md says what they can and can't do).
"""

from pathlib import Path

__all__ = ["weights_dir"]


def weights_dir() -> Path:
    """Return the folder of the bundled weights: segmenter.pt, segmenter.yaml and encoder/."""
    return Path(__file__).parent / "weights"
