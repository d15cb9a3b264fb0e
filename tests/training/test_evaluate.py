"""Do the figures of the starter models say what they claim to? On cases with known answers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.fakes import ColorEncoder

from search.records import MaskArray, RgbImage
from starter.scenes import SegmentTruth, segments
from training.evaluation import classical, cutting, evaluate, finding, measures
from training.evaluation.held_out import (
    CUTTING_SEEDS,
    FINDING_SEEDS,
    HELD_OUT_SEEDS,
    Description,
    describe,
    draw_clicks,
    findable,
    iter_scenes,
)
from training.evaluation.photos import TruePhoto, iter_bsds, iter_coco

THE_KEYS = [
    "scene_click_iou",
    "scene_pick_iou",
    "scene_amg_recall50",
    "scene_box_iou",
    "coco_amg_recall50",
    "coco_amg_precision50",
    "bsds_amg_recall50",
    "boundary_f",
    "coco_click_iou",
    "iou_calibration",
    "default_masks_per_photo",
    "name_map",
    "name_map_auto",
    "name_map_auto_missed",
    "nonsense",
    "color_p20",
    "color_p20_davis",
    "pattern_acc",
    "shape_acc",
    "instance_map",
    "instance_map_auto",
    "instance_map_auto_missed",
    "attr_r10",
    "cpu_ratio",
    "size_mb",
    "coco_classical_recall50",
    "bsds_classical_recall50",
]


def columns(first: int, last: int) -> MaskArray:
    """A mask of 10 x 10 with these columns in it, `last` left out."""
    mask = np.zeros((10, 10), bool)
    mask[:, first:last] = True
    return mask


def truth(**known: object) -> SegmentTruth:
    """What is true of a red striped star, but for what is given."""
    facts = {
        "node": 0,
        "color": "red",
        "modifier": "",
        "colors": ("red",),
        "pattern": "striped",
        "shape": "star",
        "area_fraction": 0.1,
    }
    return SegmentTruth(**(facts | known))  # type: ignore[arg-type]


class TestMeasures:
    def test_a_segment_is_found_if_half_of_what_either_covers_is_shared(self) -> None:
        truths = [columns(0, 4), columns(6, 10)]
        half, less = columns(0, 2), columns(5, 8)  # IoU 2/4 and 2/5
        assert measures.best_ious(truths, [half, less]).tolist() == pytest.approx([0.5, 0.4])
        assert measures.found(truths, [half, less]).tolist() == [True, False]

    def test_without_proposals_nothing_is_found(self) -> None:
        assert measures.found([columns(0, 4)], []).tolist() == [False]
        assert measures.found([], [columns(0, 4)]).tolist() == []

    def test_the_pick_counts_even_if_another_candidate_is_better(self) -> None:
        targets = [columns(0, 2), columns(0, 5)]
        candidates = [columns(0, 5), columns(0, 4), columns(0, 1)]
        scores = np.array([0.2, 0.9, 0.1])
        assert measures.picked_iou(candidates, scores, targets) == pytest.approx(4 / 5)
        assert measures.best_ious(targets, candidates).tolist() == pytest.approx([1 / 2, 1.0])

    def test_precision_looks_at_the_first_k_alone(self) -> None:
        scores = np.array([0.1, 0.9, 0.8, 0.7, 0.95])
        wanted = np.array([True, True, False, True, False])
        assert measures.precision_at(scores, wanted, 2) == 0.5
        assert measures.precision_at(scores, wanted, 4) == 0.5
        assert measures.precision_at(scores, wanted, 5) == 0.6

    def test_a_query_finds_something_if_anything_true_is_among_its_first_k(self) -> None:
        gallery = np.eye(4)  # each segment along its own axis
        asked = np.array([[0.9, 0.5, 0.1, 0.0], [0.0, 0.1, 0.5, 0.9]])
        true = np.array([[False, True, False, True], [True, True, False, False]])
        scores = asked @ gallery.T
        assert measures.found_within(scores, true, 1).tolist() == [False, False]
        assert measures.found_within(scores, true, 2).tolist() == [True, False]
        assert measures.found_within(scores, true, 3).tolist() == [True, True]

    def test_every_value_counts_alike_however_they_lie_in_pictures(self) -> None:
        figure = measures.pooled([[1.0, 1.0, 1.0], [0.0]])
        assert figure is not None
        assert (figure.value, figure.number) == (0.75, 4)

    def test_the_error_takes_the_values_of_a_picture_as_one_draw(self) -> None:
        apart = measures.pooled([[value] for value in (0.0, 1.0) * 8])
        together = measures.pooled([[value] * 4 for value in (0.0, 1.0) * 2])
        alike = measures.pooled([[0.0, 1.0]] * 8)
        assert apart is not None
        assert together is not None
        assert alike is not None
        assert apart.error == pytest.approx(0.5 / math.sqrt(15))  # of 16 draws: s / sqrt(n)
        assert together.error == pytest.approx(0.5 / math.sqrt(3))  # of four
        assert alike.error == 0
        assert measures.pooled([[0.3, 0.4]]).error is None  # type: ignore[union-attr]

    def test_no_values_give_no_figure(self) -> None:
        assert measures.pooled([]) is None
        assert measures.pooled([[], []]) is None


class TestHeldOutScenes:
    def test_segmenter_and_encoder_are_asked_about_different_held_out_scenes(self) -> None:
        assert HELD_OUT_SEEDS.start == 900_000_000
        assert set(CUTTING_SEEDS[:1000]) <= set(HELD_OUT_SEEDS)
        assert FINDING_SEEDS[0] > CUTTING_SEEDS[-1]
        assert FINDING_SEEDS[-1] == HELD_OUT_SEEDS[-1]

    def test_a_click_lies_in_every_mask_that_it_may_mean(self) -> None:
        (scene,) = iter_scenes([900_000_004])
        clicks = draw_clicks(scene, seed=4, count=30)
        assert draw_clicks(scene, seed=4, count=30)[7].xy == clicks[7].xy
        assert len({click.xy for click in clicks}) > 20
        for (x, y), targets in clicks:
            assert (x % 1, y % 1) == (0.5, 0.5)
            assert 1 <= len(targets) <= 3
            assert all(mask[int(y), int(x)] for mask in targets)

    def test_small_things_are_clicked_more_often_than_their_area_has_it(self) -> None:
        (scene,) = iter_scenes([900_000_004])
        areas = np.bincount(scene.labels_hw.ravel())
        clicked = [
            areas[scene.labels_hw[int(y), int(x)]]
            for (x, y), _ in draw_clicks(scene, seed=1, count=300)
        ]
        by_pixel = float((areas**2).sum() / areas.sum())
        assert np.mean(clicked) < 0.8 * by_pixel

    def test_what_is_looked_for_is_large_enough_to_be_seen(self) -> None:
        for seed, scene in zip(range(5), iter_scenes(FINDING_SEEDS[:5]), strict=True):
            found = findable(scene, seed)
            assert 0 < len(found) <= 8
            for mask, _ in found:
                assert mask.mean() >= 0.004
                assert min(np.ptp(np.nonzero(mask), axis=1)) >= 14

    def test_a_description_holds_for_what_it_says_and_nothing_else(self) -> None:
        said = Description(frozenset({"red"}), "", "striped", "star")
        assert said.words == "red striped star"
        assert said.holds_for(truth())
        assert said.holds_for(truth(colors=("white", "red"), color="white"))
        assert not said.holds_for(truth(colors=("blue",), color="blue"))
        assert not said.holds_for(truth(pattern="dotted"))
        assert not said.holds_for(truth(pattern=None))
        assert not said.holds_for(truth(shape="ring"))
        assert not said.holds_for(truth(shape=None))
        dark = Description(frozenset({"red"}), "dark", "striped", "star")
        assert dark.words == "dark red striped star"
        assert dark.holds_for(truth(modifier="dark"))
        assert not dark.holds_for(truth())

    def test_every_description_is_true_of_what_it_was_made_from(self) -> None:
        rng = np.random.default_rng(0)
        told = set()
        for seed, scene in zip(range(12), iter_scenes(FINDING_SEEDS[:12]), strict=True):
            for _, known in findable(scene, seed):
                said = describe(known, rng)
                assert (said is None) == (known.pattern is None or known.shape is None)
                if said is not None:
                    assert said.holds_for(known)
                    told.add((len(said.colors), bool(said.modifier)))
        assert told == {(1, False), (1, True), (2, False)}


class TestRealPhotos:
    def test_coco_masks_are_read_without_crowds_and_specks(self, tmp_path: Path) -> None:
        ids = np.full((100, 200), 65536 * 2 + 256 * 3 + 4)
        ids[:, :60], ids[:, 60:80], ids[:10, 190:] = 300, 70_000, 5  # the last one: 0.5%
        png = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=2).astype(np.uint8)
        names = [(300, 0), (131_844, 0), (70_000, 1), (5, 0)]
        write_photos(tmp_path, {"b.jpg": {"panoptic": None}, "a.jpg": {
            "panoptic": "a.png", "segments": [{"id": i, "iscrowd": crowd} for i, crowd in names],
        }}, {"a.png": png})  # fmt: skip
        (photo,) = iter_coco(tmp_path, 100, None)
        assert photo.name == "a.jpg"
        assert photo.rgb.shape == (50, 100, 3)
        assert [int(mask.sum()) for mask in photo.masks] == [30 * 50, 60 * 50 - 5 * 5]

    def test_bsds_masks_are_those_of_the_person_in_the_middle(self, tmp_path: Path) -> None:
        halves = np.repeat([[1, 2]], 50, axis=1).repeat(100, axis=0).astype(np.uint8)
        pngs = {"few.png": halves * 0 + 1, "middle.png": halves, "many.png": halves * 0 + 3}
        humans = [("many.png", 9), ("few.png", 1), ("middle.png", 2)]
        told = [{"png": png, "regions": regions} for png, regions in humans]
        write_photos(tmp_path, {"a.jpg": {"humans": told}}, pngs)
        (photo,) = iter_bsds(tmp_path, 100, 5)
        assert [mask.mean() for mask in photo.masks] == [0.5, 0.5]
        assert photo.masks[0][:, :50].all()

    def test_the_classical_proposals_find_plain_halves_and_keep_to_their_number(self) -> None:
        rgb = np.zeros((80, 120, 3), np.uint8)
        rgb[:, 60:] = (250, 200, 40)
        left = np.zeros((80, 120), bool)
        left[:, :60] = True
        proposed = classical.proposals(rgb, 100)
        assert measures.best_ious([left, ~left], proposed).min() > 0.94
        fewer = classical.proposals(rgb, 7)
        assert len(proposed) > len(fewer) == 7
        assert min(m.sum() for m in fewer) >= sorted(m.sum() for m in proposed)[-7]


def write_photos(folder: Path, images: dict[str, object], pngs: dict[str, RgbImage]) -> None:
    """Write a folder of photos of 200 x 100 with these labels."""
    (folder / "images").mkdir()
    (folder / "truth.json").write_text(json.dumps({"images": images}))
    for name in images:
        Image.new("RGB", (200, 100), (9, 99, 199)).save(folder / "images" / name)
    for name, labels in pngs.items():
        Image.fromarray(labels).save(folder / name)


class TestFigures:
    def test_proposing_the_truth_finds_all_and_the_larger_half_finds_half(self) -> None:
        seeds = CUTTING_SEEDS[:3]
        truths = [[mask for mask, _ in segments(s, 0.005)] for s in iter_scenes(seeds)]
        given = iter(truths)
        recall = cutting.scene_recall(lambda _: next(given), seeds)
        assert recall.figure is not None
        assert (recall.figure.value, recall.figure.number) == (1.0, sum(map(len, truths)))
        assert recall.per_picture == pytest.approx(recall.figure.number / 3)
        nothing = cutting.scene_recall(lambda _: [], seeds).figure
        assert nothing is not None
        assert nothing.value == 0

    def test_colors_that_an_encoder_sees_are_found(self) -> None:
        photo = stripes({"red": (220, 30, 30), "blue": (30, 60, 220)}, each=24)
        figure, colors = finding.by_color(ColorEncoder(), [photo])
        assert colors == {"red": 1.0, "blue": 1.0}
        assert figure is not None
        assert figure.value == 1.0

    def test_colors_of_too_few_segments_are_left_out(self) -> None:
        rare = stripes({"red": (220, 30, 30), "blue": (30, 60, 220)}, each=19)
        assert finding.by_color(ColorEncoder(), [rare]) == (None, {})

    def test_an_encoder_blind_to_color_finds_no_more_than_chance(self) -> None:
        class Blind(ColorEncoder):
            def encode_crops(self, crops: object) -> np.ndarray:
                return self._vectors(np.random.default_rng(0).uniform(0, 255, (len(crops), 3)))  # type: ignore[arg-type]

        photo = stripes({"red": (220, 30, 30), "blue": (30, 60, 220)}, each=40)
        figure, _ = finding.by_color(Blind(), [photo])
        assert figure is not None
        assert 0.2 < figure.value < 0.8


def stripes(colors: dict[str, tuple[int, int, int]], each: int) -> TruePhoto:
    """A photo of so many stripes of each color, each stripe a segment."""
    width = 4
    painted = [color for color in colors.values() for _ in range(each)]
    rgb = np.repeat(np.array(painted, np.uint8)[None], 30, axis=0).repeat(width, axis=1)
    labels = np.arange(len(painted)).repeat(width)
    masks = [np.broadcast_to(labels == i, rgb.shape[:2]) for i in range(len(painted))]
    return TruePhoto("stripes", rgb, masks)


class TestCommand:
    def test_the_last_line_is_one_document_of_all_figures(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SEGSEARCH_TEST_DATA", raising=False)
        assert evaluate.main(["--only", "encoder,coco", "--limit", "3"]) == 0
        printed = capsys.readouterr()
        figures = json.loads(printed.out.splitlines()[-1])
        assert list(figures) == THE_KEYS
        told = {key for key, value in figures.items() if value is not None}
        assert told == {"pattern_acc", "shape_acc", "attr_r10", "size_mb"}
        assert 0 < figures["size_mb"] <= 64
        assert "coco is left out: no --data was given" in printed.err

    def test_scenes_are_measured_and_drawn(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        asked = ["--only", "scenes", "--limit", "2", "--proposals", "30", "--points", "8"]
        assert evaluate.main([*asked, "--overlays", str(tmp_path / "drawn")]) == 0
        figures = json.loads(capsys.readouterr().out.splitlines()[-1])
        scenes = [figures[key] for key in THE_KEYS[:4]]
        assert all(0 <= value <= 1 for value in scenes)
        assert figures["scene_click_iou"] > 0.2  # a click that cuts at random gets about 0.1
        with Image.open(tmp_path / "drawn" / "scenes.jpg") as sheet:
            assert sheet.size == (3 * 256, 2 * 256)

    def test_weights_that_are_not_there_are_named_in_one_sentence(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        assert evaluate.main(["--weights", str(tmp_path), "--only", "scenes"]) == 1
        assert f"error: there is no segmenter.pt in {tmp_path}." in capsys.readouterr().err

    @pytest.mark.parametrize("wrong", [["--only", "scene"], ["--limit", "0"]])
    def test_what_makes_no_sense_is_refused(
        self, wrong: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as stopped:
            evaluate.main(wrong)
        assert stopped.value.code == 2
        assert wrong[1] in capsys.readouterr().err
