"""A library that is broken on purpose: what `verify` says, and what is left after `--repair`."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.commands import Commands, serve
from support.ingest_rig import Rig, assert_equal, snapshot, write
from support.sample import Sample

from ingest.catalog.connection import LEDGER_NAME
from ingest.maintenance.mask_checks import mask_problem
from ingest.maintenance.repair import Repair, repair
from ingest.maintenance.verify import Health, verify
from ingest.segmentation.types import SegmentedMask
from ingest.steps import segments_from_masks
from search.errors import DamagedError
from search.index import points
from search.index.payload import Payload
from search.masks.rle import array_from_mask, bbox_xywh_from_array, mask_from_array
from search.records import (
    Box,
    Photo,
    SearchFilter,
    Segment,
    photo_id_from_digest,
)

PHOTOS = 3


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A whole library of three photos, one of them with a copy."""
    with closing(Rig(tmp_path)) as rig:
        for seed in range(PHOTOS):
            write(rig.photos / f"{seed}.png", seed)
        shutil.copy2(rig.photos / "0.png", rig.photos / "copy.png")
        rig.ingest()
        yield rig


def checked(rig: Rig) -> Health:
    with rig.ledger() as ledger:
        return verify(ledger, lambda: rig.index)


def mended(rig: Rig) -> Repair:
    with rig.ledger() as ledger:
        return repair(verify(ledger, lambda: rig.index), ledger, rig.index)


def photo_of(rig: Rig, name: str) -> Photo:
    with rig.ledger() as ledger:
        return next(r.photo for r in ledger.iter_photos() if r.path == rig.photos / name)


def segments_of(rig: Rig, photo: Photo) -> list[Segment]:
    return rig.index.segments_of(photo.photo_id, with_masks=True)


def test_a_whole_library_has_no_faults(rig: Rig) -> None:
    health = checked(rig)
    assert health.is_whole
    assert (health.photos, health.files) == (PHOTOS, PHOTOS + 1)
    assert health.segments == rig.index.count("segments") > PHOTOS
    assert (health.photos_unfinished, health.files_gone, health.roots_absent) == (0, (), ())


def test_masks_stored_smaller_than_the_photo_are_whole(tmp_path: Path) -> None:
    with closing(Rig(tmp_path)) as rig:
        write(rig.photos / "large.png", 1, size_wh=(96, 71))
        rig.ingest(mask_long_side=64)
        assert rig.index.count("segments") > 1
        assert checked(rig).is_whole


def thin_segment(mask_hw: NDArray[np.bool_]) -> Segment:
    """A segment of a photo of that size, with its mask as it is stored."""
    box = bbox_xywh_from_array(mask_hw)
    cut = SegmentedMask(
        mask=mask_from_array(mask_hw),
        bbox_xywh=box,
        area_px=int(mask_hw.sum()),
        predicted_iou=0.9,
        stability_score=0.9,
        point_xy=None,
        crop_box_xywh=box,
    )
    return segments_from_masks(photo_id_from_digest("thin"), "f00d", [cut], 1024)[0]


@pytest.mark.parametrize("size_wh", [(3000, 4), (4, 3000), (6000, 40), (1, 1200), (2500, 120)])
def test_masks_of_photos_with_an_extreme_aspect_ratio_are_valid(
    size_wh: tuple[int, int],
) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        (left, right), (top, bottom) = (np.sort(rng.integers(0, side, 2)) for side in size_wh)
        mask_hw = np.zeros(size_wh[::-1], np.bool_)
        mask_hw[top : bottom + 1, left : right + 1] = True
        assert mask_problem(thin_segment(mask_hw), size_wh) is None


def test_a_mask_of_a_long_thin_photo_that_lies_elsewhere_is_broken() -> None:
    mask_hw = np.zeros((8, 3000), np.bool_)
    mask_hw[2:5, 100:900] = True
    segment = thin_segment(mask_hw)
    assert segment.mask is not None
    mirrored = mask_from_array(array_from_mask(segment.mask)[:, ::-1])
    moved = segment.model_copy(update={"mask": mirrored})
    assert mask_problem(moved, (3000, 8)) == "it lies outside the segment's box"


def lose_segments(rig: Rig) -> None:
    photo = photo_of(rig, "1.png")
    rig.index.delete_segments([s.segment_id for s in segments_of(rig, photo)[:2]])


def lose_all(rig: Rig) -> None:
    rig.index.delete_photo(photo_of(rig, "1.png").photo_id)


