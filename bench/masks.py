"""Automatic masks: sam2's own generator and ours, in alternation in one process.

SAM 2.1 hiera-tiny with random full-size weights, so that times are real. Their logits are near zero
and are multiplied to the range of trained ones; thresholds are set by quantile so that half of all
masks pass the filter of predicted IoU, as real weights about let through, and about 130 survive in
all. Reference: SAM2AutomaticMaskGenerator as pip installs it,
with its own batch of 64 points; and a tuned one, which is what anyone gets without changing a line
of sam2: on a CPU batch 8 in a process of its own with malloc told to keep large blocks, on a GPU
batch 256 under autocast to bfloat16.

A whole reference photo takes minutes on a CPU. There 64 points of each are timed and extrapolated
to the 1,024 points of the default grid (the table says so); identity is checked on the masks of
exactly those points. A GPU does the whole grid.

Fast mode, in float16 or else in bfloat16, is timed where the device multiplies in one of these. How
far masks of both agree with the exact ones is asked of weights that mean something: the starter's,
on real photos of DATA (as `make bench-starter` takes it) or else on drawn scenes, every mask that
the preset keeps. Agreement is the same where a precision is emulated.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_masks
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.build_sam import build_sam2
from sam2.utils.amg import build_point_grid

from api.library.models import PRESETS, STARTER, computes, load_segmenter
from api.settings import Settings
from ingest.segmentation.mask_decoder import PointDecoder
from ingest.segmentation.mask_generator import Crop, _crop_candidates
from ingest.segmentation.sam2 import Sam2Segmenter
from ingest.segmentation.types import MaskParameters, SegmentedMask
from search.masks.rle import array_from_mask, coco_rle_from_mask
from search.records import Mask, RgbImage
from search.settings import Precision
from starter.scenes import draw_scene
from training.evaluation.photos import iter_bsds, iter_coco
from training.segmenter.export import sharpen

CONFIG = "configs/sam2.1/sam2.1_hiera_t.yaml"
GRID_POINTS = 1024  # of the default 32 x 32 grid
PASS_IOU = 0.5  # part of all masks that pass the filter of predicted IoU
LOGIT_SPREAD = 10.0  # standard deviation of the logits of trained weights, about
SURVIVORS = 130  # masks that are kept of a whole photo
KEEP_BLOCKS = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}
TUNED_CPU_BATCH, TUNED_GPU_BATCH = 8, 256
SIZES = {"": (1800, 1200), "_12mp": (4000, 3000)}
AGREEMENT_PX = 640


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="alternations; 0: agreement alone")
    parser.add_argument("--side", type=int, help="points per side that are timed")
    parser.add_argument("--device", default=os.environ.get("DEVICE", "cpu"))
    parser.add_argument(
        "--photos", type=int, default=12, help="of each set, for how far masks agree"
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("DATA"))
    for worker in ("--tuned-worker", "--peak-worker"):
        parser.add_argument(worker, metavar="WxH", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False  # float32 is to mean float32 in both
    side = asked.side or (8 if asked.device == "cpu" else 32)
    model = build_sam2(CONFIG, device=asked.device)
    _spread_logits(model)
    if size := asked.tuned_worker or asked.peak_worker:
        width, height = map(int, size.split("x"))
        rgb = draw_scene(7, (width, height)).image.copy()
        work = _tuned_worker if asked.tuned_worker else _peak_worker
        print(work(model, rgb, side))
        return
    figures: dict[str, Any] = {}
    for suffix, size_wh in SIZES.items() if asked.rounds else ():
        rounds = 1 if suffix and asked.device == "cpu" else asked.rounds  # minutes each at 12 MP
        figures |= _compare(model, size_wh, suffix, side, rounds)
    figures |= _agreement(asked.device, asked.data, asked.photos)
    print(json.dumps(figures))


def _compare(
    model: Any, size_wh: tuple[int, int], suffix: str, side: int, rounds: int
) -> dict[str, Any]:
    """Time reference and ours on one photo size."""
    rgb = draw_scene(7, size_wh).image.copy()
    exact = Sam2Segmenter(model, "exact")
    parameters = _thresholds(exact, rgb, side)
    exact.automatic(rgb, parameters)  # compiles
    ours = exact.automatic(rgb, parameters)
    reference = _reference(model, parameters, 64)
    theirs = reference.generate(rgb)
    encode: dict[str, Callable[[], object]] = {
        "reference": lambda: reference.predictor.set_image(rgb),
        "exact": lambda: exact.encode(rgb),
    }
    whole: dict[str, Callable[[], float]] = {
        "reference": lambda: _seconds(lambda: reference.generate(rgb)),
        "tuned": lambda: _tuned_seconds(model, rgb, parameters),
        "exact": lambda: _seconds(lambda: exact.automatic(rgb, parameters)),
    }
    if precision := _fast_precision(model.device.type):
        fast = Sam2Segmenter(model, "fast", dtype=getattr(torch, precision))
        fast.automatic(rgb, parameters)
        encode["fast"] = lambda: fast.encode(rgb)
        whole["fast"] = lambda: _seconds(lambda: fast.automatic(rgb, parameters))
    encode_s = {name: _median(work, 3) for name, work in encode.items()}
    encode_s["tuned"] = encode_s["reference"]
    seconds: dict[str, list[float]] = {name: [] for name in whole}
    for _ in range(rounds):
        for name, time_once in whole.items():
            seconds[name].append(time_once())
    photo_s = {
        name: encode_s[name] + (statistics.median(times) - encode_s[name]) * GRID_POINTS / side**2
        for name, times in seconds.items()
    }
    identical, near = _identical(theirs, ours)
    agree = f"{len(theirs)} masks by sam2, {len(ours)} by us: {identical} equal, {near} near-ties"
    _print_table(size_wh, side, rounds, photo_s, encode_s, agree)
    fast_s = photo_s.get("fast")  # None: not timed on this device
    found = {
        f"exact_ratio{suffix}": round(photo_s["reference"] / photo_s["exact"], 2),
        f"fast_ratio{suffix}": fast_s and round(photo_s["reference"] / fast_s, 2),
    }
    if suffix:
        return {**found, "peak_mb_12mp": _peak_mb(exact, rgb, parameters)}
    return {
        **found,
        "fast_precision": precision,
        "exact_identical": identical + near == len(theirs) == len(ours),
        "tuned_reference_ratio": round(photo_s["reference"] / photo_s["tuned"], 2),
        "photo_s_exact": round(photo_s["exact"], 2),
        "photo_s_fast": fast_s and round(fast_s, 2),
    }


def _fast_precision(device: str) -> Precision | None:
    """Return the reduced precision of a device, float16 first: it agrees better; None: neither."""
    reduced: tuple[Precision, ...] = ("float16", "bfloat16")
    return next((each for each in reduced if computes(device, each)), None)


def _agreement(device: str, data: Path | None, photos: int) -> dict[str, Any]:
    """Compare the masks of reduced precisions with the exact ones, by the starter's weights."""
    exact = load_segmenter(Settings(segmenter=STARTER, device=device, precision="float32"))
    if not isinstance(exact, Sam2Segmenter):
        raise TypeError(f"not SAM 2: {exact}")
    preset = PRESETS[STARTER]
    parameters = MaskParameters(
        points_per_side=preset["points_per_side"],
        pred_iou_thresh=preset["pred_iou_thresh"],
        stability_score_thresh=preset["stability_score_thresh"],
    )
    reduced = {
        name: Sam2Segmenter(exact.model, name, dtype=getattr(torch, name))
        for name in ("float16", "bfloat16")
    }
    best: dict[str, list[float]] = {name: [] for name in reduced}
    masks = dict.fromkeys(reduced, 0)
    for rgb in _photos(data, photos):
        ours = exact.automatic(rgb, parameters)
        for name, segmenter in reduced.items():
            theirs = segmenter.automatic(rgb, parameters)
            best[name] += _best_ious(ours, theirs)
            masks[name] += len(theirs)
    fast = _fast_precision(device) or "float16"
    figures = {}
    print(f"\nreduced precision, starter weights, {'photos' if data else 'drawn scenes'}")
    for name, ious in best.items():
        matched = [value for value in ious if value >= 0.95]
        share, mean = len(matched) / len(ious), float(np.mean(matched))
        print(
            f"{name}: {masks[name]} masks for {len(ious)} exact ones; {share:.2%} of these are "
            f"matched at IoU .95, at {mean:.4f} on average"
        )
        if name == fast:
            figures = {"fast_matched": round(share, 4), "fast_mean_iou": round(mean, 4)}
    return figures


