"""Settings: where a value comes from, that each is a flag, and how a wrong one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from api.cli.main import cli
from api.cli.options import read_settings
from api.library import config_files
from api.library.models import PRESETS, precision_on, settings_for_photo, with_preset
from api.settings import Settings
from search.errors import UsageError
from search.manifest import Manifest, ModelName, save_manifest
from search.settings import DEFAULT_ENCODER, Precision


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, without settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SEGSEARCH_{name.upper()}", raising=False)


def test_defaults_hold_where_nothing_is_said() -> None:
    settings = read_settings({"points_per_side": None})
    assert settings.points_per_side == 32
    assert settings.model_fields_set == set()


def test_a_flag_goes_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("segsearch.toml").write_text(
        "points_per_side = 1\nembed_batch = 1\nbox_nms_thresh = 0.1\n"
    )
    monkeypatch.setenv("SEGSEARCH_POINTS_PER_SIDE", "2")
    monkeypatch.setenv("SEGSEARCH_EMBED_BATCH", "2")
    settings = read_settings({"points_per_side": "3"})
    assert (settings.points_per_side, settings.embed_batch, settings.box_nms_thresh) == (3, 2, 0.1)


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGSEARCH_QDRANT", "")
    monkeypatch.setenv("SEGSEARCH_PORT", "")
    settings = read_settings({})
    assert (settings.qdrant, settings.port) == (None, 8765)
    assert settings.model_fields_set == set()


def test_settings_have_words_for_what_they_do_and_a_group() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert isinstance(field.json_schema_extra, dict), name


def flags() -> dict[str, set[str]]:
    """The flags of each command."""
    return {
        name: {flag for option in command.params for flag in option.opts}
        for name, command in cli.commands.items()
    }


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_a_flag_of_some_command(name: str) -> None:
    assert any(f"--{name.replace('_', '-')}" in taken for taken in flags().values())


def test_no_command_has_two_options_of_one_name() -> None:
    for name, command in cli.commands.items():
        opts = [
            flag for option in command.params for flag in (*option.opts, *option.secondary_opts)
        ]
        assert len(opts) == len(set(opts)), name


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"points_per_side": "0"}, "--points-per-side: .*greater than 0 .given: '0'"),
        ({"device": "abacus"}, "--device: .*'mps' or 'cpu', or some of them .given: 'abacus'"),
        ({"crop_overlap_ratio": "1"}, "--crop-overlap-ratio: .*less than 1"),
        ({"pred_iou_thresh": "high"}, "--pred-iou-thresh: .*valid number"),
        ({"port": "70000"}, "--port: .*65535"),
        ({"mask_long_side": "10"}, "--mask-long-side"),
    ],
)
def test_a_wrong_flag_is_told_in_one_sentence(given: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        read_settings(given)
    assert "\n" not in str(caught.value)


def test_a_wrong_variable_is_told_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGSEARCH_EMBED_BATCH", "few")
    with pytest.raises(UsageError, match=r"^SEGSEARCH_EMBED_BATCH .or embed_batch in a settings"):
        read_settings({})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("points = 3", "there is no setting 'points'"),
        ("port = 'x", "segsearch.toml can't be read: "),
        ("embed_batch = 'x'", "embed_batch in a settings file.: .*valid integer"),
    ],
)
def test_a_wrong_settings_file_is_told_in_one_sentence(content: str, says: str) -> None:
    Path("segsearch.toml").write_text(content)
    with pytest.raises(UsageError, match=says):
        read_settings({})


def test_a_key_is_never_repeated_in_an_error() -> None:
    Path("own.toml").write_text("qdrant_api_key = 1234567")
    with pytest.raises(UsageError, match="qdrant_api_key") as caught:
        read_settings({}, Path("own.toml"))
    assert "1234567" not in str(caught.value)


UNSAFE = (
    "qdrant",
    "qdrant_api_key",
    "collection_prefix",
    "grpc",
    "models",
    "segmenter",
    "segmenter_config",
    "encoder",
    "host",
    "port",
    "trust_network",
    "allowed_hosts",
    "api_keys",
    "api_keys_file",
    "read_keys",
    "read_keys_file",
    "follow_links",
)


@pytest.mark.parametrize("name", UNSAFE)
def test_a_file_that_lies_in_a_folder_decides_nothing_about_network_keys_and_models(
    name: str,
) -> None:
    Path("segsearch.toml").write_text(f"{name} = 'x'\n")
    with pytest.raises(UsageError, match=f"may not set {name}: .* --config"):
        read_settings({})


def test_a_file_that_was_found_names_no_library_of_another_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("theirs").mkdir()
    Path("segsearch.toml").write_text("library = 'theirs'\n")
    assert read_settings({}).library == Path("theirs")
    monkeypatch.setattr("os.getuid", lambda: 4321)
    with pytest.raises(UsageError, match="names a library of another user"):
        read_settings({})


def test_what_is_used_of_a_file_that_was_found_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    Path("segsearch.toml").write_text("points_per_side = 7\n")
    assert read_settings({}).points_per_side == 7
    said = capsys.readouterr().err
    assert str(Path("segsearch.toml").absolute()) in said
    assert "points_per_side" in said


def test_the_users_own_file_and_one_that_is_named_may_set_everything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "config" / "segsearch.toml"
    own.parent.mkdir()
    own.write_text("port = 1\nqdrant = 'http://localhost'\n")
    monkeypatch.setattr(config_files, "users_file", lambda: own)
    assert (read_settings({}).port, read_settings({}).qdrant) == (1, "http://localhost")
    Path("segsearch.toml").write_text("embed_batch = 3\n")
    assert (read_settings({}).port, read_settings({}).embed_batch) == (1, 3)
    Path("named.toml").write_text("port = 2\n")
    named = read_settings({}, Path("named.toml"))
    assert (named.port, named.qdrant, named.embed_batch) == (2, None, 64)
    with pytest.raises(UsageError, match=r"nowhere\.toml can't be read: No such file"):
        read_settings({}, Path("nowhere.toml"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_settings_file_is_read_as_editors_write_it(encoding: str) -> None:
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    text = 'exclude = "räume"\r\npoints_per_side = 7\r\n'
    Path("segsearch.toml").write_bytes(mark + text.encode(encoding))
    settings = read_settings({})
    assert (settings.exclude, settings.points_per_side) == ("räume", 7)


@pytest.mark.parametrize("content", [b"\xff\xfeX", b"a = \xe4", b"\0", b"x" * 2_000_000])
def test_a_settings_file_that_is_no_text_is_refused_in_a_sentence(content: bytes) -> None:
    Path("segsearch.toml").write_bytes(content)
    with pytest.raises(UsageError, match=r"segsearch\.toml can.t be read"):
        read_settings({})


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(UsageError, match=r"--port.*; --host|--host.*; --port|; "):
        read_settings({"port": "-1", "device": "abacus"})


def test_defaults_of_a_library_do_not_overrule_what_was_asked_for() -> None:
    settings = Settings(encoder="mine").with_defaults({"encoder": "theirs", "segmenter": "theirs"})
    assert (settings.encoder, settings.segmenter) == ("mine", "theirs")


@pytest.mark.parametrize("models", PRESETS)
def test_a_pair_of_models_fills_what_was_not_chosen(models: Any) -> None:
    settings = with_preset(Settings(models=models, points_per_side=5))
    assert settings.encoder == PRESETS[models]["encoder"]
    assert settings.points_per_side == 5


def test_without_a_choice_the_models_are_those_of_the_hub() -> None:
    assert with_preset(Settings()).encoder == DEFAULT_ENCODER


def test_a_single_photo_is_cut_with_the_librarys_models_unless_others_are_named() -> None:
    starter = ModelName(name="starter", fingerprint="5")
    manifest = Manifest(
        segmenter=starter,
        encoder=starter,
        crop_recipe="fusion",
        crop_fingerprint="f",
        dim=3,
        models="starter",
    )
    save_manifest(Path("lib"), manifest)
    assert settings_for_photo(Settings(library="lib")).segmenter == "starter-2"
    assert settings_for_photo(Settings(library="lib")).pred_iou_thresh == 0.25
    asked = Settings(library="lib", segmenter="other.pt")
    assert settings_for_photo(asked).segmenter == "other.pt"
    assert settings_for_photo(Settings(library="nowhere")).segmenter != "starter-2"


def test_help_shows_a_default_as_a_person_would_write_it() -> None:
    ingest = cli.commands["ingest"]
    shown = {p.name: p.help or "" for p in ingest.params if isinstance(p, click.Option)}
    assert shown["pred_iou_thresh"].endswith("[0.8]")
    assert shown["multimask_output"].endswith("[on]")
    assert shown["crop_overlap_ratio"].endswith("[0.3413]")


@pytest.mark.parametrize(
    ("models", "effort", "points"),
    [("default", "quick", 16), ("default", "standard", 32), ("default", "thorough", 64),
     ("starter", "quick", 6), ("starter", "thorough", 24)],
)  # fmt: skip
def test_effort_says_how_many_points_there_are(models: Any, effort: Any, points: int) -> None:
    assert with_preset(Settings(models=models, effort=effort)).points_per_side == points
    own = with_preset(Settings(models=models, effort=effort, points_per_side=7))
    assert own.points_per_side == 7


@pytest.mark.parametrize(
    ("precision", "can", "warned"),
    [
        ("bfloat16", {}, True),
        ("bfloat16", {"avx512_bf16": True}, False),
        ("float16", {"avx512_bf16": True, "amx_bf16": True}, True),
        ("float16", {"avx512_fp16": True}, False),
        ("float32", {}, False),
    ],
)
def test_a_precision_that_is_emulated_is_warned_of(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    precision: Precision,
    can: dict[str, bool],
    warned: bool,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: can)
    assert precision_on("cpu", Settings(precision=precision)) == precision
    assert ("is emulated on this processor" in caplog.text) == warned


def test_auto_is_float16_on_cuda_and_float32_elsewhere() -> None:
    asked = Settings()
    assert precision_on("cuda:1", asked) == "float16"
    assert precision_on("cpu", asked) == precision_on("mps", asked) == "float32"
