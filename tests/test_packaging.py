"""What pip installs is all of segsearch: built, unpacked and run away from the project's folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ("search", "ingest", "api", "starter")
CLI = "from api.cli.main import main; main()"
# -P keeps the working directory off sys.path; the editable install comes after PYTHONPATH.
PYTHON = (sys.executable, "-P")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run([*PYTHON, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)], ROOT)
    (archive,) = folder.glob("segsearch-*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the wheel holds, as pip lays it out."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--target", str(folder)]
    run([*PYTHON, "-m", "pip", "install", "-q", *options, str(wheel)], folder)
    return folder


def build_wheel(source: Path, folder: Path) -> Path:
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder)]
    run([*PYTHON, "-m", "pip", "wheel", "-q", *options, str(source)], folder)
    (built,) = folder.glob("segsearch-*.whl")
    return built


def run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


def run_installed(installed: Path, code: str, *arguments: str) -> str:
    return run([*PYTHON, "-c", code, *arguments], installed.parent, PYTHONPATH=str(installed))


def files_of_packages() -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def without_metadata(names: list[str]) -> set[str]:
    return {name for name in names if not PurePosixPath(name).parts[0].endswith(".dist-info")}


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert without_metadata(archive.namelist()) == files_of_packages()


def test_the_starter_weights_are_among_the_files_of_the_packages() -> None:
    names = {name for name in files_of_packages() if name.startswith("starter/w")}
    assert {Path(name).suffix for name in names} >= {".pt", ".yaml", ".json", ".safetensors"}
    told = ("CARD.md", "NOTICE", "LICENSE-Apache-2.0.txt")
    assert names >= {f"starter/weights/{name}" for name in told}


def test_the_wheel_names_the_command_and_brings_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"segsearch-{PROJECT['project']['version']}.dist-info"
        assert "segsearch = api.cli.main:main" in archive.read(f"{info}/entry_points.txt").decode()
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_the_installed_command_says_its_version(installed: Path) -> None:
    said = run_installed(installed, CLI, "--version")
    assert said.strip().split()[-1] == PROJECT["project"]["version"]


def test_installed_commands_explain_themselves(installed: Path) -> None:
    code = """
import api.cli.main
for name in ["", *api.cli.main.cli.commands]:
    api.cli.main.cli.main([*name.split(), "--help"], prog_name="segsearch", standalone_mode=False)
"""
    said = run_installed(installed, code)
    assert said.count("Usage: segsearch") == said.count("--help") >= len(("ingest", "search"))


def test_what_is_run_there_is_what_was_installed(installed: Path) -> None:
    code = f"import {', '.join(PACKAGES)}; print({'.__file__, '.join(PACKAGES)}.__file__)"
    for path in run_installed(installed, code).split():
        assert Path(path).is_relative_to(installed)


@pytest.mark.slow
def test_the_installed_starter_models_load_and_answer(installed: Path) -> None:
    code = """
import numpy as np
from api.library.models import load_encoder, load_segmenter, with_preset
from api.settings import Settings
settings = with_preset(Settings(models="starter", device="cpu", points_per_side=2))
print(load_encoder(settings).encode_texts(["red"]).shape)
from ingest.segmentation.types import Prompt
encoded = load_segmenter(settings).encode(np.zeros((64, 96, 3), np.uint8))
print(len(encoded.masks(Prompt(points_xy=((40.0, 30.0),), labels=(1,)), candidates=3)))
"""
    assert run_installed(installed, code).split("\n")[:2] == ["(1, 363)", "3"]


def test_the_source_archive_builds_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("segsearch-*")
    for name in ("README.md", "CHANGELOG.md", "LICENSE", "constraints.txt"):
        assert (unpacked / name).read_bytes() == (ROOT / name).read_bytes()
    (tmp_path / "again").mkdir()
    again = build_wheel(unpacked, tmp_path / "again")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        sums = [{info.filename: info.CRC for info in each.infolist()} for each in (one, other)]
    assert sums[0] == sums[1]


def test_constraints_fit_what_pyproject_asks_for() -> None:
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    extras = PROJECT["project"]["optional-dependencies"]
    for text in [*PROJECT["project"]["dependencies"], *extras["dev"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pinned[wanted.name.lower()]), f"{text} is not pinned"
    assert not [name for name in pinned if name.startswith("nvidia")]
