"""How commands end, whatever the terminal, reader, disk or memory: without a traceback."""

from __future__ import annotations

import errno
import json
import subprocess
from pathlib import Path

import pytest
from support.commands import SEGSEARCH, Commands, clean_environment
from support.fakes import add_photos, make_library
from support.servers.api_samples import SAMPLE

from api.cli.exits import exit_code_of
from api.library import models
from api.library.models import torch_device
from api.settings import Settings
from search.errors import ModelError, UsageError

UNUSUAL = "фото \N{EN DASH} naïve \N{NARROW NO-BREAK SPACE}.png"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with one photo, whose name few encodings have."""
    folder = tmp_path_factory.mktemp("ends")
    with make_library(folder / "library") as library:
        add_photos(library, folder / "photos", {UNUSUAL: SAMPLE["flat.png"]})
    return folder / "library"


def ran(
    *args: object, folder: Path, stdout: int | None = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*SEGSEARCH, *map(str, args)],
        cwd=folder,
        env={**clean_environment(), **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii"])
@pytest.mark.parametrize("command", ["status", "show"])
def test_unencodable_names_are_escaped(library: Path, encoding: str, command: str) -> None:
    from ingest.catalog.ledger import Ledger
    from search.records import SearchFilter

    [row] = Ledger(library).photos(SearchFilter(), limit=9)
    args = ("status", "--json") if command == "status" else ("show", row.photo.photo_id)
    done = ran(*args, "--library", library, folder=library.parent, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    json.loads(done.stdout.decode("ascii"))
    moved = ("move-root", UNUSUAL, "new", "--library", library)
    done = ran(*moved, folder=library.parent, PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_a_broken_pipe_is_silent(library: Path) -> None:
    args = (*SEGSEARCH, "status", "--json", "--library", str(library))
    with subprocess.Popen(
        args, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_full_output_disk_is_one_sentence(library: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = ran("status", "--library", library, folder=library.parent, stdout=full.fileno())
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert b"No space left on device" in done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
    ],
)
def test_exhausted_memory_or_threads_are_explained(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(error) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "not enough memory" in line


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code_of(ZeroDivisionError("division by zero"))


@pytest.mark.parametrize("device", ["cuda", "cuda:99", "cpu,cuda:98", "mps"])
def test_a_missing_device_is_refused(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"PyTorch finds no.*--device auto"):
        torch_device(device)
    assert torch_device("auto") == "cpu"


def test_of_several_gpus_the_last_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert torch_device("cuda:1,cuda:0") == "cuda:1"
    with pytest.raises(UsageError, match="cuda:2: PyTorch finds only 2, counted from 0"):
        torch_device("cuda:0,cuda:2")


# told before anything that takes long


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that must not be loaded."""

    def load(*_: object) -> None:
        raise ModelError("a model was loaded")

    monkeypatch.setattr(models, "load_encoder", load)
    monkeypatch.setattr(models, "load_segmenter", load)
    monkeypatch.setattr("api.library.model_registry.load_encoder", load)
    monkeypatch.setattr("api.library.model_registry.load_segmenter", load)


@pytest.mark.usefixtures("no_models")
def test_usage_errors_are_reported_before_models_are_loaded(run: Commands, library: Path) -> None:
    photo = library.parent / "photos" / UNUSUAL
    Path("notes.jpg").write_text("no picture")
    flags = ("--library", library)
    for args, says, code in (
        (("search", ""), "empty", 2),
        (("search", "   "), "empty", 2),
        (("search", "red", "--not", ""), "empty", 2),
        (("export", "out.json", "--query", ""), "--query: it is empty", 2),
        (("search", "--image", photo, "--point", "9000,1"), "outside the photo", 2),
        (("search", "--image", photo, "--box", "9000,1,5,5"), "covers nothing", 2),
        (("search", "--image", "notes.jpg"), "notes.jpg is not a picture", 1),
        (("search", "red", "--not-image", "notes.jpg"), "notes.jpg is not a picture", 1),
        (("segment", photo, "--point", "9000,1"), "outside the photo", 2),
        (("segment", photo, "--point", "1,1,0"), "points outside alone", 2),
        (("segment", "notes.jpg"), "not a picture", 1),
        (("segment", photo, "--pred-iou-thresh", 7), "--pred-iou-thresh", 2),
    ):
        assert says in run.refused(*args, *flags, code=code), args


def test_an_empty_query_is_reported_before_heavy_imports(library: Path) -> None:
    script = (
        "import sys\n"
        f"sys.argv = ['segsearch', 'search', '', '--library', {str(library)!r}]\n"
        "from api.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 2\n"
        "print([name for name in ('torch', 'transformers', 'sam2') if name in sys.modules])\n"
    )
    import sys

    done = subprocess.run(
        [sys.executable, "-c", script], env=clean_environment(), capture_output=True, check=True
    )
    assert done.stdout.strip() == b"[]"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pred_iou_thresh", 7),
        ("pred_iou_thresh", -0.1),
        ("stability_score_thresh", -1),
        ("stability_score_thresh", "nan"),
        ("stability_score_offset", "inf"),
        ("mask_threshold", 1e9),
        ("box_nms_thresh", 1.5),
        ("crop_nms_thresh", -1),
        ("crop_n_layers", 9),
        ("points_per_side", 100_000),
    ],
)
def test_settings_out_of_range_are_refused(
    run: Commands, library: Path, name: str, value: object
) -> None:
    flag = f"--{name.replace('_', '-')}"
    photo = library.parent / "photos" / UNUSUAL
    assert flag in run.refused("segment", photo, flag, value, "--library", library)


def test_settings_that_contradict_each_other_are_refused(run: Commands, library: Path) -> None:
    photo = library.parent / "photos" / UNUSUAL
    segment = ("segment", photo, "--library", library)
    said = run.refused(*segment, "--min-area-fraction", 0.5, "--max-area-fraction", 0.1)
    assert "--min-area-fraction (0.5) must not be larger than --max-area-fraction (0.1)" in said
    assert "--effort" in run.refused(*segment, "--effort", "quick", "--points-per-side", 4)


def test_settings_that_contradict_the_librarys_are_refused() -> None:
    asked = Settings(min_area_fraction=0.5)
    with pytest.raises(UsageError, match=r"those of the library.*min_area_fraction"):
        asked.with_defaults({"max_area_fraction": 0.1})


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
def test_a_settings_file_may_have_windows_encoding(
    run: Commands, library: Path, encoding: str
) -> None:
    Path("segsearch.toml").write_text(f"library = {json.dumps(str(library))}\n", encoding=encoding)
    assert run("status", "--json").json["photos"] == 1


def test_a_binary_settings_file_is_reported(run: Commands) -> None:
    Path("segsearch.toml").write_bytes("library = 'é'".encode("latin-1"))
    assert "segsearch.toml can't be read" in run.refused("status")
    Path("segsearch.toml").write_text("library = " + "[" * 100_000)
    assert "segsearch.toml can't be read" in run.refused("status")
