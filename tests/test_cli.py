"""The command line: what each command prints, writes and refuses, on a real drawn library."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Commands, clean_environment, run_alone
from conftest import Sample
from PIL import Image

from api.cli import cli
from search.masks import array_from_mask, bbox_xywh_from_array
from search.records import Box, Mask

HIT_KEYS = {
    *("segment_id", "photo_id", "path", "score"),
    *("bbox_xywh", "area_px", "predicted_iou", "stability_score"),
}
SAM_KEYS = {
    *("segmentation", "area", "bbox_xywh", "predicted_iou"),
    *("point_coords", "stability_score", "crop_box_xywh"),
}
NOWHERE = "00000000-0000-4000-8000-000000000000"
FEW_POINTS = ("--points-per-side", 6)


@pytest.fixture
def find(run: Commands, sample: Sample) -> Any:
    """Search the drawn library, and return the hits as `--json` has them."""

    def search(*args: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = run("search", *args, *library_flag(sample), "--json").json[
            "hits"
        ]
        return found

    return search


@pytest.fixture
def own(sample: Sample, tmp_path: Path) -> Path:
    """A copy of the drawn library, to be changed."""
    return shutil.copytree(sample.library, tmp_path / "own")


def library_flag(sample: Sample) -> tuple[str, Path]:
    return "--library", sample.library


def photo_of(sample: Sample, words: str, number: int = 0) -> Path:
    return sample.drawn.answers[words][number].path


def box_text(box: Any) -> str:
    return ",".join(str(round(edge)) for edge in box)


# search


def test_words_find_segments_one_a_line(run: Commands, sample: Sample) -> None:
    ran = run("search", "red circle", "--limit", 3, *library_flag(sample))
    lines = ran.out.splitlines()
    assert len(lines) == 3
    score, path, box, segment_id = lines[0].rsplit(maxsplit=3)
    assert 0 < float(score) < 1
    assert Path(path) == photo_of(sample, "red circle")
    assert len(box.split(",")) == 4
    assert len(segment_id) == 36
    assert ran.err == "more: --cursor after-3\n"


def test_json_is_one_document_of_hits_and_nothing_else(run: Commands, sample: Sample) -> None:
    ran = run("search", "red", "--limit", 5, *library_flag(sample), "--json")
    assert set(ran.json) == {"hits", "cursor"}
    assert ran.err == ""
    assert len(ran.json["hits"]) == 5
    for hit in ran.json["hits"]:
        assert set(hit) == HIT_KEYS
        assert len(hit["bbox_xywh"]) == 4
        assert Path(hit["path"]).is_file()
    scores = [hit["score"] for hit in ran.json["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_masks_come_along_when_asked_for(find: Any) -> None:
    (hit,) = find("red", "--limit", 1, "--masks")
    assert set(hit) == {*HIT_KEYS, "mask"}
    height, width = hit["mask"]["size"]
    decoded = array_from_mask(Mask(size_wh=(width, height), counts=hit["mask"]["counts"]))
    assert decoded.any()


def test_a_segment_finds_itself_first(find: Any) -> None:
    for known in find("blue", "--limit", 3):
        first = find("--segment", known["segment_id"], "--limit", 2)[0]
        assert first["segment_id"] == known["segment_id"]
        assert first["score"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("words", ["green circle", "blue square"])
def test_a_box_in_a_picture_finds_the_segment_under_it(
    find: Any, sample: Sample, tmp_path: Path, words: str
) -> None:
    photo = photo_of(sample, words)
    renamed = shutil.copyfile(photo, tmp_path / f"copy of it{photo.suffix}")
    known = next(hit for hit in find(words) if hit["path"] == str(photo))
    first = find("--image", renamed, "--box", box_text(known["bbox_xywh"]))[0]
    assert first["segment_id"] == known["segment_id"]


def test_a_point_in_a_picture_finds_what_is_there(find: Any, sample: Sample) -> None:
    sighting = sample.drawn.answers["green circle"][0]
    x, y, w, h = sighting.box_xywh
    first = find("--image", sighting.path, "--point", f"{x + w // 2},{y + h // 2}")[0]
    assert first["path"] == str(sighting.path)
    left, top, width, height = first["bbox_xywh"]
    assert left <= x + w // 2 <= left + width
    assert top <= y + h // 2 <= top + height


def test_a_picture_as_a_whole_is_looked_for(find: Any, sample: Sample) -> None:
    assert find("--image", photo_of(sample, "green circle"), "--limit", 3)


def test_a_picture_from_elsewhere_is_looked_for(find: Any, tmp_path: Path) -> None:
    picture = np.full((80, 120, 3), 128, np.uint8)
    picture[20:60, 40:80] = (200, 30, 30)
    Image.fromarray(picture).save(tmp_path / "red.png")
    assert len(find("--image", "red.png", "--box", "40,20,40,40", "--limit", 4)) == 4


def test_an_unwanted_example_changes_what_is_found(find: Any) -> None:
    liked = [hit["segment_id"] for hit in find("circle", "--limit", 10)]
    pushed = [hit["segment_id"] for hit in find("circle", "--not", "red", "--limit", 10)]
    assert set(liked) != set(pushed)
    worst = find("--segment", liked[0], "--not-segment", liked[1], "--limit", 200)
    places = [hit["segment_id"] for hit in worst]
    assert liked[1] not in places[:5]


def test_a_weight_shifts_a_mix_towards_its_example(find: Any) -> None:
    red, blue = (find(color, "--limit", 1)[0]["segment_id"] for color in ("red", "blue"))
    firsts = [
        find("--segment", f"{red}*{weight}", "--segment", blue, "--limit", 1)[0]["segment_id"]
        for weight in (0.05, 20)
    ]
    assert firsts == [blue, red]


def test_more_words_are_a_mix(find: Any) -> None:
    both = find("red", "--and", "circle", "--limit", 5)
    assert [hit["segment_id"] for hit in both] != [
        hit["segment_id"] for hit in find("red", "--limit", 5)
    ]


def test_a_text_may_hold_what_looks_like_a_path_or_a_mark(find: Any) -> None:
    assert find("../red & <blue>; '\"", "--limit", 1)


# filters: each against what `show` says of every photo


@pytest.fixture(scope="module")
def shown(sample: Sample) -> list[dict[str, Any]]:
    """Every photo as the API shows it."""
    from api.library import Library
    from api.searching import photo_out
    from search.records import SearchFilter
    from search.settings import Settings

    with Library(Settings(library=sample.library), command="test") as library:
        rows = library.ledger().photos(SearchFilter(), limit=1000)
    return [photo_out(row).model_dump(mode="json") for row in rows]


def photos_of(hits: list[dict[str, Any]]) -> set[str]:
    return {hit["photo_id"] for hit in hits}


def test_only_photos_below_a_folder(find: Any, sample: Sample) -> None:
    folder = sample.photos / "2023"
    hits = find("red", "--folder", folder, "--limit", 1000)
    assert {Path(hit["path"]).parent for hit in hits} == {folder / "harbour", folder / "mountains"}


def test_only_photos_taken_in_a_year(find: Any, shown: list[dict[str, Any]]) -> None:
    hits = find("red", "--from", "2023-01-01", "--before", "2024-01-01T00:00:00", "--limit", 1000)
    wanted = {photo["photo_id"] for photo in shown if photo["sort_at"].startswith("2023")}
    assert photos_of(hits) == wanted
    assert 0 < len(wanted) < len(shown)


def test_a_date_with_an_offset_is_taken_as_it_says(find: Any, shown: list[dict[str, Any]]) -> None:
    moments = {p["photo_id"]: datetime.fromisoformat(p["sort_at"]) for p in shown}
    middle = sorted(moments.values())[6].astimezone(UTC)
    for text in (middle.isoformat(), middle.isoformat().replace("+00:00", "Z")):
        hits = find("red", "--from", text, "--limit", 1000)
        assert photos_of(hits) == {each for each, moment in moments.items() if moment >= middle}


def test_only_photos_of_a_camera(find: Any, shown: list[dict[str, Any]]) -> None:
    cameras = {photo["camera"] for photo in shown}
    assert len(cameras) == 3
    for camera in cameras:
        hits = find("red", "--camera", camera, "--limit", 1000)
        assert photos_of(hits) == {p["photo_id"] for p in shown if p["camera"] == camera}


def test_only_photos_near_a_place(find: Any, sample: Sample) -> None:
    hits = find("red", "--near", "54.3233,10.1394,5000", "--limit", 1000)
    assert {Path(hit["path"]).parent.name for hit in hits} == {"harbour"}


def test_only_segments_of_some_size_and_quality(find: Any, shown: list[dict[str, Any]]) -> None:
    pixels = {p["photo_id"]: p["size_wh"][0] * p["size_wh"][1] for p in shown}
    everything = find("red", "--limit", 1000)
    flags = ("--min-area", 0.01, "--max-area", 0.1, "--min-iou", 0.7, "--min-stability", 0.8)
    wanted = {
        hit["segment_id"]
        for hit in everything
        if 0.01 <= hit["area_px"] / pixels[hit["photo_id"]] <= 0.1
        and hit["predicted_iou"] >= 0.7
        and hit["stability_score"] >= 0.8
    }
    assert {hit["segment_id"] for hit in find("red", *flags, "--limit", 1000)} == wanted
    assert 0 < len(wanted) < len(everything)


def test_only_segments_of_one_photo(find: Any, shown: list[dict[str, Any]]) -> None:
    photo = shown[0]
    hits = find("red", "--in-photo", photo["photo_id"], "--limit", 1000)
    assert photos_of(hits) == {photo["photo_id"]}
    assert len(hits) == photo["segment_count"]


def test_nothing_found_is_said_and_no_failure(run: Commands, sample: Sample) -> None:
    ran = run("search", "red", "--camera", "none", *library_flag(sample))
    assert (ran.out, ran.err) == ("", "nothing found\n")
    ran = run("search", "red", "--camera", "none", *library_flag(sample), "--json")
    assert (ran.json, ran.err) == ({"hits": [], "cursor": None}, "")


# groups, pages, sheets


def test_groups_show_each_photo_once_with_its_best_hits(run: Commands, sample: Sample) -> None:
    flags = ("--limit", 4, "--group", *library_flag(sample))
    document = run("search", "red", *flags, "--json").json
    assert set(document) == {"hits", "groups", "cursor"}
    assert len({group["photo_id"] for group in document["groups"]}) == 4
    for group in document["groups"]:
        assert {hit["photo_id"] for hit in group["hits"]} == {group["photo_id"]}
        assert all(set(hit) == HIT_KEYS for hit in group["hits"])
    lines = run("search", "red", *flags).out.splitlines()
    assert [line for line in lines if not line.startswith("  ")] == [
        f"{group['path']}  photo {group['photo_id']}" for group in document["groups"]
    ]


@pytest.mark.parametrize("grouping", [(), ("--group",)])
def test_the_next_page_goes_on_where_the_last_ended(
    run: Commands, sample: Sample, grouping: tuple[str, ...]
) -> None:
    def page(*flags: object) -> dict[str, Any]:
        found: dict[str, Any] = run(
            "search", "green", *grouping, *library_flag(sample), "--json", *flags
        ).json
        return found

    key = "groups" if grouping else "hits"
    first = page("--limit", 4)
    second = page("--limit", 4, "--cursor", first["cursor"])
    assert first[key] + second[key] == page("--limit", 8)[key]


def test_a_sheet_shows_every_hit(run: Commands, sample: Sample, tmp_path: Path) -> None:
    run("search", "red", "--limit", 8, "--sheet", "sheet.png", *library_flag(sample))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 1000  # six a row
        assert sheet.height > 400  # two rows
        colors = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
    reds = (colors[:, 0] > 150) & (colors[:, 1] < 90) & (colors[:, 2] < 90)
    assert reds.mean() > 0.005


def test_diversity_brings_in_others_after_the_best(find: Any) -> None:
    plain = find("red", "--limit", 12)
    diverse = find("red", "--limit", 12, "--diversity", 0.6)
    assert diverse[0] == plain[0]
    ids = {hit["segment_id"] for hit in plain}
    assert sum(hit["segment_id"] not in ids for hit in diverse) >= 4


# segment


def decoded(mask: dict[str, Any]) -> np.ndarray:
    height, width = mask["segmentation"]["size"]
    return array_from_mask(Mask(size_wh=(width, height), counts=mask["segmentation"]["counts"]))


def test_every_mask_of_a_photo_in_sams_words(run: Commands, sample: Sample) -> None:
    photo = photo_of(sample, "green circle")
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
    photo, flags = photo_of(sample, "green circle"), (*FEW_POINTS, "--models", "starter", "--json")
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
    flags = ("segment", photo, "--point", click, *library_flag(sample))
    masks = run(*flags, "--json").json["masks"]
    assert len(masks) == 3
    scores = [mask["predicted_iou"] for mask in masks]
    assert scores == sorted(scores, reverse=True)
    assert len(run(*flags, "--candidates", 1, "--json").json["masks"]) == 1
    ran = run(*flags)
    assert len(ran.out.splitlines()) == 3
    assert ran.err == "3 masks\n"


def test_points_outside_a_box_and_a_mask_are_prompts_too(
    run: Commands, sample: Sample, tmp_path: Path
) -> None:
    photo, click = click_on(sample, "green circle")
    flags = ("segment", photo, *library_flag(sample), "--candidates", 1, "--json", "--point", click)
    (plain,) = run(*flags).json["masks"]
    Image.fromarray(~decoded(plain)).save(tmp_path / "mask.png")
    for more in (
        ("--point", "5,5,0"),
        ("--box", box_text(plain["bbox_xywh"])),
        ("--mask", "mask.png"),
    ):
        (other,) = run(*flags, *more).json["masks"]
        assert other["segmentation"] != plain["segmentation"], more


def test_an_overlay_is_the_photo_with_its_masks_tinted(
    run: Commands, sample: Sample, tmp_path: Path
) -> None:
    photo, click = click_on(sample, "green circle")
    flags = ("segment", photo, "--point", click, "--candidates", 1, *library_flag(sample))
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
    flags = ("segment", photo, "--point", click, *library_flag(sample))
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


def test_without_a_prompt_every_mask_is_cut_out_into_a_file_of_its_own(
    run: Commands, sample: Sample, tmp_path: Path
) -> None:
    photo = photo_of(sample, "blue square")
    flags = (*FEW_POINTS, "--models", "starter", "--min-area-fraction", 0.02)
    masks = run("segment", photo, *flags, "--json", "--cutout", "cut.png").json["masks"]
    written = sorted(tmp_path.glob("cut-*.png"))
    assert [path.name for path in written] == [f"cut-{i:03d}.png" for i in range(len(masks))]
    areas = [int((np.asarray(Image.open(path))[..., 3] > 0).sum()) for path in written]
    assert areas == [mask["area"] for mask in masks]


def upright(photo: Path) -> np.ndarray:
    from ingest.photos import decode_photo

    return decode_photo(photo, max_pixels=10**8, max_bytes=10**8).rgb


# status, show, remove, demo


def test_status_says_what_is_in_and_what_made_it(run: Commands, sample: Sample) -> None:
    document = run("status", *library_flag(sample), "--json").json
    assert (document["photos"], document["files"], document["photos_hidden"]) == (12, 12, 0)
    assert document["segments"] > 300
    assert document["starter_models"] is True
    assert [root["path"] for root in document["roots"]] == [str(sample.photos)]
    text = run("status", *library_flag(sample)).out
    assert "12 (0 hidden" in text
    assert "starter" in text


def test_show_prints_a_photo_or_a_segment(run: Commands, find: Any, sample: Sample) -> None:
    (hit,) = find("red", "--limit", 1)
    photo = run("show", hit["photo_id"].upper(), *library_flag(sample)).json
    assert photo["photo"]["path"] == hit["path"]
    assert hit["segment_id"] in {segment["segment_id"] for segment in photo["segments"]}
    assert len(photo["segments"]) == photo["photo"]["segment_count"]
    segment = run("show", hit["segment_id"], *library_flag(sample)).json["segment"]
    assert segment["bbox_xywh"] == hit["bbox_xywh"]
    assert segment["mask"]["counts"]


def test_a_removed_photo_is_gone_from_the_library_but_not_from_the_disk(
    run: Commands, own: Path
) -> None:
    hit = run("search", "red", "--library", own, "--json").json["hits"][0]
    removed = run("remove", hit["photo_id"], "--library", own, "--json").json
    assert removed["photos_removed"] == [hit["photo_id"]]
    again = run("search", "red", "--limit", 1000, "--library", own, "--json").json["hits"]
    assert hit["photo_id"] not in photos_of(again)
    assert run("status", "--library", own, "--json").json["photos"] == 11
    assert Path(hit["path"]).is_file()
    assert hit["photo_id"] in run.refused("show", hit["photo_id"], "--library", own)


def test_a_small_library_needs_no_graph(run: Commands, own: Path) -> None:
    assert "nothing to do" in run("optimize", "--library", own).out


def test_the_demo_draws_ingests_searches_and_tells_how_to_go_on(
    run: Commands, tmp_path: Path
) -> None:
    ran = run("demo", "there", "--photos", 2)
    assert "2 photos ingested" in ran.out
    assert "segsearch search" in ran.out.split("Go on with:")[1]
    assert (tmp_path / "there" / "red.png").is_file()
    assert run("status", "--library", "there/library", "--json").json["photos"] == 2


# what is refused: one sentence that names what was wrong, and the exit code


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["search"], "what to look for"),
        (["search", ""], "empty"),
        (["search", "--not", "red"], "what to look for"),
        (["search", "red*0"], "weight"),
        (["search", "--segment", "7"], "--segment: '7' is not an id"),
        (["search", "--segment", NOWHERE], NOWHERE),
        (["search", "--photo", NOWHERE], NOWHERE),
        (["search", "--image", "none.jpg"], "none.jpg: No such file"),
        (["search", "--image", "a" * 400], "name too long"),
        (["search", "--image", "."], "Is a directory"),
        (["search", "red", "--box", "1,2,3,4"], "give --image too"),
        (["search", "--image", "PHOTO", "--box", "1,2,3"], "a box is X,Y,W,H"),
        (["search", "--image", "PHOTO", "--box", "1,2,nan,4"], "a box is X,Y,W,H"),
        (["search", "--image", "PHOTO", "--box", "9000,1,5,5"], "covers nothing of the photo"),
        (["search", "--image", "PHOTO", "--point", "1;2"], "a point is X,Y"),
        (["search", "--image", "PHOTO", "--point", "-1,2"], "outside the photo"),
        (["search", "red", "--limit", "0"], "--limit"),
        (["search", "red", "--limit", "many"], "--limit"),
        (["search", "red", "--cursor", "x"], "not a cursor"),
        (["search", "red", "--cursor", "after-" + "9" * 30], "--cursor"),
        (["search", "red", "--from", "spring"], "'spring' is not a date"),
        (["search", "red", "--from", "2024-02-01", "--before", "2024-01-01"], "--from must be"),
        (["search", "red", "--near", "here"], "LAT,LON,RADIUS_M"),
        (["search", "red", "--near", "95,0,100"], "--near"),
        (["search", "red", "--min-area", "2"], "--min-area"),
        (["search", "red", "--min-area", ".5", "--max-area", ".1"], "--min-area must not be"),
        (["search", "red", "--min-score", "3"], "--min-score"),
        (["search", "red", "--diversity", "2"], "--diversity"),
        (["search", "red", "--diversity", ".5", "--group"], "diversity"),
        (["search", "red", "--in-photo", "7"], "--in-photo"),
        (["search", "red", "--folder", "/"], "none of the library's folders"),
        (["search", "red", "--sheet", "nowhere/sheet.png"], "no folder nowhere"),
        (["search", "red", "--sheet", "sheet.txt"], r"sheet.txt: name it \*.png"),
        (["search", "red", "--device", "abacus"], "--device"),
        (["search", "red", "green"], "unexpected extra argument"),
        (["search", "red", "--colour"], "No such option"),
        (["segment", "none.jpg"], "there is no file none.jpg"),
        (["segment", "."], "there is no file"),
        (["segment", "PHOTO", "--point", "nan,1"], "a point is X,Y"),
        (["segment", "PHOTO", "--point", "9000,1"], "outside the photo"),
        (["segment", "PHOTO", "--box", "0,0,0,0"], "covers nothing of the photo"),
        (["segment", "PHOTO", "--mask", "none.png"], "there is no file none.png"),
        (["segment", "PHOTO", "--overlay", "nowhere/o.png"], "no folder nowhere"),
        (["segment", "PHOTO", "--cutout", "cut.jpg"], r"cut.jpg: name it \*.png"),
        (["segment", "PHOTO", "--points-per-side", "0"], "--points-per-side"),
        (["show", "7"], "'7' is not an id"),
        (["show", NOWHERE], NOWHERE),
        (["remove"], "photo ids"),
        (["remove", "7"], "'7' is not an id"),
        (["remove", NOWHERE], NOWHERE),
        (["serve", "--host", "192.0.2.1"], "this machine only"),
        (["serve", "--port", "65536"], "--port"),
        (["paint"], "No such command 'paint'"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    run: Commands, sample: Sample, args: list[str], says: str
) -> None:
    import re

    photo = str(photo_of(sample, "green circle"))
    named = [photo if arg == "PHOTO" else arg for arg in args]
    flags = library_flag(sample) if args[0] in cli.commands else ()
    assert re.search(says, run.refused(args[0], *flags, *named[1:]))


def test_a_photo_that_is_no_photo_is_a_failure_that_names_it(
    run: Commands, sample: Sample, tmp_path: Path
) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    for args in (["segment", "notes.jpg"], ["search", "--image", "notes.jpg"]):
        said = run.refused(*args, *library_flag(sample), code=1)
        assert "notes.jpg is not a picture" in said


@pytest.mark.parametrize("command", ["search red", "status", "show x", "remove --missing", "serve"])
def test_no_library_is_a_failure_that_says_how_to_make_one(run: Commands, command: str) -> None:
    name, *rest = command.replace("show x", f"show {NOWHERE}").split()
    flags = ("--port", 0) if name == "serve" else ()
    said = run.refused(name, *rest, *flags, "--library", "nowhere", code=1)
    assert "there is no library at" in said
    assert "segsearch ingest PHOTOS" in said
    assert not Path("nowhere").exists()


def test_other_models_than_the_librarys_are_a_failure(run: Commands, sample: Sample) -> None:
    said = run.refused("search", "red", "--encoder", "o/ther", *library_flag(sample), code=1)
    assert "was made with encoder 'starter', not 'o/ther'" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_told(
    run: Commands, sample: Sample, tmp_path: Path
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    said = run.refused("search", "red", "--sheet", "locked/s.png", *library_flag(sample))
    assert "permission denied" in said


def test_what_the_system_refuses_is_told_without_a_traceback(
    run: Commands, sample: Sample, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    photo = photo_of(sample, "green circle")
    said = run.refused("ingest", photo, "--library", "file", "--models", "starter", code=1)
    assert "Not a directory" in said


def test_a_ledger_that_is_none_is_told_without_a_traceback(run: Commands, own: Path) -> None:
    for path in own.glob("ledger.sqlite*"):
        path.unlink()
    (own / "ledger.sqlite").write_bytes(b"not a database" * 100)
    assert "can't be used as a ledger" in run.refused("status", "--library", own, code=1)


def test_settings_come_from_the_environment_and_the_file_too(
    run: Commands, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("segsearch.toml").write_text(f"library = {json.dumps(str(sample.library))}\n")
    assert run("status", "--json").json["photos"] == 12
    monkeypatch.setenv("SEGSEARCH_LIBRARY", "elsewhere")
    assert "elsewhere" in run.refused("status", code=1)


# help, start-up


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_says_what_it_does_and_what_its_flags_mean(run: Commands, name: str) -> None:
    said = run(name, "--help").out
    assert said.startswith(f"Usage: segsearch {name} ")
    assert "\\b" not in said
    for option in cli.commands[name].params:
        assert getattr(option, "help", None) or option.param_type_name == "argument", option.name
    assert name in run("--help").out


def imported_by(code: str, folder: Path) -> set[str]:
    """The modules that a command imports."""
    told = "; import json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit: pass\nfinally:\n    pass{told}"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(ran.stderr.splitlines()[-1]))


HEAVY = {"torch", "transformers", "sam2", "torchvision", "scipy", "fastapi", "numba", "rich"}


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["search", "--help"],
        ["status"],
        ["show", "SEGMENT"],
        ["search", "--segment", "SEGMENT"],
    ],
    ids=" ".join,
)
def test_commands_that_need_no_model_import_none(
    sample: Sample, find: Any, tmp_path: Path, args: list[str]
) -> None:
    segment_id = find("red", "--limit", 1)[0]["segment_id"]
    named = [segment_id if arg == "SEGMENT" else arg for arg in args]
    if "--help" not in args:
        named += ["--library", str(sample.library)]
    code = f"sys.argv[1:] = {named!r}; from api.cli import main; main()"
    assert not HEAVY & imported_by(code, tmp_path)


def test_help_comes_at_once(tmp_path: Path) -> None:
    def seconds() -> float:
        began = time.perf_counter()
        assert run_alone(["--help"], tmp_path).code == 0
        return time.perf_counter() - began

    assert min(seconds() for _ in range(3)) < 1.5  # 0.36 s on an idle core; machines may be busy


def test_a_reader_that_leaves_early_is_no_failure_to_shout_about(
    sample: Sample, find: Any, tmp_path: Path
) -> None:
    segment_id = find("red", "--limit", 1)[0]["segment_id"]
    command = f"from api.cli import main; main()' search --segment {segment_id} --limit 400"
    piped = subprocess.run(
        f"{sys.executable} -c '{command} --library {sample.library} | head -n 1",
        shell=True,
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(piped.stdout.splitlines()) == 1
    assert "Traceback" not in piped.stderr
    assert "BrokenPipe" not in piped.stderr
