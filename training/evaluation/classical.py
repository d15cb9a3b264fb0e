"""Proposals without any learning, to compare with: felzenszwalb + slic, by scikit-image.

scikit-image is needed for measuring only: pip install -e '.[dev]'.
"""

from __future__ import annotations

import numpy as np

from search.records import MaskArray, RgbImage

# Several grains each. With 100 proposals finer scales (60, 200, 600) find as much on BSDS photos,
# 0.72, and less on COCO's, 0.53 instead of 0.59.
FELZENSZWALB_SCALES = (150, 400, 1000)
FELZENSZWALB_SIGMA = 0.8
SLIC_COUNTS = (6, 15, 40)
SLIC_COMPACTNESS = 10
MIN_FRACTION = 0.004  # smaller proposals could not match a segment of 1%


def is_there() -> bool:
    """Say whether scikit-image is installed."""
    try:
        import skimage  # noqa: F401
    except ImportError:
        return False
    return True


def proposals(rgb: RgbImage, count: int) -> list[MaskArray]:
    """Return at most so many masks, largest first.

    What is left out is smallest: of all proposals those least likely to match.
    """
    from skimage.segmentation import felzenszwalb, slic

    smallest_px = int(MIN_FRACTION * rgb.shape[0] * rgb.shape[1])
    labelled = [
        felzenszwalb(rgb, scale=scale, sigma=FELZENSZWALB_SIGMA, min_size=smallest_px)
        for scale in FELZENSZWALB_SCALES
    ]
    labelled += [
        slic(rgb, n_segments=pieces, compactness=SLIC_COMPACTNESS, start_label=0)
        for pieces in SLIC_COUNTS
    ]
    masks = [labels == label for labels in labelled for label in np.unique(labels)]
    large = [mask for mask in masks if mask.mean() >= MIN_FRACTION]
    return sorted(large, key=lambda mask: -int(np.count_nonzero(mask)))[:count]
