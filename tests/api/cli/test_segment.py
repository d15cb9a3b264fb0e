"""`segsearch segment`: the masks of one photo, printed, drawn and cut out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from support.commands import Commands
from support.sample import Sample

from search.masks.rle import array_from_mask, bbox_xywh_from_array
from search.records import Box, Mask

SAM_KEYS = {
    *("segmentation", "area", "bbox_xywh", "predicted_iou"),
    *("point_coords", "stability_score", "crop_box_xywh"),
}
FEW_POINTS = ("--points-per-side", 6)


def box_text(box: Any) -> str:
    return ",".join(str(round(edge)) for edge in box)


def decoded(mask: dict[str, Any]) -> np.ndarray:
    height, width = mask["segmentation"]["size"]
    return array_from_mask(Mask(size_wh=(width, height), counts=mask["segmentation"]["counts"]))


def test_every_mask_has_sams_field_names(run: Commands, sample: Sample) -> None:
    photo = sample.photo_of("green circle")
    ran = run("segment", photo, *FEW_POINTS, "--models", "starter", "--json")
    document = ran.json
    assert set(document) == {"path", "size_wh", "masks"}
    with Image.open(photo) as image:
        assert sorted(document["size_wh"]) == sorted(image.size)
    assert len(document["masks"]) > 5
    for mask in document["masks"]:
        assert set(mask) == SAM_KEYS
        mask_hw = decoded(mask)
        assert mask_hw.shape == tuple(document["size_wh"][::-1])
        assert mask_hw.sum() == mask["area"]
        assert bbox_xywh_from_array(mask_hw) == Box(*mask["bbox_xywh"])
        ((x, y),) = mask["point_coords"]
        assert 0 <= x <= document["size_wh"][0]
        assert 0 <= y <= document["size_wh"][1]
    assert ran.err == ""


def test_the_parameters_of_the_generator_are_flags(run: Commands, sample: Sample) -> None:
    photo, flags = sample.photo_of("green circle"), (*FEW_POINTS, "--models", "starter", "--json")
    strict = run("segment", photo, *flags, "--pred-iou-thresh", 0.8).json["masks"]
    assert strict
    assert min(mask["predicted_iou"] for mask in strict) > 0.8
    large = run("segment", photo, *flags, "--min-area-fraction", 0.05).json
    pixels = large["size_wh"][0] * large["size_wh"][1]
    assert min(mask["area"] for mask in large["masks"]) >= 0.05 * pixels


def click_on(sample: Sample, words: str) -> tuple[Path, str]:
    sighting = sample.drawn.answers[words][0]
    x, y, w, h = sighting.box_xywh
    return sighting.path, f"{x + w // 2},{y + h // 2}"


def test_a_click_gives_three_candidates_or_one(run: Commands, sample: Sample) -> None:
    photo, click = click_on(sample, "green circle")
    flags = ("segment", photo, "--point", click, *sample.flags)
    masks = run(*flags, "--json").json["masks"]
    assert len(masks) == 3
    scores = [mask["predicted_iou"] for mask in masks]
    assert scores == sorted(scores, reverse=True)
    assert len(run(*flags, "--candidates", 1, "--json").json["masks"]) == 1
    ran = run(*flags)
    assert len(ran.out.splitlines()) == 3
    assert ran.err == "3 masks\n"


def test_negative_points_boxes_and_masks_are_prompts_too(
    run: Commands, sample: Sample, tmp_path: Path
) -> None:
    photo, click = click_on(sample, "green circle")
    flags = ("segment", photo, *sample.flags, "--candidates", 1, "--json", "--point", click)
    (plain,) = run(*flags).json["masks"]
    Image.fromarray(~decoded(plain)).save(tmp_path / "mask.png")
    for more in (
        ("--point", "5,5,0"),
        ("--box", box_text(plain["bbox_xywh"])),
        ("--mask", "mask.png"),
    ):
        (other,) = run(*flags, *more).json["masks"]
        assert other["segmentation"] != plain["segmentation"], more


def test_empty_or_outside_prompts_are_refused(
    run: Commands, sample: Sample, tmp_path: Path
) -> None:
    photo = sample.photo_of("green circle")
    Image.new("L", (50, 40)).save(tmp_path / "black.png")
    for prompt, told in (
        (("--point", "5,5,0"), "points outside alone"),
        (("--point", "99999,5"), "outside the photo"),
        (("--box", "99999,5,10,10"), "covers nothing"),
        (("--mask", "black.png"), "mask"),
    ):
        assert told in run.refused("segment", photo, *prompt, *sample.flags)


def test_an_overlay_is_the_photo_with_its_masks_tinted(
    run: Commands, sample: Sample, tmp_path: Path
) -> None:
    photo, click = click_on(sample, "green circle")
    flags = ("segment", photo, "--point", click, "--candidates", 1, *sample.flags)
    (mask,) = run(*flags, "--json", "--overlay", "over.png").json["masks"]
    inside = decoded(mask)
    rgb = upright(photo)
    tinted = np.asarray(Image.open(tmp_path / "over.png"))
    assert tinted.shape == rgb.shape
    assert np.array_equal(tinted[~inside], rgb[~inside])
    assert (tinted[inside] != rgb[inside]).any(axis=1).mean() > 0.95


def test_a_cutout_is_transparent_around_the_best_mask(
    run: Commands, sample: Sample, tmp_path: Path
) -> None:
    photo, click = click_on(sample, "green circle")
    flags = ("segment", photo, "--point", click, *sample.flags)
    best = run(*flags, "--json", "--cutout", "cut.png").json["masks"][0]
    with Image.open(tmp_path / "cut.png") as cut:
        assert (cut.format, cut.mode) == ("PNG", "RGBA")
        rgba = np.asarray(cut)
    x, y, w, h = (int(edge) for edge in best["bbox_xywh"])
    assert rgba.shape[:2] == (h + 1, w + 1)
    inside = decoded(best)[y : y + h + 1, x : x + w + 1]
    assert np.array_equal(rgba[..., 3] == 255, inside)
    assert not rgba[~inside].any()
    assert np.array_equal(rgba[inside, :3], upright(photo)[y : y + h + 1, x : x + w + 1][inside])


def test_without_a_prompt_every_mask_gets_its_own_cutout(
    run: Commands, sample: Sample, tmp_path: Path
) -> None:
    photo = sample.photo_of("blue square")
    flags = (*FEW_POINTS, "--models", "starter", "--min-area-fraction", 0.02)
    masks = run("segment", photo, *flags, "--json", "--cutout", "cut.png").json["masks"]
    written = sorted(tmp_path.glob("cut-*.png"))
    assert [path.name for path in written] == [f"cut-{i:03d}.png" for i in range(len(masks))]
    areas = [int((np.asarray(Image.open(path))[..., 3] > 0).sum()) for path in written]
    assert areas == [mask["area"] for mask in masks]


def upright(photo: Path) -> np.ndarray:
    from ingest.imaging.decode import decode_photo

    return decode_photo(photo, max_pixels=10**8, max_bytes=10**8).rgb
