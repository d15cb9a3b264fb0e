"""The manifest: what a library was made with, and what is refused because of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.fakes import ColorEncoder, ColorSegmenter, make_library

from api.library.library import Library
from api.settings import Settings
from search.errors import LibraryError, MismatchError
from search.manifest import (
    MANIFEST_NAME,
    Manifest,
    ModelName,
    check_same_encoder,
    check_same_segmenter,
    fingerprint,
    load_manifest,
    save_manifest,
)
from search.models.crops import RECIPES, recipe_fingerprint

MANIFEST = Manifest(
    segmenter=ModelName(name="sam", fingerprint="5a", config="s.yaml"),
    encoder=ModelName(name="clip", fingerprint="c1"),
    crop_recipe="fusion",
    crop_fingerprint="f0",
    dim=512,
)


def test_a_saved_manifest_loads_unchanged(tmp_path: Path) -> None:
    save_manifest(tmp_path / "library", MANIFEST)
    assert load_manifest(tmp_path / "library") == MANIFEST
    assert [path.name for path in (tmp_path / "library").iterdir()] == [MANIFEST_NAME]


def test_a_folder_without_a_manifest_is_no_library(tmp_path: Path) -> None:
    assert load_manifest(tmp_path) is None
    assert load_manifest(tmp_path / "nowhere") is None


@pytest.mark.parametrize("written", range(0, 400, 37))
def test_a_kill_while_writing_leaves_the_old_manifest(
    tmp_path: Path, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_manifest(tmp_path, MANIFEST)

    class Killed(BaseException):
        pass

    def killed(draft: Path, _target: Path) -> None:
        content = draft.read_text()
        draft.write_text(content[:written])  # as far as the disk got
        raise Killed

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(Killed):
        save_manifest(tmp_path, MANIFEST.model_copy(update={"dim": 3}))
    monkeypatch.undo()
    assert load_manifest(tmp_path) == MANIFEST
    save_manifest(tmp_path, MANIFEST.model_copy(update={"dim": 3}))
    assert load_manifest(tmp_path) == MANIFEST.model_copy(update={"dim": 3})


def changed(**other: Any) -> str:
    return json.dumps({**MANIFEST.model_dump(mode="json"), **other})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "Expecting value"),
        ("{", "can't be read"),
        ("[]", "can't be read"),
        ("null", "can't be read"),
        ('{"format": 1}', "encoder: Field required"),
        (changed(dim="many"), "dim: Input should be a valid integer"),
        (changed(crop_recipe="scissors"), "crop_recipe: Input should be 'fusion'"),
        (changed(extra=1), "extra: Extra inputs"),
        (changed(segmenter={"name": "sam"}), r"segmenter\.fingerprint: Field required"),
    ],
)
def test_a_damaged_manifest_is_reported_in_one_line(
    tmp_path: Path, content: str, says: str
) -> None:
    (tmp_path / MANIFEST_NAME).write_text(content)
    with pytest.raises(LibraryError, match=says) as caught:
        load_manifest(tmp_path)
    assert str(tmp_path / MANIFEST_NAME) in str(caught.value)
    assert caught.value.remedy == "restore_manifest"
    assert "\n" not in str(caught.value)


def test_a_manifest_that_is_not_utf8_is_damaged(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LibraryError, match="can't be read"):
        load_manifest(tmp_path)


def test_a_file_instead_of_a_library_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "library").write_text("a file")
    with pytest.raises(LibraryError, match="Not a directory"):
        load_manifest(tmp_path / "library")


def test_a_newer_manifest_format_is_refused_whatever_its_keys(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_text('{"format": 99, "engines": []}')
    with pytest.raises(LibraryError, match="has format 99, this segsearch reads 2"):
        load_manifest(tmp_path)


def test_a_vector_is_named_by_encoder_and_crop_recipe() -> None:
    names = {
        MANIFEST.model_copy(update=update).vector_name
        for update in (
            {},
            {"encoder": ModelName(name="clip", fingerprint="c2")},
            {"crop_fingerprint": "f1"},
            {"crop_recipe": "tight"},
        )
    }
    assert len(names) == 4
    same = {"segmenter": ModelName(name="other", fingerprint="5b"), "qdrant": "http://q:6333"}
    assert MANIFEST.model_copy(update=same).vector_name == MANIFEST.vector_name


def test_fingerprints_do_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert len({recipe_fingerprint(recipe) for recipe in RECIPES}) == len(RECIPES)


def test_another_encoder_is_refused() -> None:
    with pytest.raises(MismatchError, match=r"'clip' .c1.*'other' .c2"):
        check_same_encoder(MANIFEST, ModelName(name="other", fingerprint="c2"), "fusion", "f0")


def test_the_same_weights_under_another_name_are_the_same_encoder() -> None:
    check_same_encoder(MANIFEST, ModelName(name="./clip", fingerprint="c1"), "fusion", "f0")


@pytest.mark.parametrize(("recipe", "numbers"), [("tight", "f0"), ("fusion", "f1")])
def test_another_crop_recipe_is_refused(recipe: Any, numbers: str) -> None:
    with pytest.raises(MismatchError, match="with the crop recipe 'fusion'") as caught:
        check_same_encoder(MANIFEST, ModelName(name="clip", fingerprint="c1"), recipe, numbers)
    assert (caught.value.setting, caught.value.actual) == ("crop_recipe", recipe)


def test_another_segmenter_is_refused() -> None:
    with pytest.raises(MismatchError, match="segmented by"):
        check_same_segmenter(MANIFEST, ModelName(name="sam", fingerprint="5b"))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A library folder that was made with the fakes, named as `mine`."""
    with make_library(tmp_path / "library", encoder="mine", segmenter="cutter") as library:
        library.checked_manifest()
    return tmp_path / "library"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"encoder": "other"}, "made with encoder 'mine', not 'other'"),
        ({"segmenter": "other"}, "made with segmenter 'cutter'"),
        ({"crop_recipe": "tight"}, "made with crop_recipe 'fusion', not 'tight'"),
        ({"models": "starter"}, "made with (encoder 'mine'|segmenter 'cutter'), not 'starter"),
        ({"qdrant": "http://localhost:6333"}, "made with qdrant None"),
        ({"collection_prefix": "mine"}, "made with collection_prefix 'segsearch', not 'mine'"),
    ],
)
def test_other_models_than_the_librarys_are_refused_before_any_is_loaded(
    made: Path, asked: dict[str, Any], says: str
) -> None:
    with pytest.raises(MismatchError, match=says):
        Library(Settings(library=made, **asked), command="test")


def test_the_librarys_own_models_can_be_named(made: Path) -> None:
    asked = Settings(library=made, encoder="mine", segmenter="cutter", crop_recipe="fusion")
    with Library(asked, command="test") as library:
        assert library.settings.encoder == "mine"


def test_settings_of_the_manifest_replace_defaults(made: Path) -> None:
    with Library(Settings(library=made), command="test") as library:
        assert (library.settings.encoder, library.settings.segmenter) == ("mine", "cutter")


def test_weights_that_changed_under_the_same_name_are_refused(made: Path) -> None:
    encoder = ColorEncoder(fingerprint="0ther")
    with (
        Library(
            Settings(library=made), command="t", encoder=encoder, segmenter=ColorSegmenter()
        ) as library,
        pytest.raises(MismatchError),
    ):
        library.checked_manifest()