def _photos(data: Path | None, photos: int) -> Iterator[RgbImage]:
    """Yield photos of COCO, then as many of BSDS; or drawn ones."""
    if data is None:
        for seed in range(photos):
            yield draw_scene(seed, (AGREEMENT_PX, AGREEMENT_PX * 3 // 4)).image.copy()
        return
    for name, read in {"coco": iter_coco, "bsds": iter_bsds}.items():
        for photo in read(data / name, AGREEMENT_PX, photos):
            yield photo.rgb


def _spread_logits(model: Any) -> None:
    """Give a model with random weights logits of a trained one's range."""
    decoder, predictor = PointDecoder(model), Sam2Segmenter(model, "random")._predictor
    with torch.inference_mode():
        predictor.set_image(draw_scene(8, (512, 512)).image.copy())
        photo = decoder.photo_tokens(predictor._features)
        asked = torch.full((1, 1, 2), 512.0), torch.ones((1, 1), dtype=torch.int)
        points, _ = model.sam_prompt_encoder([each.to(model.device) for each in asked], None, None)
        spread = float(decoder.logits(photo, decoder.decode(photo, points), [1, 2, 3]).std())
    sharpen(model, LOGIT_SPREAD / spread)


def _thresholds(segmenter: Sam2Segmenter, rgb: Any, side: int) -> MaskParameters:
    """Return parameters of which half of all masks pass the first filter and few the second."""
    loose = MaskParameters(
        points_per_side=side,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,  # random masks have boxes alike; nothing would survive
    )
    crop = Crop((0, 0, rgb.shape[1], rgb.shape[0]), 0)
    with torch.inference_mode():
        batch = segmenter._points_per_batch(loose)
        grid = build_point_grid(side)
        found = _crop_candidates(segmenter._sam, rgb, crop, grid, loose, batch)
    by_iou = float(np.quantile(found.predicted_iou, 1 - PASS_IOU))
    passing = found.stability_score[found.predicted_iou > by_iou]
    kept = max(1, round(SURVIVORS * side**2 / GRID_POINTS))
    by_stability = float(np.quantile(passing, max(0.0, 1 - kept / len(passing))))
    return replace(loose, pred_iou_thresh=by_iou, stability_score_thresh=by_stability)


def _reference(model: Any, parameters: MaskParameters, batch: int) -> SAM2AutomaticMaskGenerator:
    return SAM2AutomaticMaskGenerator(
        model,
        points_per_side=parameters.points_per_side,
        points_per_batch=batch,
        pred_iou_thresh=parameters.pred_iou_thresh,
        stability_score_thresh=parameters.stability_score_thresh,
        box_nms_thresh=parameters.box_nms_thresh,
        output_mode="coco_rle",
    )


def _tuned_worker(model: Any, rgb: RgbImage, side: int) -> float:
    parameters = _thresholds(Sam2Segmenter(model, "exact"), rgb, side)
    generator = _reference(model, parameters, TUNED_CPU_BATCH)
    return _seconds(lambda: generator.generate(rgb))


def _tuned_seconds(model: Any, rgb: RgbImage, parameters: MaskParameters) -> float:
    """Time the tuned reference; on a CPU in a process of its own: malloc reads settings once."""
    if model.device.type != "cpu":
        generator = _reference(model, parameters, TUNED_GPU_BATCH)
        with torch.autocast(model.device.type, torch.bfloat16):
            return _seconds(lambda: generator.generate(rgb))
    size, side = f"{rgb.shape[1]}x{rgb.shape[0]}", str(parameters.points_per_side)
    return _own_process("--tuned-worker", size, side, KEEP_BLOCKS)


def _identical(theirs: list[dict[str, Any]], ours: list[SegmentedMask]) -> tuple[int, int]:
    """Return how many masks are the same to the pixel, and how many are near-ties.

    A near-tie differs in at most one pixel of 100,000: there a logit is so close to the threshold
    that the order of additions decides. Random weights give logits near zero and many of these.
    """
    counts = {mask.mask.counts for mask in ours}
    same = near = 0
    for each in theirs:
        if each["segmentation"]["counts"] in counts:
            same += 1
            continue
        height, width = each["segmentation"]["size"]
        mask = Mask(size_wh=(width, height), counts=each["segmentation"]["counts"])
        inside = array_from_mask(mask)
        few = inside.size // 100_000
        near += any(
            abs(own.area_px - each["area"]) <= few
            and np.count_nonzero(inside ^ array_from_mask(own.mask)) <= few
            for own in ours
        )
    return same, near


def _best_ious(exact: list[SegmentedMask], other: list[SegmentedMask]) -> list[float]:
    """Return, for each exact mask, the IoU of the other mask that is most like it."""
    if not other:
        return [0.0] * len(exact)
    ours, theirs = ([coco_rle_from_mask(mask.mask) for mask in masks] for masks in (exact, other))
    ious = coco_masks.iou(ours, theirs, [False] * len(theirs))  # (exact, other), or a list of none
    return [float(row.max()) for row in ious]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _median(work: Callable[[], object], times: int) -> float:
    return statistics.median(_seconds(work) for _ in range(times))


def _peak_mb(segmenter: Sam2Segmenter, rgb: RgbImage, parameters: MaskParameters) -> int:
    """Return the memory that one photo takes at most, above model and photo: the GPU's if on one.

    On a CPU in a process of its own, since what others took before is kept in part.
    """
    if segmenter.model.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        segmenter.automatic(rgb, parameters)
        return round((torch.cuda.max_memory_allocated() - before) / 1e6)
    size, side = f"{rgb.shape[1]}x{rgb.shape[0]}", str(parameters.points_per_side)
    return round(_own_process("--peak-worker", size, side, {}))


def _peak_worker(model: Any, rgb: RgbImage, side: int) -> float:
    """Return by how many MB a photo raises what this process has in memory at most (Linux)."""
    segmenter = Sam2Segmenter(model, "exact")
    parameters = _thresholds(segmenter, rgb[:256, :256], side)
    Path("/proc/self/clear_refs").write_text("5")  # the most from now on
    before = _most_mb()
    segmenter.automatic(rgb, parameters)
    return _most_mb() - before


def _most_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _own_process(worker: str, size: str, side: str, environment: dict[str, str]) -> float:
    """Run a worker of this file in a process of its own, and return what it prints last."""
    command = [sys.executable, "-m", "bench.masks", "--side", side, worker, size]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def _print_table(
    size_wh: tuple[int, int],
    side: int,
    rounds: int,
    photo_s: dict[str, float],
    encode_s: dict[str, float],
    agree: str,
) -> None:
    print(
        f"\n{size_wh[0]} x {size_wh[1]}: {side**2} of {GRID_POINTS} points timed, the rest "
        f"extrapolated, {rounds} alternations; {agree}",
        flush=True,
    )
    print(f"{'':12}{'encode s':>10}{'ms/point':>10}{'photo s':>10}{'ratio':>8}")
    for name, seconds in photo_s.items():
        point_ms = (seconds - encode_s[name]) / GRID_POINTS * 1000
        ratio = photo_s["reference"] / seconds
        print(f"{name:12}{encode_s[name]:10.2f}{point_ms:10.1f}{seconds:10.1f}{ratio:8.1f}")


if __name__ == "__main__":
    main()
