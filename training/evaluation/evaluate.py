"""How good a pair of starter models is: `python -m training.evaluation.evaluate --data DIR`.

Held-out drawn scenes always; real photos where DIR has coco/ and bsds/ (see
training/evaluation/photos.py), beside felzenszwalb + slic at the same number of proposals, if
scikit-image is installed. Prints a table, and as the last line one JSON document; what was not run
is null in it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain, islice
from pathlib import Path

from api.library.models import PRESETS, STARTER, torch_device
from ingest.segmentation.sam2 import Sam2Segmenter, load_segmenter
from ingest.segmentation.types import MaskParameters
from search.errors import SegsearchError, UsageError
from search.manifest import FIRST_MASKS
from search.models.encoder import ClipEncoder, Encoder
from starter import weights_dir
from training.evaluation import (
    automatic,
    classical,
    cost,
    cutting,
    finding,
    naming,
    photo_cutting,
    pictures,
)
from training.evaluation.held_out import CUTTING_SEEDS, FINDING_SEEDS
from training.evaluation.measures import Figure
from training.evaluation.photos import (
    MIN_FRACTION,
    TruePhoto,
    iter_bsds,
    iter_coco,
    iter_coco_things,
    iter_davis,
)

PARTS = ("scenes", "coco", "bsds", "encoder", "automatic", "cost")
# What each figure is, and what it should be at least.
KEYS = {
    "scene_click_iou": ("one click, best of three, mean IoU over what it may mean", 0.70),
    "scene_pick_iou": ("the candidate that the model picks, against the nearest of these", 0.72),
    "scene_amg_recall50": ("automatic masks of scenes, segments >= 0.5% found", 0.75),
    "scene_box_iou": ("a box given, mean IoU", 0.80),
    "coco_amg_recall50": ("automatic masks of COCO photos, segments >= 1% found", 0.58),
    "coco_amg_precision50": ("share of these masks that match such a segment", 0.16),
    "bsds_amg_recall50": ("automatic masks of BSDS photos, segments >= 1% found", 0.72),
    "boundary_f": ("outlines of segments found on COCO, to 0.75% of the diagonal", 0.61),
    "coco_click_iou": ("a click at the inmost point, best of three, COCO segments >= 1%", 0.60),
    "iou_calibration": ("predicted against true IoU of automatic masks on COCO, at most", 0.15),
    "default_masks_per_photo": ("masks of a COCO photo with sam2's default thresholds", 10.0),
    "name_map": ("things of COCO asked by name, among true segments, mean AP", 0.42),
    "name_map_auto": ("the same among automatic masks", 0.20),
    "name_map_auto_missed": ("the same, things that no mask matches counted as missed", None),
    "nonsense": ("how often a name's best score exceeds that of a made-up word", 0.95),
    "color_p20": ("color words on COCO segments, precision@20", 0.90),
    "color_p20_davis": ("color words on COCO's and DAVIS's segments, precision@20", 0.80),
    "pattern_acc": ("pattern of scene segments, one of eleven", 0.65),
    "shape_acc": ("shape of scene segments, one of twelve", 0.70),
    "instance_map": ("the same thing again, DAVIS among COCO's segments, mean AP", 0.93),
    "instance_map_auto": ("the same among automatic masks of other frames and photos", 0.50),
    "instance_map_auto_missed": ("the same, frames without a right mask counted as missed", None),
    "attr_r10": ("full description among 1,000 scene segments, recall@10", 0.65),
    "cpu_ratio": ("processor time from file to searchable, over that of --against, at most", 0.7),
    "size_mb": ("all weights on disk, the first encoder included, at most", 64.0),
}
CLASSICAL_KEYS = {"coco": "coco_classical_recall50", "bsds": "bsds_classical_recall50"}
# Enough for the standard errors that the table shows, and for ten minutes on two cores.
PROMPTED_SCENES = 150
AUTOMATIC_SCENES = 40
PHOTOS = 40
DEFAULTS_PHOTOS = 20
ENCODER_SEGMENTS = 1000
COST_PHOTOS = 8
PHOTO_PX = 384  # long side at which photos are cut
COLOR_PX = 512  # and at which their colors are looked for
PROPOSALS = 100
OVERLAYS = 6
MB = 1e6


@dataclass
class Report:
    """The figures so far; each is printed when it is there."""

    figures: dict[str, Figure] = field(default_factory=dict)

    def add(self, key: str, figure: Figure | None, note: str = "") -> None:
        """Take a figure in and print its line of the table; None is not counted as run."""
        if figure is None:
            return
        self.figures[key] = figure
        what, wanted = KEYS.get(key, ("felzenszwalb + slic, the same", None))
        error = "" if figure.error is None else f"± {figure.error:.3f}"
        aim = "" if wanted is None else f"(wanted {wanted:g})"
        line = f"{key:25}{figure.value:8.3f} {error:8}{aim:15}{figure.number:6}  {what}{note}"
        print(line, flush=True)

    @property
    def document(self) -> dict[str, float | None]:
        """The figures under KEYS and CLASSICAL_KEYS, in their order."""
        keys = (*KEYS, *CLASSICAL_KEYS.values())
        got = {key: self.figures.get(key) for key in keys}
        return {key: None if f is None else round(f.value, 4) for key, f in got.items()}


@dataclass(frozen=True)
class Plan:
    """What is measured, how much of it, and with which thresholds."""

    weights: Path
    data: Path | None
    limit: int | None
    proposals: int
    parameters: MaskParameters
    overlays: Path | None
    against: Path | None
    device: str

    def at_most(self, count: int) -> int:
        """Return how many pictures to take where so many would do."""
        return count if self.limit is None else min(count, self.limit)

    def photos_of(self, name: str) -> Path | None:
        """Return the folder of coco or bsds; None, saying so, if it is not there."""
        folder = None if self.data is None else self.data / name
        if folder is not None and (folder / "truth.json").is_file():
            return folder
        where = "no --data was given" if folder is None else f"no truth.json in {folder}"
        print(f"{name} is left out: {where}", file=sys.stderr)
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for and print it; return the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice would tear the table apart
            if asked.sheet:
                pictures.save_search_sheet(asked.weights, asked.sheet)
                return 0
            report = evaluate(_plan(asked), asked.only)
    except SegsearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report.document))
    return 0


def evaluate(plan: Plan, parts: Sequence[str]) -> Report:
    """Run some of PARTS."""
    report = Report()
    print(f"{'figure':25}{'value':>8} {'error':8}{'':15}{'n':>6}", flush=True)
    if set(parts) - {"encoder"}:
        segmenter = _segmenter(plan, plan.weights)
        cut: dict[str, Callable[[], None]] = {
            "scenes": lambda: _scenes(plan, segmenter, report),
            "coco": lambda: _photos(plan, segmenter, report, "coco"),
            "bsds": lambda: _photos(plan, segmenter, report, "bsds"),
        }
        for name, run in cut.items():
            if name in parts:
                _timed(name, run)
    if "encoder" in parts:
        _timed("encoder", lambda: _encoder(plan, report))
    if "automatic" in parts:
        _timed("automatic", lambda: _automatic(plan, segmenter, report))
    if "cost" in parts:
        _timed("cost", lambda: _cost(plan, segmenter, report))
    report.add("size_mb", Figure(_size_mb(plan.weights), None, 2))
    return report


def _segmenter(plan: Plan, weights: Path) -> Sam2Segmenter:
    for name in ("segmenter.pt", "segmenter.yaml"):
        if not (weights / name).is_file():
            raise UsageError(
                f"there is no {name} in {weights}. --weights and --against name a folder with "
                "segmenter.pt, segmenter.yaml and encoder/."
            )
    return load_segmenter(
        str(weights / "segmenter.pt"), config=weights / "segmenter.yaml", device=plan.device
    )


def _load_encoder(plan: Plan, weights: Path) -> ClipEncoder:
    return ClipEncoder.load(
        str(weights / "encoder"), device=plan.device, precision="float32", batch=64
    )


def _scenes(plan: Plan, segmenter: Sam2Segmenter, report: Report) -> None:
    prompted = cutting.prompted(segmenter.model, CUTTING_SEEDS[: plan.at_most(PROMPTED_SCENES)])
    report.add("scene_click_iou", prompted.click_iou)
    report.add("scene_pick_iou", prompted.pick_iou)
    report.add("scene_box_iou", prompted.box_iou)
    propose = cutting.proposer(segmenter, plan.parameters, plan.proposals)
    seeds = CUTTING_SEEDS[: plan.at_most(AUTOMATIC_SCENES)]
    _add_recall(report, "scene_amg_recall50", cutting.scene_recall(propose, seeds))
    if plan.overlays:
        pictures.save_scene_overlays(propose, seeds[:OVERLAYS], plan.overlays / "scenes.jpg")


def _photos(plan: Plan, segmenter: Sam2Segmenter, report: Report, name: str) -> None:
    folder = plan.photos_of(name)
    if folder is None:
        return
    read = iter_coco if name == "coco" else iter_bsds
    photos = list(read(folder, PHOTO_PX, plan.at_most(PHOTOS)))
    propose = cutting.proposer(segmenter, plan.parameters, plan.proposals, cutting.PHOTO_FRACTION)
    cut = photo_cutting.automatic(segmenter, plan.parameters, photos, plan.proposals)
    report.add(f"{name}_amg_recall50", cut.recall, f", by {cut.per_photo:.0f} masks a photo")
    if name == "coco":
        report.add("coco_amg_precision50", cut.precision)
        report.add("boundary_f", cut.boundary_f)
        report.add("iou_calibration", cut.calibration)
        report.add("coco_click_iou", photo_cutting.clicked(segmenter, photos))
    if classical.is_there():
        recall = cutting.photo_recall(lambda rgb: classical.proposals(rgb, plan.proposals), photos)
        _add_recall(report, CLASSICAL_KEYS[name], recall)
    else:
        print("felzenszwalb + slic are left out: no scikit-image", file=sys.stderr)
    if name == "coco":
        some = photos[: plan.at_most(DEFAULTS_PHOTOS)]
        kept = cutting.masks_per_photo(segmenter, MaskParameters(), some)
        report.add("default_masks_per_photo", kept)
    if plan.overlays:
        pictures.save_photo_overlays(propose, photos[:OVERLAYS], plan.overlays / f"{name}.jpg")


def _encoder(plan: Plan, report: Report) -> None:
    encoder = _load_encoder(plan, plan.weights)
    words = finding.by_words(encoder, FINDING_SEEDS[: plan.limit], ENCODER_SEGMENTS)
    report.add("pattern_acc", words.pattern)
    report.add("shape_acc", words.shape)
    report.add("attr_r10", words.description)
    coco, davis = plan.photos_of("coco"), plan.photos_of("davis")
    if coco is not None:
        _names(encoder, coco, davis, plan, report)
        figure, colors = finding.by_color(encoder, iter_coco(coco, COLOR_PX, plan.limit))
        each = ", ".join(f"{color} {value:.2f}" for color, value in colors.items())
        report.add("color_p20", figure, f": {each}")


def _names(encoder: Encoder, coco: Path, davis: Path | None, plan: Plan, report: Report) -> None:
    things = list(iter_coco_things(coco, plan.limit))
    named = naming.by_name(encoder, things)
    each = ", ".join(f"{name} {value:.2f}" for name, value in named.by_name.items())
    report.add("name_map", named.name_map, f": {each}")
    report.add("nonsense", named.nonsense)
    if davis is None:
        return
    frames = list(iter_davis(davis, plan.limit))
    large = [thing for thing in things if thing.mask.mean() >= MIN_FRACTION]
    others = large[: naming.DISTRACTORS]
    report.add("instance_map", naming.same_again(encoder, frames[::2], others))
    moving = (TruePhoto(frame.name, frame.rgb, [frame.mask]) for frame in frames)
    photos = chain(iter_coco(coco, COLOR_PX, plan.limit), moving)
    report.add("color_p20_davis", finding.by_color(encoder, photos)[0])


def _automatic(plan: Plan, segmenter: Sam2Segmenter, report: Report) -> None:
    coco, davis = plan.photos_of("coco"), plan.photos_of("davis")
    if coco is None:
        return
    encoder = _load_encoder(plan, plan.weights)
    things = iter_coco_things(coco, plan.limit)
    photos = automatic.cut_photos(segmenter, encoder, plan.parameters, things)
    named = automatic.by_name(encoder, photos)
    report.add("name_map_auto", named.precision)
    report.add("name_map_auto_missed", named.with_misses)
    if davis is not None:
        every_other = islice(iter_davis(davis, plan.limit), 0, None, 2)
        frames = automatic.cut_photos(segmenter, encoder, plan.parameters, every_other)
        again = automatic.same_again(frames, photos)
        report.add("instance_map_auto", again.precision)
        report.add("instance_map_auto_missed", again.with_misses)


def _cost(plan: Plan, segmenter: Sam2Segmenter, report: Report) -> None:
    coco = plan.photos_of("coco")
    if coco is None:
        return
    if plan.against is None:
        print("cpu_ratio is left out: no --against was given", file=sys.stderr)
        return
    pair = cost.Pair(segmenter, _load_encoder(plan, plan.weights), plan.parameters)
    first_masks = MaskParameters(**FIRST_MASKS)
    first = cost.Pair(
        _segmenter(plan, plan.against), _load_encoder(plan, plan.against), first_masks
    )
    paths = sorted((coco / "images").iterdir())[: plan.at_most(COST_PHOTOS)]
    report.add("cpu_ratio", cost.cpu_ratio(pair, first, paths))


def _add_recall(report: Report, key: str, recall: cutting.Recall) -> None:
    report.add(key, recall.figure, f", by {recall.per_picture:.0f} proposals a picture")


def _timed(name: str, run: Callable[[], None]) -> None:
    started, worked = time.perf_counter(), time.process_time()
    run()
    taken, work = time.perf_counter() - started, time.process_time() - worked
    print(f"{name}: {taken:.0f} s, {work:.0f} s of CPU", file=sys.stderr, flush=True)


def _size_mb(weights: Path) -> float:
    """Return the size of everything in the folder, in millions of bytes."""
    return sum(path.stat().st_size for path in weights.rglob("*") if path.is_file()) / MB


def _plan(asked: argparse.Namespace) -> Plan:
    names = {field.name for field in fields(MaskParameters)}
    preset = {name: value for name, value in PRESETS[STARTER].items() if name in names}
    given = {
        "points_per_side": asked.points,
        "pred_iou_thresh": asked.iou,
        "stability_score_thresh": asked.stability,
        "box_nms_thresh": asked.nms,
    }
    preset |= {name: value for name, value in given.items() if value is not None}
    return Plan(
        weights=asked.weights,
        data=asked.data,
        limit=asked.limit,
        proposals=asked.proposals,
        parameters=MaskParameters(**preset),
        overlays=asked.overlays,
        against=asked.against,
        device=torch_device(asked.device),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluation.evaluate", description=__doc__
    )
    add = parser.add_argument
    add(
        "--weights",
        type=Path,
        default=weights_dir(),
        metavar="DIR",
        help="segmenter.pt, segmenter.yaml and encoder/; without it, the bundled ones",
    )
    add(
        "--data",
        type=Path,
        default=os.environ.get("SEGSEARCH_TEST_DATA"),
        metavar="DIR",
        help="real photos; without it, $SEGSEARCH_TEST_DATA, else none",
    )
    add("--only", type=_parts, default=PARTS, metavar="PARTS", help=f"some of {','.join(PARTS)}")
    add(
        "--limit",
        type=_count,
        metavar="N",
        help="at most N pictures for each figure: quicker, and attr_r10 then has fewer to miss",
    )
    add(
        "--against",
        type=Path,
        metavar="DIR",
        help="weights of the first pair, for cpu_ratio: starter/weights as it was before 0.2",
    )
    add("--overlays", type=Path, metavar="DIR", help="draw masks on some pictures into this folder")
    add(
        "--sheet",
        type=Path,
        metavar="FILE",
        help="instead of measuring, search the drawn sample library and draw what is found",
    )
    add("--points", type=_count, help="points a side of automatic masks, instead of the preset's")
    add("--iou", type=float, help="predicted IoU to keep an automatic mask")
    add("--stability", type=float, help="stability score to keep an automatic mask")
    add("--nms", type=float, help="IoU of boxes from which the worse mask is dropped")
    add("--proposals", type=_count, default=PROPOSALS, help="automatic masks that count, at most")
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    return parser  # fmt: skip


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(","))
    if not set(parts) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"{text!r}: name some of {','.join(PARTS)}")
    return parts


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
