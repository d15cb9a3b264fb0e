"""Every command of docs/api.md, run as it stands against a served sample library."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from commands import serve
from conftest import SAMPLE_PHOTOS, Sample
from PIL import Image

PAGE = Path(__file__).parent.parent / "docs" / "api.md"
ADDRESS = "http://127.0.0.1:8765"
NEEDED = ("bash", "curl", "jq")


def blocks(language: str) -> list[str]:
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found
    return found


@pytest.mark.slow
@pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")
def test_the_whole_task_is_done_by_the_commands_that_are_shown(
    own: Path, sample: Sample, tmp_path: Path
) -> None:
    (tmp_path / "segsearch.toml").write_text("points_per_side = 6")
    with serve(own) as server:
        script = "".join(blocks("bash")).replace(ADDRESS, server.address)
        assert server.address in script
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, ""), ran
        client = "".join(blocks("python")).replace(ADDRESS, server.address)
        hits = subprocess.run(
            [sys.executable, "-c", client], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        photos = httpx.get(f"{server.address}/v1/photos", trust_env=False).json()["photos"]
    # the ingest found all as it was, and its last event says so
    events = [json.loads(line) for line in re.findall(r"^data: (.*)$", ran.stdout, re.MULTILINE)]
    assert (events[-1]["state"], events[-1]["photos_through"]) == ("done", SAMPLE_PHOTOS)
    # the searches found something, and the unknown example was told
    assert len(hits.splitlines()) == 3
    assert "no segment has the id '00000000-0000-4000-8000-000000000000'" in ran.stdout
    # the pictures are what they are called
    for name, form in (
        ("photo.jpg", "JPEG"),
        ("tile.jpg", "JPEG"),
        ("crop.webp", "WEBP"),
        ("mask.png", "PNG"),
        ("overlay.png", "PNG"),
    ):
        with Image.open(tmp_path / name) as image:
            assert image.format == form
    assert "\n304\n" in ran.stdout
    assert len(json.loads((tmp_path / "red.json").read_text())["annotations"]) == 20
    # the photo is forgotten, and asking for it explains itself
    assert len(photos) == SAMPLE_PHOTOS - 1
    assert '"UnknownIdError"' in ran.stdout
    assert "no such field" in ran.stdout