def put_changed(rig: Rig, **changes: object) -> None:
    """Write the largest segment of a photo again, with something else in it."""
    photo = photo_of(rig, "1.png")
    segment = segments_of(rig, photo)[0]
    vectors = rig.index.segment_vectors([segment.segment_id])
    rig.index.put_segments(photo, [segment.model_copy(update=changes)], vectors)


def swap_mask(rig: Rig) -> None:
    put_changed(rig, mask=segments_of(rig, photo_of(rig, "1.png"))[1].mask)


def put_strange_mask(rig: Rig, counts: str, size_wh: tuple[int, int] = (48, 36)) -> None:
    """Write a segment whose mask is none of the photo's."""
    photo = photo_of(rig, "1.png")
    segment = segments_of(rig, photo)[0]
    assert segment.mask is not None
    mask = segment.mask.model_copy(update={"counts": counts, "size_wh": size_wh})
    vectors = rig.index.segment_vectors([segment.segment_id])
    segment_id = str(uuid.uuid4())
    strange = segment.model_copy(update={"mask": mask, "segment_id": segment_id})
    rig.index.delete_segments([segment.segment_id])
    rig.index.put_segments(photo, [strange], vectors)


def cut_otherwise(rig: Rig) -> None:
    photo = photo_of(rig, "1.png")
    other = photo.model_copy(update={"segmented_with": "0dd"})
    rig.index.put_photo(other, rig.index.photo_vectors([photo.photo_id]))


def damage(rig: Rig, kind: str, key: str) -> None:
    """Write a photo, or its largest segment, again, and lose a part of what is kept of it."""
    whole = getattr(points, f"payload_from_{kind}")

    def partly(*args: object) -> Payload:
        return {name: value for name, value in whole(*args).items() if name != key}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points, f"payload_from_{kind}", partly)
        photo = photo_of(rig, "1.png")
        if kind == "photo":
            rig.index.put_photo(photo, rig.index.photo_vectors([photo.photo_id]))
        else:
            put_changed(rig)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda rig: damage(rig, "segment", "point_xy"), "can't be read: 'point_xy' is missing"),
        (lambda rig: damage(rig, "photo", "size_wh"), "can't be read: 'size_wh' is missing"),
        (lose_segments, "segments of it, and should have"),
        (lose_all, "it is not in the index"),
        (cut_otherwise, "the index has segments of other settings"),
        (swap_mask, "of the photo, not"),
        (lambda rig: put_changed(rig, bbox_xywh=Box(0, 0, 9, 9)), "outside the segment's box"),
        (lambda rig: put_changed(rig, area_px=7), "7 pixels are not"),
        (lambda rig: put_changed(rig, area_px=864, area_fraction=0.5), "of the photo, not 0.5"),
        (lambda rig: put_strange_mask(rig, "damaged!"), "text of a mask is damaged"),
        (lambda rig: put_strange_mask(rig, "04"), "its runs do not fill its size"),
        (lambda rig: put_strange_mask(rig, "04", (4, 4)), "does not have the photo's aspect ratio"),
    ],
)
def test_repair_lets_the_next_ingest_segment_a_broken_photo(
    rig: Rig, broken: Callable[[Rig], None], said: str
) -> None:
    before = snapshot(rig)
    broken(rig)
    [fault] = checked(rig).faults
    assert (fault.kind, fault.path) == ("broken", str(rig.photos / "1.png"))
    assert said in fault.problem
    repaired = mended(rig)
    assert (repaired.photos_again, repaired.beyond_repair) == (1, ())
    health = checked(rig)
    assert health.is_whole
    assert health.photos_unfinished == 1
    assert rig.ingest().photos_ingested == 1
    assert_equal(snapshot(rig), before)


@pytest.mark.parametrize(
    ("lost", "asked"), [("bbox_xywh", "nearest_segments"), ("photo_id", "ranked_segments")]
)
def test_a_search_that_finds_a_damaged_segment_names_it_and_the_remedy(
    rig: Rig, lost: str, asked: str
) -> None:
    segment_id = segments_of(rig, photo_of(rig, "1.png"))[0].segment_id
    damage(rig, "segment", lost)
    vector = rig.index.segment_vectors([segment_id])
    with pytest.raises(DamagedError, match=f"the segment {segment_id} can't be read"):
        getattr(rig.index, asked)(vector, SearchFilter(), limit=100)


def test_a_broken_photo_without_a_file_is_reported_and_not_changed(rig: Rig) -> None:
    lose_segments(rig)
    (rig.photos / "1.png").unlink()
    health = checked(rig)
    assert health.files_gone == (str(rig.photos / "1.png"),)
    assert mended(rig).beyond_repair == health.faults
    assert checked(rig).faults == health.faults


