"""What grids of points cost and find: `make bench-points DATA=FOLDER`.

Automatic masks of COCO and BSDS photos with true masks (see training/evaluation/photos.py), by the
starter segmenter: every grid in full, adaptively, and with crops. For each: points that were
decoded, seconds, masks, and the share of true segments of at least 1% of the photo that some mask
matches at IoU .5, without a limit on how many masks there may be. Seconds are medians over photos
of times in alternation: every photo is cut by each before the next one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from torch import Tensor

from api.library.models import PRESETS, STARTER
from ingest.segmentation.mask_decoder import PhotoTokens, PointDecoder
from ingest.segmentation.sam2 import Sam2Segmenter, load_segmenter
from ingest.segmentation.types import MaskParameters
from search.masks.rle import array_from_mask
from starter import weights_dir
from training.evaluation.cutting import PHOTO_FRACTION, Recall
from training.evaluation.photos import TruePhoto, iter_bsds, iter_coco

PHOTO_PX = 512
READERS = {"coco": iter_coco, "bsds": iter_bsds}


class CountingDecoder(PointDecoder):
    """Counts the points that it is given."""

    points = 0

    def candidates(
        self, photo: PhotoTokens, points: Tensor, *, multimask: bool, pred_iou_thresh: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Count, then decode."""
        self.points += len(points)
        return super().candidates(
            photo, points, multimask=multimask, pred_iou_thresh=pred_iou_thresh
        )


@dataclass
class Grid:
    """One way of asking, and what came of it."""

    name: str
    parameters: MaskParameters
    recall: Recall = field(default_factory=Recall)
    seconds: list[float] = field(default_factory=list)
    points: list[int] = field(default_factory=list)

    def cut(self, segmenter: Sam2Segmenter, decoder: CountingDecoder, photo: TruePhoto) -> None:
        """Cut a photo and count."""
        before = decoder.points
        started = time.perf_counter()
        masks = segmenter.automatic(photo.rgb, self.parameters)
        self.seconds.append(time.perf_counter() - started)
        self.points.append(decoder.points - before)
        large = [m for m in masks if m.area_fraction >= PHOTO_FRACTION]
        self.recall.add(photo.masks, [array_from_mask(mask.mask) for mask in large])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("DATA"))
    parser.add_argument("--photos", type=int, default=40, help="of each set")
    parser.add_argument("--weights", type=Path, default=weights_dir())
    asked = parser.parse_args()
    if asked.data is None:
        print("name the folder that holds coco/ and bsds/: DATA=FOLDER", file=sys.stderr)
        return 2
    segmenter = load_segmenter(
        str(asked.weights / "segmenter.pt"),
        config=asked.weights / "segmenter.yaml",
        device="cpu",
    )
    decoder = CountingDecoder(segmenter.model)
    segmenter._sam = segmenter._sam._replace(decoder=decoder)
    found = {}
    for name, read in READERS.items():
        if not (asked.data / name / "truth.json").is_file():
            print(f"{name} is left out: there is no truth.json", file=sys.stderr)
            continue
        grids = _grids()
        for photo in read(asked.data / name, PHOTO_PX, asked.photos):
            for grid in grids:
                grid.cut(segmenter, decoder, photo)
        found[name] = _told(name, grids)
    print(json.dumps(found))
    return 0


def _grids() -> list[Grid]:
    names = {each.name for each in fields(MaskParameters)}
    preset = {name: value for name, value in PRESETS[STARTER].items() if name in names}
    full = MaskParameters(**preset)
    grids = []
    for side in (8, 16, 32):
        grid = replace(full, points_per_side=side)
        grids.append(Grid(f"{side} x {side}", grid))
        grids.append(Grid(f"{side} x {side} adaptive", replace(grid, adaptive_points=True)))
    crops = replace(full, crop_n_layers=1, crop_n_points_downscale_factor=2)
    return [*grids, Grid("16 x 16 and 4 crops of 8 x 8", crops)]


def _told(name: str, grids: list[Grid]) -> dict[str, dict[str, float]]:
    """Print the table of one set and return its figures."""
    print(f"\n{name}, {len(grids[0].seconds)} photos", flush=True)
    print(f"{'grid':30}{'points':>8}{'s':>8}{'masks':>8}{'recall':>8}")
    figures = {}
    for grid in grids:
        points, seconds = statistics.mean(grid.points), statistics.median(grid.seconds)
        recall = grid.recall.figure.value if grid.recall.figure else 0.0
        masks = grid.recall.per_picture
        print(f"{grid.name:30}{points:8.0f}{seconds:8.2f}{masks:8.0f}{recall:8.3f}")
        figures[grid.name] = {
            "points": round(points), "seconds": round(seconds, 3), "recall50": round(recall, 4)
        }  # fmt: skip
    return figures


if __name__ == "__main__":
    sys.exit(main())
