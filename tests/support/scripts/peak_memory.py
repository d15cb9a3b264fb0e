"""A script: cuts a photo with the starter model; prints RSS with the model loaded, and the peak.

In a process of its own, since a peak can't be reset: see test_ingest_real.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from api.library.models import load_segmenter, with_preset
from api.settings import Settings
from ingest.imaging.decode import decode_photo
from ingest.segmentation.types import MaskParameters
from support.scripts.own_memory import peak_bytes, rss_bytes


def main(path: Path) -> None:
    settings = with_preset(Settings(models="starter"))
    segmenter, parameters = load_segmenter(settings), MaskParameters.from_settings(settings)
    rng = np.random.default_rng(0)
    segmenter.automatic(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), parameters)  # warm
    loaded = rss_bytes()
    photo = decode_photo(path, max_pixels=settings.max_pixels, max_bytes=settings.max_bytes)
    count = len(segmenter.automatic(photo.rgb, parameters))
    print(loaded, peak_bytes(), count)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