def test_a_broken_photo_with_another_copy_is_segmented_again(rig: Rig) -> None:
    photo = photo_of(rig, "0.png")
    rig.index.delete_segments(sorted(rig.index.segment_ids_of(photo.photo_id)))
    (rig.photos / "0.png").unlink()
    assert mended(rig).photos_again == 1
    assert rig.ingest().photos_ingested == 1
    assert checked(rig).is_whole


def test_orphans_are_deleted(rig: Rig) -> None:
    photo, other = photo_of(rig, "1.png"), photo_of(rig, "2.png")
    segments = rig.index.count("segments")
    with rig.ledger() as ledger:
        ledger.forget_photo(photo.photo_id)  # as a removal by an older backup of the ledger would
        ledger.forget_photo(other.photo_id)
    rig.index._delete("photos", [other.photo_id])  # of this one only segments are left
    faults = {fault.photo_id: fault for fault in checked(rig).faults}
    assert faults.keys() == {photo.photo_id, other.photo_id}
    assert {fault.kind for fault in faults.values()} == {"orphan"}
    assert mended(rig).orphans_deleted == 0  # two of three may be the ledger's fault
    with rig.ledger() as ledger:
        health = verify(ledger, lambda: rig.index)
        repaired = repair(health, ledger, rig.index, delete_orphans=True)
    assert repaired.orphans_deleted == 2
    assert checked(rig).is_whole
    assert rig.index.count("photos") == PHOTOS - 2
    assert rig.index.count("segments") < segments
    assert rig.ingest().photos_ingested == 2


def test_repair_updates_outdated_facts_in_the_index(rig: Rig) -> None:
    photo = photo_of(rig, "1.png")
    rig.index.update_facts(photo.photo_id, photo.facts.model_copy(update={"camera": "Other"}))
    assert [fault.kind for fault in checked(rig).faults] == ["outdated"]
    assert mended(rig).photos_told == 1
    assert checked(rig).is_whole
    assert rig.index.count("segments", SearchFilter(camera="Other")) == 0


def test_an_interrupted_photo_and_an_absent_root_are_no_faults(rig: Rig) -> None:
    with rig.ledger() as ledger:
        ledger.begin_photo(photo_of(rig, "1.png"))
    rig.photos.rename(rig.folder / "elsewhere")
    health = checked(rig)
    assert health.is_whole
    assert (health.photos_unfinished, health.files_gone) == (1, ())
    assert health.roots_absent == (str(rig.photos),)


def test_a_ledger_whose_rows_contradict_each_other_is_a_fault_that_stays(rig: Rig) -> None:
    with closing(sqlite3.connect(rig.library / LEDGER_NAME)) as db:
        db.execute("DELETE FROM photos WHERE photo_id = ?", (photo_of(rig, "1.png").photo_id,))
        db.commit()
    kinds = [fault.kind for fault in checked(rig).faults]
    assert kinds == ["ledger", "orphan"]
    assert [fault.kind for fault in mended(rig).beyond_repair] == ["ledger"]


def test_the_verify_command_reports_faults_with_its_exit_code(run: Commands, own: Path) -> None:
    flags = ("--library", own)
    assert run("verify", *flags).out.endswith("all is well\n")
    from api.library.library import Library
    from api.settings import Settings

    with Library(Settings(library=own), command="test") as library:
        segment = next(library.index().iter_segments())
        library.index().delete_segments([segment.segment_id])
    ran = run("verify", *flags, code=1)
    assert "should have" in ran.out
    assert "--repair" in ran.out
    document = run("verify", *flags, "--json", code=1).json
    assert document["is_whole"] is False
    assert [fault["photo_id"] for fault in document["faults"]] == [segment.photo_id]
    assert "1 photos marked for the next ingest" in run("verify", *flags, "--repair").out
    assert "1 photos are not finished" in run("verify", *flags).out


def test_a_served_library_is_checked_through_its_owner(run: Commands, own: Path) -> None:
    alone = run("verify", "--library", own, "--json").json
    with serve(own):
        assert run("verify", "--library", own, "--json").json == alone


def test_nothing_is_checked_while_photos_are_being_added(run: Commands, sample: Sample) -> None:
    from api.library.library import Library
    from api.settings import Settings

    with Library(Settings(library=sample.library), command="test") as library:  # noqa: SIM117
        with library.only_writer():
            said = run.refused("verify", *sample.flags, code=1)
    assert "another command is adding or removing photos" in said
