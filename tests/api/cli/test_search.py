"""`segsearch search`: what it finds, filters, groups, pages and prints, on a drawn library."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.commands import Commands
from support.sample import Sample

from search.masks.rle import array_from_mask
from search.records import Mask

HIT_KEYS = {
    *("segment_id", "photo_id", "path", "score"),
    *("bbox_xywh", "area_px", "predicted_iou", "stability_score"),
}


def box_text(box: Any) -> str:
    return ",".join(str(round(edge)) for edge in box)


def test_text_finds_segments_one_per_line(run: Commands, sample: Sample) -> None:
    ran = run("search", "red circle", "--limit", 3, *sample.flags)
    lines = ran.out.splitlines()
    assert len(lines) == 3
    score, path, box, segment_id = lines[0].rsplit(maxsplit=3)
    assert 0 < float(score) < 1
    assert Path(path) == sample.photo_of("red circle")
    assert len(box.split(",")) == 4
    assert len(segment_id) == 36
    assert ran.err == "more: --cursor after-3\n"


def test_json_is_one_document_of_hits_and_nothing_else(run: Commands, sample: Sample) -> None:
    ran = run("search", "red", "--limit", 5, *sample.flags, "--json")
    assert set(ran.json) == {"hits", "cursor"}
    assert ran.err == ""
    assert len(ran.json["hits"]) == 5
    for hit in ran.json["hits"]:
        assert set(hit) == HIT_KEYS
        assert len(hit["bbox_xywh"]) == 4
        assert Path(hit["path"]).is_file()
    scores = [hit["score"] for hit in ran.json["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_masks_are_included_on_request(find: Any) -> None:
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
def test_a_box_in_an_image_finds_its_segment(
    find: Any, sample: Sample, tmp_path: Path, words: str
) -> None:
    photo = sample.photo_of(words)
    renamed = shutil.copyfile(photo, tmp_path / f"copy of it{photo.suffix}")
    known = next(hit for hit in find(words) if hit["path"] == str(photo))
    first = find("--image", renamed, "--box", box_text(known["bbox_xywh"]))[0]
    assert first["segment_id"] == known["segment_id"]


def test_a_point_in_an_image_finds_its_segment(find: Any, sample: Sample) -> None:
    sighting = sample.drawn.answers["green circle"][0]
    x, y, w, h = sighting.box_xywh
    first = find("--image", sighting.path, "--point", f"{x + w // 2},{y + h // 2}")[0]
    assert first["path"] == str(sighting.path)
    left, top, width, height = first["bbox_xywh"]
    assert left <= x + w // 2 <= left + width
    assert top <= y + h // 2 <= top + height


def test_a_whole_image_is_an_example(find: Any, sample: Sample) -> None:
    assert find("--image", sample.photo_of("green circle"), "--limit", 3)


def test_an_image_outside_the_library_is_an_example(find: Any, tmp_path: Path) -> None:
    picture = np.full((80, 120, 3), 128, np.uint8)
    picture[20:60, 40:80] = (200, 30, 30)
    Image.fromarray(picture).save(tmp_path / "red.png")
    assert len(find("--image", "red.png", "--box", "40,20,40,40", "--limit", 4)) == 4


def test_a_negative_example_changes_the_hits(find: Any) -> None:
    liked = [hit["segment_id"] for hit in find("circle", "--limit", 10)]
    pushed = [hit["segment_id"] for hit in find("circle", "--not", "red", "--limit", 10)]
    assert set(liked) != set(pushed)
    worst = find("--segment", liked[0], "--not-segment", liked[1], "--limit", 200)
    places = [hit["segment_id"] for hit in worst]
    assert liked[1] not in places[:5]


def test_a_weight_shifts_the_query_towards_its_example(find: Any) -> None:
    red, blue = (find(color, "--limit", 1)[0]["segment_id"] for color in ("red", "blue"))
    firsts = [
        find("--segment", f"{red}*{weight}", "--segment", blue, "--limit", 1)[0]["segment_id"]
        for weight in (0.05, 20)
    ]
    assert firsts == [blue, red]


def test_several_texts_are_combined(find: Any) -> None:
    both = find("red", "--and", "circle", "--limit", 5)
    assert [hit["segment_id"] for hit in both] != [
        hit["segment_id"] for hit in find("red", "--limit", 5)
    ]


def test_a_text_may_look_like_a_path_or_contain_punctuation(find: Any) -> None:
    assert find("../red & <blue>; '\"", "--limit", 1)


# filters: each against what `show` says of every photo


@pytest.fixture(scope="module")
def shown(sample: Sample) -> list[dict[str, Any]]:
    """Every photo as the API shows it."""
    from api.library.library import Library
    from api.services.responses import photo_out
    from api.settings import Settings
    from search.records import SearchFilter

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


def test_a_year_and_a_month_are_dates_too(find: Any) -> None:
    by_year = find("red", "--from", "2023", "--before", "2024", "--limit", 1000)
    by_day = find("red", "--from", "2023-01-01", "--before", "2024-01-01", "--limit", 1000)
    by_month = find("red", "--from", "2023-01", "--before", "2024-01", "--limit", 1000)
    assert photos_of(by_year) == photos_of(by_day) == photos_of(by_month) != set()


def test_undated_photos_are_selected_by_a_flag(find: Any) -> None:
    assert find("red", "--undated") == []


def test_a_time_with_an_offset_is_absolute(find: Any, shown: list[dict[str, Any]]) -> None:
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


def test_no_hits_is_not_a_failure(run: Commands, sample: Sample) -> None:
    ran = run("search", "red", "--camera", "none", *sample.flags)
    assert (ran.out, ran.err) == ("", "nothing found\n")
    ran = run("search", "red", "--camera", "none", *sample.flags, "--json")
    assert (ran.json, ran.err) == ({"hits": [], "cursor": None}, "")


# groups, pages, sheets


def test_groups_show_each_photo_once_with_its_best_hits(run: Commands, sample: Sample) -> None:
    flags = ("--limit", 4, "--group", *sample.flags)
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
def test_the_next_page_continues_after_the_last(
    run: Commands, sample: Sample, grouping: tuple[str, ...]
) -> None:
    def page(*flags: object) -> dict[str, Any]:
        found: dict[str, Any] = run(
            "search", "green", *grouping, *sample.flags, "--json", *flags
        ).json
        return found

    key = "groups" if grouping else "hits"
    first = page("--limit", 4)
    second = page("--limit", 4, "--cursor", first["cursor"])
    assert first[key] + second[key] == page("--limit", 8)[key]


def test_a_sheet_shows_every_hit(run: Commands, sample: Sample, tmp_path: Path) -> None:
    run("search", "red", "--limit", 8, "--sheet", "sheet.png", *sample.flags)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 1000  # six a row
        assert sheet.height > 400  # two rows
        colors = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
    reds = (colors[:, 0] > 150) & (colors[:, 1] < 90) & (colors[:, 2] < 90)
    assert reds.mean() > 0.005


def test_diversity_changes_the_hits_after_the_first(find: Any) -> None:
    plain = find("red", "--limit", 12)
    diverse = find("red", "--limit", 12, "--diversity", 0.6)
    assert diverse[0] == plain[0]
    ids = {hit["segment_id"] for hit in plain}
    assert sum(hit["segment_id"] not in ids for hit in diverse) >= 4
