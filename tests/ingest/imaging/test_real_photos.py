"""Real photos and hostile files; skipped where the folder of real pictures is absent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.real_data import real_data

from ingest.imaging.decode import DecodedPhoto, decode_photo

PROJECT = Path(__file__).resolve().parents[3]


def decode(path: Path) -> DecodedPhoto:
    return decode_photo(path, max_pixels=100_000_000, max_bytes=100_000_000)


def expected_time(path: Path, written: str) -> datetime:
    """The date of the truth, without its offset; the file's time where there is none."""
    if written:
        return datetime.strptime(written.rstrip("\0"), "%Y:%m:%d %H:%M:%S")
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(tzinfo=None, microsecond=0)


def expected_size(truth: dict[str, Any]) -> tuple[int, int]:
    width, height = truth["size"]
    return (height, width) if (truth["orient"] or 0) >= 5 else (width, height)


def test_every_photo_of_the_library_agrees_with_what_is_known_of_it() -> None:
    library = real_data("library")
    known = json.loads((library / "truth.json").read_text())["images"]
    assert len(known) == 95
    for name, truth in known.items():
        photo = decode(library / name)
        assert photo.size_wh == expected_size(truth), name
        time = expected_time(library / name, truth["dto"])
        if photo.date_source != "xmp":  # which the truth does not know of
            assert photo.sort_at.replace(tzinfo=None, microsecond=0) == time, name
        assert (photo.location is not None) == truth["gps"], name
        assert (photo.camera is not None) == bool(truth["make"] + truth["model"]), name
        assert "".join(truth["model"].split("\0")[0].split()) in (photo.camera or "").replace(
            " ", ""
        ), name


def test_the_same_scene_in_eight_orientations_looks_alike() -> None:
    for folder, name in (("exif2", "Landscape"), ("exif1/jpg/orientation", "landscape")):
        paths = [real_data("library", folder, f"{name}_{number}.jpg") for number in range(1, 9)]
        small = [
            np.asarray(Image.fromarray(decode(path).rgb).resize((90, 60)), float) for path in paths
        ]
        for view in small[1:]:
            assert np.abs(view - small[0]).mean() < 12


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no memory limits there")
def test_no_hostile_file_crashes_hangs_prints_or_goes_without_a_reason() -> None:
    script = PROJECT / "tests" / "support" / "scripts" / "decode_folder.py"
    child = subprocess.run(
        [sys.executable, script, real_data("hostile")],
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **os.environ,
            "PYTHONPATH": f"{PROJECT}{os.pathsep}{PROJECT / 'tests'}",
            "PYTHONWARNINGS": "always",
        },
        check=False,
    )
    assert (child.returncode, child.stderr) == (0, "")
    *files, last = map(json.loads, child.stdout.splitlines())
    slowest = max(files, key=lambda file: file["seconds"])
    good = sum(file["said"].startswith("ok") for file in files)
    print(f"{len(files)} files, {good} decoded, peak {last['peak_mb']} MB, slowest {slowest}")
    assert len(files) > 1200
    assert 300 <= good <= 400
    assert slowest["seconds"] < 10
    assert last["peak_mb"] < 1000
    assert all(
        file["said"].endswith("out.") or "raise the limit" in file["said"]
        for file in files
        if not file["said"].startswith("ok")
    )
